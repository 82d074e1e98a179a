"""Ways of looking at a tower that several tests share."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractDevice, AbstractMesh, AxisType

from crl_eqx.kernels import Compute
from crl_eqx.kernels.residual_tower import reference, TowerParams
from crl_eqx.kernels.residual_tower._reference import after_first
from crl_eqx.kernels.residual_tower.cases import draw, run_stacked


GPU = AbstractMesh(
    (1,), ("x",), (AxisType.Auto,), abstract_device=AbstractDevice("NVIDIA H200", 132, "cuda")
)
"""Under it, programs are traced and lowered for a GPU that is not there."""


def highest(function):
    """float32 products as exact as they come."""

    @functools.wraps(function)
    def wrapped(*args, **kwargs):
        with jax.default_matmul_precision("highest"):
            return function(*args, **kwargs)

    return wrapped


def weighed(y):
    """A sum in which every number counts differently."""
    weights = jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)
    return jnp.sum(y * weights)


@highest
def value_and_gradient(run, x, params):
    """y, and the gradient of `weighed(y)` with respect to x and the parameters."""

    def loss(x, params):
        y = run(x, params)
        return weighed(y), y

    (_, y), gradient = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(x, params)
    return y, gradient


def run_with(**options):
    """`residual_towers` on stacked arrays, `[nets, batch, width]`."""
    return functools.partial(run_stacked, compute=Compute(**options))


def begun(run):
    """`run` after a first layer, if there is one: its parameters are `WithFirst`."""
    return lambda x, params: run(after_first(x, params.first), params.tower)


def tower(case):
    """The inputs and parameters of one network."""
    x, params = draw(case, key=jax.random.key(0))
    return x[0], TowerParams(params.weights[:, 0], params.vectors[:, 0])


def distance(ours, exact):
    """‖ours - exact‖ / ‖exact‖ of all leaves together, in float64."""
    square = lambda leaves: sum(float(np.sum(np.square(leaf))) for leaf in leaves)
    exact = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(exact)]
    ours = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(ours)]
    return (square(a - b for a, b in zip(ours, exact, strict=True)) / square(exact)) ** 0.5


def exactly(case, seed):
    """The case's arrays in float32, and value and gradient in float64."""
    x, params = draw(case, key=jax.random.key(seed))
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf, np.float64)), (x, params))
        return (x, params), jax.tree.map(np.asarray, value_and_gradient(reference, *wide))
