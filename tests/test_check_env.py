"""A custom environment that contradicts itself is one sentence, before anything is compiled."""

import jax
import jax.numpy as jnp
import pytest

import crl_eqx as crl


class Line(crl.AbstractGoalEnv):
    state_size: int = 2
    action_size: int = 1
    goal_size: int = 1
    episode_length: int = 5
    fault: str = ""

    def reset(self, *, key):
        state = jax.random.normal(key, (3 if self.fault == "state" else 2,))
        goal = jnp.zeros(2) if self.fault == "goal" else jnp.zeros(1)
        return (state, goal) if self.fault == "tuple" else crl.EnvState(jnp.zeros(3), state, goal)

    def step(self, env_state, action):
        physics = jnp.zeros(4) if self.fault == "physics" else env_state.physics
        moved = env_state.state + (jnp.ones(7) if self.fault == "action" else action[0])
        return crl.EnvState(physics, moved, env_state.goal)

    def achieved_goal(self, state):
        if self.fault == "slice":
            return state[:1]
        return state if self.fault == "achieved" else state[..., :1]

    def success(self, state, goal):
        if self.fault == "norm":  # over all axes, as for one state
            return jnp.linalg.norm(self.achieved_goal(state) - goal) < 0.1
        distance = self.distance(state, goal)
        return distance if self.fault == "success" else distance < 0.1


@pytest.mark.parametrize(
    "fault, sentence",
    [
        ("state", r"`Line.reset\(key=...\).state` gives float32\[3\], and must give float32\[2\]"),
        ("goal", r"`Line.reset\(key=...\).goal` gives float32\[2\], and must give float32\[1\]"),
        ("tuple", r"`Line.reset\(key=...\)` gives a tuple, and must give an `EnvState`"),
        ("physics", r"`Line.step\(env_state, action\)`.*`physics` must keep its form"),
        ("action", r"`Line.step\(env_state, action\)` cannot be traced"),
        (
            "achieved",
            r"`Line.achieved_goal\(state\)` gives float32\[2\], and must give float32\[1\]",
        ),
        ("norm", r"`Line.success\(state, goal\)` of 3 states at once gives bool\[\], and must"),
        ("slice", r"`Line.achieved_goal\(state\)` of 3 states at once gives float32\[1, 2\]"),
        ("success", r"`Line.success\(state, goal\)` gives float32\[\], and must give bool\[\]"),
    ],
)
def test_shapes_that_disagree_are_one_sentence(fault, sentence):
    with pytest.raises(crl.UserError, match=sentence) as caught:
        crl.TrainStep(Line(fault=fault), num_envs=4, prefill_length=100, batch_size=8)
    assert "\n" not in str(caught.value)


def test_an_environment_that_keeps_to_its_sizes_is_accepted():
    crl.TrainStep(Line(), num_envs=4, prefill_length=100, batch_size=8)
