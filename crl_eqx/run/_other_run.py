"""Another run's agent: the one that collects, or the one that a run begins with."""

import dataclasses
import zlib
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .. import envs
from .._acting import Acting
from .._agent import Agent
from .._env import AbstractGoalEnv
from .._errors import UserError
from .._rollout import Policy
from ..config import (
    choice_of,
    Compute,
    CONFIG,
    Config,
    experiment_flags,
    flat,
    load_config,
    OTHER_RUNS,
    replaced,
    SWEEP,
)
from ..envs._layout import Part, parts
from ..parts import KINDS, make_agent, make_task, sizes
from ..store import CheckpointStore


class Frozen(eqx.Module):
    """A way of acting that asks always the same agent, whichever learns."""

    agent: Agent
    acting: Acting = eqx.field(static=True)

    def __call__(self, agent: Agent) -> Policy:
        del agent
        return self.acting(self.agent)


def checksum(agent: Agent) -> int:
    """Of its numbers."""
    leaves = jax.tree.leaves(eqx.filter(agent, eqx.is_array))
    return zlib.crc32(b"".join(np.asarray(leaf).tobytes() for leaf in leaves))


def other_runs(config: Config, run_dir: Path) -> list[Path]:
    """The directories of the runs whose agents the run in `run_dir` needs before it can begin."""
    named = (choice_of(config, name) for name in OTHER_RUNS)
    return [_path(path, config, run_dir) for path in named if path is not None]


def _path(named: str, config: Config, run_dir: Path) -> Path:
    """Where the directory that was named is not, one of that name in the same sweep is taken: it
    may have moved."""
    path = Path(named.replace("{seed}", str(config.seed)))
    beside = run_dir.parent / path.name
    of_sweep = (run_dir.parent / SWEEP).is_file() and beside.name != run_dir.name
    return beside if not path.is_dir() and of_sweep and beside.is_dir() else path


def _config_of(call: str, path: Path) -> Config:
    """**Raises:** `UserError`, which begins with `call`, if no run is there."""
    try:
        return load_config(path / CONFIG)
    except UserError as error:
        raise UserError(f"`{call}`: {error}") from error


def collector(config: Config, run_dir: Path, env: AbstractGoalEnv, acting: Acting) -> Frozen | None:
    """The newest agent of the run that collects, acting as `acting` says.

    **Raises:** `UserError` if there is none, or it does not fit the task.
    """
    named = config.data.collect_with
    if named is None:
        return None
    path, call = _path(named, config, run_dir), f"--collect-with {named}"
    # Its own choices of kernels may be for another machine.
    of = dataclasses.replace(_config_of(call, path), compute=Compute())
    agent = _newest_agent(call, path, of, env)
    if config.data.collect_acting == "best-of":
        require_comparing(agent, f"--collect-acting best-of` with `{call}", path, of)
    return Frozen(agent, acting)


def require_comparing(agent: Agent, call: str, run_dir: Path, config: Config) -> None:
    """**Raises:** `UserError`, which begins with `call`, if a run's agent cannot take the best of
    several actions."""
    if not agent.compares_actions:
        raise UserError(
            f"`{call}` asks a critic, and `{run_dir}` learnt none: it was trained by "
            f"`--objective {config.objective.objective}`."
        )


