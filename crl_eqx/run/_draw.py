"""The pictures of a run: its curve, its trajectories, its video."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax

from .._env import AbstractGoalEnv
from .._fork import not_forked
from .._rollout import Policy
from .._types import Action, Goal, PRNGKey, State
from ..config import ActingName, Compute, CONFIG, file_name, load_config
from ..parts import make_acting
from ..pictures import learning_curve, still as still, trajectories, video, View
from ..run_files import read_metrics
from ..store._files import own_directory, refuse_link, require_writable
from ._begin import load_run
from ._other_run import require_comparing


ELSEWHERE = "name another folder with `--out`"


def draw_curve(run_dirs: Sequence[Path], path: Path) -> Path:
    """The learning curve of one run, or of several seeds with their standard error."""
    own_directory(path.parent)
    config = load_config(run_dirs[0] / CONFIG)
    title = f"{config.env}, depth {config.network.depth}"
    rows = {run_dir.name: read_metrics(run_dir / "metrics.jsonl") for run_dir in run_dirs}
    return learning_curve(rows, path, title=title)


@not_forked
def draw_pictures(
    run_dir: Path,
    *,
    acting: ActingName = "deterministic",
    compute: Compute | None = None,
    folder: Path | None = None,
    num_episodes: int = 4,
    view: View = "auto",
    seed: int = 0,
    best: bool = False,
) -> Iterator[str]:
    """Draws trajectories over the critic's energy, then a video; yields a line about each.

    They go into `folder`, or else into the run's `plots` and `videos`.

    **Raises:** `UserError` if these cannot be written to.
    """
    run, agent = load_run(run_dir, compute, best=best)
    if acting == "best-of":
        require_comparing(agent, "--acting best-of", run_dir, run.config)
    plots, videos = (folder or run_dir / name for name in ("plots", "videos"))
    for place in (plots, videos):
        if folder is None:
            refuse_link(place)
        require_writable(place, ELSEWHERE)
    plot_key, video_key = jax.random.split(jax.random.key(seed))
    act = make_acting(run.config, acting)
    title = f"{run.config.env}: {acting} policy"
    path = plots / "trajectories.png"
    drawn = trajectories(run.env, agent, path, acting=act, key=plot_key, title=title)
    yield f"trajectories     {drawn}"
    filming: Any = dict(num_episodes=num_episodes, view=view, key=video_key)
    yield from _film(run.env, act(agent), videos / file_name(run.config.env), **filming)


@not_forked
def draw_task(
    env: AbstractGoalEnv,
    name: str,
    folder: Path,
    *,
    num_episodes: int = 4,
    view: View = "auto",
    seed: int = 0,
) -> Iterator[str]:
    """Films a task that is played at random, and draws a start; yields a line about each.

    **Raises:** `UserError` if `folder` cannot be written to.
    """
    require_writable(folder, ELSEWHERE)

    def policy(state: State, goal: Goal, key: PRNGKey) -> Action:
        del goal
        return jax.random.uniform(key, (*state.shape[:-1], env.action_size), minval=-1.0)

    filming: Any = dict(num_episodes=num_episodes, view=view, key=jax.random.key(seed))
    yield from _film(env, policy, folder / file_name(name), **filming)


def _film(env: AbstractGoalEnv, policy: Policy, stem: Path, *, view: View, **filming: Any):
    """A video and a still, each named `stem` and its suffix."""
    result = video(env, policy, stem.with_name(f"{stem.name}.mp4"), view=view, **filming)
    yield f"video            {result.path}"
    if result.note:
        yield f"                 {result.note}"
    picture = still(env, stem.with_name(f"{stem.name}.png"), view=view, key=filming["key"])
    yield f"still            {picture}"
