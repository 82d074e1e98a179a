import jax
import jax.numpy as jnp
import numpy as np

from crl_eqx import envs
from crl_eqx.envs._ant_body import LAYOUT, TOUCHES_WALLS


def still(env_state, key):
    return jnp.zeros(8)


def test_a_dropped_ant_never_falls_and_comes_to_rest(play):
    env = envs.make("ant")
    _, env_states, _ = play(env, still, jax.random.split(jax.random.key(0), 32), steps=1000)
    assert not env_states.terminated.any()
    standing, resting = env_states.state[:, 100], env_states.state[:, -1]
    assert ((standing[:, 2] > 0.5) & (standing[:, 2] < 0.6)).all()
    velocity = slice(LAYOUT.velocity.at.start, LAYOUT.joint_velocities.at.stop)
    assert jnp.abs(standing[:, velocity]).max() < 0.2  # the feet still give way a little
    assert jnp.abs(resting[:, velocity]).max() < 0.03
    assert ((resting[:, 2] > 0.3) & (resting[:, 2] < 0.6)).all()


def test_the_state_is_what_the_layout_says():
    env = envs.make("ant_big_maze")
    s = env.reset(key=jax.random.key(0))
    parts = [part.at for part in LAYOUT]
    assert [part.start for part in parts] == [0, *(part.stop for part in parts[:-1])]
    assert parts[-1].stop == env.state_size
    np.testing.assert_allclose(s.state[LAYOUT.position.at][:2], [4.0, 4.0], atol=0.11)
    np.testing.assert_array_equal(s.state[LAYOUT.orientation.at], [1, 0, 0, 0])
    np.testing.assert_allclose(s.state[LAYOUT.joints.at], [0, 1, 0, -1, 0, -1, 0, 1], atol=0.11)


def test_the_body_is_the_one_of_the_specification():
    model = envs.make("ant").model
    assert model.geom("torso").size[0] == 0.25
    np.testing.assert_allclose(model.joint("hip_2").range, np.deg2rad([-30, 30]))
    np.testing.assert_allclose(model.joint("ankle_1").range, np.deg2rad([30, 70]))
    np.testing.assert_allclose(model.joint("ankle_3").range, np.deg2rad([-70, -30]))
    assert [model.actuator(i).name for i in range(8)] == [
        f"{joint}_{leg}" for leg in (1, 2, 3, 4) for joint in ("hip", "ankle")
    ]
    assert (model.actuator_gear[:, 0] == 150).all()


def test_an_ant_that_jumps_or_sinks_has_fallen():
    env = envs.make("ant")
    state = env.reset(key=jax.random.key(0)).state
    heights = jnp.asarray([0.19, 0.21, 0.99, 1.01])
    states = jnp.tile(state[None], (4, 1)).at[:, 2].set(heights)
    np.testing.assert_array_equal(env.fallen(states), [True, False, False, True])


def test_goals_lie_on_the_circle_of_10_metres_at_any_angle():
    env = envs.make("ant")
    keys = jax.random.split(jax.random.key(0), 1000)
    goals = jax.vmap(env.draw)(keys).goal
    np.testing.assert_allclose(jnp.linalg.norm(goals, axis=1), 10.0, rtol=1e-5)
    angles = jnp.arctan2(goals[:, 1], goals[:, 0])
    counts, _ = np.histogram(angles, bins=8, range=(-np.pi, np.pi))
    assert counts.min() > 80


def test_walls_hold_an_ant(play):
    env = envs.make("ant_u_maze")
    assert env.maze is not None
    policy = lambda s, key: jax.random.uniform(key, (8,), minval=-1, maxval=1)
    _, env_states, _ = play(env, policy, jax.random.split(jax.random.key(0), 64), steps=200)
    alive = np.cumsum(np.asarray(env_states.terminated), axis=1) == 0
    cells = np.round(np.asarray(env_states.state[..., :2]) / env.maze.scale).astype(int)[alive]
    assert {env.maze.rows[i][j] for i, j in cells.reshape(-1, 2)} <= set("RG.")


def test_the_pairs_that_can_touch_are_few_and_named():
    model = envs.make("ant_u_maze").model
    pairs = zip(model.pair_geom1, model.pair_geom2, strict=True)
    named = {frozenset((model.geom(a).name, model.geom(b).name)) for a, b in pairs}
    assert len(named) == model.npair == 5 + 9 * 5
    near_wall = frozenset.union(*(pair for pair in named if "wall_0" in pair))
    assert near_wall == {"wall_0", *TOUCHES_WALLS}
    assert (model.geom_contype == 0).all() and (model.geom_conaffinity == 0).all()
