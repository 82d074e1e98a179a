"""One task, many worlds."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

import crl_eqx as crl
from crl_eqx import collect, envs, start_episodes
from crl_eqx._check_env import check_env
from crl_eqx.envs import randomize
from crl_eqx.envs._mj import MjSpec
from crl_eqx.envs._variants import make_variants, SAME
from crl_eqx.pictures._scene import Embodied, position_indices


WORLDS = dict(masses=(0.5, 2.0), friction=(0.4, 1.6), gains=(0.8, 1.2))


@functools.cache
def point(**options):
    return envs.make("point_u_maze", physics="native", **options)


@functools.partial(jax.jit, static_argnums=(0, 1))
def begin(env, n):
    return jax.vmap(lambda key: env.reset(key=key))(jax.random.split(jax.random.key(0), n))


@functools.partial(jax.jit, static_argnums=0)
def roll(env, starts, actions):
    def step(env_states, actions):
        env_states = jax.vmap(env.step)(env_states, actions)
        return env_states, env_states

    return jax.lax.scan(step, starts, actions)[1]


def random_actions(env, steps, n):
    shape = (steps, n, env.action_size)
    return jax.random.uniform(jax.random.key(3), shape, minval=-1, maxval=1)


def numbers(model):
    """Every array of a model."""
    named = {name: getattr(model, name) for name in dir(model) if not name.startswith("_")}
    return {name: x for name, x in named.items() if isinstance(x, np.ndarray)}


def test_masses_friction_and_gains_lie_in_their_ranges_and_differ():
    model = envs.make("ant_u_maze", physics="native").model
    variants = make_variants(model, *WORLDS.values(), count=200, seed=0)
    stacked = lambda name: np.stack([getattr(variant, name) for variant in variants])
    moving = model.body_mass > 0
    masses = stacked("body_mass")[:, moving] / model.body_mass[moving]
    frictions = stacked("pair_friction")[:, :, :2] / model.pair_friction[:, :2]
    gains = stacked("actuator_gainprm")[:, :, 0] / model.actuator_gainprm[:, 0]
    for factors, (low, high) in zip((masses, frictions, gains), WORLDS.values(), strict=True):
        assert low <= factors.min() < low + 0.1 and high - 0.1 < factors.max() <= high
    assert np.std(masses, axis=1).min() > 0.05  # each body, and each actuator, has its own factor
    assert np.std(gains, axis=1).min() > 0.01
    same = np.broadcast_to(frictions[:, :1, :1], frictions.shape)
    np.testing.assert_allclose(frictions, same)  # and all surfaces one
    for variant in variants:
        np.testing.assert_array_equal(variant.pair_friction[:, 2:], model.pair_friction[:, 2:])
    surfaces = stacked("geom_friction")[:, :, 0] / model.geom_friction[:, 0]
    np.testing.assert_allclose(surfaces, np.broadcast_to(same[:, :1, 0], surfaces.shape))


def test_inertia_and_all_that_follows_from_masses_scale_along():
    model = envs.make("ant", physics="native").model
    (heavy,) = make_variants(model, (2.0, 2.0), SAME, SAME, count=1, seed=0)
    np.testing.assert_allclose(heavy.body_inertia, 2 * model.body_inertia)
    np.testing.assert_allclose(heavy.body_subtreemass, 2 * model.body_subtreemass)
    np.testing.assert_allclose(heavy.body_invweight0, model.body_invweight0 / 2, rtol=0.2)
    assert not np.allclose(heavy.dof_invweight0, model.dof_invweight0)


@pytest.mark.parametrize("name", ["ant_u_maze", "reacher"])
def test_a_variant_without_a_difference_has_none(name):
    model = envs.make(name, physics="native").model
    (same,) = make_variants(model, SAME, SAME, SAME, count=1, seed=0)
    for name, array in numbers(same).items():
        np.testing.assert_array_equal(array, numbers(model)[name], err_msg=name)


def test_a_variant_does_not_depend_on_how_many_there_are():
    model = point().model
    few, many = (make_variants(model, *WORLDS.values(), count=n, seed=7) for n in (2, 5))
    np.testing.assert_array_equal(few[1].body_mass, many[1].body_mass)
    other = make_variants(model, *WORLDS.values(), count=2, seed=8)
    assert not np.array_equal(few[1].body_mass, other[1].body_mass)


SERVO = """
<mujoco><worldbody><body><joint name="slide" type="slide" axis="1 0 0"/>
<geom size="0.1"/></body></worldbody><actuator>ACTUATOR</actuator></mujoco>
"""


def forces(xml, name):
    """Of a servo that is far from where it is to be, and of one with half of its gains."""
    model = MjSpec.from_string(xml).compile()
    (weak,) = make_variants(model, SAME, SAME, (0.5, 0.5), count=1, seed=0)
    for each in (model, weak):
        data = mujoco.MjData(each)
        data.ctrl[:] = 1.0
        mujoco.mj_forward(each, data)
        yield getattr(data, name)[0]


def test_a_weaker_servo_is_weaker_where_it_saturates():
    servo = '<position joint="slide" kp="400" forcerange="-87 87"/>'
    found = forces(SERVO.replace("ACTUATOR", servo), "actuator_force")
    np.testing.assert_allclose([*found], [87, 43.5])


def test_a_weaker_servo_keeps_its_set_point():
    servo = SERVO.replace("ACTUATOR", '<position joint="slide" kp="8" kv="2"/>')
    model = MjSpec.from_string(servo).compile()
    (weak,) = make_variants(model, SAME, SAME, (0.5, 0.5), count=1, seed=0)
    np.testing.assert_allclose(weak.actuator_gainprm[0, :1], [4])
    np.testing.assert_allclose(weak.actuator_biasprm[0, :3], [0, -4, -1])


def test_gains_that_are_no_plain_numbers_are_refused():
    muscle = '<muscle name="biceps" joint="slide" lengthrange="0 1"/>'
    model = MjSpec.from_string(SERVO.replace("ACTUATOR", muscle)).compile()
    with pytest.raises(crl.UserError, match="`gains`.*'biceps' is not proportional"):
        make_variants(model, SAME, SAME, (0.5, 1.0), count=1, seed=0)
    assert len(make_variants(model, (0.5, 1.0), SAME, SAME, count=3, seed=0)) == 3


def test_a_heavier_point_gathers_less_speed():
    env = randomize(point(), masses=(0.5, 2.0), variants=8)
    starts = begin(env, 32)
    ends = roll(env, starts, jnp.full((1, 32, 2), -0.5))
    variant = np.asarray(starts.physics.variant)
    models = make_variants(point().model, (0.5, 2.0), SAME, SAME, count=8, seed=0)
    masses = np.array([model.body_subtreemass[0] for model in models])[variant]
    speeds = np.linalg.norm(np.asarray(ends.state)[0, :, 2:], axis=-1)
    order = np.argsort(masses)
    assert len(np.unique(variant)) > 4
    assert (np.diff(speeds[order]) < 1e-5).all() and speeds[order[0]] > 1.2 * speeds[order[-1]]


def test_each_episode_draws_a_variant_and_a_delay_of_its_own_and_so_does_the_next():
    env = randomize(point(episode_length=5), **WORLDS, action_delay=(1, 3), variants=50)
    policy = lambda state, goal, key: jnp.zeros((*state.shape[:-1], 2))
    first = start_episodes(env, 64, key=jax.random.key(0))
    one = lambda steps: jax.jit(
        lambda episodes: collect(policy, env, episodes, length=steps, key=jax.random.key(1))[0]
    )(first)
    drawn = [e.env_state.physics for e in (first, one(4), one(5))]
    assert len(np.unique(drawn[0].variant)) > 25
    assert set(np.unique(drawn[0].delay)) == {1, 2, 3}
    assert eqx.tree_equal(drawn[0].variant, drawn[1].variant)
    assert np.mean(drawn[0].variant == drawn[2].variant) < 0.2


def test_the_same_key_gives_the_same_episode_in_any_batch():
    env = randomize(point(), **WORLDS, sensor_noise=0.1, action_delay=(0, 2))
    starts, actions = begin(env, 33), random_actions(env, 20, 33)
    whole = roll(env, starts, actions)
    assert eqx.tree_equal(begin(env, 33), starts)
    assert eqx.tree_equal(roll(env, starts, actions), whole)
    order = jnp.arange(33)[::-3]
    part = roll(env, jax.tree.map(lambda x: x[order], starts), actions[:, order])
    assert eqx.tree_equal(jax.tree.map(lambda x: x[:, order], whole), part)


PUCK = """
<mujoco><option timestep="0.01"/><worldbody><geom type="plane" size="9 9 1"/>
<body name="puck" pos="0 0 0.099"><joint name="x" type="slide" axis="1 0 0"/>
<joint name="z" type="slide" axis="0 0 1"/><geom size="0.1"/></body></worldbody>
<actuator><motor joint="x" gear="60"/></actuator></mujoco>
"""


def puck(physics):
    return envs.MujocoGoalEnv(
        MjSpec.from_string(PUCK),
        body="puck",
        draw_goal=lambda key: jnp.zeros(3),
        threshold=0.1,
        episode_length=10,
        substeps=5,
        physics=physics,
    )


def test_both_engines_agree_on_every_variant():
    native, mjx = (randomize(puck(name), **WORLDS, variants=8) for name in ("native", "mjx"))
    starts, actions = begin(native, 8), jnp.ones((20, 8, 1))
    states = [roll(env, starts, actions).state for env in (native, mjx)]
    plain = roll(native.env, plainly(starts), actions).state
    np.testing.assert_allclose(*states, atol=1e-3, rtol=1e-4)
    assert len(np.unique(starts.physics.variant)) > 3
    assert np.abs(states[0] - plain).max(axis=(0, 2)).min() > 1e-2


def plainly(env_state):
    """The same moment in the task that is not randomized."""
    return dataclasses.replace(env_state, physics=env_state.physics.physics)


def test_noise_has_its_deviation_and_never_enters_the_physics():
    env = point()
    noisy = randomize(env, sensor_noise=0.3)
    actions = random_actions(env, 40, 64)
    starts, plain = begin(noisy, 64), begin(env, 64)
    played, expected = roll(noisy, starts, actions), roll(env, plain, actions)
    assert eqx.tree_equal(played.physics.physics, expected.physics)
    np.testing.assert_array_equal(noisy.true_state(played), expected.state)
    noise = np.asarray(played.state - expected.state)
    assert abs(noise.std() - 0.3) < 0.01 and abs(noise.mean()) < 0.01
    assert np.abs(noise.std(axis=(1, 2)) - 0.3).max() < 0.06  # as large at the end as at the start
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.2
    assert 0.2 < np.std(starts.state - plain.state) < 0.4


def test_success_is_judged_by_the_state_without_noise():
    class Still(type(point())):
        def draw(self, *, key):
            draw = super().draw(key=key)
            return draw._replace(goal=draw.qpos + 0.5)  # twice the threshold away

    still = object.__new__(Still)
    for name, value in vars(point()).items():
        object.__setattr__(still, name, value)
    noisy = randomize(still, sensor_noise=1.0)
    policy = lambda state, goal, key: jnp.zeros((*state.shape[:-1], 2))
    judged = crl.evaluate(policy, noisy, 16, key=jax.random.key(0)).summary()
    assert judged["success_rate"] == 0
    np.testing.assert_allclose(judged["final_distance"], 0.5**0.5, rtol=1e-5)
    starts = begin(noisy, 64)
    assert noisy.success(starts.state, starts.goal).any()  # what is perceived would have told lies


@pytest.mark.parametrize("delay", [1, 3])
def test_a_delayed_action_acts_so_many_steps_later(delay):
    env = point()
    late = randomize(env, action_delay=(delay, delay))
    actions = random_actions(env, 12, 4)
    first = jnp.concatenate([jnp.zeros((delay, 4, 2)), actions])[:12]
    played = roll(late, begin(late, 4), actions)
    assert eqx.tree_equal(played.physics.physics, roll(env, begin(env, 4), first).physics)


def test_delays_between_none_and_two_steps_live_side_by_side():
    env = point()
    late = randomize(env, action_delay=(0, 2))
    starts, actions = begin(late, 12), random_actions(env, 1, 12)
    played, prompt = roll(late, starts, actions), roll(env, begin(env, 12), actions)
    acted = (played.state == prompt.state).all(axis=(0, 2))
    np.testing.assert_array_equal(acted, starts.physics.delay == 0)
    assert 0 < acted.sum() < 12


@pytest.mark.parametrize("name", ["point_u_maze", "ant"])
def test_what_is_not_randomized_stays_bit_for_bit_as_it_was(name):
    env = envs.make(name, physics="native")
    models = make_variants(env.model, SAME, SAME, SAME, count=3, seed=0)
    pooled = randomize(env, masses=(0.9, 1.1), variants=3)
    neutral = eqx.tree_at(
        lambda r: r.env.physics,
        pooled,
        env.physics.pooled(models),
        is_leaf=lambda x: x is pooled.env.physics,
    )
    actions = random_actions(env, 20, 5)
    expected = roll(env, begin(env, 5), actions)
    for same in (randomize(env), neutral):
        assert eqx.tree_equal(plainly(roll(same, begin(same, 5), actions)), expected)


def test_a_randomized_task_keeps_what_the_task_shows_and_owes():
    env = envs.make("point_u_maze", physics="native")
    noisy = randomize(env, **WORLDS, sensor_noise=0.01, action_delay=(0, 2), variants=4)
    check_env(noisy)
    for name in "state_size action_size goal_size episode_length threshold levels layout".split():
        assert getattr(noisy, name) == getattr(env, name)
    assert noisy.maze is env.maze and noisy.control_dt == env.control_dt
    assert jax.tree.leaves(noisy) == [] and hash(noisy) == hash(noisy)
    assert isinstance(noisy, Embodied)
    starts, plain = begin(noisy, 6), begin(env, 6)
    np.testing.assert_array_equal(noisy.qpos(starts), env.qpos(plain))
    np.testing.assert_array_equal(noisy.target(starts.goal), env.target(plain.goal))
    np.testing.assert_array_equal(noisy.model.body_mass, env.model.body_mass)
    assert position_indices(noisy, key=jax.random.key(0)) == (0, 1)
    one = jax.tree.map(lambda x: x[0], starts)
    stepped = jax.jit(noisy.step)(one, jnp.ones(2))
    many = jax.jit(jax.vmap(noisy.step))(starts, jnp.ones((6, 2)))
    assert eqx.tree_equal(stepped.physics.physics.qpos, many.physics.physics.qpos[0])


def test_each_of_masses_friction_and_gains_changes_how_a_puck_slides():
    ends = {}
    for name in ("masses", "friction", "gains"):
        env = randomize(puck("native"), **{name: WORLDS[name]})
        ends[name] = roll(env, begin(env, 8), jnp.ones((20, 8, 1))).state[-1]
        assert len(np.unique(ends[name][:, 0])) >= 6, name


def task_of(draw_goal):
    return envs.MujocoGoalEnv(
        MjSpec.from_string(SERVO.replace("ACTUATOR", '<motor joint="slide"/>')),
        joints=["slide"],
        draw_goal=draw_goal,
        threshold=0.1,
        episode_length=5,
        physics="native",
    )


@pytest.mark.parametrize("half", [0, 1])
def test_what_is_randomized_does_not_follow_from_the_goal(half):
    """A goal may split its key too, and choose by the halves."""
    options = jnp.array([-1.0, -0.5, 0.5, 1.0])
    env = task_of(lambda key: jax.random.choice(jax.random.split(key)[half], options, (1,)))
    env = randomize(env, masses=(0.5, 2.0), variants=8, action_delay=(0, 3))
    starts = begin(env, 400)
    for drawn, kinds in ((starts.physics.variant, 8), (starts.physics.delay, 4)):
        pairs = {*zip(starts.goal[:, 0].tolist(), drawn.tolist(), strict=True)}
        assert len(pairs) == 4 * kinds


@pytest.mark.parametrize("name", ["reacher", "pusher_easy"])
def test_friction_of_nothing_is_refused(name):
    with pytest.raises(crl.UserError, match="`friction`: nothing in this model slides"):
        randomize(envs.make(name, physics="native"), friction=(0.5, 2.0))


@pytest.mark.parametrize(
    ("ball", "floor", "slides"),
    [
        ("", "", True),
        ('condim="1"', 'condim="1"', False),
        ('condim="1"', "", True),  # the larger counts
        ('contype="0" conaffinity="0"', "", False),
        ('contype="0"', "", True),
    ],
)
def test_friction_counts_where_geoms_touch(ball, floor, slides):
    xml = SERVO.replace('size="0.1"', f'size="0.1" {ball}').replace("ACTUATOR", "")
    plane = f'<worldbody><geom type="plane" size="1 1 1" {floor}/>'
    model = MjSpec.from_string(xml.replace("<worldbody>", plane)).compile()
    if slides:
        assert len(make_variants(model, SAME, (0.5, 2.0), SAME, count=2, seed=0)) == 2
        return
    with pytest.raises(crl.UserError, match="nothing in this model slides"):
        make_variants(model, SAME, (0.5, 2.0), SAME, count=2, seed=0)


@pytest.mark.skipif(
    not hasattr(mujoco.MjModel, "tendon_actfrcrange"),
    reason="this version of MuJoCo has no limits of tendons",
)
def test_a_stronger_motor_is_stronger_where_its_tendon_limits_it():
    xml = """<mujoco><worldbody><body><joint name="slide" type="slide"/><geom size="0.1"/></body>
    </worldbody><tendon><fixed name="cord" actuatorfrclimited="true" actuatorfrcrange="-1 1">
    <joint joint="slide" coef="1"/></fixed></tendon><actuator>MOTORS</actuator></mujoco>"""
    motor = '<motor tendon="cord" gear="5"/>'
    model = MjSpec.from_string(xml.replace("MOTORS", motor)).compile()
    (strong,) = make_variants(model, SAME, SAME, (3.0, 3.0), count=1, seed=0)
    np.testing.assert_allclose(strong.tendon_actfrcrange, 3 * model.tendon_actfrcrange)
    shared = MjSpec.from_string(xml.replace("MOTORS", 2 * motor)).compile()
    with pytest.raises(crl.UserError, match="`gains`: tendon 'cord' limits the force of 2"):
        make_variants(shared, SAME, SAME, (0.5, 1.0), count=1, seed=0)


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(masses=(1.2, 0.8)), r"`masses=\(1.2, 0.8\)` must be two positive factors, the smal"),
        (dict(masses=(0.0, 1.0)), r"`masses=\(0.0, 1.0\)` must be two positive"),
        (dict(friction=(0.5, float("nan"))), r"`friction=\(0.5, nan\)` must be two positive"),
        (dict(gains=(0.5, float("inf"))), r"`gains=\(0.5, inf\)` must be two positive"),
        (dict(gains=(-0.5, 1.0)), r"`gains=\(-0.5, 1.0\)` must be two positive"),
        (dict(sensor_noise=-0.1), r"sensor_noise=-0.1\)` must be 0 or positive"),
        (
            dict(sensor_noise=float("nan")),
            r"sensor_noise=nan\)` must be 0 or positive",
        ),
        (dict(action_delay=(2, 0)), r"`action_delay=\(2, 0\)` must be two numbers of control"),
        (dict(action_delay=(-1, 0)), r"`action_delay=\(-1, 0\)` must be two"),
        (dict(masses=(0.5, 1.0), variants=0), r"variants=0\)` must be at least 1"),
    ],
)
def test_a_mistake_gets_a_sentence(options, message):
    with pytest.raises(crl.UserError, match=message) as caught:
        randomize(point(), **options)
    assert "\n" not in str(caught.value)


def test_what_is_randomized_already_is_not_randomized_again():
    with pytest.raises(crl.UserError, match="`randomize` needs a MuJoCo task.*got a Randomized"):
        randomize(randomize(point()), sensor_noise=0.1)


def test_not_even_through_a_wrapper():
    held_out = crl.envs.hold_out(randomize(point(), masses=(0.5, 2.0), variants=3), 0.25)
    with pytest.raises(crl.UserError, match="`randomize` needs a MuJoCo task that is not"):
        randomize(held_out, masses=(0.5, 2.0), variants=2)


LIMITED = SERVO.replace('type="slide"', 'type="slide" actuatorfrcrange="-10 10"')


def test_a_weaker_servo_is_weaker_where_its_joint_limits_it():
    servo = '<position joint="slide" kp="400"/>'
    found = forces(LIMITED.replace("ACTUATOR", servo), "qfrc_actuator")
    np.testing.assert_allclose([*found], [10, 5])


def test_actuators_that_share_a_limit_cannot_be_scaled_apart():
    two = '<motor joint="slide"/><position joint="slide" kp="8"/>'
    model = MjSpec.from_string(LIMITED.replace("ACTUATOR", two)).compile()
    with pytest.raises(crl.UserError, match="joint 'slide' limits the force of 2 actuators"):
        make_variants(model, SAME, SAME, (0.5, 1.0), count=1, seed=0)
    assert len(make_variants(model, (0.5, 1.0), SAME, SAME, count=1, seed=0)) == 1
