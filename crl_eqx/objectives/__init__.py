"""What an agent learns from, one small class per file: contrastive RL and its rivals."""

from ._base import AbstractObjective as AbstractObjective
from ._c_learning import CLearning as CLearning, Variant as Variant
from ._crl import CRL as CRL
from ._gcbc import GCBC as GCBC
from ._goals import Goals as Goals
from ._ppo import PPO as PPO, RolloutBatch as RolloutBatch
from ._sac import SAC as SAC
from ._td3 import TD3 as TD3
