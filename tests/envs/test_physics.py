"""Two engines, one physics."""

import copy
import importlib.metadata
import importlib.util
import os
import pickle
import subprocess
import sys
import threading
from types import SimpleNamespace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import crl_eqx
from crl_eqx import _container, envs, UserError
from crl_eqx.envs._mj import MjSpec
from crl_eqx.envs._physics import select_physics


needs_warp = pytest.mark.skipif(
    importlib.util.find_spec("warp") is None, reason="needs the extra `warp`"
)


def start(env, n, seed=0):
    keys = jax.random.split(jax.random.key(seed), n)
    return jax.jit(jax.vmap(lambda key: env.reset(key=key)))(keys)


def roll(env, starts, actions):
    def step(env_states, actions):
        env_states = jax.vmap(env.step)(env_states, actions)
        return env_states, env_states

    return jax.jit(lambda starts, actions: jax.lax.scan(step, starts, actions)[1])(starts, actions)


def random_actions(env, steps, n, scale=1.0):
    shape = (steps, n, env.action_size)
    return jax.random.uniform(jax.random.key(3), shape, minval=-scale, maxval=scale)


@pytest.mark.parametrize("name, tolerance", [("point_u_maze", 1e-2), ("reacher", 1e-3)])
def test_both_engines_agree_over_100_steps(name, tolerance):
    native, mjx = (envs.make(name, physics=physics) for physics in ("native", "mjx"))
    starts, actions = start(native, 4), random_actions(native, 100, 4)
    actions = jnp.round(actions + 0.3)  # long pushes, into walls too
    states = [roll(env, starts, actions).state for env in (native, mjx)]
    np.testing.assert_allclose(*states, atol=tolerance, rtol=0)


@needs_warp
@pytest.mark.slow
@pytest.mark.parametrize("name, tolerance", [("point_u_maze", 1e-2), ("reacher", 1e-3)])
def test_warp_agrees_over_20_steps_in_a_batch_of_batches(name, tolerance):
    native, warp = (envs.make(name, physics=physics) for physics in ("native", "warp"))
    starts, actions = start(native, 6), random_actions(native, 20, 6)
    expected = roll(native, starts, actions).state
    fold = lambda tree: jax.tree.map(lambda x: x.reshape(2, 3, *x.shape[1:]), tree)
    step, moment = jax.jit(jax.vmap(jax.vmap(warp.step))), fold(starts)
    for action, state in zip(actions, expected, strict=True):
        moment = step(moment, fold(action))
        np.testing.assert_allclose(moment.state, fold(state), atol=tolerance, rtol=0)


@needs_warp
@pytest.mark.slow
def test_warp_fails_a_step_whose_contacts_have_no_room(monkeypatch):
    from crl_eqx.envs._physics import _warp

    monkeypatch.setattr(_warp, "ROWS", 4)
    env = envs.make("ant", physics="warp")
    starts = start(env, 2)
    low = eqx.tree_at(lambda s: s.physics.qpos, starts, starts.physics.qpos.at[0, 2].set(0.3))
    ends = jax.jit(jax.vmap(env.step))(low, jnp.zeros((2, 8)))
    assert ends.failed[0] and ends.terminated[0] and jnp.isfinite(ends.state).all()


@needs_warp
@pytest.mark.slow
def test_warp_and_native_agree_on_every_variant():
    native, warp = (
        envs.randomize(
            envs.make("point_u_maze", physics=physics),
            masses=(0.5, 2.0),
            friction=(0.5, 2.0),
            gains=(0.8, 1.2),
        )
        for physics in ("native", "warp")
    )
    starts, actions = start(native, 6), jnp.ones((20, 6, 2))
    states = [roll(env, starts, actions).state for env in (native, warp)]
    np.testing.assert_allclose(*states, atol=1e-2, rtol=0)


def test_mjx_where_it_is_not_installed_or_is_for_another_mujoco_is_said_at_once(monkeypatch):
    find_spec = importlib.util.find_spec
    gone = lambda name: None if name == "mujoco.mjx" else find_spec(name)
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", gone)
        for physics in ("mjx", "warp"):
            with pytest.raises(UserError, match=r"needs MJX, which comes with the extra `mjx`"):
                envs.make("point_u_maze", physics=physics)
        patch.setattr(jax, "default_backend", lambda: "gpu")
        assert envs.default_physics(4096) == "native"
    other = {"mujoco": "4.0.0", "mujoco-mjx": "3.17.0"}
    monkeypatch.setattr(importlib.metadata, "version", other.__getitem__)
    with pytest.raises(UserError, match=r"MJX 3.17.0 is for that version of MuJoCo, and 4.0.0 is"):
        envs.make("point_u_maze", physics="mjx")


