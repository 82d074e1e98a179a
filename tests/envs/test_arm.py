import functools
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from crl_eqx import envs
from crl_eqx.envs._bodies import _arm_body as body
from crl_eqx.envs._names import sensor_indices
from crl_eqx.envs.tasks import arm_binpick, arm_grasp, arm_push


mj: Any = mujoco  # type checkers cannot see into its compiled parts

TASKS = ("arm_reach", "arm_grasp", "arm_push_easy", "arm_push_hard")
TASKS = (*TASKS, "arm_binpick_easy", "arm_binpick_hard")
WITH_CUBE = TASKS[1:]
LOW = np.array([0.3491, 0.0, -3.0718, 2.3562], np.float32)  # rad, of joints 1, 2, 4 and 6
HIGH = np.array([2.7925, 1.48353, -0.0698, 3.7525], np.float32)
TIP = 0.107 + 0.1034  # m, from the frame of link 7 to the tips


@pytest.fixture(scope="module")
def env():
    made = {}
    return lambda name: made.setdefault(name, envs.make(name, physics="native"))


def inverse(place, tool):
    """The angles of joints 1, 2, 4 and 6 that bring a point of the hand's axis to a place.

    The point is `tool` from the frame of link 7. Of all inclinations of the hand that the joints'
    ranges allow, and with the wrist above the table, the one nearest to upright; how far outside
    of the ranges it is comes second.
    """
    upper, fore = np.hypot(0.316, 0.0825), np.hypot(0.384, 0.0825)
    bent = 2 * np.pi - np.arctan2(0.316, 0.0825) - np.arctan2(0.384, 0.0825)
    tilt = jnp.linspace(-1.2, 2.0, 201)
    radius, height = jnp.linalg.norm(place[:2]), place[2]
    out = radius - 0.088 * jnp.cos(tilt) - tool * jnp.sin(tilt)
    up = height - 0.088 * jnp.sin(tilt) + tool * jnp.cos(tilt) - 0.333
    reach = jnp.hypot(out, up)
    arccos = lambda x: jnp.arccos(jnp.clip(x, -1, 1))
    elbow = arccos((upper**2 + fore**2 - reach**2) / (2 * upper * fore)) - bent
    lean = arccos((upper**2 + reach**2 - fore**2) / (2 * upper * reach))
    shoulder = jnp.arctan2(out, up) - lean - np.arctan2(0.0825, 0.316)
    turn = jnp.full_like(tilt, jnp.arctan2(place[1], place[0]))
    angles = jnp.stack([turn, shoulder, elbow, tilt + shoulder - elbow], axis=1)
    outside = jnp.maximum(jnp.max(jnp.maximum(LOW[None] - angles, angles - HIGH[None]), axis=1), 0)
    outside = outside + jnp.maximum(reach - upper - fore, 0)
    tips = height + (tool - TIP) * jnp.cos(tilt)
    low = jnp.maximum(0.06 - up - 0.333, 0) + jnp.maximum(0.02 - tips, 0)
    best = jnp.argmin(100 * (outside + low) + jnp.abs(tilt))
    return angles[best], outside[best] + low[best]


def action(angles, *gripper):
    return jnp.concatenate([2 * (angles - LOW) / (HIGH - LOW) - 1, jnp.asarray([*gripper])])


def held(env, keys, places, tool, steps=60):
    """Holds the angles for a place, each from a fresh start; the states after that."""

    def episode(key, place):
        angles, _ = inverse(place, tool)
        gripper = [] if env.action_size == 4 else [1.0]
        step = lambda _, s: env.step(s, action(angles, *gripper))
        return jax.lax.fori_loop(0, steps, step, env.reset(key=key))

    return jax.jit(jax.vmap(episode))(keys, jnp.asarray(places, jnp.float32))


def waypoint(time, cube, goal):
    """Where the tips shall be and whether they shall close: above the cube, down, close, lift,
    over to the goal, down, open, up."""
    moment = jnp.asarray([20.0, 45, 65, 80, 110, 130, 138, 148])
    height = jnp.asarray([0.16, 0.035, 0.035, 0.17, 0.17, 0.04, 0.04, 0.12])
    across = jnp.interp(time, jnp.asarray([80.0, 100.0]), jnp.asarray([0.0, 1.0]))
    xy = cube[:2] + across * (goal[:2] - cube[:2])
    tips = jnp.append(xy, jnp.interp(time, moment, height))
    return tips, jnp.where((time >= 50) & (time < 135), 1.0, -1.0)


