"""Physics engines behind one interface; the tasks know nothing about them."""

from ._base import (
    AbstractPhysics as AbstractPhysics,
    own_model as own_model,
    PhysicsState as PhysicsState,
)
from ._native import NativePhysics as NativePhysics, num_cores as num_cores
from ._select import (
    available_physics as available_physics,
    default_physics as default_physics,
    PHYSICS as PHYSICS,
    select_physics as select_physics,
)
