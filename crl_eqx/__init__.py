"""Deep contrastive reinforcement learning in JAX and Equinox."""

from ._env import AbstractGoalEnv as AbstractGoalEnv, EnvState as EnvState
