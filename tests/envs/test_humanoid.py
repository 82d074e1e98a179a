import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from crl_eqx import envs, UserError
from crl_eqx.envs._bodies._humanoid_body import ARM, BODIES, LAYOUT, TOUCHES_WALLS


mj: Any = mujoco  # type checkers cannot see into its compiled parts


def still(env_state, key):
    return jnp.zeros(17)


def random(env_state, key):
    return jax.random.uniform(key, (17,), minval=-1, maxval=1)


@pytest.mark.parametrize("control_dt", [0.015, 0.03])
def test_inertias_velocities_and_forces_are_those_of_mujoco(play, control_dt):
    env = envs.make("humanoid", control_dt=control_dt)
    _, env_states, _ = play(env, random, jax.random.split(jax.random.key(0), 4), steps=30)
    last = jax.tree.map(lambda x: x[:, -1], env_states)
    bodies = [env.model.body(name).id for name in BODIES]
    data = mj.MjData(env.model)
    forces = np.asarray(last.state[:, LAYOUT.forces.at])
    for number in range(4):
        data.qpos[:], data.qvel[:] = last.physics.qpos[number], last.physics.qvel[number]
        data.ctrl[:] = forces[number, data.model.actuator_trnid[:, 0] - 1 + 6] / gears(env)
        mj.mj_forward(env.model, data)
        state = last.state[number]
        inertias, velocities = state[LAYOUT.body_inertias.at], state[LAYOUT.body_velocities.at]
        np.testing.assert_allclose(inertias, data.cinert[bodies].ravel(), atol=1e-5)
        np.testing.assert_allclose(velocities, data.cvel[bodies].ravel(), atol=1e-4)
        np.testing.assert_allclose(forces[number], data.qfrc_actuator, atol=1e-3)
        assert np.abs(data.qfrc_actuator).max() > 10


def gears(env):
    return env.model.actuator_gear[:, 0]


def test_the_body_is_the_one_of_the_specification():
    model = envs.make("humanoid").model
    assert (model.nq, model.nv, model.nu) == (24, 23, 17)
    assert model.body("torso").subtreemass[0] == pytest.approx(42, abs=0.5)
    np.testing.assert_array_equal(model.actuator_ctrlrange, [[-0.4, 0.4]] * 17)
    gear = {model.actuator(i).name: gears(envs.make("humanoid"))[i] for i in range(17)}
    assert [gear[f"abdomen_{axis}"] for axis in "xyz"] == [100, 100, 100]
    assert [gear[f"left_{j}"] for j in ("hip_x", "hip_z", "hip_y", "knee")] == [100, 100, 300, 200]
    assert {gear[f"right_{j}"] for j in ("shoulder_1", "shoulder_2", "elbow")} == {25}


@pytest.mark.parametrize("name", ["humanoid", "humanoid_u_maze"])
def test_the_torques_of_brax_are_one_for_legs_and_abdomen_and_one_for_arms(name):
    env, gym = envs.make(name, torque="brax"), envs.make(name, torque="gym")
    names = [env.model.actuator(i).name for i in range(17)]
    gear = dict(zip(names, gears(env), strict=True))
    arms = [f"{side}_{joint}" for side in ("left", "right") for joint in ARM]
    assert {name for name in gear if gear[name] == 100} == set(arms) and len(arms) == 6
    assert {name for name in gear if gear[name] == 350} == set(gear) - set(arms)
    np.testing.assert_array_equal(env.model.actuator_ctrlrange, [[-0.4, 0.4]] * 17)
    np.testing.assert_array_equal(env.model.body_mass, gym.model.body_mass)
    np.testing.assert_array_equal(env.model.body_inertia, gym.model.body_inertia)
    assert env.control_dt == gym.control_dt == pytest.approx(0.015)
    np.testing.assert_array_equal(gears(gym), gears(envs.make("humanoid")))


@pytest.mark.parametrize(
    "options, sentence",
    [
        (dict(torque="d4rl"), "`torque='d4rl'` must be one of gym, brax"),
        (dict(torque=30.0), "`torque=30.0` must be one of gym, brax"),
        (dict(ends="flipped"), "`ends='flipped'` must be one of height, never"),
        (dict(control_dt=0.0), "`control_dt=0.0` must be a multiple of 0.005 s"),
    ],
)
@pytest.mark.parametrize("name", ["humanoid", "humanoid_u_maze"])
def test_a_robot_that_does_not_exist_gets_a_sentence(name, options, sentence, unchecked):
    with pytest.raises(UserError, match=sentence) as caught:
        envs.make(name, **options)
    assert "\n" not in str(caught.value)


