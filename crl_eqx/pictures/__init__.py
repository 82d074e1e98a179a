"""Pictures: learning curves, trajectories over the critic's energy, stills and videos."""

from ._curve import learning_curve as learning_curve, Rows as Rows
from ._trajectories import trajectories as trajectories
from ._video import still as still, video as video, View as View
