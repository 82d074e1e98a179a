from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypedDict

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._checks import require_count, require_flag, require_key, require_kind, require_whole
from .._errors import UserError
from .._types import PRNGKey
from ..kernels import AUTO, Compute
from ..kernels._groups import apart, by_group
from ._activations import Activation
from ._layers import Layer, Linear, Product
from ._residual import LAYERS_PER_BLOCK, ResidualBlock
from ._stacked import run_together, shared, Stacked, takes_firsts


def check_depth(depth: int, call: str) -> None:
    """`depth` is never rounded: `call` names what the user wrote, such as `Encoder(depth=6)`."""
    require_whole(depth, call)
    if depth >= LAYERS_PER_BLOCK and depth % LAYERS_PER_BLOCK == 0:
        return
    below = max(depth // LAYERS_PER_BLOCK * LAYERS_PER_BLOCK, LAYERS_PER_BLOCK)
    above = below if depth < LAYERS_PER_BLOCK else below + LAYERS_PER_BLOCK
    nearest = f"{below}" if below == above else f"{below} or {above}"
    raise UserError(
        f"`{call}` must be a positive multiple of {LAYERS_PER_BLOCK}: each residual block holds "
        f"{LAYERS_PER_BLOCK} Dense layers. Did you mean {nearest}?"
    )


class ResidualMLP(eqx.Module):
    """A first layer, `depth / 4` residual blocks scanned over, and a linear head.

    **Arguments:**

    - `in_size`, `out_size`: numbers in and out; inputs are concatenated along the last axis.
    - `depth`: Dense layers inside the residual blocks, a multiple of 4.
    - `width`: of every hidden layer.

    **Other arguments:**

    - `residual`, `layer_norm`, `activation`: the three stabilisers that make depth work, to be
        switched off one by one for ablations.
    - `compute`: how the blocks are computed, see [`crl_eqx.nn.Stacked`][].

    **Raises:** `UserError` when `depth` is not a positive multiple of 4, or a size is not a
    positive whole number.
    """

    first: Layer
    trunk: Stacked[ResidualBlock]
    head: Linear

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        depth: int = 16,
        width: int = 256,
        residual: bool = True,
        layer_norm: bool = True,
        activation: Activation = "swish",
        compute: Compute = AUTO,
        key: PRNGKey,
    ):
        call = type(self).__name__
        check_depth(depth, f"{call}(depth={depth!r})")
        for name, size in dict(in_size=in_size, out_size=out_size, width=width).items():
            require_count(size, f"{call}({name}={size!r})")
        for name, choice in dict(residual=residual, layer_norm=layer_norm).items():
            require_flag(choice, f"{call}({name}={choice!r})")
        require_kind(compute, Compute, f"{call}(compute={compute!r})", "a `crl_eqx.nn.Compute`")
        require_key(key, f"{call}(..., key=...)")
        first_key, trunk_key, head_key = jax.random.split(key, 3)
        self.first = Layer(
            in_size, width, layer_norm=layer_norm, activation=activation, key=first_key
        )
        self.trunk = Stacked(
            lambda key: ResidualBlock(
                width, residual=residual, layer_norm=layer_norm, activation=activation, key=key
            ),
            depth // LAYERS_PER_BLOCK,
            compute=compute,
            key=trunk_key,
        )
        self.head = Linear(width, out_size, key=head_key)

    @property
    def depth(self) -> int:
        return self.trunk.num_blocks * LAYERS_PER_BLOCK

    @property
    def in_size(self) -> int:
        return self.first.linear.weight.shape[0]

    @property
    def width(self) -> int:
        return self.head.weight.shape[0]

    def __call__(self, *inputs: Float[Array, "*batch _"]) -> Float[Array, "*batch out"]:
        return _run([self], [self.joined(inputs)])[0]

    def joined(self, inputs: Sequence[Float[Array, "*batch _"]]) -> Float[Array, "*batch in"]:
        """**Raises:** `UserError` if the network was made for another number of inputs."""
        sizes = [jnp.shape(x)[-1] if jnp.ndim(x) else 0 for x in inputs]
        if sum(sizes) != self.in_size:
            given = " + ".join(map(str, sizes))
            raise UserError(f"A network for {self.in_size} numbers was given {given}.")
        return jnp.concatenate(inputs, axis=-1)