def first_agent(config: Config, run_dir: Path, env: AbstractGoalEnv) -> Agent | None:
    """The newest agent of the run that this one begins with, computed as `config` says. If this
    run's states only have more at their end, what is more weighs nothing in it.

    **Raises:** `UserError` if there is none, or it does not fit the task or the configuration.
    """
    named = config.network.init_from
    if named is None:
        return None
    path, call = _path(named, config, run_dir), f"--init-from {named}"
    of = _config_of(call, path)
    ours, theirs = config.objective.objective, of.objective.objective
    if KINDS[ours].critic != KINDS[theirs].critic:
        raise UserError(
            f"`{call}` is a run of `--objective {theirs}`, whose critic is of another kind than "
            f"that of `--objective {ours}`."
        )
    names = [name for group, name, _ in flat(of) if group == "network" and name != "init_from"]
    choices = {name: choice_of(of, name) for name in [*names, "energy"]}
    flags = experiment_flags(replaced(config, **choices), config)
    if flags:
        words = " ".join(flags)
        raise UserError(f"`{call}` has networks of another kind: say `{words}` here, too.")
    shorter = _task_of_shorter_states(call, of, config)
    if shorter is None:
        return _newest_agent(call, path, config, env)
    agent = _newest_agent(call, path, config, shorter)
    return _for_longer_states(agent, shorter.state_size, _like(config, env))


def _task_of_shorter_states(call: str, of: Config, config: Config) -> AbstractGoalEnv | None:
    """The task of a run `of` whose states are the beginning of those here, if both are tasks of
    this library: to look at others their code would have to be run."""
    same_task = (of.env, of.task.env_option) == (config.env, config.task.env_option)
    if same_task or any(envs.is_own(c.env) or envs.is_gymnasium(c.env) for c in (of, config)):
        return None
    try:
        # Its own physics may be for another machine.
        theirs = make_task(dataclasses.replace(of, physics=config.physics))
    except UserError as error:
        raise UserError(f"`{call}` is a run whose task cannot be made: {error}") from error
    ours = make_task(config)
    assert isinstance(theirs, envs.AbstractMujocoEnv) and isinstance(ours, envs.AbstractMujocoEnv)
    begin, whole = (_named_parts(env) for env in (theirs, ours))
    longer = len(begin) < len(whole) and begin == whole[: len(begin)]
    if longer and sizes(theirs)[1:] == sizes(ours)[1:]:
        return theirs
    if sizes(theirs) != sizes(ours):
        raise UserError(
            f"`{call}` is a run of {of.env}, whose state, action and goal sizes {sizes(theirs)} "
            f"are not those of {config.env}, {sizes(ours)}."
        )
    return None


def _named_parts(env: envs.AbstractMujocoEnv) -> list[tuple[str, Part]]:
    return [(name, part) for name, part in parts(env.layout).items() if part.indices]


def _for_longer_states(agent: Agent, size: int, like: Agent) -> Agent:
    """`agent`, whose states have `size` numbers, with the shapes of `like`."""

    def filled(leaf, like):
        if not eqx.is_array(leaf) or leaf.shape == like.shape:
            return leaf
        # What grows has a row or a number for each of the state's numbers, and first of all.
        more = jnp.zeros((like.shape[0] - leaf.shape[0], *leaf.shape[1:]), leaf.dtype)
        return jnp.concatenate([leaf[:size], more, leaf[size:]])

    agent = jax.tree.map(filled, agent, like)
    if agent.state_normalizer is None:
        return agent
    # As if what is new had had a variance of 1.
    of, squares = agent.state_normalizer, agent.state_normalizer.sum_of_squares
    return eqx.tree_at(
        lambda agent: agent.state_normalizer.sum_of_squares, agent, squares.at[size:].set(of.count)
    )


def _like(config: Config, env: AbstractGoalEnv) -> Agent:
    """The shapes of an agent for `env`."""
    return eqx.filter_eval_shape(lambda: make_agent(config, env, key=jax.random.key(0)))


def _newest_agent(call: str, path: Path, config: Config, env: AbstractGoalEnv) -> Agent:
    said: list[str] = []
    try:
        agent = CheckpointStore(path / "checkpoints").newest_agent(
            _like(config, env), report=said.append
        )
    except UserError as error:
        raise UserError(f"`{call}` does not fit this run: {error}") from error
    if agent is None:
        why = f": {said[0]}" if said else ", which has no checkpoint yet."
        raise UserError(f"`{call}` is `{path}`{why}")
    return agent