def test_nothing_is_printed_at_those_without_warp():
    code = "from crl_eqx import envs; envs.make('reacher', physics='mjx')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "" and "warp" not in done.stderr


def test_warp_where_it_cannot_run_is_said_at_once(monkeypatch):
    find_spec = importlib.util.find_spec
    without = lambda *names: lambda name: None if name in names else find_spec(name)
    monkeypatch.setattr(importlib.util, "find_spec", without("warp"))
    with pytest.raises(UserError, match=r"`physics='warp'` needs NVIDIA Warp.*the extra `warp`"):
        envs.make("point_u_maze", physics="warp")
    there = lambda name: find_spec("math" if name == "warp" else name)
    monkeypatch.setattr(importlib.util, "find_spec", there)
    client = SimpleNamespace(platform_version="rocm 7.0")
    card = SimpleNamespace(platform="gpu", client=client)
    monkeypatch.setattr(jax, "devices", lambda: [card])
    with pytest.raises(UserError, match=r"`physics='warp'` runs on NVIDIA GPUs with CUDA, and"):
        envs.make("point_u_maze", physics="warp")


CHAOTIC = (
    *("ant", "ant_u_maze", "ant_hardest_maze", "ant_ball", "ant_push", "cheetah"),
    *("humanoid", "humanoid_u_maze", "pusher_hard"),
)


@pytest.mark.slow
@pytest.mark.parametrize("name", CHAOTIC)
def test_both_engines_agree_on_each_of_100_steps_of_a_robot_that_walks(name):
    # A walking robot is chaotic: what float32 rounds off grows at every touch of the floor. So
    # each of the 100 steps begins where the native engine has brought the robot.
    native, mjx = (envs.make(name, physics=physics) for physics in ("native", "mjx"))
    starts, actions = start(native, 8), random_actions(native, 100, 8, 0.5)
    after = roll(native, starts, actions)
    before = jax.tree.map(lambda s, x: jnp.concatenate([s[None], x[:-1]]), starts, after)
    # Not all 800 at once: jaxlib's batched Cholesky can wait for its own threads on few cores.
    each = lambda moment: jax.vmap(mjx.step)(*moment)
    other = jax.jit(lambda *moments: jax.lax.map(each, moments))(before, actions)
    size = 1 + np.abs(np.asarray(after.state))  # a humanoid's forces are hundreds of newtons
    error = (np.abs(np.asarray(after.state - other.state)) / size).max(-1)
    assert np.median(error) < 1e-4
    assert np.quantile(error, 0.95) < 1e-2


@pytest.mark.slow
def test_both_engines_agree_over_100_steps_of_an_ant_that_lies_down_softly():
    native, mjx = (envs.make("ant", physics=physics) for physics in ("native", "mjx"))
    starts = start(native, 8)
    actions = jnp.zeros((100, 8, 8))
    states = [roll(env, starts, actions).state for env in (native, mjx)]
    np.testing.assert_allclose(*states, atol=2e-2, rtol=0)


@pytest.mark.parametrize("name", ["ant", "point_u_maze"])
def test_a_native_result_does_not_depend_on_the_rest_of_the_batch(name):
    env = envs.make(name, physics="native")
    starts, actions = start(env, 33), random_actions(env, 20, 33)
    whole = roll(env, starts, actions)
    order = jnp.arange(33)[::-3]
    part = roll(env, jax.tree.map(lambda x: x[order], starts), actions[:, order])
    assert eqx.tree_equal(jax.tree.map(lambda x: x[:, order], whole), part)
    alone = jax.jit(env.step)(jax.tree.map(lambda x: x[5], starts), actions[0, 5])
    assert eqx.tree_equal(jax.tree.map(lambda x: x[0, 5], whole), alone)


def test_a_batch_of_batches_gives_what_a_batch_gives():
    env = envs.make("ant", physics="native")
    starts, actions = start(env, 6), random_actions(env, 1, 6)[0]
    fold = lambda tree: jax.tree.map(lambda x: x.reshape(2, 3, *x.shape[1:]), tree)
    flat = jax.jit(jax.vmap(env.step))(starts, actions)
    folded = jax.jit(jax.vmap(jax.vmap(env.step)))(fold(starts), fold(actions))
    assert eqx.tree_equal(folded, fold(flat))


