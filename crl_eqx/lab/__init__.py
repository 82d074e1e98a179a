"""Several runs at once that differ in a choice or two: seeds, depths, whatever else."""

from ._sweep import (
    begin_sweep as begin_sweep,
    load_sweep as load_sweep,
    resume_sweep as resume_sweep,
    Sweep as Sweep,
    train_sweep as train_sweep,
)
