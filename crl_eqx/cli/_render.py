"""`crl-eqx render RUN`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import tyro
from rich.console import Console

from ..run import ActingName, draw_pictures, require_positive


@dataclasses.dataclass(frozen=True)
class Render:
    """Draws the trajectories of a run's newest agent, and a video of it."""

    run: tyro.conf.Positional[Path]
    """The run's directory."""
    episodes: int = 4
    """Episodes in the video."""
    acting: ActingName = "deterministic"
    """How the policy acts."""
    view: Literal["auto", "2d", "3d"] = "auto"
    """3d needs OpenGL; auto falls back to 2d without it."""
    seed: int = 1
    """Seed of the episodes."""


def render(arguments: Sequence[str], console: Console) -> int:
    options = tyro.cli(Render, prog="crl-eqx render", args=list(arguments))
    require_positive(episodes=options.episodes)
    sentences = draw_pictures(
        options.run,
        acting=options.acting,
        num_episodes=options.episodes,
        view=options.view,
        seed=options.seed,
    )
    for sentence in sentences:
        console.print(sentence, highlight=False, markup=False, soft_wrap=True)
    return 0
