"""A run that collects while it learns: stopped and resumed, and where it is refused."""

import numpy as np
import pytest

from crl_eqx import UserError
from crl_eqx.config import replaced
from crl_eqx.run import check, train, train_together
from crl_eqx.run_files import read_metrics

from .conftest import tiny
from .test_loop import state_of, without_time


def test_stopped_and_resumed_it_ends_bit_identical(tmp_path, console):
    config = tiny(collect="overlap", total_env_steps=800)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(config, whole, console)
    train(replaced(config, total_env_steps=480), parts, console)
    train(config, parts, console, resume=True)
    for ours, theirs in zip(state_of(parts), state_of(whole), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    last = [without_time(read_metrics(place / "metrics.jsonl"))[-1] for place in (whole, parts)]
    assert last[0] == last[1] and last[0]["env_steps"] == 800
    other = tmp_path / "in_turn"
    train(replaced(config, collect="in-turn"), other, console)
    assert without_time(read_metrics(other / "metrics.jsonl"))[-1] != last[0]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"physics": "mjx"}, "`--collect overlap` steps environments on the host .* say `--phys"),
        ({"objective": "ppo"}, "`--collect overlap` belongs to `--objective"),
    ],
)
def test_what_cannot_overlap_is_told(changes, sentence):
    with pytest.raises(UserError, match=sentence):
        check(tiny(collect="overlap", **changes))


def test_seeds_together_do_not_overlap(tmp_path, console):
    config = tiny(collect="overlap")
    configs = {tmp_path / str(seed): replaced(config, seed=seed) for seed in range(2)}
    with pytest.raises(UserError, match="`--collect overlap` trains one seed"):
        train_together(configs, console)
