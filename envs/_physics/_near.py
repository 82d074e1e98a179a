"""MJX pays for every pair of geoms that could touch, so it sees only nearby walls."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._mj import MjModel, mjtJoint
from ._mjx_module import mjx as mjx


class NearWalls:
    """Lends the first few of the boxes `wall_0`, `wall_1`, … to the walls nearest to the robot.

    The number `near_walls` in the model says how many; without it, all walls stay as they are. It
    must be as many as the robot can reach at once, wherever it is; then nothing else changes. The
    robot is what hangs on the model's first free joint, and nothing else may touch walls.
    """

    def __init__(self, model: MjModel):
        numerics = map(model.numeric, range(model.nnumeric))
        lent = [int(number.data[0]) for number in numerics if number.name == "near_walls"]
        is_wall = [model.geom(i).name.startswith("wall_") for i in range(model.ngeom)]
        walls = np.flatnonzero(is_wall)
        self._slots = walls[: sum(lent)]
        unseen = walls[sum(lent) :] if lent else []
        hidden = np.isin(model.pair_geom1, unseen) | np.isin(model.pair_geom2, unseen)
        self._pairs = np.flatnonzero(~hidden)
        self._centres, self._halves = model.geom_pos[walls], model.geom_size[walls]
        self._robot = model.jnt_qposadr[model.jnt_type == int(mjtJoint.mjJNT_FREE)][:1]

    def fewer_pairs(self, model: mjx.Model) -> mjx.Model:
        """The model without the pairs of the boxes that are not lent."""
        names = [name for name in vars(model) if name.startswith("pair_")]
        kept = {name: getattr(model, name)[self._pairs] for name in names}
        return model.replace(npair=len(self._pairs), **kept)

    def at(self, model: mjx.Model, qpos: Float[Array, " nq"]) -> mjx.Model:
        """The model with the nearest walls in place of the first few."""
        if self._slots.size == 0:
            return model
        centres, halves = (jnp.asarray(x, qpos.dtype) for x in (self._centres, self._halves))
        robot = qpos[self._robot + np.arange(2)][None]
        apart = jnp.maximum(jnp.abs(centres[:, :2] - robot) - halves[:, :2], 0.0)
        _, near = jax.lax.top_k(-jnp.sum(apart**2, axis=1), self._slots.size)
        return model.replace(
            geom_pos=model.geom_pos.at[self._slots].set(centres[near]),
            geom_size=model.geom_size.at[self._slots].set(halves[near]),
        )
