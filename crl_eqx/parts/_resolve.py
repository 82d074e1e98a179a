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
    falls = learning.schedule != "constant"
    known = learning.schedule_updates if falls else None
    asked = falls and known is None
    if not asked and not learning.warmup_updates:
        return config
    updates = _updates_of(config) if known is None else known
    if learning.warmup_updates >= updates:
        whole = "the run, which makes" if known is None else "the schedule of"
        raise UserError(
            f"`--warmup-updates {learning.warmup_updates}` would last longer than {whole} "
            f"{updates:,} updates: choose fewer."
        )
    if not asked:
        return config
    learning = dataclasses.replace(learning, schedule_updates=updates)
    return dataclasses.replace(config, learning=learning)


def _updates_of(config: Config) -> int:
    """Of the whole run."""
    check(config)
    step = stand_in_step(config)
    unrolls = -(-(config.total_env_steps - step.prefill_env_steps) // step.env_steps_per_unroll)
    return max(round(unrolls * step.mean_updates_per_unroll), 1)
