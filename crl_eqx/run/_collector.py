"""Another run's agent in the place of the one that collects."""

import dataclasses
import zlib
from pathlib import Path

import equinox as eqx
import jax
import numpy as np

from .._acting import Acting
from .._agent import Agent
from .._env import AbstractGoalEnv
from .._errors import UserError
from .._rollout import Policy
from ..config import Compute, CONFIG, Config, load_config
from ..parts import make_agent
from ..store import CheckpointStore


class Frozen(eqx.Module):
    """A way of acting that asks always the same agent, whichever learns."""

    agent: Agent
    acting: Acting = eqx.field(static=True)

    def __call__(self, agent: Agent) -> Policy:
        del agent
        return self.acting(self.agent)

    @property
    def checksum(self) -> int:
        """Of the agent's numbers."""
        leaves = jax.tree.leaves(eqx.filter(self.agent, eqx.is_array))
        return zlib.crc32(b"".join(np.asarray(leaf).tobytes() for leaf in leaves))


def collector_dir(config: Config, run_dir: Path) -> Path | None:
    """The directory of the run whose agent collects for the one in `run_dir`; None if its own
    does. Where the directory that was named is not, one of that name beside the run is taken: a
    sweep may have moved."""
    named = config.data.collect_with
    if named is None:
        return None
    path = Path(named.replace("{seed}", str(config.seed)))
    beside = run_dir.parent / path.name
    return beside if not path.is_dir() and beside.is_dir() else path


def collector(config: Config, run_dir: Path, env: AbstractGoalEnv, acting: Acting) -> Frozen | None:
    """The newest agent of that run, acting as `acting` says.

    **Raises:** `UserError` if there is none, or it does not fit the task.
    """
    path = collector_dir(config, run_dir)
    if path is None:
        return None
    # Its own choices of kernels may be for another machine.
    of = dataclasses.replace(load_config(path / CONFIG), compute=Compute())
    like = eqx.filter_eval_shape(lambda: make_agent(of, env, key=jax.random.key(0)))
    said: list[str] = []
    agent = CheckpointStore(path / "checkpoints").newest_agent(like, report=said.append)
    if agent is None:
        why = f": {said[0]}" if said else ", which has no checkpoint yet."
        raise UserError(f"`--collect-with {config.data.collect_with}` is `{path}`{why}")
    return Frozen(agent, acting)
