"""Gymnasium, both ways: its environments as tasks, and tasks as its environments."""

from .._gymnasium import has_gymnasium, without_gymnasium


if not has_gymnasium():
    raise without_gymnasium("import crl_eqx.envs.gym")

from ._goal_env import GymnasiumGoalEnv as GymnasiumGoalEnv
from ._to_gymnasium import ToGymnasium as ToGymnasium
from ._to_vector import ToGymnasiumVector as ToGymnasiumVector
