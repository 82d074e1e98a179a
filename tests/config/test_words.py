"""What a part of the library refuses is told in flags."""

import pytest

from crl_eqx.config import in_flags


@pytest.mark.parametrize(
    ("sentence", "told"),
    [
        ("`TrainStep(batch_size=1)` must be 2.", "`--batch-size 1` must be 2."),
        (
            "lower `batch_size` or raise `num_envs=8`",
            "lower `--batch-size` or raise `--num-envs 8`",
        ),
        ("`Goals(future=0.5, random=0.2)` must", "`--p-future 0.5 --p-random 0.2` must"),
        ("`masses=(1.2, 0.8)` must", "`--randomize-masses 1.2 0.8` must"),
        ("`kernel='triton'` does not", "`--kernel triton` does not"),
        ("`NegL2(epsilon=-1.0)` must", "`--energy-epsilon -1.0` must"),
        ("`make('ant')`: no `wings=2` here", "`make('ant')`: no `wings=2` here"),
        ("`Agent.create(critic='q')` must", "`Agent.create(critic='q')` must"),
        ("`SAC(success=f, discount=2.0)` must", "`SAC(success=f, discount=2.0)` must"),
    ],
)
def test_arguments_become_flags_where_there_is_such_a_choice(sentence, told):
    assert in_flags(sentence) == told
