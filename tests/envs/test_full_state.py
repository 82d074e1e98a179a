"""Native physics and plain MuJoCo side by side, on models that remember more than qpos and qvel."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from crl_eqx import UserError
from crl_eqx.envs import MujocoGoalEnv
from crl_eqx.envs._physics import select_physics


SLIDER = """
<mujoco>{option}<worldbody>
<body><joint name="x" type="slide" axis="1 0 0" damping="{damping}"/><geom size="0.1"/></body>
</worldbody><actuator>{actuator}</actuator>{more}</mujoco>
"""
ARM = """
<mujoco>{option}<worldbody>
<body><joint name="shoulder" axis="0 1 0" damping="0.2"/><geom type="capsule" size="0.03"
fromto="0 0 0 0.3 0 0"/><body pos="0.3 0 0"><joint name="elbow" axis="0 1 0" damping="0.2"
limited="true" range="-100 100"/><geom type="capsule" size="0.03" fromto="0 0 0 0.3 0 0"/>
<site name="tip" pos="0.3 0 0"/></body></body>{bodies}</worldbody>{more}
<actuator><motor joint="shoulder" gear="2"/><motor joint="elbow"/></actuator></mujoco>
"""
BALL = """
<mujoco>{option}<worldbody><geom type="plane" size="5 5 1"/><body pos="0 0 0.1"><freejoint/>
<geom size="0.1" mass="1" friction="0.5"/></body><body pos="1 0 0.15"><joint name="x" type="slide"
axis="0 0 1" damping="3"/><geom type="box" size="0.1 0.1 0.1"/></body></worldbody>
<actuator><motor joint="x" gear="20"/></actuator></mujoco>
"""


def slider(actuator, *, option="", more="", damping=1):
    return SLIDER.format(actuator=actuator, option=option, more=more, damping=damping)


def arm(*, option="", bodies="", more=""):
    return ARM.format(option=option, bodies=bodies, more=more)


MODELS = {
    "delayed motor": slider('<motor joint="x" gear="10" delay="0.02" nsample="20"/>'),
    "delayed sensor": slider(
        '<motor joint="x" gear="10"/>',
        more='<sensor><jointpos joint="x" delay="0.01" nsample="8"/></sensor>',
    ),
    "filtered position": slider('<position joint="x" kp="20" timeconst="0.1"/>'),
    "filtered and delayed": slider(
        '<position joint="x" kp="20" timeconst="0.1" delay="0.01" nsample="10"/>'
    ),
    "integrated velocity": slider('<intvelocity joint="x" kp="30" actrange="-2 2"/>'),
    "muscle": slider(
        '<muscle tendon="t"/>',
        more='<tendon><fixed name="t"><joint joint="x" coef="1"/></fixed></tendon>',
        damping=20,
    ).replace('<joint name="x"', '<joint name="x" limited="true" range="-1 1"'),
    "damper": slider('<damper joint="x" kv="3" ctrlrange="0 1"/><motor joint="x" gear="3"/>'),
    "cylinder": slider('<cylinder joint="x" timeconst="0.2" area="3"/>'),
    "RK4": arm(option='<option integrator="RK4"/>'),
    "implicit": arm(option='<option integrator="implicit"/>'),
    "implicitfast, activations": slider(
        '<general joint="x" dyntype="filterexact" dynprm="0.05" gainprm="5"/>',
        option='<option integrator="implicitfast"/>',
    ),
    "equality": arm(
        more='<equality><joint joint1="shoulder" joint2="elbow" polycoef="0 -1 0 0 0"/></equality>'
    ),
    "tendon": arm(
        bodies='<site name="wall" pos="0.4 0 0.3"/>',
        more='<tendon><spatial stiffness="20" damping="1" limited="true" range="0 0.9">'
        '<site site="tip"/><site site="wall"/></spatial></tendon>',
    ),
    "mocap": arm(
        bodies='<body name="hand" mocap="true" pos="0.45 0 0.1"><site name="hold"/></body>',
        more='<equality><connect site1="tip" site2="hold"/></equality>',
    ),
    "contact, PGS": BALL.format(option='<option solver="PGS" iterations="50"/>'),
    "contact, sleep": BALL.format(option='<option><flag sleep="enable"/></option>'),
}


def rolled_out(model: mujoco.MjModel, ctrl: np.ndarray, substeps: int) -> np.ndarray:
    """MuJoCo itself: qpos after every control step."""
    data, out = mujoco.MjData(model), []
    for control in ctrl:
        data.ctrl[:] = control
        mujoco.mj_step(model, data, substeps)
        out.append(data.qpos.copy())
    return np.asarray(out)


@pytest.mark.parametrize("name", MODELS)
def test_native_physics_is_mujoco_whatever_the_model_remembers(name):
    model = mujoco.MjModel.from_xml_string(MODELS[name])
    physics = select_physics("native", model, 2)
    ctrl = np.random.default_rng(0).uniform(-1, 1, (40, model.nu)).astype(np.float32)
    ctrl = np.repeat(ctrl, 5, axis=0)  # 200 control steps
    start = physics.init(jnp.asarray(model.qpos0, jnp.float32), jnp.zeros(model.nv))

    def step(physics_state, control):
        physics_state, failed = physics.advance(physics_state, control)
        return physics_state, (physics_state.qpos, failed)

    _, (qpos, failed) = jax.jit(lambda: jax.lax.scan(step, start, jnp.asarray(ctrl)))()
    wanted = rolled_out(model, ctrl, 2)
    assert not failed.any()
    moved = np.ptp(wanted, axis=0).max()
    assert np.abs(qpos - wanted).max() < 1e-4 * max(moved, 0.01) and moved > 1e-3


def test_mjx_carries_activations_too():
    model = mujoco.MjModel.from_xml_string(MODELS["filtered position"])
    ctrl = np.linspace(-1, 1, 30, dtype=np.float32)[:, None]
    physics = select_physics("mjx", model, 2)
    state = jax.jit(physics.init)(jnp.asarray(model.qpos0, jnp.float32), jnp.zeros(model.nv))
    step, out = jax.jit(physics.step), []
    for control in ctrl:
        state = step(state, jnp.asarray(control))
        out.append(state.qpos)
    wanted = rolled_out(model, ctrl, 2)
    np.testing.assert_allclose(np.asarray(out), wanted, atol=1e-4 * np.ptp(wanted))
    assert physics.activations(state).shape == (1,)


@pytest.mark.parametrize(
    "model, named", [("delayed motor", "actuator 'push'"), ("delayed sensor", "sensor 'feel'")]
)
def test_mjx_says_what_it_cannot_carry(model, named):
    text = MODELS[model].replace("<motor", '<motor name="push"')
    text = text.replace("<jointpos", '<jointpos name="feel"')
    with pytest.raises(UserError, match=f"{named}.*physics='native'.*--action-delay"):
        select_physics("mjx", mujoco.MjModel.from_xml_string(text), 1)


def test_a_task_shows_activations_to_the_agent_and_fresh_episodes_forget_delays(tmp_path):
    file = tmp_path / "own.xml"
    file.write_text(MODELS["filtered and delayed"])
    env = MujocoGoalEnv(
        file,
        joints=["x"],
        draw_goal=lambda key: jax.random.uniform(key, (1,)),
        threshold=0.05,
        episode_length=50,
        physics="native",
    )
    first = env.reset(key=jax.random.key(0))
    moment = first
    for _ in range(20):
        moment = env.step(moment, jnp.ones(1))
    assert env.state_size == 3 and 0 < float(moment.state[2]) < 1
    again = env.reset(key=jax.random.key(0))
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), first, again))