def carry(env, keys, goal_of):
    """Takes the cube to the goal: start, then states and successes over time."""

    def episode(key):
        start = env.reset(key=key)

        def step(carried, time):
            env_state, cube = carried
            cube = jnp.where(time < 50, env_state.state[:3], cube)
            tips, gripper = waypoint(time, cube, goal_of(env_state))
            angles, _ = inverse(tips, TIP)
            env_state = env.step(env_state, action(angles, gripper))
            state, goal = env_state.state, env_state.goal
            levels = env.success_levels(state, goal) | {"": env.success(state, goal)}
            return (env_state, cube), (env_state, levels)

        times = jnp.arange(float(env.episode_length))
        return start, *jax.lax.scan(step, (start, start.state[:3]), times)[1]

    return jax.jit(jax.vmap(episode))(keys)


def published(angles, tool):
    """Forward kinematics from the published Denavit-Hartenberg parameters (Craig's)."""
    lengths = [0, 0, 0, 0.0825, -0.0825, 0, 0.088]
    offsets = [0.333, 0, 0.316, 0, 0.384, 0, tool]
    twists = np.pi / 2 * np.array([0, -1, 1, 1, -1, 1, 1])
    frame = np.eye(4)
    for a, d, alpha, theta in zip(lengths, offsets, twists, angles, strict=True):
        (ca, sa), (ct, st) = ((np.cos(x), np.sin(x)) for x in (alpha, theta))
        frame = frame @ np.array(
            [
                [ct, -st, 0, a],
                [st * ca, ct * ca, -sa, -d * sa],
                [st * sa, ct * sa, ca, d * ca],
                [0, 0, 0, 1],
            ]
        )
    return frame[:3, 3]


def test_the_arm_has_the_published_limits_and_masses(env):
    model = env("arm_reach").model
    limits = np.array([model.joint(name).range for name in body.JOINTS])
    wide = [-2.8973, 2.8973]
    expected = [wide, [-1.7628, 1.7628], wide, [-3.0718, -0.0698], wide, [-0.0175, 3.7525], wide]
    np.testing.assert_allclose(limits, expected)
    masses = [model.body(f"link{number}").mass[0] for number in range(1, 8)]
    expected = [4.970684, 0.646926, 3.228604, 3.587895, 1.225946, 1.666555, 0.735522]
    np.testing.assert_allclose(masses, expected)
    assert model.body("hand").mass[0] == 0.73 and model.body("left_finger").mass[0] == 0.015
    cube = env("arm_push_easy").model
    assert cube.body("cube").mass[0] == 0.216
    np.testing.assert_array_equal(cube.geom("cube").size, [0.03, 0.03, 0.03])


def test_points_of_the_hand_are_where_the_published_kinematics_put_them(env):
    model = env("arm_reach").model
    data = mj.MjData(model)
    rng = np.random.default_rng(0)
    limits = np.array([model.joint(name).range for name in body.JOINTS])
    for angles in [np.array(body.START), *rng.uniform(*limits.T, (20, 7))]:
        for name, angle in zip(body.JOINTS, angles, strict=True):
            data.joint(name).qpos[:] = angle
        mj.mj_kinematics(model, data)
        middle = (data.site("left_tip").xpos + data.site("right_tip").xpos) / 2
        np.testing.assert_allclose(data.site("end_effector").xpos, published(angles, 0), atol=1e-6)
        np.testing.assert_allclose(middle, published(angles, TIP), atol=1e-6)


