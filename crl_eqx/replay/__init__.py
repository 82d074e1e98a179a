"""Data to learn from: steps and batches, the ring that a run fills, trajectories in memory."""

from ._ring import (
    BufferState as BufferState,
    Place as Place,
    StoredSteps as StoredSteps,
    TrajectoryBuffer as TrajectoryBuffer,
)
from ._trajectories import Trajectories as Trajectories
from ._transition import (
    AbstractData as AbstractData,
    AchievedGoal as AchievedGoal,
    Batch as Batch,
    Transition as Transition,
    whole_state as whole_state,
)
