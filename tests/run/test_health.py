"""Runs that are broken on purpose are called so, and others are not."""

import jax.numpy as jnp
import pytest

from crl_eqx import losses
from crl_eqx._errors import TrainingError
from crl_eqx.config import Config, replaced
from crl_eqx.run import load_run, train
from crl_eqx.run._group import Group
from crl_eqx.run._stopping import reason_to_stop
from crl_eqx.run_files import read_metrics

from .conftest import tiny


BROKEN = {"collapsing", "vanishing", "exploding"}


def verdicts(config: Config, run_dir, console) -> list[tuple[str, str]]:
    train(config, run_dir, console)
    rows = read_metrics(run_dir / "metrics.jsonl")
    return [(r["health/verdict"], r["health/reason"]) for r in rows if "health/verdict" in r]


def watched(**changes) -> Config:
    few = dict(total_env_steps=1600, updates_per_env_step=0.1, diagnostics=True, log_every=240)
    return tiny(**few | {"replay_capacity": 300} | changes)


def test_networks_that_nothing_is_wrong_with_are_never_called_broken(tmp_path, console):
    found = verdicts(watched(depth=16, width=32), tmp_path / "run", console)
    # In the first dozens of updates a deep encoder still maps all goals to nearly one line.
    assert len(found) > 7 and not BROKEN & {word for word, _ in found[-3:]}


def test_without_its_stabilisers_a_deep_network_is_vanishing(tmp_path, console):
    config = watched(depth=64, width=32, layer_norm=False, residual=False)
    found = verdicts(config, tmp_path / "run", console)
    assert all(word == "vanishing" and "of the gradient of block 16" in why for word, why in found)
    console.file.flush()
    said = (tmp_path / "console.txt").read_text()
    assert said.count("vanishing        Block ") == 1


def test_without_layer_norm_large_steps_explode(tmp_path, console):
    """Chaos: which of them do, and whether it ends in no number at all, is a matter of rounding."""
    rates = dict(actor_learning_rate=0.05, critic_learning_rate=0.05)
    config = watched(depth=64, width=32, layer_norm=False, log_every=80, **rates)

    def explodes(seed):
        try:
            found = verdicts(replaced(config, seed=seed), tmp_path / str(seed), console)
        except TrainingError as error:
            return "Not finite from gradient step" in str(error)
        return "exploding" in {word for word, _ in found}

    assert any(map(explodes, range(4)))


def test_a_thousandfold_learning_rate_is_collapsing(tmp_path, console):
    rates = dict(actor_learning_rate=0.3, critic_learning_rate=0.3)
    config = watched(depth=16, width=32, stop_when=("verdict",), **rates)
    found = verdicts(config, tmp_path / "run", console)
    assert [word for word, _ in found] == [
        "collapsing"
    ] * 4  # and then it was evaluated and stopped
    again = train(config, tmp_path / "run", console, resume=True)
    assert again.reason is not None and "its verdict is collapsing" in again.reason.why
    assert again.env_steps < config.total_env_steps


def test_without_negatives_representations_collapse(tmp_path, console, monkeypatch):
    def attract(logits):
        return -jnp.mean(jnp.diagonal(logits))

    monkeypatch.setitem(losses.ALL, "infonce", attract)
    config = watched(width=32, critic_learning_rate=3e-3, logsumexp_penalty=0.0)
    found = verdicts(config, tmp_path / "run", console)
    assert found[-1][0] == "collapsing"


def test_a_policy_that_does_not_move_is_not_learning(tmp_path, console):
    config = watched(actor_learning_rate=1e-30)
    found = verdicts(config, tmp_path / "run", console)
    assert all(word == "not learning yet" and "stands still" in why for word, why in found)


def evaluation(steps, success):
    return dict(env_steps=steps, success_rate=success, success_rate_se=0.01)


def test_reasons_to_stop_and_how_to_go_on():
    flat = [evaluation(i * 10, 0.5) for i in range(11)]
    ask = lambda evaluations, words=(), hours=0.0, **asked: reason_to_stop(
        evaluations, words, hours=hours, config=tiny(conclusive_steps=50, **asked)
    )
    assert ask(flat) is None
    assert ask(flat[:5], stop_when=("plateau",)) is None  # 40 steps: too early
    reason = ask(flat, stop_when=("plateau",))
    assert reason is not None and reason.go_on == "--stop-when" and "last 50 steps" in reason.why
    assert ask([*flat, evaluation(110, 0.9)], stop_when=("plateau",)) is None
    assert ask(flat, ("not learning yet",) * 9, stop_when=("verdict",)) is None
    assert ask(flat, ("healthy", "vanishing", "vanishing"), stop_when=("verdict",)) is None
    for words in (["vanishing", "exploding", "vanishing"], ["not learning"]):
        reason = ask(flat, words, stop_when=("verdict", "plateau")[:1])
        assert reason is not None and words[-1] in reason.why
    reason = ask([evaluation(0, 0.7), evaluation(1, 1.0)], stop_at_success=0.8)
    assert reason is None
    reason = ask([evaluation(0, 0.9), evaluation(1, 0.8)], stop_at_success=0.8)
    assert reason is not None and reason.go_on == "--stop-at-success None"
    reason = ask(flat, hours=2.0, max_hours=2.0)
    assert reason is not None and reason.go_on == "--max-hours None"
    assert ask(flat, hours=1.9, max_hours=2.0) is None


def test_the_best_agent_is_kept_and_replaced_only_by_a_better_one(tmp_path, console, monkeypatch):
    rates = iter([0.2, 0.5, 0.3, 0.5, 0.6])
    given = {}

    def evaluations(self, state, env_steps, *, may_go_on):
        given.setdefault(env_steps, next(rates))
        return [{"eval/success_rate": given[env_steps], "eval/success_rate_se": 0.1}]

    monkeypatch.setattr(Group, "evaluations", evaluations)
    run_dir = tmp_path / "run"
    config = tiny(total_env_steps=1200)
    train(config, run_dir, console)
    assert [*given.values()] == [0.2, 0.5, 0.3, 0.5]
    run, agent = load_run(run_dir, best=True)
    assert run.best.steps() == [400] and run.store.steps()[-1] == 1200
    train(tiny(total_env_steps=1600), run_dir, console, resume=True)
    run, newer = load_run(run_dir, best=True)
    assert run.best.steps() == [1600]
    layers = [a.actor.network.head.weight for a in (agent, newer)]
    assert not jnp.array_equal(*layers)


def test_who_keeps_no_best_agent_is_told_so(tmp_path, console):
    from crl_eqx import UserError

    run_dir = tmp_path / "run"
    train(tiny(total_env_steps=480, keep_best=False), run_dir, console)
    assert not (run_dir / "best").exists()
    with pytest.raises(UserError, match="kept no checkpoint of its best evaluation"):
        load_run(run_dir, best=True)


def test_what_a_row_without_an_evaluation_stops_is_evaluated_first(tmp_path, console):
    """The verdict of a row between two evaluations ends the run: not with the one of its start."""
    rates = dict(actor_learning_rate=0.3, critic_learning_rate=0.3)
    config = watched(depth=16, width=32, stop_when=("verdict",), **rates)
    config = replaced(config, eval_every=1_000_000)
    outcome = train(config, tmp_path / "run", console)
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert outcome.reason is not None and outcome.env_steps < config.total_env_steps
    assert [row["env_steps"] for row in rows if "eval/success_rate" in row][1:] == [
        outcome.env_steps
    ]
