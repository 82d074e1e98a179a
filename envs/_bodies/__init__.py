"""Robots: what every task with an ant, a humanoid or an arm has in common."""

from ._ant_body import ant_robot as ant_robot, AntEnds as AntEnds, AntTorque as AntTorque
from ._humanoid_body import (
    humanoid_robot as humanoid_robot,
    HumanoidEnds as HumanoidEnds,
    HumanoidTorque as HumanoidTorque,
)
