"""The audit's numbers against the closed forms."""

import dataclasses

import equinox as eqx
import jax
import pytest

from crl_eqx import Agent
from crl_eqx.nn import audit, Compute, ResidualMLP
from crl_eqx.nn._layers import Layer

from ..kernels.towers import GPU
from ..probes import Box


def parameters(in_size, out_size, depth, width):
    return (in_size + 3) * width + depth * (width**2 + 3 * width) + (width + 1) * out_size


def flops(in_size, out_size, depth, width):
    """Two per weight and sample."""
    return 2 * (in_size * width + depth * width**2 + width * out_size)


def agent(**options):
    """Shapes only: the audit reads no number of a weight."""
    make = lambda key: Agent.create(Box(), width=16, key=key, **options)
    return eqx.filter_eval_shape(make, jax.random.key(0))


SHAPES = {"actor": (4, 4), "sa_encoder": (4, 64), "g_encoder": (2, 64)}


def test_parameters_and_flops_are_exact_for_every_network():
    report = audit(agent(actor_depth=4, critic_depth=12))
    assert [n.name for n in report.networks] == list(SHAPES)
    for network in report.networks:
        depth = 4 if network.name == "actor" else 12
        assert (network.depth, network.width) == (depth, 16)
        assert network.parameters == parameters(*SHAPES[network.name], depth, 16)
        assert network.flops == flops(*SHAPES[network.name], depth, 16)
    assert report.parameters == sum(n.parameters for n in report.networks)


def test_networks_of_another_kind_are_told_and_not_vouched_for():
    other = eqx.nn.MLP(2, 64, 16, 2, key=jax.random.key(0))
    mixed = eqx.tree_at(lambda a: a.critic.g_encoder, agent(), other)
    report = audit(mixed)
    assert [n.name for n in report.networks] == ["actor", "sa_encoder"]
    assert report.others == ("g_encoder",) and not report.complete
    assert "every network but g_encoder: no ResidualMLP, not known and not counted" in str(report)
    assert audit(agent()).others == () and audit(agent(normalize=True)).others == ()


def test_an_update_costs_three_passes_of_each_network_and_two_more_of_phi():
    one = {name: flops(*shape, 8, 16) for name, shape in SHAPES.items()}
    expected = 32 * (3 * sum(one.values()) + 2 * one["sa_encoder"])
    assert audit(agent(depth=8)).flops_per_update(32) == expected


def test_a_network_alone_is_audited():
    network = ResidualMLP(4, 2, depth=4, width=16, key=jax.random.key(0))
    assert [each.name for each in audit(network).networks] == ["network"]


def test_memory_of_an_update_grows_with_the_batch_and_shrinks_with_rematerialisation():
    kept = {
        r: audit(agent(depth=16, compute=Compute(remat=r)))
        for r in ("none", "dots", "block", "auto")
    }
    sizes = {name: report.bytes_per_update(256) for name, report in kept.items()}
    assert sizes["none"] > sizes["dots"] == sizes["auto"] > sizes["block"]
    assert audit(agent(depth=16, compute=Compute("xla"))).bytes_per_update(256) == sizes["none"]
    report = kept["block"]
    assert report.bytes_per_update(0) == 16 * report.parameters  # weights, gradients, Adam's two


def test_the_paper_s_network_is_complete():
    report = audit(agent())
    assert report.complete and "active in every network" in str(report)


def test_what_an_update_takes_is_printed():
    report = audit(agent(depth=8), batch_size=32)
    assert f"{report.parameters:,} parameters" in str(report)
    gflop, megabytes = report.flops_per_update(32) / 1e9, report.bytes_per_update(32) / 1e6
    sentence = f"an update of 32 transitions takes {gflop:.3g} GFLOP and {megabytes:,.3g} MB"
    assert sentence in str(report)


def test_networks_of_another_kind_are_not_called_complete():
    report = audit(Box())
    assert not report.complete and "no ResidualMLP was found" in str(report)


def test_one_layer_that_differs_is_seen():
    like = agent()
    size = like.actor.network.first.linear.weight.shape[0]
    odd = Layer(size, 16, activation=jax.nn.relu, key=jax.random.key(0))
    report = audit(eqx.tree_at(lambda a: a.actor.network.first, like, odd))
    assert report.networks[0].activation == "mixed" and not report.complete


@pytest.mark.parametrize(
    ("ablation", "missing"),
    [
        ({"residual": False}, "residual"),
        ({"layer_norm": False}, "LayerNorm"),
        ({"activation": jax.nn.relu}, "swish"),
    ],
)
def test_an_ablated_network_says_what_is_missing(ablation, missing):
    report = audit(agent(**ablation))
    assert not report.complete
    assert [n.missing() for n in report.networks] == [[missing]] * 3
    assert f"actor lacks {missing};" in report.verdict()
    assert report.verdict() in str(report)


@pytest.mark.parametrize(
    "compute, depth, planned",
    [
        (Compute("packed"), 64, 504),
        (Compute("packed"), 1024, 5026),
        (Compute("packed", remat="block"), 1024, 2080),
        (Compute("packed", "bf16"), 64, 258),
        (Compute("triton", "bf16"), 64, 192),
        (Compute("triton", "bf16"), 1024, 2996),
        (Compute("checkpoint"), 64, 186),
    ],
)
def test_memory_on_a_gpu_is_about_what_xla_plans_for_one(compute, depth, planned):
    """MiB for the ant at width 256 and batch 512, of `bench/results/aot-h200-jax-0.10.2-*.json`."""
    with jax.sharding.use_abstract_mesh(GPU):
        env = dataclasses.replace(Box(), state_size=29, action_size=8)
        make = lambda key: Agent.create(env, depth=depth, width=256, compute=compute, key=key)
        found = audit(eqx.filter_eval_shape(make, jax.random.key(0)))
    assert 0.6 < found.working_bytes(512) / 2**20 / planned < 1.35
