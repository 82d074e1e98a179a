"""Another run's agent collects, frozen, or is what a run begins with; told when it is not there."""

import functools
import shutil

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crl_eqx import TrainStep, UserError
from crl_eqx.config import replaced
from crl_eqx.lab import ablations, begin_sweep, Sweep, train_sweep
from crl_eqx.lab._jobs import awaited
from crl_eqx.run import draw_pictures, load_run, Run, train, train_together
from crl_eqx.run_files import read_metrics

from .conftest import tiny
from .test_loop import state_of, without_time


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A finished run, deeper than those that learn from it."""
    from rich.console import Console

    run_dir = tmp_path_factory.mktemp("teacher") / "seed_0"
    train(tiny(depth=8, normalize_observations=True), run_dir, Console(quiet=True))
    return run_dir


def test_the_other_agent_acts_whatever_is_learnt(teacher, tmp_path):
    run = Run(tiny(collect_with=str(teacher), deterministic_share=0.0), tmp_path)
    _, agent = load_run(teacher)
    assert isinstance(run.step, TrainStep)
    state, goal, key = jnp.ones((3, 4)), jnp.zeros((3, 2)), jax.random.key(0)
    learner = run.initial().agent
    asked = run.step.acting(learner)(state, goal, key)
    np.testing.assert_array_equal(asked, agent.act(state, goal, key=key))
    assert not np.array_equal(asked, learner.act(state, goal, key=key))


def test_stopped_and_resumed_it_ends_bit_identical(teacher, tmp_path, console):
    config = tiny(collect_with=str(teacher))
    train(config, tmp_path / "whole", console)
    train(replaced(config, total_env_steps=560), tmp_path / "parts", console)
    train(config, tmp_path / "parts", console, resume=True)
    ours, theirs = (state_of(tmp_path / name) for name in ("parts", "whole"))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)
    rows = [
        without_time(read_metrics(tmp_path / n / "metrics.jsonl"))[-1] for n in ("parts", "whole")
    ]
    assert rows[0] == rows[1]
    # Who only looks at the agent needs no collector.
    load_run(tmp_path / "whole")


def test_a_collector_that_is_not_there_or_another_one_is_told(teacher, tmp_path, console):
    with pytest.raises(UserError, match="`--collect-with /nowhere`: `/nowhere` is not"):
        Run(tiny(collect_with="/nowhere"), tmp_path)
    here = tmp_path / "here"
    shutil.copytree(teacher, here / "seed_0")  # another run's, though it has the same name
    with pytest.raises(UserError, match="`--collect-with typo/seed_0`: .* is not a run directory"):
        Run(tiny(collect_with="typo/seed_0"), here / "run")
    other = tmp_path / "other"
    train(tiny(total_env_steps=480), other, console)
    run_dir = tmp_path / "run"
    train(tiny(total_env_steps=480, collect_with=str(other)), run_dir, console)
    train(tiny(total_env_steps=800), other, console, resume=True)
    more = tiny(total_env_steps=800, collect_with=str(other))
    with pytest.raises(UserError, match="is not the agent that this run began with"):
        train(more, run_dir, console, resume=True)
    with pytest.raises(UserError, match="`--collect-with x` belongs to `--objective"):
        Run(tiny(objective="ppo", collect_with="x"), tmp_path)
    configs = {
        tmp_path / f"s{seed}": replaced(tiny(collect_with="x/seed_{seed}"), seed=seed)
        for seed in range(2)
    }
    with pytest.raises(UserError, match="another agent for every seed: leave out `--together`"):
        train_together(configs, console)


def test_the_ablation_trains_collectors_before_those_that_learn_from_them(tmp_path, console):
    run_dir = tmp_path / "ablation"
    config = tiny(depth=8, total_env_steps=400, run_dir=run_dir)
    variants = ablations(config, ["collector"])
    crossed = {f"{a}_from_{b}" for a in ("full", "shallow") for b in ("full", "shallow")}
    assert variants.keys() == {"full", "shallow"} | crossed
    chosen = {name: variants[name] for name in ("shallow_from_full", "full")}  # in the wrong order
    sweep = begin_sweep(Sweep(config, {"seed": (0, 1)}, chosen), run_dir, console)
    assert awaited(sweep.runs, ["shallow_from_full_seed_1"]) == {"full_seed_1"}
    assert train_sweep(sweep, run_dir, console, jobs=2) == 0
    for name in sweep.runs:
        assert read_metrics(run_dir / name / "metrics.jsonl")[-1]["env_steps"] >= 400
    moved = run_dir.rename(tmp_path / "moved")
    name = "shallow_from_full_seed_1"
    again = replaced(sweep.runs[name], total_env_steps=480)
    assert train(again, moved / name, console, resume=True).env_steps >= 480


def test_a_run_begins_with_what_another_has_learnt_and_goes_on_without_it(tmp_path, console):
    first, run_dir = tmp_path / "first", tmp_path / "run"
    train(tiny(total_env_steps=480, normalize_observations=True), first, console)
    config = tiny(env="point_big_maze", total_env_steps=480, init_from=str(first))
    with pytest.raises(UserError, match="another kind: say `--normalize-observations` here"):
        train(config, run_dir, console)
    config = replaced(config, normalize_observations=True)
    _, learnt = load_run(first)
    state = Run(config, run_dir).initial()
    plain = lambda tree: jax.tree.leaves(eqx.filter(tree, eqx.is_array))
    for ours, theirs in zip(plain(state.agent), plain(learnt), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert state.env_steps == state.gradient_steps == 0
    train(config, run_dir, console)
    first.rename(tmp_path / "moved")
    more = replaced(config, total_env_steps=800)
    assert train(more, run_dir, console, resume=True).env_steps >= 800


def test_an_agent_is_taken_to_a_task_whose_states_have_more_at_their_end(tmp_path, console):
    first, run_dir = tmp_path / "first", tmp_path / "run"
    pusher = tiny(env="pusher_easy", total_env_steps=480, normalize_observations=True)
    train(pusher, first, console)
    config = replaced(pusher, init_from=str(first), env_option=("object_velocity=true",))
    _, learnt = load_run(first)
    ours = Run(config, run_dir).initial().agent
    state, goal, action = jnp.ones((3, 20)), jnp.ones((3, 3)), jnp.full((3, 7), 0.2)
    more = jnp.concatenate([state, jnp.asarray([[0.0, 0.0], [5.0, -3.0], [-2.0, 9.0]])], axis=1)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    close(ours.act(more, goal), learnt.act(state, goal))
    close(ours.value(more, action, goal), learnt.value(state, action, goal))
    assert ours.state_normalizer is not None
    close(ours.state_normalizer(more)[:, 20:], more[:, 20:])
    assert train(config, run_dir, console).env_steps >= 480
    with pytest.raises(UserError, match=r"\(22, 7, 3\) are not those"):  # the other way round
        train(replaced(pusher, init_from=str(run_dir)), tmp_path / "third", console)


def test_an_agent_that_does_not_fit_is_told_before_anything_is_written(teacher, tmp_path, console):
    like_it = tiny(depth=8, normalize_observations=True, init_from=str(teacher))
    for config, words in (
        (tiny(init_from=str(teacher)), "say `--depth 8 --normalize-observations` here, too"),
        (replaced(like_it, objective="sac"), "is a run of `--objective crl`, whose critic is of"),
        (
            replaced(like_it, env="reacher"),
            r"of point_u_maze, whose .* sizes \(4, 2, 2\) are not those of reacher, \(10, 2, 3\)",
        ),
        (replaced(like_it, init_from="/nowhere"), "`/nowhere` is not a run directory"),
    ):
        with pytest.raises(UserError, match=words):
            train(config, tmp_path / "run", console)
    assert not (tmp_path / "run" / "config.json").exists()


def test_who_learns_no_critic_cannot_take_the_best_of_several_actions(tmp_path, console):
    cloned = tmp_path / "cloned"
    train(tiny(objective="gcbc", total_env_steps=480), cloned, console)
    choices = dict(collect_with=str(cloned), collect_acting="best-of", deterministic_share=0.0)
    with pytest.raises(UserError, match="learnt none: it was trained by `--objective gcbc`"):
        Run(tiny(**choices), tmp_path / "run")
    with pytest.raises(UserError, match="`--acting best-of` asks a critic, and .* learnt none"):
        next(iter(draw_pictures(cloned, acting="best-of")))