def test_going_on_from_the_numbers_of_a_state_is_going_on():
    env = envs.make("ant", physics="native")
    starts, actions = start(env, 3), random_actions(env, 30, 3)
    whole = roll(env, starts, actions)
    middle = jax.tree.map(lambda x: jnp.asarray(np.asarray(x[14])), whole)
    fresh = envs.make("ant", physics="native")
    rest = roll(fresh, middle, actions[15:])
    assert eqx.tree_equal(rest, jax.tree.map(lambda x: x[15:], whole))


def test_two_runs_at_once_do_not_wait_for_each_other_forever():
    env = envs.make("ant_u_maze", physics="native")
    sizes = (64, 1500)  # the larger one's arrays are beyond what JAX copies on the spot
    jobs = [(start(env, n), random_actions(env, 8, n)) for n in sizes]
    results: dict[int, object] = {}

    def run(number):
        results[number] = jax.block_until_ready(roll(env, *jobs[number]).state)

    threads = [threading.Thread(target=run, args=(i % 2,), daemon=True) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads)
    assert set(results) == {0, 1}


@pytest.mark.parametrize("spin", [1e9, np.nan])
def test_a_failed_step_keeps_the_physics_ends_the_episode_and_says_so(spin, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes a log where it stands
    env = envs.make("ant", physics="native")
    starts = start(env, 2)
    qvel = starts.physics.qvel.at[0, 3:6].set(spin)
    broken = eqx.tree_at(lambda s: s.physics.qvel, starts, qvel)
    ends = jax.jit(jax.vmap(env.step))(broken, jnp.zeros((2, 8)))
    np.testing.assert_array_equal(ends.failed, [True, False])
    np.testing.assert_array_equal(ends.terminated, [True, False])
    np.testing.assert_array_equal(ends.physics.qpos[0], starts.physics.qpos[0])
    np.testing.assert_array_equal(ends.physics.qvel[0], qvel[0])
    assert np.isfinite(ends.state[1]).all()


@pytest.mark.parametrize("name", ["ant", "humanoid", "arm_grasp"])
def test_a_number_that_is_none_ends_its_episode_is_counted_and_never_stored(name):
    env = envs.make(name, physics="native")
    episodes = crl_eqx.start_episodes(env, 4, key=jax.random.key(0))
    broken = episodes.env_state.physics.qvel.at[2, 0].set(jnp.nan)
    episodes = eqx.tree_at(lambda e: e.env_state.physics.qvel, episodes, broken)
    policy = lambda state, goal, key: jnp.zeros((4, env.action_size))
    play = lambda episodes, key: crl_eqx.collect(policy, env, episodes, length=3, key=key)
    after, steps, counts = jax.jit(play)(episodes, jax.random.key(1))
    assert counts.failures == counts.episodes == 1
    np.testing.assert_array_equal(after.number, [0, 0, 1, 0])
    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves((steps, after.env_state.physics)))


PENDULUM = """
<mujoco><worldbody><body><joint name="hinge" axis="0 1 0"/><geom size="0.1" pos="0 0 -1"/>
<site name="bob" pos="0 0 -1"/></body></worldbody>
<actuator><motor joint="hinge"/></actuator>
<sensor><jointpos joint="hinge"/><framepos objtype="site" objname="bob"/></sensor></mujoco>
"""


@pytest.mark.parametrize("name", ["native", "mjx"])
def test_sensors_belong_to_the_positions_beside_them(name):
    physics = select_physics(name, MjSpec.from_string(PENDULUM).compile(), 3)
    angles = jnp.asarray([[0.3], [-1.0]])
    physics_state = jax.jit(jax.vmap(physics.init))(angles, jnp.zeros((2, 1)))
    step = jax.jit(jax.vmap(physics.step))
    for _ in range(2):
        angle = physics_state.qpos[:, 0]
        bob = jnp.stack([-jnp.sin(angle), jnp.zeros(2), -jnp.cos(angle)], axis=1)
        expected = jnp.concatenate([physics_state.qpos, bob], axis=1)
        np.testing.assert_allclose(physics_state.sensordata, expected, atol=1e-6)
        physics_state = step(physics_state, jnp.ones((2, 1)))
    assert jnp.abs(physics_state.qpos - angles).min() > 1e-4


