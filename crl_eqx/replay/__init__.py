"""Data to learn from: steps and batches, the ring that a run fills, trajectories in memory."""

from ._ring import BufferState as BufferState, Place as Place, TrajectoryBuffer as TrajectoryBuffer
from ._trajectories import Trajectories as Trajectories
from ._transition import (
    AchievedGoal as AchievedGoal,
    Batch as Batch,
    Transition as Transition,
    whole_state as whole_state,
)
