"""Deep contrastive reinforcement learning in JAX and Equinox.

`crl_eqx.envs` (MuJoCo tasks), `crl_eqx.kernels`, `crl_eqx.lab` (several runs), `crl_eqx.store`
(weights and checkpoints on disk), `crl_eqx.pictures` and `crl_eqx.run` (the loop behind the command
line) are imported by their own names, so that `import crl_eqx` stays light.
"""

from . import energy as energy, losses as losses, nn as nn, objectives as objectives
from ._acting import (
    best_of as best_of,
    deterministic as deterministic,
    noisy as noisy,
    partly_deterministic as partly_deterministic,
    stochastic as stochastic,
)
from ._agent import Agent as Agent, CriticKind as CriticKind
from ._critic import (
    AbstractCritic as AbstractCritic,
    Critic as Critic,
    QFunctions as QFunctions,
    ValueFunction as ValueFunction,
)
from ._diagnose import diagnose as diagnose
from ._env import AbstractGoalEnv as AbstractGoalEnv, EnvState as EnvState
from ._errors import UserError as UserError
from ._evaluate import evaluate as evaluate, Evaluation as Evaluation, run_episodes as run_episodes
from ._offline import fit as fit
from ._on_policy import OnPolicyStep as OnPolicyStep
from ._overlap import Overlap as Overlap
from ._rollout import (
    collect as collect,
    Episodes as Episodes,
    Policy as Policy,
    start_episodes as start_episodes,
)
from ._step import AbstractTrainStep as AbstractTrainStep
from ._together import Together as Together
from ._train import TrainStep as TrainStep
from ._train_state import TrainState as TrainState
from ._update import (
    adam as adam,
    adam_optimizers as adam_optimizers,
    init_optimizers as init_optimizers,
    update as update,
)
from ._verdict import Verdict as Verdict, verdict as verdict, VERDICTS as VERDICTS
from .relabel import relabel as relabel
from .replay import (
    AbstractData as AbstractData,
    Batch as Batch,
    BufferState as BufferState,
    StoredSteps as StoredSteps,
    Trajectories as Trajectories,
    TrajectoryBuffer as TrajectoryBuffer,
    Transition as Transition,
)


__version__ = "0.1.0"
