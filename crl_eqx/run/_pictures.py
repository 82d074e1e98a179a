"""The pictures of a run: its curve, its trajectories, its video."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import jax

from ._build import make_acting
from ._config import ActingName, CONFIG, file_name, load_config
from ._loop import load_run
from ._plots import learning_curve, trajectories
from ._video import still as still, video, View
from ._writers import read_metrics


def draw_curve(run_dirs: Sequence[Path], path: Path) -> Path:
    """The learning curve of one run, or of several seeds with their standard error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    config = load_config(run_dirs[0] / CONFIG)
    title = f"{config.env}, depth {config.network.depth}"
    rows = {run_dir.name: read_metrics(run_dir / "metrics.jsonl") for run_dir in run_dirs}
    return learning_curve(rows, path, title=title)


def draw_pictures(
    run_dir: Path,
    *,
    acting: ActingName = "deterministic",
    num_episodes: int = 4,
    view: View = "auto",
    seed: int = 0,
) -> Iterator[str]:
    """Draws trajectories over the critic's energy, then a video; yields a line about each."""
    run, agent = load_run(run_dir)
    for folder in ("plots", "videos"):
        (run_dir / folder).mkdir(exist_ok=True)
    plot_key, video_key = jax.random.split(jax.random.key(seed))
    act = make_acting(acting, run.config.data.candidates)
    title = f"{run.config.env}: {acting} policy"
    path = run_dir / "plots" / "trajectories.png"
    drawn = trajectories(run.env, agent, path, acting=act, key=plot_key, title=title)
    yield f"trajectories     {drawn}"
    path = run_dir / "videos" / f"{file_name(run.config.env)}.mp4"
    result = video(run.env, act(agent), path, num_episodes=num_episodes, view=view, key=video_key)
    yield f"video            {result.path}"
    if result.note:
        yield f"                 {result.note}"
