"""Several runs that differ in a choice or two: seeds, depths, whatever else."""

from ._sweep import (
    begin_sweep as begin_sweep,
    load_sweep as load_sweep,
    Sweep as Sweep,
    train_one as train_one,
    train_sweep as train_sweep,
    update_sweep as update_sweep,
)
