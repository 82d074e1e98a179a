import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crl_eqx import envs, UserError
from crl_eqx.envs._bodies._ant_body import LAYOUT, TOUCHES_WALLS
from crl_eqx.envs._names import qpos_indices


def still(env_state, key):
    return jnp.zeros(8)


def test_a_dropped_ant_never_falls_and_comes_to_rest(play):
    env = envs.make("ant")
    _, env_states, _ = play(env, still, jax.random.split(jax.random.key(0), 32), steps=500)
    assert not env_states.terminated.any()
    standing, resting = env_states.state[:, 50], env_states.state[:, -1]
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
    assert (model.actuator_gear[:, 0] == 30).all()


MASSES = {  # kg and kg m², of spheres and capsules of 5 kg/m³
    "torso": 0.25**3 * 4 / 3 * np.pi * 5 + 4 * (0.08**3 * 4 / 3 + 0.08**2 * 0.08**0.5) * np.pi * 5,
    "leg_1": (0.08**3 * 4 / 3 + 0.08**2 * 0.08**0.5) * np.pi * 5,
    "foot_1": (0.08**3 * 4 / 3 + 0.08**2 * 0.32**0.5) * np.pi * 5,
}
TASKS = ("ant", "ant_u_maze", "ant_u_maze_gen_1f", "ant_ball", "ant_push")


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize(
    "torque, newton_metres, control_dt, kilograms",
    [
        ("d4rl", 30, 0.1, MASSES),
        ("gym", 150, 0.05, MASSES),
        ("brax", 150, 0.05, dict.fromkeys(MASSES, 1.0)),
        (45.0, 45, 0.1, MASSES),
        (12.5, 12.5, 0.1, MASSES),
    ],
)
def test_a_torque_chooses_gears_masses_and_the_control_step(
    name, torque, newton_metres, control_dt, kilograms
):
    env = envs.make(name, torque=torque, physics="native")
    assert (env.model.actuator_gear[:, 0] == newton_metres).all()
    assert (env.model.actuator_gear[:, 1:] == 0).all()
    assert env.control_dt == pytest.approx(control_dt)
    for link, mass in kilograms.items():
        for twin in {link, link.replace("1", "4")}:
            assert env.model.body(twin).mass[0] == pytest.approx(mass, rel=1e-6), twin
    total = kilograms["torso"] + 4 * (kilograms["leg_1"] + kilograms["foot_1"])
    torso = env.model.body("torso")
    assert torso.subtreemass[0] == pytest.approx(total, rel=1e-6)


def test_unit_links_have_unit_inertia_and_all_that_follows_from_it():
    plain, unit = (envs.make("ant_ball", torque=torque).model for torque in ("gym", "brax"))
    links = ["torso", *(f"{link}_{leg}" for leg in (1, 2, 3, 4) for link in ("leg", "foot"))]
    for link in links:
        np.testing.assert_array_equal(unit.body(link).inertia, [1, 1, 1])
        assert plain.body(link).inertia.max() < 0.1
    np.testing.assert_array_equal(unit.body_ipos, plain.body_ipos)
    assert unit.body("ball").mass == plain.body("ball").mass == pytest.approx(0.58)
    # A force on the torso moves 9 kg instead of 0.91 kg.
    assert unit.body("torso").invweight0[0] == pytest.approx(1 / 9, rel=0.05)
    assert plain.body("torso").invweight0[0] == pytest.approx(1 / 0.91, rel=0.05)


def test_the_ant_of_150_newton_metres_leaps_where_that_of_30_walks(play):
    push = lambda s, key: jnp.sign(jax.random.normal(key, (8,)))
    keys = jax.random.split(jax.random.key(0), 32)
    highest = {}
    for torque, control_dt in (("d4rl", 0.1), ("gym", 0.1)):
        env = envs.make("ant", torque=torque, control_dt=control_dt, ends="never")
        _, env_states, _ = play(env, push, keys, steps=50)
        highest[torque] = float(jnp.median(env_states.state[..., 2].max(axis=1)))
    assert highest["d4rl"] < 1.0 < 1.5 < highest["gym"]


@pytest.mark.parametrize("control_dt, substeps", [(0.01, 1), (0.05, 5), (0.1, 10), (0.25, 25)])
def test_the_control_step_is_whole_physics_steps(control_dt, substeps):
    for torque in ("d4rl", "gym", 20.0):
        env = envs.make("ant_u_maze", torque=torque, control_dt=control_dt, physics="native")
        assert env.control_dt == pytest.approx(control_dt)
        assert env.physics.substeps == substeps


