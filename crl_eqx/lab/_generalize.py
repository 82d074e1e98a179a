"""How far what a run learnt carries: farther goals, pairs never trained, another body or world."""

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import msgspec
import numpy as np

from .._acting import Acting
from .._agent import Agent
from .._env import AbstractGoalEnv, EnvState
from .._errors import UserError
from .._evaluate import run_episodes
from .._types import PRNGKey
from ..config import GENERALIZATION, replaced
from ..run import load_run, make_acting, make_env, make_far, Run
from ..store._files import read_regular, replace_file


BINS = 4
"""Groups of episodes by the distance of their goal, of equal size."""

GRID: dict[str, tuple[str, tuple[float, ...]]] = {
    "masses": ("randomize_masses", (0.5, 0.75, 1.5, 2.0)),
    "friction": ("randomize_friction", (0.5, 0.75, 1.5, 2.0)),
    "gains": ("randomize_gains", (0.5, 0.75, 1.25)),
    "sensor noise": ("sensor_noise", (0.01, 0.03, 0.1)),
    "action delay": ("action_delay", (1, 2, 3)),
}
"""What is changed about the world, the choice that does it, and to which values."""

PARTS = ("distance", "path", "goals", "dynamics")


@dataclasses.dataclass(frozen=True)
class Measured:
    """Fresh episodes of one kind."""

    part: str
    what: str
    """Such as `friction`."""
    value: str
    """Such as `× 0.5`."""
    episodes: int
    success_rate: float
    success_rate_se: float
    time_at_goal: float
    """Steps with success, on average."""


def generalize(
    run_dir: Path,
    *,
    parts: Sequence[str] = PARTS,
    episodes: int = 128,
    best: bool = False,
    seed: int = 1,
    report: Callable[[Measured], None] = lambda measured: None,
) -> tuple[Measured, ...]:
    """Plays a run's agent where it was not trained, and returns what it found, which it also
    writes into the run's `generalization.json`, in place of what that held of the same parts.

    **Arguments:**

    - `parts`: `distance`, success by how far the goal lies from the start, over the task's own
        goals and its far ones; `path`, ant mazes whose cells form a path: pairs of start and goal
        1, 2, 3, ... cells apart; `goals`, those seen and those held out, after `--hold-out`;
        `dynamics`, another mass, friction, strength, noise or delay. What a run's task does not
        have is left out.
    - `episodes`: of each kind.
    - `report`: is given each result as soon as it is there.

    **Raises:** `UserError` if the run has no agent, or there is no such part, or none at all.
    """
    if not parts:
        raise UserError(f"`--parts` needs at least one of {', '.join(PARTS)}.")
    for part in parts:
        if part not in PARTS:
            raise UserError(f"`--parts {part}` must be of {', '.join(PARTS)}.")
    run, agent = load_run(run_dir, best=best)
    play = _Player(run, agent, episodes, jax.random.key(seed))
    makers = dict(distance=_by_distance, path=_by_path, goals=_by_goals, dynamics=_by_dynamics)
    found = []
    kept = [other for other in read_generalization(run_dir) if other.part not in parts]
    for part in dict.fromkeys(parts):
        for measured in makers[part](run, play):
            report(measured)
            found.append(measured)
    if not found:
        raise UserError(f"`{run_dir}`: {run.config.env} has nothing of {', '.join(parts)}.")
    text = msgspec.json.format(msgspec.json.encode([*kept, *found]), indent=2)
    replace_file(run_dir / GENERALIZATION, text)
    return tuple(found)


def read_generalization(run_dir: Path) -> tuple[Measured, ...]:
    """What `generalize` wrote; nothing if it was not asked. **Raises:** `UserError` if that cannot
    be read."""
    path = run_dir / GENERALIZATION
    if not path.is_file():
        return ()
    try:
        return msgspec.json.decode(read_regular(path), type=tuple[Measured, ...])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"`{path}` is damaged: {error}.") from error


@eqx.filter_jit
def _episodes(acting: Acting, agent: Agent, env: AbstractGoalEnv, number: int, key: PRNGKey):
    """Of each episode: the distance at its start, success, and steps with success."""

    def far(state: EnvState):
        return jax.vmap(env.distance)(env.true_state(state), state.goal)

    evaluation, distances = run_episodes(acting(agent), env, number, trace=far, key=key)
    rows = evaluation.per_episode
    return distances[0], rows["success_rate"], rows["time_at_goal"]


@dataclasses.dataclass(frozen=True)
class _Player:
    run: Run
    agent: Agent
    number: int
    key: PRNGKey

    def episodes(self, env: AbstractGoalEnv) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        acting = make_acting(self.run.config, "deterministic")
        found = _episodes(acting, self.agent, env, self.number, self.key)
        distance, success, time = map(np.asarray, found)
        return distance, success, time

    def __call__(self, part: str, what: str, value: str, env: AbstractGoalEnv) -> Measured:
        _, success, time = self.episodes(env)
        return _measured(part, what, value, success, time)


def _measured(part: str, what: str, value: str, success: Any, time: Any) -> Measured:
    error = float(np.std(success)) / max(len(success) - 1, 1) ** 0.5
    mean = float(np.mean(success))
    return Measured(part, what, value, len(success), mean, error, float(np.mean(time)))


def _by_distance(run: Run, play: _Player) -> Iterator[Measured]:
    far = make_far(run.task_config)
    for name, env in [(run.config.env, run.env), *([far] if far else [])]:
        distance, success, time = play.episodes(env)
        for part in np.array_split(np.argsort(distance, kind="stable"), BINS):
            if len(part):
                low, high = distance[part[0]], distance[part[-1]]
                value = f"{low:.3g} to {high:.3g} away"
                yield _measured("distance", name, value, success[part], time[part])


def _by_path(run: Run, play: _Player) -> Iterator[Measured]:
    if not (maze := re.match(r"ant_u\d?_maze", run.config.env)):
        return
    cells = 0
    while True:
        cells += 1
        try:
            env = make_env(run.task_config, f"{maze[0]}_gen_{cells}f")
        except UserError:  # the path has no two cells so far apart
            return
        trained = f"{cells}f" in run.config.env.partition("_gen_")[2]
        value = f"{cells} cell{'s' * (cells > 1)} along the path"
        yield play("path", f"{maze[0]}{', trained' * trained}", value, env)


def _by_goals(run: Run, play: _Player) -> Iterator[Measured]:
    if run.regions is not None:
        for goals in ("seen", "unseen"):
            env = make_env(run.task_config, regions=run.regions, goals=goals)
            yield play("goals", "commanded in training", "yes" if goals == "seen" else "never", env)


def _by_dynamics(run: Run, play: Callable[..., Measured]) -> Iterator[Measured]:
    yield play("dynamics", "none", "as it was trained", run.env)
    for what, (choice, values) in GRID.items():
        for value in values:
            setting = value if choice == "sensor_noise" else (value, value)
            config = replaced(run.task_config, **{choice: setting})
            chosen = config.randomization
            spans = chosen.randomize_masses, chosen.randomize_friction, chosen.randomize_gains
            if all(low == high for low, high in spans):  # all models would be alike
                config = replaced(config, variants=1)
            try:
                env = make_env(config)
            except UserError:  # that is not ours to change about this task
                break
            sign = "× " if choice.startswith("randomize") else ""
            yield play("dynamics", what, f"{sign}{value:g}", env)
