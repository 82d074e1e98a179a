"""Is the network what the paper says makes depth work, and what does it cost?"""

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import equinox as eqx
import jax

from ..kernels import chosen
from ._activations import Activation
from ._layers import Linear
from ._residual import LAYERS_PER_BLOCK, ResidualBlock
from ._residual_mlp import ResidualMLP
from ._stacked import Stacked


Passes: TypeAlias = Callable[[str], float]
"""What an update costs of the network so named, in forward passes of the batch."""


def crl_passes(network: str, *, commanded: bool = False) -> float:
    """Of contrastive RL: a forward and a backward pass count as three. For the policy φ is passed
    once more, and back to the action alone; ψ is once more where goals may be the `commanded` ones.
    """
    for_policy = {"sa_encoder": 2.0, "g_encoder": float(commanded)}
    return 3.0 + for_policy.get(network, 0.0)


def _activation_name(activation: Activation) -> str:
    return activation if isinstance(activation, str) else getattr(activation, "__name__", "custom")


class NetworkAudit(eqx.Module):
    """One network's row. `flops` is of one forward pass per sample, `activation_bytes` what its
    backward pass keeps per sample."""

    name: str
    depth: int
    width: int
    residual: bool
    layer_norm: bool
    activation: str
    parameters: int
    flops: int
    activation_bytes: int

    @property
    def complete(self) -> bool:
        """Whether residual, LayerNorm and swish are all active."""
        return self.residual and self.layer_norm and self.activation == "swish"

    def missing(self) -> list[str]:
        """The stabilisers switched off."""
        rows = {"residual": self.residual, "LayerNorm": self.layer_norm}
        rows["swish"] = self.activation == "swish"
        return [name for name, active in rows.items() if not active]


class Audit(eqx.Module):
    """All networks of an agent; printing it gives a table and the cost of one update."""

    networks: tuple[NetworkAudit, ...]
    batch_size: int = 512
    """Of the printed update."""
    passes: Passes = eqx.field(static=True, default=crl_passes)
    """What an update costs of each network."""
    others: tuple[str, ...] = eqx.field(static=True, default=())
    """Networks of another kind, about which nothing is known."""

    @property
    def complete(self) -> bool:
        """Whether there are networks, all are known, and all have all three stabilisers."""
        known = bool(self.networks) and not self.others
        return known and all(network.complete for network in self.networks)

    @property
    def parameters(self) -> int:
        return sum(network.parameters for network in self.networks)

    def flops_per_update(self, batch_size: int) -> int:
        """Floating-point operations of one update."""
        of_sample = sum(self.passes(network.name) * network.flops for network in self.networks)
        return round(batch_size * of_sample)

    def working_bytes(self, batch_size: int) -> int:
        """What one update needs for itself: gradients and the activations kept, in f32."""
        kept = sum(network.activation_bytes for network in self.networks)
        return 4 * self.parameters + batch_size * kept

    def bytes_per_update(self, batch_size: int) -> int:
        """`working_bytes`, the parameters, and Adam's two moments."""
        return 3 * 4 * self.parameters + self.working_bytes(batch_size)

    def __str__(self) -> str:
        head = f"{'network':<12}{'depth':>6}{'width':>7}{'residual':>10}{'LayerNorm':>11}"
        head += f"{'activation':>12}{'parameters':>13}{'MFLOP/sample':>14}"
        yes = lambda flag: "yes" if flag else "NO"
        rows = [
            f"{n.name:<12}{n.depth:>6}{n.width:>7}{yes(n.residual):>10}{yes(n.layer_norm):>11}"
            f"{n.activation:>12}{n.parameters:>13,}{n.flops / 1e6:>14.2f}"
            for n in self.networks
        ]
        return "\n".join([head, *rows, self._cost(), self.verdict()])

    def _cost(self) -> str:
        flops, needed = (f(self.batch_size) for f in (self.flops_per_update, self.bytes_per_update))
        return (
            f"{self.parameters:,} parameters; an update of {self.batch_size} transitions takes "
            f"{flops / 1e9:.3g} GFLOP and {needed / 1e6:,.3g} MB"
        )

    def verdict(self) -> str:
        """One sentence."""
        if not self.networks:
            return "no ResidualMLP was found: whether depth will help these networks is not known"
        gaps = {n.name: n.missing() for n in self.networks if not n.complete}
        said = "residual, LayerNorm and swish are active in every network"
        if gaps:
            lacks = "; ".join(f"{name} lacks {' and '.join(parts)}" for name, parts in gaps.items())
            said = f"ablation: {lacks} (without all three, depth is not expected to help)"
        if self.others:
            said += f" but {', '.join(self.others)}: no ResidualMLP, not known and not counted"
        return said