class NetworkOptions(TypedDict, total=False):
    """What every network takes besides its sizes: see `ResidualMLP`."""

    width: int
    residual: bool
    layer_norm: bool
    activation: Activation
    compute: Compute


class Tower(NamedTuple):
    """A module as a network and what is made of its output."""

    network: ResidualMLP
    read: Callable[[Array], Any] = lambda outputs: outputs


def call_together(
    modules: Sequence[Any], inputs: Sequence[Sequence[Float[Array, "*batch _"]]]
) -> list[Any]:
    """As `[module(*x) for module, x in zip(modules, inputs)]`. If each says by `as_tower()` which
    network it is, networks of equal depth and width go through one scan where a kernel can."""
    towers = [module.as_tower() for module in modules if hasattr(module, "as_tower")]
    if len(towers) < len(modules):
        return [module(*x) for module, x in zip(modules, inputs, strict=True)]
    networks = [tower.network for tower in towers]
    xs = [network.joined(x) for network, x in zip(networks, inputs, strict=True)]
    return [tower.read(x) for tower, x in zip(towers, _run(networks, xs), strict=True)]


def _run(networks: Sequence[ResidualMLP], xs: Sequence[Array]) -> list[Array]:
    firsts, trunks = [net.first for net in networks], [net.trunk for net in networks]
    together = len(networks) > 1 and shared(trunks) and all(x.size for x in xs)
    share = _share if together else _one_by_one
    vectors = _vectors(firsts) if takes_firsts(trunks) else None
    if vectors is None:
        xs = run_together(trunks, share(firsts, xs))
    else:
        products = share([Product(first.linear.weight) for first in firsts], xs)
        xs = run_together(trunks, products, vectors)
    return share([net.head for net in networks], xs)


def _vectors(firsts: Sequence[Any]) -> list[Float[Array, "3 _"]] | None:
    """Of all of them, if each is of the kind that a kernel could take."""
    layers = [first for first in firsts if type(first) is Layer]
    vectors = [vectors for layer in layers if (vectors := layer.tower_vectors) is not None]
    return vectors if len(vectors) == len(firsts) else None


def _one_by_one(layers: Sequence[Any], xs: Sequence[Array]) -> list[Array]:
    return [layer(x) for layer, x in zip(layers, xs, strict=True)]


def _share(layers: Sequence[Any], xs: Sequence[Array]) -> list[Array]:
    """As `_one_by_one`, in one product, where sizes are filled up with zeros."""
    shapes = [jax.eval_shape(layer, x).shape for layer, x in zip(layers, xs, strict=True)]
    # A product may be wider than it has to be, but not what is normalised over.
    kept = [
        shape[:-1] if type(layer) is Linear else shape
        for layer, shape in zip(layers, shapes, strict=True)
    ]
    if len({(jax.tree.structure(layer), of) for layer, of in zip(layers, kept, strict=True)}) > 1:
        return _one_by_one(layers, xs)
    ys = jax.vmap(lambda layer, x: layer(x))(_stacked(layers), _filled_up([xs])[0])
    return [y[..., : shape[-1]] for y, shape in zip(apart(ys), shapes, strict=True)]


def _stacked(layers: Sequence[Any]) -> Any:
    """As one, with a leading axis. Leaves of equal shapes are stacked at once: it is one launch."""
    leaves = list(zip(*(jax.tree.leaves(layer) for layer in layers), strict=True))
    shapes = [tuple(leaf.shape for leaf in of_layers) for of_layers in leaves]
    stacks = by_group(shapes, lambda places: _filled_up([leaves[place] for place in places]))
    return jax.tree.unflatten(jax.tree.structure(layers[0]), stacks)


def _filled_up(rows: Sequence[Sequence[Array]]) -> Array:
    """A stack of stacks of arrays of equal rank, with zeros up to the largest."""
    shape = [max(sizes) for sizes in zip(*(leaf.shape for leaf in rows[0]), strict=True)]
    fill = lambda leaf: [(0, size - own) for size, own in zip(shape, leaf.shape, strict=True)]
    flat = [jnp.pad(leaf, fill(leaf)) for row in rows for leaf in row]
    return jnp.stack(flat).reshape(len(rows), len(rows[0]), *shape)