def test_a_humanoid_under_no_control_falls_and_stays_on_the_floor(play):
    env = envs.make("humanoid")
    _, env_states, _ = play(env, still, jax.random.split(jax.random.key(0), 16), steps=400)
    height = env_states.state[..., 2]
    assert (height[:, 0] > 1.3).all()
    assert (height[:, -1] < 0.5).all() and (height > 0.0).all()
    assert env_states.terminated[:, -1].all() and not env_states.failed.any()
    lowest = [lowest_point(env.model, qpos) for qpos in env_states.physics.qpos[:, -1]]
    assert min(lowest) > -0.03  # nothing has sunk into the floor
    speeds = jnp.linalg.norm(env_states.state[:, -1, LAYOUT.velocity.at], axis=-1)
    assert (speeds < 0.3).all()


def lowest_point(model, qpos):
    """The height of the lowest point of spheres and capsules above the floor, in m."""
    data = mj.MjData(model)
    data.qpos[:] = qpos
    mj.mj_kinematics(model, data)
    capsule = model.geom_type == mj.mjtGeom.mjGEOM_CAPSULE
    upright = np.abs(data.geom_xmat.reshape(-1, 3, 3)[:, 2, 2]) * capsule * model.geom_size[:, 1]
    body = model.geom_bodyid > 0
    return (data.geom_xpos[:, 2] - upright - model.geom_size[:, 0])[body].min()


def test_a_humanoid_whose_torso_sinks_or_flies_has_fallen():
    env = envs.make("humanoid_u_maze")
    state = env.reset(key=jax.random.key(0)).state
    heights = jnp.asarray([0.99, 1.01, 1.99, 2.01])
    states = jnp.tile(state[None], (4, 1)).at[:, 2].set(heights)
    np.testing.assert_array_equal(env.fallen(states), [True, False, False, True])
    never = envs.make("humanoid_u_maze", ends="never")
    np.testing.assert_array_equal(never.fallen(states), [False] * 4)


def test_a_humanoid_that_may_fall_plays_on(play):
    env = envs.make("humanoid", ends="never")
    _, env_states, _ = play(env, still, jax.random.split(jax.random.key(0), 4), steps=200)
    assert (env_states.state[:, -1, 2] < 0.5).all() and not env_states.terminated.any()


def test_goals_lie_one_to_five_metres_away_in_any_direction():
    env = envs.make("humanoid")
    goals = jax.vmap(lambda key: env.draw(key=key))(jax.random.split(jax.random.key(0), 2000)).goal
    distances = jnp.linalg.norm(goals[:, :2], axis=1)
    assert 0.99 < distances.min() < 1.1 and 4.9 < distances.max() < 5.01
    assert abs(distances.mean() - 3.0) < 0.1
    counts, _ = np.histogram(jnp.arctan2(goals[:, 1], goals[:, 0]), bins=8)
    assert counts.min() > 180
    np.testing.assert_allclose(goals[:, 2], 1.25)


def test_walls_hold_a_humanoid_that_slides_into_them_head_first():
    env = envs.make("humanoid_u_maze")
    s = env.reset(key=jax.random.key(0))
    lying = jnp.asarray([2.0, 2.0, 0.2, 0.5**0.5, 0.5**0.5, 0.0, 0.0])  # the wall begins at y = 1
    qpos = s.physics.qpos.at[:7].set(lying)
    qvel = s.physics.qvel.at[:3].set(jnp.asarray([0.0, -6.0, 0.0]))
    s = dataclasses.replace(s, physics=dataclasses.replace(s.physics, qpos=qpos, qvel=qvel))
    step, furthest = jax.jit(env.step), 2.0
    for _ in range(60):
        s = step(s, jnp.zeros(17))
        furthest = min(furthest, float(s.state[1]))
    assert 1.1 < furthest < 1.6


def test_only_what_may_touch_a_wall_does():
    model = envs.make("humanoid_u_maze").model
    pairs = zip(model.pair_geom1, model.pair_geom2, strict=True)
    named = {frozenset((model.geom(a).name, model.geom(b).name)) for a, b in pairs}
    assert len(named) == model.npair == 15 + 9 * 5
    assert frozenset.union(*(p for p in named if "wall_0" in p)) == {"wall_0", *TOUCHES_WALLS}


def test_the_control_step_of_the_paper_can_be_had():
    assert envs.make("humanoid", control_dt=0.03).control_dt == pytest.approx(0.03)
    assert envs.make("humanoid_big_maze").control_dt == pytest.approx(0.015)
    with pytest.raises(UserError, match="`control_dt=0.012` must be a multiple of 0.005 s"):
        envs.make("humanoid", control_dt=0.012)
