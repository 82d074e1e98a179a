"""Goal-reaching tasks on MuJoCo models: `make(name)` builds one, `names()` lists them."""

if not __name__.startswith("crl_eqx."):
    raise ImportError("Write `import crl_eqx.envs`: a second copy would not know the first.")

from ._gymnasium import is_gymnasium as is_gymnasium
from ._maze import Maze as Maze
from ._mujoco import AbstractMujocoEnv as AbstractMujocoEnv
from ._physics import (
    AbstractPhysics as AbstractPhysics,
    default_physics as default_physics,
    PhysicsState as PhysicsState,
)
from ._randomize import (
    check_delay as check_delay,
    check_factors as check_factors,
    randomize as randomize,
    Randomized as Randomized,
)
from ._registry import (
    eval_split as eval_split,
    make as make,
    names as names,
    Task as Task,
    task as task,
    tasks as tasks,
)
from .custom import MujocoGoalEnv as MujocoGoalEnv
