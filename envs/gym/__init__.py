"""Gymnasium, both ways: its environments as tasks, and tasks as its environments."""

from .._gymnasium import require_gymnasium


require_gymnasium("crl_eqx.envs.gym")

from ._goal_env import GymnasiumGoalEnv as GymnasiumGoalEnv
from ._to_gymnasium import ToGymnasium as ToGymnasium
from ._to_vector import ToGymnasiumVector as ToGymnasiumVector
