"""What a run leaves on disk: arrays as safetensors, replay in segments, checkpoints.

Needs neither MuJoCo nor anything that draws.
"""

from ._agent_file import load_agent as load_agent, save_agent as save_agent
from ._checkpoint import CheckpointStore as CheckpointStore, NoneGood as NoneGood