def _only(names: set[str]) -> str:
    return names.pop() if len(names) == 1 else "mixed"


def _find(module: Any, kind: type) -> Iterator[Any]:
    leaves = jax.tree.leaves(module, is_leaf=lambda node: isinstance(node, kind))
    return (leaf for leaf in leaves if isinstance(leaf, kind))


def _parameters(module: Any) -> int:
    """Numbers in all arrays, which may be abstract (`eqx.filter_eval_shape`)."""
    return sum(leaf.size for leaf in jax.tree.leaves(module) if hasattr(leaf, "dtype"))


def _kept_per_sample(trunk: Stacked[ResidualBlock], width: int) -> int:
    """Numbers of float32 that the backward pass keeps per sample, by kernel and `remat`."""
    layers, compute = LAYERS_PER_BLOCK, trunk.compute
    if chosen(compute) in ("packed", "triton", "mosaic") and trunk.tower_params is not None:
        # Products and cotangents of all layers, and copies of them to multiply: as many as XLA
        # plans for an H200.
        per_block = 4 if compute.remat == "block" else 12
        per_block //= 2 if compute.precision == "bf16" else 1
    else:
        # "none" keeps six arrays a layer: product, centred, unit, normalised, gate and output.
        per_block = {"none": 6 * layers, "block": 1}.get(trunk.recomputed, 1 + layers)
    return trunk.num_blocks * per_block * width


def _audit_network(name: str, network: ResidualMLP) -> NetworkAudit:
    block = network.trunk.blocks
    matrices = sum(linear.weight.size for linear in _find(network, Linear)) + block.weights.size
    return NetworkAudit(
        name=name,
        depth=network.depth,
        width=network.width,
        residual=block.residual,
        layer_norm=network.first.norm is not None and block.layer_norm,
        activation=_only({_activation_name(part.activation) for part in (network.first, block)}),
        parameters=_parameters(network),
        flops=2 * matrices,
        activation_bytes=4 * _kept_per_sample(network.trunk, network.width),
    )


def audit(agent: Any, *, batch_size: int = 512, passes: Passes = crl_passes) -> Audit:
    """Looks at every [`crl_eqx.nn.ResidualMLP`][] of an agent (or of any module).

    ```python
    print(crl_eqx.nn.audit(agent, batch_size=256))
    ```

    says which stabilisers are active in each network, and what one update of
    `batch_size` transitions takes: by default one of contrastive RL, else one of the objective
    whose `passes` are given. A train step's `audit(agent)` gives its own.
    """
    is_network = lambda node: isinstance(node, ResidualMLP)
    leaves, _ = jax.tree_util.tree_flatten_with_path(agent, is_leaf=is_network)
    found = [_audit_network(_name(path), part) for path, part in leaves if is_network(part)]
    matrices = (path for path, part in leaves if getattr(part, "ndim", 0) > 1)
    others = tuple(dict.fromkeys(_name(path) for path in matrices))
    return Audit(tuple(found), batch_size, passes, others)


def _name(path: tuple[Any, ...]) -> str:
    """`sa_encoder` of `.critic.sa_encoder.network`, and `q_0` of `.critic.q[0].network`."""
    words = [str(getattr(key, "name", getattr(key, "idx", key))) for key in path]
    words = words[1:] if words[:1] == ["critic"] else words
    if not words:  # it is a network itself
        return "network"
    return "_".join(words[:2]) if words[1:2] and words[1].isdigit() else words[0]