@pytest.mark.parametrize(
    "options, sentence",
    [
        (
            dict(torque="strong"),
            "`torque='strong'` must be one of d4rl, gym, brax, or a positive n",
        ),
        (dict(torque=0), "`torque=0` must be one of d4rl, gym, brax, or a positive number of N m"),
        (dict(torque=-3.0), "`torque=-3.0` must be one of"),
        (dict(torque=float("nan")), "`torque=nan` must be one of"),
        (dict(torque=float("inf")), "`torque=inf` must be one of"),
        (dict(torque=True), "`torque=True` must be one of"),
        (dict(ends="fallen"), "`ends='fallen'` must be one of flipped, height, never"),
        (dict(control_dt=0.015), "`control_dt=0.015` must be a multiple of 0.01 s"),
        (dict(control_dt=0.0), "`control_dt=0.0` must be a multiple of 0.01 s"),
        (dict(control_dt=-0.1), "`control_dt=-0.1` must be a multiple of 0.01 s"),
    ],
)
def test_a_robot_that_does_not_exist_gets_a_sentence(options, sentence, unchecked):
    with pytest.raises(UserError, match=sentence) as caught:
        envs.make("ant", **options)
    assert "\n" not in str(caught.value)


HEIGHTS = jnp.asarray([0.19, 0.21, 0.99, 1.01])
ON_ITS_BACK = jnp.asarray([0.0, 1.0, 0.0, 0.0])  # half a turn about x


@pytest.mark.parametrize(
    "ends, upright, on_its_back",
    [
        ("height", [True, False, False, True], [True, False, False, True]),
        ("flipped", [False] * 4, [True] * 4),
        ("never", [False] * 4, [False] * 4),
    ],
)
def test_the_rule_says_which_ants_have_fallen(ends, upright, on_its_back):
    env = envs.make("ant", ends=ends)
    state = env.reset(key=jax.random.key(0)).state
    states = jnp.tile(state[None], (4, 1)).at[:, 2].set(HEIGHTS)
    np.testing.assert_array_equal(env.fallen(states), upright)
    turned = states.at[:, LAYOUT.orientation.at].set(ON_ITS_BACK[None])
    np.testing.assert_array_equal(env.fallen(turned), on_its_back)
    assert env.fallen(states[0]).shape == () and env.fallen(states[None]).shape == (1, 4)


@pytest.mark.parametrize("name", TASKS)
def test_an_episode_ends_on_the_back_unless_another_rule_is_asked_for(name):
    assert envs.make(name, physics="native").body.ends == "flipped"
    assert envs.make(name, ends="height", physics="native").body.ends == "height"


def test_an_ant_lies_on_its_back_once_its_axis_points_below_the_horizon():
    env = envs.make("ant_u_maze", ends="flipped")
    angles = np.deg2rad([0, 45, 89, 91, 180, 269, 271])
    beyond = [False, False, False, True, True, True, False]
    state = env.reset(key=jax.random.key(0)).state
    for axis in ([1, 0, 0], [0, 1, 0], [0.6, 0.8, 0]):
        turn = np.concatenate(
            [np.cos(angles / 2)[:, None], np.sin(angles / 2)[:, None] * np.array([axis])], axis=1
        )
        spun = quaternion_product(turn, np.array([np.cos(1), 0, 0, np.sin(1)]))  # about itself
        for orientation in (turn, spun):
            states = jnp.tile(state[None], (7, 1))
            states = states.at[:, LAYOUT.orientation.at].set(jnp.asarray(orientation, jnp.float32))
            np.testing.assert_array_equal(env.fallen(states), beyond)


def quaternion_product(left, right):
    w, x, y, z = left.T
    a, b, c, d = right
    return np.stack(
        [
            w * a - x * b - y * c - z * d,
            w * b + x * a + y * d - z * c,
            w * c - x * d + y * a + z * b,
            w * d + x * c - y * b + z * a,
        ],
        axis=1,
    )


@pytest.mark.parametrize("ends", ["height", "flipped", "never"])
def test_an_episode_ends_by_its_rule(ends):
    env = envs.make("ant", ends=ends, physics="native")
    s = env.reset(key=jax.random.key(0))
    root = qpos_indices(env.model, "root")
    poses = [(0.55, [1, 0, 0, 0]), (1.5, [1, 0, 0, 0]), (0.4, [0, 1, 0, 0])]
    ended = []
    for height, turn in poses:
        place = jnp.asarray([0, 0, height, *turn], jnp.float32)
        posed = eqx.tree_at(lambda s: s.physics.qpos, s, s.physics.qpos.at[root].set(place))
        ended.append(bool(jax.jit(env.step)(posed, jnp.zeros(8)).terminated))
    assert (
        ended
        == {
            "height": [False, True, False],
            "flipped": [False, False, True],
            "never": [False, False, False],
        }[ends]
    )


def test_goals_lie_on_the_circle_of_10_metres_at_any_angle():
    env = envs.make("ant")
    keys = jax.random.split(jax.random.key(0), 1000)
    goals = jax.vmap(lambda key: env.draw(key=key))(keys).goal
    np.testing.assert_allclose(jnp.linalg.norm(goals, axis=1), 10.0, rtol=1e-5)
    angles = jnp.arctan2(goals[:, 1], goals[:, 0])
    counts, _ = np.histogram(angles, bins=8, range=(-np.pi, np.pi))
    assert counts.min() > 80


@pytest.mark.parametrize("torque, ends", [("d4rl", "flipped"), ("gym", "height")])
def test_walls_hold_an_ant(play, torque, ends):
    env = envs.make("ant_u_maze", torque=torque, ends=ends)
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
