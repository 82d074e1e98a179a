"""Ablations change one thing, and are trained and told like any sweep."""

from pathlib import Path

import pytest

from crl_eqx import cli, UserError
from crl_eqx.config import PRESETS, replaced
from crl_eqx.lab import ablations, load_sweep, PARTS, read_results, Sweep
from crl_eqx.parts import SHARES, with_objective
from crl_eqx.run import check, resolved, Run

from ..run.conftest import flags, tiny


@pytest.fixture(scope="module")
def config():
    return resolved(tiny(depth=16, width=64, batch_size=128, num_envs=16, prefill_length=40))


def test_every_ablation_can_be_trained(config):
    found = ablations(config, list(PARTS))
    assert next(iter(found)) == "full" and found["full"] == {}
    for choices in found.values():
        check(replaced(config, **choices))
    assert {"no_layer_norm", "relu", "deep_actor_alone", "batch_32", "loss_dpo", "ppo"} <= {*found}
    assert "goals_half_random" not in found  # as the full model has it
    assert found["no_residual"] == {"residual": False}


@pytest.mark.parametrize("objective", ["crl", "sac", "gcbc"])
def test_wide_networks_have_as_many_parameters_and_as_much_arithmetic(config, objective):
    """Arithmetic by the objective's own count: an update of SAC passes its critics more often."""
    config = with_objective(replaced(config, objective=objective))

    def counted(choices):
        run = Run(resolved(replaced(config, **choices)), Path("nowhere"))
        return run.step.audit(run.abstract().agent)

    full, *wide = map(counted, ablations(config, ["width"]).values())
    nearest = lambda count: min(abs(count(each) / count(full) - 1) for each in wide)
    assert {network.depth for each in wide for network in each.networks} == {4}
    assert nearest(lambda found: found.parameters) < 0.02
    assert nearest(lambda found: found.flops_per_update(1)) < 0.03


def test_what_is_off_already_is_no_ablation(config):
    bare = replaced(config, residual=False)
    assert "no_residual" not in ablations(bare, ["stabilizers"])
    with pytest.raises(UserError, match="changes nothing about these choices"):
        ablations(replaced(config, depth=4), ["networks"])
    with pytest.raises(UserError, match=r"`--parts wings` must be of stabilizers, width"):
        ablations(config, ["wings"])


def test_the_shallow_ones_are_shallow_whatever_depths_were_asked_for():
    for depths in ({"actor_depth": 16}, {"actor_depth": 16, "critic_depth": 8}):
        full = replaced(PRESETS["cpu-demo"], depth=16, width=32, run_dir=Path("x"), **depths)
        found = ablations(full, ["width", "collector", "networks"])
        for name in ("shallow", "shallow_from_full", *(n for n in found if "width" in n)):
            made = replaced(full, **found[name]).network
            assert (made.depth, made.actor_depth, made.critic_depth) == (4, None, None)
        alone = replaced(full, **found["deep_critic_alone"]).network
        assert (alone.actor_depth, alone.critic_depth) == (4, depths.get("critic_depth", 16))


def test_each_objective_has_the_goals_that_it_has_by_itself():
    alone = replaced(PRESETS["cpu-demo"], objective="sac")
    goals = lambda config: [getattr(resolved(config).learning, name) for name in SHARES]
    for full in (alone, resolved(alone)):  # a sweep has its objective's goals written down
        for name, choices in ablations(full, ["objectives"]).items():
            usual = replaced(PRESETS["cpu-demo"], objective=name if name != "full" else "sac")
            assert goals(replaced(full, **choices)) == goals(usual), name
        assert "sac" not in ablations(full, ["objectives"])
    asked = resolved(replaced(alone, p_future=0.3, p_random=0.7, p_commanded=0.0))
    found = ablations(asked, ["objectives"])
    assert goals(replaced(asked, **found["td3"])) == [0.3, 0.7, 0.0]


def test_variants_are_combined_with_every_axis():
    sweep = Sweep(tiny(), {"seed": (0, 1)}, {"full": {}, "flat": {"depth": 8, "width": 32}})
    assert [*sweep.runs] == ["full_seed_0", "full_seed_1", "flat_seed_0", "flat_seed_1"]
    assert sweep.choices["flat_seed_1"] == {"variant": "flat", "seed": 1}
    assert sweep.runs["flat_seed_1"] == tiny(depth=8, width=32, seed=1)
    with pytest.raises(UserError, match="no choice `wings`"):
        Sweep(tiny(), {"seed": (0,)}, {"full": {"wings": 2}})


def test_an_ablation_from_the_command_line(tmp_path, capsys):
    run_dir = tmp_path / "runs"
    words = ["ablate", "--parts", "networks", *flags(tiny(depth=8, total_env_steps=240))]
    words += ["--run-dir", str(run_dir)]
    assert cli.run(words) == 0
    assert [*load_sweep(run_dir).variants] == ["full", "deep_actor_alone", "deep_critic_alone"]
    groups = read_results(run_dir).groups
    assert [g.label for g in groups] == ["full", "deep_actor_alone", "deep_critic_alone"]
    capsys.readouterr()
    assert cli.run(words) == 0  # again: nothing is repeated
    assert cli.run(["report", str(run_dir)]) == 0
    assert "**deep_actor_alone** is not shown to differ from full" in capsys.readouterr().out
    assert cli.run([*words[:2], "wings", *words[3:]]) == 2
    assert "`--parts wings` must be of" in capsys.readouterr().err