@pytest.mark.parametrize("name", TASKS)
def test_the_state_is_what_the_layout_says(env, name):
    env = env(name)
    s = env.reset(key=jax.random.key(0))
    step = jax.jit(env.step)
    for number in range(5):
        s = step(s, jnp.linspace(-1, 1, env.action_size) * (-1) ** number)
    parts, layout = [part.at for part in env.layout], env.layout
    assert [part.start for part in parts] == [0, *(part.stop for part in parts[:-1])]
    assert parts[-1].stop == env.state_size
    data = mj.MjData(env.model)
    data.qpos[:], data.qvel[:] = s.physics.qpos, s.physics.qvel
    mj.mj_forward(env.model, data)
    close = lambda part, x: np.testing.assert_allclose(s.state[part.at], x, atol=1e-5)
    close(layout.joints, [data.joint(joint).qpos[0] for joint in body.JOINTS])
    close(layout.end_effector, data.site("end_effector").xpos)
    velocity, site = np.zeros(6), env.model.site("end_effector").id
    mj.mj_objectVelocity(env.model, data, mj.mjtObj.mjOBJ_SITE, site, velocity, 0)
    close(layout.end_effector_velocity, velocity[3:])
    tips = [data.site(f"{side}_tip").xpos for side in ("left", "right")]
    if name in WITH_CUBE:
        close(layout.cube, data.body("cube").xpos)
        close(layout.opening, [np.linalg.norm(tips[0] - tips[1])])
    if name == "arm_grasp":
        close(layout.left_tip, tips[0])
        close(layout.right_tip, tips[1])


def test_the_servos_bring_the_driven_joints_to_their_targets_and_hold_the_others(env):
    env = env("arm_reach")
    targets = jax.random.uniform(jax.random.key(0), (64, 4), minval=LOW, maxval=HIGH)
    low = jax.vmap(lambda angles: published_height(angles))(targets)
    targets = targets[low > 0.1]
    assert len(targets) > 20

    def episode(target):
        s = env.reset(key=jax.random.key(0))
        return jax.lax.fori_loop(0, 100, lambda _, s: env.step(s, action(target)), s).state

    joints = jax.jit(jax.vmap(episode))(targets)[:, :7]
    np.testing.assert_allclose(joints[:, [0, 1, 3, 5]], targets, atol=0.002)
    np.testing.assert_allclose(joints[:, [2, 4]], 0, atol=0.002)
    np.testing.assert_allclose(joints[:, 6], 1.4487, atol=0.002)


def published_height(angles):
    """The lower one of the wrist and the tips."""
    shoulder, elbow, wrist = angles[1:]
    pitch = shoulder - elbow
    up = 0.333 + 0.316 * jnp.cos(shoulder) - 0.0825 * jnp.sin(shoulder)
    up = up + 0.0825 * jnp.sin(pitch) + 0.384 * jnp.cos(pitch)
    tilt = wrist - pitch
    return jnp.minimum(up, up + 0.088 * jnp.sin(tilt) - TIP * jnp.cos(tilt))


def test_a_positive_last_number_closes_the_gripper_and_any_other_opens_it(env):
    env = env("arm_push_easy")
    start, step = env.reset(key=jax.random.key(0)), jax.jit(env.step)
    for gripper, opening in ((0.01, 0.015), (0.0, 0.115), (-1.0, 0.115), (1.0, 0.015)):
        s = start
        for _ in range(30):
            s = step(s, jnp.asarray([0.0, 0.0, 0.0, 0.0, gripper]))
        assert abs(s.state[-1] - opening) < 0.001


def corners(points):
    """The points that are farthest out in the directions of a cube's corners, edges and faces."""
    signs = np.indices((3,) * points.shape[1]).reshape(points.shape[1], -1).T - 1
    return points[np.argmax(points @ signs.T, axis=0)]


@functools.cache
def drawn(env):
    """10,000 starts."""
    keys = jax.random.split(jax.random.key(7), 10_000)
    return jax.jit(jax.vmap(lambda key: env.reset(key=key)))(keys)


def test_the_arm_reaches_every_corner_of_the_goals_that_are_drawn_and_goals_between(env):
    env = env("arm_reach")
    goals = drawn(env).goal
    goals = jnp.concatenate([corners(np.asarray(goals)), goals[:200]])
    s = held(env, jax.random.split(jax.random.key(0), len(goals)), goals, 0.0)
    assert env.success_levels(s.state, goals)["hard"].all()
    assert jnp.abs(s.state[:, [2, 4]]).max() < 0.01


def test_a_fifth_of_the_published_goals_is_out_of_reach_and_can_be_had():
    env = envs.make("arm_reach", within_reach=False, physics="native")
    goals = drawn(env).goal
    np.testing.assert_allclose(goals.min(0), [-0.2, 0.3, 0.1], atol=1e-3)
    np.testing.assert_allclose(goals.max(0), [0.2, 0.7, 0.5], atol=1e-3)
    accepted = jax.vmap(envs.make("arm_reach", physics="native")._accepted)(goals)
    assert 0.75 < accepted.mean() < 0.85