ROOM = """
<mujoco><custom><numeric name="near_walls" data="1"/></custom><worldbody>
<geom name="wall_0" type="box" size="1 4 1" pos="-3 0 0"/>
<geom name="wall_1" type="box" size="1 4 1" pos="3 0 0"/>
<geom name="wall_2" type="box" size="2 1 1" pos="0 -3 0"/>
<geom name="wall_3" type="box" size="2 1 1" pos="0 3 0"/>
<body><freejoint/><geom name="ball" size="0.1"/></body></worldbody>
<default><geom contype="0" conaffinity="0"/></default><option gravity="0 0 0"/>
<contact><pair geom1="ball" geom2="wall_0"/><pair geom1="ball" geom2="wall_1"/>
<pair geom1="ball" geom2="wall_2"/><pair geom1="ball" geom2="wall_3"/></contact></mujoco>
"""


def test_mjx_looks_at_the_nearest_wall_only_and_yet_meets_each():
    model = MjSpec.from_string(ROOM).compile()
    native, mjx = (select_physics(name, model, 100) for name in ("native", "mjx"))
    qpos = jnp.tile(jnp.asarray([0.3, -0.2, 0.0, 1.0, 0.0, 0.0, 0.0])[None], (4, 1))
    ways = jnp.asarray([[-1.0, 0.1], [1.0, 0.2], [0.3, -1.0], [0.2, 1.0]])
    starts = jax.vmap(native.init)(qpos, jnp.pad(15.0 * ways, ((0, 0), (0, 4))))
    ends = [jax.jit(jax.vmap(p.step))(starts, jnp.zeros((4, 0))) for p in (native, mjx)]
    np.testing.assert_allclose(ends[0].qpos, ends[1].qpos, atol=3e-2)
    gone = ends[0].qpos[:, :2] - qpos[:, :2]
    assert (jnp.sum(gone * ways, axis=1) < 2.7).all()  # 3 without walls
    assert len(mjx._device.at(None).pair_geom1) == 1


def test_an_engine_does_not_change_the_model_that_it_was_given():
    model = MjSpec.from_string(PENDULUM).compile()
    before = model.opt.disableflags
    select_physics("native", model, 1)
    assert model.opt.disableflags == before


def test_what_an_engine_cannot_do_is_said_at_once():
    model = MjSpec.from_string(PENDULUM).compile()
    with pytest.raises(UserError, match="`physics='bullet'`.*native, mjx, warp"):
        select_physics("bullet", model, 1)
    for substeps in (0, 2.0, True):
        with pytest.raises(UserError, match=f"`substeps={substeps}` must be "):
            select_physics("native", model, substeps)


@pytest.mark.parametrize("name", ["native", "mjx"])
def test_an_engine_can_be_copied_pickled_and_sent_to_a_spawned_worker(name):
    model = MjSpec.from_string(PENDULUM).compile()
    heavy = MjSpec.from_string(PENDULUM).compile()
    heavy.body_mass[:] *= 3
    physics = select_physics(name, model, 3).pooled([model, heavy])

    def moved(physics):
        step = lambda: physics.at(jnp.asarray(1)).step(
            physics.init(jnp.ones(1), jnp.zeros(1)), jnp.ones(1)
        )
        return jax.jit(step)()

    for other in (copy.deepcopy(physics), pickle.loads(pickle.dumps(physics))):
        assert eqx.tree_equal(moved(physics), moved(other)) and other == physics


def test_a_model_that_somebody_has_changed_is_not_given_to_others():
    changed = MjSpec.from_string(PENDULUM).compile()
    first = select_physics("native", changed, 3)
    first.model.opt.timestep *= 2
    second = select_physics("native", MjSpec.from_string(PENDULUM).compile(), 3)
    assert second.control_dt == first.control_dt / 2 and second != first


@pytest.mark.parametrize(
    "cores, num_envs, chosen",
    [(2, 512, "mjx"), (16, 512, "native"), (16, 4096, "mjx"), (64, 4096, "native")],
)
def test_beside_a_gpu_the_faster_physics_is_the_default(cores, num_envs, chosen, monkeypatch):
    from crl_eqx.envs._physics import _select

    monkeypatch.setattr(_select, "num_cores", lambda: cores)
    assert envs.default_physics(num_envs) == "native", "on a CPU"
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert envs.default_physics(num_envs) == chosen


@pytest.mark.parametrize(
    "files, cores",
    [
        ({}, 8),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "250000 100000\n"}, 3),
        ({"cpu.max": "20000 100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        ({"cpu.max": "3200000 100000\n"}, 8),
    ],
)
def test_a_container_s_share_of_the_cores_counts(files, cores, monkeypatch, tmp_path):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(_container, "CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert envs.num_cores() == cores
