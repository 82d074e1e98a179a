"""`crl-eqx generalize RUN`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import tyro
from rich.console import Console

from ..config import CONFIG, GENERALIZATION, load_config
from ..lab import generalize as measure, Measured
from ..lab._generalize import PARTS
from ..run import check_counts, require_writable
from ._flags import parse


@dataclasses.dataclass(frozen=True)
class Generalize:
    """Plays a run's agent where it was not trained: farther goals, pairs of start and goal that are
    farther apart, goals that were held out, another mass, friction, strength, noise or delay."""

    run: tyro.conf.Positional[Path]
    """The run's directory; what is found is kept there, and shown by `crl-eqx report`."""
    parts: tuple[str, ...] = PARTS
    """Of distance, path, goals, dynamics; what the task does not have is left out."""
    episodes: int = 128
    """Fresh episodes of each kind."""
    best: bool = False
    """Take the agent of the best evaluation instead of the newest."""
    seed: int = 1
    """Seed of the episodes."""


def generalize(arguments: Sequence[str], console: Console) -> int:
    options = parse(Generalize, "generalize", arguments)
    check_counts(seed=options.seed, episodes=options.episodes)
    load_config(options.run / CONFIG)  # before anything is made there
    require_writable(options.run, "it keeps what is found in the run's directory")
    measure(
        options.run,
        parts=options.parts,
        episodes=options.episodes,
        best=options.best,
        seed=options.seed,
        report=lambda found: console.print(_line(found), highlight=False, soft_wrap=True),
    )
    console.print(
        f"kept in          {options.run / GENERALIZATION}", highlight=False, soft_wrap=True
    )
    return 0


def _line(found: Measured) -> str:
    rate = f"success {found.success_rate:.2f}"
    if found.episodes > 1:  # one says nothing of its error
        rate += f" ± {found.success_rate_se:.2f}"
    return (
        f"{found.part:<9}{found.what:<24}{found.value:<26}{rate}, {found.time_at_goal:.0f} steps "
        f"at the goal, {found.episodes} episodes"
    )