@pytest.mark.parametrize("name", WITH_CUBE)
def test_the_tips_reach_every_corner_of_the_starts_and_goals_of_a_cube(env, name):
    starts = drawn(env(name))
    places = np.asarray(starts.state[:, :3])
    if name != "arm_grasp":
        places = np.concatenate([places, starts.goal])
    places = corners(places[:, :2])
    places = np.pad(places, ((0, 0), (0, 1)), constant_values=0.035)
    alone = env("arm_reach")
    s = held(alone, jax.random.split(jax.random.key(0), len(places)), places, TIP)
    where = sensor_indices(alone.model, "left_tip", "right_tip")
    tips = s.physics.sensordata[:, where].reshape(-1, 2, 3).mean(1)
    assert np.linalg.norm(tips - places, axis=1).max() < 0.03


@pytest.mark.parametrize("name", WITH_CUBE[1:])
def test_a_cube_can_be_taken_lifted_and_brought_to_its_goal(env, name):
    env = env(name)
    _, s, reached = carry(env, jax.random.split(jax.random.key(1), 32), lambda s: s.goal)
    share = {level: float(rule.any(1).mean()) for level, rule in reached.items()}
    assert share[""] >= 0.75 and share["hard"] >= 0.5, share  # walls are in the way of some
    height = s.state[:, 84:100, 2]
    assert (height > 0.13).all(1).mean() >= 0.75
    assert (reached["hard"] <= reached[""]).all() and (reached[""] <= reached["easy"]).all()


def test_a_cube_is_grasped_and_held_in_the_air(env):
    env = env("arm_grasp")
    up = lambda s: jnp.asarray([0.0, 0.6, 0.0])
    start, s, reached = carry(env, jax.random.split(jax.random.key(1), 32), up)
    assert not reached[""][:, :30].any()
    holding = slice(75, 100)
    assert reached[""][:, holding].all(1).mean() > 0.7  # else askew: too wide for the rule
    assert reached["hard"][:, holding].any(1).mean() > 0.5
    assert (s.state[:, 84:100, 2] > 0.13).all(1).mean() > 0.9


def test_the_goal_of_a_grasp_follows_the_cube_and_its_rule_is_about_the_middle_and_the_opening(env):
    env = env("arm_grasp")
    s = jax.tree.map(lambda x: x[:8], drawn(env))
    s = jax.jit(jax.vmap(env.step))(s, jnp.zeros((8, 5)))
    cube, tip = np.asarray(s.state[:, :3]), np.array([0.0375, 0, 0])
    np.testing.assert_allclose(s.goal[:, :3], cube + tip, atol=1e-6)
    np.testing.assert_allclose(s.goal[:, 3:6], cube - tip, atol=1e-6)
    np.testing.assert_allclose(s.goal[:, 6], 0.075)
    np.testing.assert_allclose(env.target(s.goal), cube, atol=1e-6)
    rules = {"": (0.05, 0.02), "easy": (0.15, 0.05), "hard": (0.02, 0.005)}
    for name, (near, tolerance) in rules.items():

        def asks(away, opening, name=name):
            tips = [cube + np.float32([0.0, side, away]) for side in (0.01, -0.01)]
            opening = np.full((8, 1), opening, np.float32)
            state = jnp.concatenate([s.state[:, :16], *tips, opening], axis=1)
            levels = env.success_levels(state, s.goal)
            return (levels | {"": env.success(state, s.goal + 1.0)})[name]

        for sign in (-1, 1):
            assert asks(0.99 * near * sign, 0.075).all()
            assert not asks(1.01 * near * sign, 0.075).any()
            assert asks(0.0, 0.075 + 0.99 * tolerance * sign).all()
            assert not asks(0.0, 0.075 + 1.01 * tolerance * sign).any()


