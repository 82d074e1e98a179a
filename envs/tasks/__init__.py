"""One task per file, each to be read from top to bottom; the registry gives them names."""
