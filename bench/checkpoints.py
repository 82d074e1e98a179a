"""What share of a run's time goes into saving it?

    python bench/checkpoints.py                   # ant, the paper's 512 environments and schedule
    python bench/checkpoints.py --envs 128 --every 250000

Trains a few steps to see what one takes, and then only collects (a save does not know the
difference) until the next checkpoint is due. `share` is the save's part of the time between two
checkpoints. The network is that of the preset `laptop`: the smaller the updates, the larger the
share of saving, so that a deeper network's is smaller.

Each save writes what was collected since the one before, and parameters and optimisers whole. The
bytes are synced to the disk before the save returns.
"""

import argparse
import dataclasses
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
from _machine import write
from _measure import MIB, rounded, wide_console
from rich import box
from rich.console import Console
from rich.table import Table

import crl_eqx
from crl_eqx import envs
from crl_eqx.config import Config, PRESETS
from crl_eqx.run import Run


TRAIN_STEPS = 3
_collect = eqx.filter_jit(crl_eqx.TrainStep.collect, donate="all-except-first")


def _bytes_under(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def measure(config: Config, directory: Path, saves: int) -> list[dict[str, Any]]:
    """A row for every save."""
    run = Run(config, directory)
    state, seconds = run.initial(), []
    while run.prefilling(state):
        state, _ = run.advance(state)
    for _ in range(1 + TRAIN_STEPS):  # the first one compiles
        begun = time.perf_counter()
        state, _ = jax.block_until_ready(run.advance(state))
        seconds.append(time.perf_counter() - begun)
    per_step = statistics.median(seconds[1:])

    unrolls = round(config.logging.checkpoint_every / run.step.env_steps_per_unroll)
    rows = []
    for _ in range(saves):
        for _ in range(unrolls):
            state, _ = _collect(run.step, state)
        jax.block_until_ready(state.buffer.inserted)
        before, begun = _bytes_under(directory), time.perf_counter()
        run.store.save(state, run.step.buffer, metadata={})
        wall = time.perf_counter() - begun
        rows.append(
            {
                "env_steps": int(state.env_steps),
                "train_step_seconds": per_step,
                "between_saves_seconds": per_step * unrolls,
                "save_seconds": wall,
                "share": wall / (wall + per_step * unrolls),
                "written_mib": (_bytes_under(directory) - before) / MIB,
            }
        )
    return rows


def show(rows: list[dict[str, Any]], console: Console) -> None:
    table = Table(title="saving", box=box.SIMPLE)
    for head in ("env steps", "between\nsaves s", "save s", "share", "disk grew\nMiB"):
        table.add_column(head, justify="right")
    for row in rows:
        table.add_row(
            f"{row['env_steps']:,}",
            f"{row['between_saves_seconds']:.0f}",
            f"{row['save_seconds']:.2f}",
            f"{row['share']:.2%}",
            f"{row['written_mib']:.0f}",
        )
    console.print(table)


def configuration(task: str, num_envs: int, every: int) -> Config:
    """The paper's schedule for `num_envs` environments, with the laptop's network."""
    laptop = PRESETS["laptop"]
    data = dataclasses.replace(PRESETS["paper"].data, num_envs=num_envs)
    logging = dataclasses.replace(laptop.logging, checkpoint_every=every)
    return dataclasses.replace(laptop, env=task, data=data, logging=logging)


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--task", default="ant", choices=envs.names(), metavar="TASK")
    parser.add_argument("--envs", type=int, default=512)
    parser.add_argument("--every", type=int, default=1_000_000, help="env steps between saves")
    parser.add_argument("--saves", type=int, default=3)
    parser.add_argument("--out", type=Path, default=None, help="default: bench/results")
    args = parser.parse_args()
    console = wide_console()
    directory = Path(tempfile.mkdtemp(dir="."))  # /tmp may be memory
    try:
        rows = measure(configuration(args.task, args.envs, args.every), directory, args.saves)
    finally:
        shutil.rmtree(directory)
    show(rows, console)
    about = {"task": args.task, "envs": args.envs, "checkpoint_every": args.every}
    path = write("checkpoints", rounded(rows), directory=args.out, **about)
    console.print(f"written to {path.name}")


if __name__ == "__main__":
    main()
