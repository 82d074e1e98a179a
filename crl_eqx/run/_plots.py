"""Pictures of a run as PNG files."""

from ._curve import learning_curve as learning_curve, Rows as Rows
from ._trajectories import trajectories as trajectories
