"""Named sizes of z, `[rows, width]`, shared by tests and benches."""

CASES = {
    "one row": (1, 128),
    "not a multiple of the tile": (21, 128),
    "usual": (256, 256),
    "widest": (16, 512),
}
