"""`crl-eqx render RUN` and `crl-eqx render --env NAME`."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import tyro
from rich.console import Console

from .._errors import UserError
from ..config import ActingName, Compute
from ..nn import Kernel, Precision
from ..parts import task_from_words
from ..run import check_counts, draw_pictures, draw_task
from ._flags import parse


@dataclasses.dataclass(frozen=True)
class Render:
    """Draws a run's newest agent: trajectories, a video and a still; or a task played at random."""

    run: tyro.conf.Positional[Path | None] = None
    """The run's directory."""
    env: str | None = None
    """A task, instead of a run: a video of uniformly random actions, and a still."""
    env_option: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """An argument of that task's constructor, such as torque=gym; may be given several times."""
    out: Path | None = None
    """The pictures' folder; default a run's plots/ and videos/, or the current one with --env."""
    episodes: int = 4
    """Episodes in the video."""
    acting: ActingName = "deterministic"
    """How a run's policy acts."""
    kernel: Kernel = "auto"
    """Implementation of the residual blocks; not taken from the run, which may be from another
    machine."""
    precision: Precision = "auto"
    """What their matrix products round their operands to."""
    view: Literal["auto", "2d", "3d"] = "auto"
    """3d needs OpenGL; auto falls back to 2d without it."""
    seed: int = 1
    """Seed of the episodes."""
    best: bool = False
    """Draw the agent of a run's best evaluation instead of the newest."""


def render(arguments: Sequence[str], console: Console) -> int:
    options = parse(Render, "render", arguments)
    check_counts(seed=options.seed, episodes=options.episodes)
    for sentence in _draw(options):
        console.print(sentence, highlight=False, soft_wrap=True)
    return 0


def _draw(options: Render) -> Iterator[str]:
    common: Any = dict(num_episodes=options.episodes, view=options.view, seed=options.seed)
    if options.run is not None and options.env is None:
        if options.env_option:
            raise UserError("`--env-option` goes with `--env NAME`; a run keeps its own.")
        compute = Compute(options.kernel, options.precision)
        common |= dict(acting=options.acting, compute=compute, best=options.best)
        return draw_pictures(options.run, folder=options.out, **common)
    if options.env is None or options.run is not None:
        raise UserError("`crl-eqx render` needs either a run's directory or `--env NAME`.")
    for name in ("acting", "kernel", "precision", "best"):
        if getattr(options, name) != getattr(Render, name):
            raise UserError(f"`--{name}` is about a run's agent; `--env` is played at random.")
    env = task_from_words(f"--env {options.env}", options.env, options.env_option)
    return draw_task(env, options.env, options.out or Path(), **common)
