"""Builds MuJoCo models: one of our assets, a marker for the goal, and walls if there is a maze."""

import importlib.resources
from collections.abc import Sequence

from ._maze import Maze
from ._mj import MjSpec, mjtGeom


CONTACTS = 16
"""More than an ant or a humanoid ever has at once: 6 and 5, when pushed about between walls."""


def load_asset(name: str) -> MjSpec:
    """The model file `assets/<name>.xml`, also from an installed package."""
    file = importlib.resources.files(__spec__.parent) / "assets" / f"{name}.xml"
    return MjSpec.from_string(file.read_text())


def add_target(
    spec: MjSpec, radius: float, places: Sequence[tuple[float, float, float]] = ((0.0, 0.0, 0.0),)
) -> None:
    """Adds a body named `target` for pictures of the goal: no mass, contacts or degrees of freedom.

    It is a ball of this radius, or one at each of `places` in the body's frame.
    """
    target = spec.worldbody.add_body(name="target", mocap=True)
    for number, place in enumerate(places):
        name = f"target_{number}" if number else "target"
        size, rgba = [radius, radius, radius], [0.9, 0.25, 0.2, 0.6]
        target.add_site(name=name, pos=place, size=size, rgba=rgba)


def add_walls(
    spec: MjSpec,
    maze: Maze,
    touching: Sequence[str],
    *,
    height: float,
    friction: float,
    near: int | None = None,
) -> None:
    """Adds one box per wall of `maze`; each collides only with the geoms `touching`.

    Of the many points that could touch, MJX solves for the `CONTACTS` deepest. It looks for them
    only on the `near` nearest walls, as many as the robot can reach at once, so that the cost of a
    step does not grow with the maze. The C engine solves for the points that do touch.
    """
    if near is not None:
        spec.add_numeric(name="near_walls", data=[near])
    spec.add_numeric(name="max_contact_points", data=[CONTACTS])
    for number, box in enumerate(maze.walls):
        name = f"wall_{number}"
        spec.worldbody.add_geom(
            name=name,
            type=mjtGeom.mjGEOM_BOX,
            pos=[*box.centre, height / 2],
            size=[*box.half_size, height / 2],
            rgba=[0.55, 0.6, 0.65, 1],
            contype=0,
            conaffinity=0,
        )
        for geom in touching:
            spec.add_pair(
                geomname1=geom,
                geomname2=name,
                condim=3,
                friction=[friction, friction, 0.005, 0.0001, 0.0001],
            )
