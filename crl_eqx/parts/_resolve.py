"""What a configuration leaves open, decided for this machine and this run."""

import dataclasses

from .. import envs
from .._errors import UserError
from ..config import Config
from ._check import check, stand_in_step
from ._objective import with_objective


def resolved(config: Config) -> Config:
    """`config` with its choices resolved for this machine and budget, as a run keeps it.

    **Raises:** `UserError`, as `check` does, if the length of a schedule follows from choices that
    have a mistake.
    """
    return _with_schedule(on_this_machine(config))


def on_this_machine(config: Config) -> Config:
    """`resolved`, but for the length of a schedule, which each run of a sweep has for itself."""
    return with_objective(_with_physics(config))


def _with_physics(config: Config) -> Config:
    """`config` with the physics that `auto` means here: a run keeps its own wherever it is
    resumed."""
    if config.physics != "auto" or envs.is_gymnasium(config.env):
        return config
    return dataclasses.replace(config, physics=envs.default_physics(config.data.num_envs))


def _with_schedule(config: Config) -> Config:
    """`config` with a schedule as long as the run, where no length was asked for: a run keeps it,
    should its budget be raised later."""
    learning = config.learning
    if learning.schedule == "constant" or learning.schedule_updates is not None:
        return config
    check(config)
    step = stand_in_step(config)
    unrolls = -(-(config.total_env_steps - step.prefill_env_steps) // step.env_steps_per_unroll)
    updates = max(round(unrolls * step.mean_updates_per_unroll), 1)
    if learning.warmup_updates >= updates:
        raise UserError(
            f"`--warmup-updates {learning.warmup_updates}` would last longer than the run, which "
            f"makes {updates:,} updates: choose fewer."
        )
    learning = dataclasses.replace(learning, schedule_updates=updates)
    return dataclasses.replace(config, learning=learning)