@pytest.mark.parametrize("name", TASKS)
def test_few_episodes_begin_with_success_and_cubes_and_goals_lie_where_they_should(env, name):
    starts = drawn(env(name))
    assert env(name).success(starts.state, starts.goal).mean() < 0.07
    if name == "arm_reach":
        return
    cube, goal = map(np.asarray, (starts.state[:, :3], env(name).target(starts.goal)))
    np.testing.assert_allclose(cube[:, 2], 0.07, atol=1e-6)
    for points in (cube, goal):
        assert np.linalg.norm(points[:, :2], axis=1).max() < 0.85
    if name.startswith("arm_push"):
        places = arm_push.PUSHES[name.removeprefix("arm_push_")]
        expect = [(cube, places.start, 0.0), (goal, places.goal, 0.0)]
    elif name.startswith("arm_binpick"):
        bins = arm_binpick.BINS[name.removeprefix("arm_binpick_")]
        expect = [(cube, bins.start, 0.0), (goal, bins.goal, 0.0)]
        expect += [(cube, bins.first, 0.03), (goal, bins.second, 0.03)]  # none in a wall
    else:
        expect = [(cube, arm_grasp.CUBES, 0.0)]
    for points, square, rim in expect:
        offset = np.abs(points[:, :2] - [[square.x, square.y]]).max()
        assert offset <= square.half - rim + 1e-6
        if rim == 0:
            assert offset > 0.97 * square.half
    if name != "arm_grasp":
        np.testing.assert_allclose(goal[:, 2], 0.03, atol=1e-6)


def test_published_starts_and_goals_can_be_had():
    env = envs.make("arm_push_hard", within_reach=False, physics="native")
    goals = drawn(env).goal
    np.testing.assert_allclose(goals.max(0), [0.5, 0.9, 0.03], atol=2e-3)


@pytest.mark.parametrize("name", ["arm_push_hard", "arm_binpick_hard"])
def test_nothing_goes_through_the_table_or_flies_away(env, name, play):
    env = env(name)
    policy = lambda s, key: jax.random.uniform(key, (5,), minval=-1, maxval=1)
    _, s, _ = play(env, policy, jax.random.split(jax.random.key(0), 32))
    assert not s.failed.any()
    cube = s.state[..., :3]
    assert cube[..., 2].min() > 0.015 and cube[..., 2].max() < 0.5
    assert jnp.abs(cube[:, 4, 2] - 0.03).max() < 0.003  # fallen on the table, and at rest
    where = sensor_indices(env.model, "left_tip", "right_tip")
    assert s.physics.sensordata[..., where].reshape(-1, 2, 3)[..., 2].min() > -0.005


def test_the_pairs_that_can_touch_are_few_and_named(env):
    model = env("arm_binpick_easy").model
    pairs = zip(model.pair_geom1, model.pair_geom2, strict=True)
    named = {frozenset((model.geom(a).name, model.geom(b).name)) for a, b in pairs}
    assert len(named) == model.npair == 9 + 1 + 8 + 3 + 8 * 10
    near_wall = frozenset.union(*(pair for pair in named if "first_bin_0" in pair))
    assert near_wall == {"first_bin_0", "cube", *body.TOUCHES_WALLS}
    assert (model.geom_contype == 0).all() and (model.geom_conaffinity == 0).all()


def roll(env, starts, actions):
    def step(env_state, action):
        env_state = env.step(env_state, action)
        return env_state, env_state

    return jax.jit(lambda start, actions: jax.lax.scan(step, start, actions)[1])(starts, actions)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["arm_reach", "arm_push_easy", "arm_binpick_easy"])
def test_both_engines_agree(name):
    # One environment: jaxlib's batched Cholesky can wait for its own threads on few cores.
    native, mjx = (envs.make(name, physics=physics) for physics in ("native", "mjx"))
    start = native.reset(key=jax.random.key(0))
    steps = 100 if name == "arm_reach" else 40
    actions = jax.random.uniform(jax.random.key(3), (steps, native.action_size), minval=-1)
    after = roll(native, start, actions)
    if name == "arm_reach":
        np.testing.assert_allclose(roll(mjx, start, actions).state, after.state, atol=1e-3, rtol=0)
        return
    # What float32 rounds off grows at every touch, so each step begins where native has come to.
    before = jax.tree.map(lambda s, x: jnp.concatenate([s[None], x[:-1]]), start, after)
    step = lambda moment: mjx.step(*moment)
    other = jax.jit(lambda *moments: jax.lax.map(step, moments))(before, actions)
    error = np.abs(np.asarray(after.state - other.state)).max(-1)
    assert np.median(error) < 1e-4
    assert np.quantile(error, 0.95) < 1e-2
