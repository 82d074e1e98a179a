"""Goal-reaching tasks on MuJoCo models: `make(name)` builds one, `names()` lists them."""

if not __name__.startswith("crl_eqx."):
    raise ImportError("Write `import crl_eqx.envs`: a second copy would not know the first.")

from ._bodies._ant_body import ant_robot as ant_robot, AntEnds as AntEnds, AntTorque as AntTorque
from ._bodies._humanoid_body import (
    humanoid_robot as humanoid_robot,
    HumanoidEnds as HumanoidEnds,
    HumanoidTorque as HumanoidTorque,
)
from ._gymnasium import gymnasium_packages as gymnasium_packages, is_gymnasium as is_gymnasium
from ._hold_out import hold_out as hold_out, HoldOut as HoldOut
from ._maze import Maze as Maze
from ._mujoco import AbstractMujocoEnv as AbstractMujocoEnv, model_checksum as model_checksum
from ._options import annotation_in_words as annotation_in_words
from ._own import is_own as is_own, own_files as own_files
from ._own_modules import modules_beside as modules_beside
from ._physics import (
    AbstractPhysics as AbstractPhysics,
    available_physics as available_physics,
    default_physics as default_physics,
    num_cores as num_cores,
    PhysicsState as PhysicsState,
)
from ._randomize import (
    check_randomization as check_randomization,
    randomize as randomize,
    Randomized as Randomized,
)
from ._registry import (
    eval_split as eval_split,
    make as make,
    names as names,
    options_from_words as options_from_words,
    Task as Task,
    task as task,
    task_options as task_options,
    tasks as tasks,
)
from ._resample_goals import resample_goals as resample_goals, ResampledGoals as ResampledGoals
from .custom import MujocoGoalEnv as MujocoGoalEnv
