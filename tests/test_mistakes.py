"""Mistakes in calls of the library, as its users make them: without the tests' type checker."""

import subprocess
import sys


SCRIPT = r'''
import os
from fractions import Fraction
import gymnasium, jax, jax.numpy as jnp, mujoco, numpy as np
import crl_eqx
from crl_eqx import energy, envs, nn
from crl_eqx.envs import MujocoGoalEnv, hold_out, randomize, resample_goals
from crl_eqx.objectives import CRL, Goals
from crl_eqx.store import load_agent, save_agent
from crl_eqx.envs.gym import GymnasiumGoalEnv, ToGymnasium, ToGymnasiumVector

key = jax.random.key(0)
env = envs.make("reacher", physics="native")
REACHER = env
agent = crl_eqx.Agent.create(env, depth=4, width=8, key=key)
rows = np.zeros((2, 5, 3))
data = crl_eqx.Trajectories(rows)
critic = crl_eqx.Critic.create(data, depth=4, width=8, key=key)
XML = """<mujoco><worldbody><body><joint name="x" type="slide"/>
  <geom size="0.1" mass="1"/></body></worldbody><actuator><motor joint="x"/></actuator>
  <keyframe><key qpos="0.1"/></keyframe></mujoco>"""
spec = mujoco.MjSpec.from_string(XML)
xml = lambda old, new: mujoco.MjSpec.from_string(XML.replace(old, new))
other = crl_eqx.Agent.create(envs.make("arm_reach", physics="native"), depth=4, width=8, key=key)
policy = lambda state, goal, key: jnp.zeros((2, 2))
goal = lambda key: jax.random.uniform(key, (1,))


def own(model=spec, **options):
    usual = dict(joints=["x"], draw_goal=goal, threshold=0.1, episode_length=5, physics="native")
    return MujocoGoalEnv(model, **usual | options)


def fit(**options):
    return crl_eqx.fit(critic, data, **dict(num_updates=1, batch_size=4, key=key) | options)


def step(**options):
    usual = dict(num_envs=2, unroll_length=5, prefill_length=10, batch_size=4)
    return crl_eqx.TrainStep(env, **usual | options)


pendulum = gymnasium.make("Pendulum-v1")
gym = dict(achieved_goal=[0], draw_goal=goal, threshold=0.1, episode_length=9)


Pendulum = lambda: gymnasium.make("Pendulum-v1")
nowhere = lambda key: jnp.full(1, jnp.nan)
restless = lambda key: jnp.asarray(np.random.uniform(size=1), jnp.float32)


def started(env):
    env.reset(seed=0)
    return env


def many(make):
    env = GymnasiumGoalEnv(make, **gym)
    return jax.vmap(lambda key: env.reset(key=key))(jax.random.split(key, 2))


own(), fit(), step(), many(Pendulum)  # what is right is taken
step(updates_per_env_step=np.float32(0.1)), step(updates_per_env_step=Fraction(1, 3))
assert own(levels=zip(["easy"], [0.3])).rules.levels == (("easy", 0.3),)
objectives = crl_eqx.objectives
PPO = objectives.PPO(env.success)
EMPTY = step().buffer.stored(step().init(agent, key=key).buffer)
ring = crl_eqx.TrajectoryBuffer(9, 2)


def steps(**parts):
    usual = dict(
        state=jnp.zeros((3, 2, 4)),
        action=jnp.zeros((3, 2, 2)),
        goal=jnp.zeros((3, 2, 4)),
        episode=jnp.zeros((3, 2), int),
    )
    return crl_eqx.replay.Transition(**usual | parts)


def losses_of(objective):
    """With goals that nobody commanded."""
    batch = crl_eqx.Trajectories(np.zeros((2, 5, 10)), np.zeros((2, 5, 2)), achieved_goal=place)
    return objective(agent, None, batch.sample((4,), key=key), key=key)


place = lambda state: state[..., :3]
held = ring.init(jax.tree.map(lambda x: x[0, 0], steps()))
ring.insert(held, steps())
losses_of(CRL(goals=Goals(future=0.5, random=0.5)))
PAIR = crl_eqx.Together(step()).stack([step().init(agent, key=key) for _ in range(2)])
calls = [
    (lambda: crl_eqx.Critic.create(data, width=0, key=key), "width=0"),
    (lambda: crl_eqx.Critic.create(data, width=8.0, key=key), "width=8.0"),
    (lambda: crl_eqx.Critic.create(data, depth=8.0, key=key), "depth=8.0"),
    (lambda: crl_eqx.Critic.create(data, repr_size=0, key=key), "repr_size=0"),
    (lambda: crl_eqx.Agent.create(env, critic="q", key=key), "critic='q'"),
    (lambda: nn.Encoder(3, compute=nn.Compute("fused"), key=key), "kernel='fused'"),
    (lambda: nn.Encoder(3, compute="packed", key=key), "compute='packed'"),
    (lambda: nn.Encoder(3, compute=nn.Compute(unroll=0), key=key), "unroll=0"),
    (lambda: crl_eqx.objectives.Goals("a"), "future='a'"),
    (lambda: crl_eqx.Critic.create(data, energy="neg_l2", key=key), "energy='neg_l2'"),
    (lambda: fit(batch_size=2.5), "batch_size=2.5"),
    (lambda: fit(batch_size=1), "batch_size=1"),
    (lambda: fit(num_updates=2.0), "num_updates=2.0"),
    (lambda: fit(num_updates=True), "num_updates=True"),
    (lambda: crl_eqx.Trajectories(rows, discount="a"), "discount='a'"),
    (lambda: crl_eqx.Trajectories(rows, discount=1.5), "discount=1.5"),
    (lambda: crl_eqx.Trajectories(rows, achieved_goal=lambda s: s * jnp.nan), "achieved_goal"),
    (lambda: crl_eqx.TrajectoryBuffer(9, 1, discount=float("nan")), "discount=nan"),
    (lambda: fit(objective=crl_eqx.objectives.GCBC()), "objective=GCBC()"),
    (lambda: step(num_envs=2.5), "num_envs=2.5"),
    (lambda: step(batch_size=4.0), "batch_size=4.0"),
    (lambda: step(prefill_length=-1), "prefill_length=-1"),
    (lambda: step(discount=0.0), "discount=0.0"),
    (lambda: step(discount=1.5), "discount=1.5"),
    (lambda: step(updates_per_env_step="a"), "updates_per_env_step='a'"),
    (lambda: step(updates_per_env_step=float("nan")), "updates_per_env_step=nan"),
    (lambda: crl_eqx.Agent.create(env, initial_alpha=1e300, key=key), "initial_alpha=1e+300"),
    (lambda: crl_eqx.Agent.create(env, width=-3, key=key), "width=-3"),
    (lambda: agent.act(jnp.zeros(10), jnp.zeros(2), key=key, candidates=1.5), "candidates=1.5"),
    (lambda: agent.act(jnp.zeros(3), jnp.zeros(2)), "numbers was given 3 + 2"),
    (lambda: agent.value(jnp.zeros(9), jnp.zeros(2), jnp.zeros(2)), "numbers was given 9 + 2"),
    (lambda: crl_eqx.best_of(0), "best_of(0)"),
    (lambda: crl_eqx.best_of(2.0), "best_of(2.0)"),
    (lambda: crl_eqx.partly_deterministic(2.0), "partly_deterministic(2.0)"),
    (lambda: crl_eqx.evaluate(lambda *a: jnp.zeros(2), env, 0, key=key), "num_episodes=0"),
    (lambda: crl_eqx.evaluate(lambda *a: jnp.zeros(2), env, 1.5, key=key), "num_episodes=1.5"),
    (lambda: randomize(env, masses=(0.5, 2.0), seed=-1), "seed=-1"),
    (lambda: randomize(env, masses=(0.5, 2.0), variants=2.5), "variants=2.5"),
    (lambda: randomize(env, masses=3), "masses=3"),
    (lambda: randomize(env, gains=("a", "b")), "gains=('a', 'b')"),
    (lambda: randomize(env, sensor_noise="loud"), "sensor_noise='loud'"),
    (lambda: randomize(env, action_delay=2), "action_delay=2"),
    (lambda: resample_goals(env, "often"), "chance=often"),
    (lambda: resample_goals(None, 0.5), "but got a NoneType"),
    (lambda: hold_out(env, "half"), "share=half"),
    (lambda: hold_out(env, 0.5).commanding("unsen"), "HoldOut.commanding('unsen')"),
    (lambda: hold_out(env, 0.5, seed=1.5), "seed=1.5"),
    (lambda: crl_eqx.Trajectories(rows, lengths=[[1, 2], [3]]), "lengths=[[1, 2], [3]]"),
    (lambda: crl_eqx.Trajectories(rows, lengths="ab"), "lengths=ab"),
    (lambda: own(None), "MujocoGoalEnv(None)"),
    (lambda: own(3), "MujocoGoalEnv(3)"),
    (lambda: own(mujoco.MjData(spec.compile())), "needs a model"),
    (lambda: own("x" * 5000), "no such file"),
    (lambda: own("nul\0byte.xml"), "no such file"),
    (lambda: own(start=""), "start=''"),
    (lambda: own(threshold="a"), "threshold='a'"),
    (lambda: own(episode_length=2.5), "episode_length=2.5"),
    (lambda: own(levels=[1.0]), "levels=[1.0]"),
    (lambda: own(levels=3), "levels=3"),
    (lambda: own(substeps=np.float32(2)), "substeps="),
    (lambda: own(substeps="a"), "substeps='a'"),
    (lambda: own(ends=True), "ends=True"),
    (lambda: own(draw_goal=[0.1]), "draw_goal=[0.1]"),
    (lambda: own(draw_goal=lambda key: [0.1]), "gives a goal [0.1]"),
    (lambda: own(draw_goal=lambda key: jnp.full(1, jnp.nan)), "goal that is not finite"),
    (lambda: own(draw_start=lambda key: 3), "draw_start"),
    (lambda: own(joints=(), goal_indices=["a"]), "goal_indices=['a']"),
    (lambda: own(joints=(), goal_indices=3), "goal_indices=3"),
    (lambda: GymnasiumGoalEnv(pendulum, **gym), "needs a name, or a function"),
    (lambda: many(lambda: pendulum), "makes a new environment at every call"),
    (lambda: ToGymnasium(3), "`ToGymnasium(3)` needs a task"),
    (lambda: ToGymnasium("ant"), "`ToGymnasium('ant')` needs a task, as `crl_eqx.envs"),
    (lambda: started(ToGymnasium(REACHER)).step(np.zeros(3)), "needs numbers of shape (2,)"),
    (lambda: started(ToGymnasium(REACHER)).step("x"), "`step('x')`"),
    (lambda: started(ToGymnasiumVector(REACHER, 2)).step(np.zeros(2)), "of shape (2, 2)"),
    (lambda: GymnasiumGoalEnv(Pendulum, **gym | dict(achieved_goal=[0.5])), "achieved_goal=[0.5]"),
    (lambda: GymnasiumGoalEnv(Pendulum, **gym | dict(achieved_goal=["0"])), "achieved_goal=['0']"),
    (lambda: GymnasiumGoalEnv(Pendulum, **gym, state=0), "state=0"),
    (lambda: GymnasiumGoalEnv(Pendulum, **gym | dict(threshold=float("inf"))), "threshold=inf"),
    (lambda: GymnasiumGoalEnv(Pendulum, **gym | dict(episode_length=1.5)), "episode_length=1.5"),
    (lambda: GymnasiumGoalEnv(Pendulum, **gym | dict(draw_goal=nowhere)), "goals are not finite"),
    (lambda: GymnasiumGoalEnv(Pendulum, **gym | dict(draw_goal=restless)), "gives another goal"),
    (lambda: own(xml('type="slide"', 'type="slide" damping="nan"')), "`dof_damping`"),
    (lambda: own(xml("<worldbody>", '<option timestep="0"/><worldbody>')), "must be positive"),
    (lambda: own(xml('<motor joint="x"/>', "")), "no actuators"),
    (lambda: own(levels=[("a/b", 0.2)]), "levels=[('a/b', 0.2)]"),
    (lambda: own(levels=[("", 0.2)]), "levels=[('', 0.2)]"),
    (lambda: own(ends=lambda state: state[..., 0]), "must give one bool"),
    (lambda: envs.make(None), "make(None)"),
    (lambda: envs.make("x" * 5000 + ".py:f"), "there is no file"),
    (lambda: crl_eqx.Trajectories(np.ma.masked_array(rows, mask=True)), "masked"),
    (lambda: crl_eqx.evaluate(lambda *a: jnp.zeros(2), env, 2, key=key), "actions of shape (2,)"),
    (lambda: crl_eqx.evaluate(agent, env, 2, key=key), "is no policy"),
    (lambda: crl_eqx.evaluate(policy, "ant", 2, key=key), "evaluate(policy, 'ant')"),
    (lambda: crl_eqx.evaluate(policy, env, 2, key=0), "random key"),
    (lambda: crl_eqx.Agent.create(env, depth=4, key=0), "random key"),
    (lambda: crl_eqx.Agent.create("ant", key=key), "Agent.create('ant')"),
    (lambda: crl_eqx.Agent.create(env, energy=energy.NegL2, key=key), "Agent.create(energy="),
    (lambda: crl_eqx.Agent.create(env, residual="x", key=key), "residual='x'"),
    (lambda: crl_eqx.Agent.create(env, width=10**30, key=key), "must be at most"),
    (lambda: step().init(other, key=key), "an agent for this task"),
    (lambda: step(objective="crl"), "objective='crl'"),
    (lambda: step(acting="best-of"), "acting='best-of'"),
    (lambda: step(optimizers=crl_eqx.adam()), "TrainStep(optimizers="),
    (lambda: step().learn_stored(step().init(agent, key=key), 0), "learn_stored(updates=0)"),
    (lambda: crl_eqx.Together(3), "`Together(int)`"),
    (lambda: crl_eqx.Together(step()).stack([]), "`Together.stack(states)`"),
    (lambda: crl_eqx.Overlap(env), "`Overlap(Reacher)`"),
    (lambda: step(absorbing="no"), "absorbing='no'"),
    (lambda: crl_eqx.TrajectoryBuffer(1.5, 2), "capacity=1.5"),
    (lambda: crl_eqx.best_of([4]), "best_of([4])"),
    (lambda: fit(num_updates=jnp.array(4)), "num_updates=Array(4"),
    (lambda: crl_eqx.fit(critic, rows, num_updates=1, key=key), "needs `Trajectories`"),
    (lambda: save_agent(os.devnull, agent), "no file"),
    (lambda: save_agent("/nowhere/x", None), "holds no weights"),
    (lambda: save_agent("", agent), "save_agent("),
    (lambda: save_agent("a\0b", agent), "the path of a file"),
    (lambda: load_agent(3, agent), "load_agent(3)"),
    (lambda: ToGymnasiumVector(REACHER, 2.0), "num_envs=2.0"),
    (lambda: ToGymnasiumVector(REACHER, 2, autoreset_mode="foo"), "autoreset_mode='foo'"),
    (lambda: ToGymnasiumVector(REACHER, 2).reset(options={"reset_mask": [True]}), "needs 2 flags"),
    (lambda: crl_eqx.Trajectories(rows, [np.ones((5, 2)), np.ones((3, 2))]), "actions[1] only 3"),
    (lambda: crl_eqx.Trajectories(rows, achieved_goal=[0, 1]), "not [0, 1]"),
    (lambda: crl_eqx.Trajectories(rows, achieved_goal=lambda s: s[:2, :2]), "the last axis"),
    (lambda: crl_eqx.Trajectories(rows, achieved_goal=lambda s: s @ s), "cannot be computed"),
    (lambda: crl_eqx.Trajectories(rows, discount=jnp.float32(0.9)), "must be a number of Python's"),
    (lambda: step(discount=jnp.float32(0.9)), "must be a number of Python's"),
    (lambda: step(updates_per_env_step=Fraction(0.1)), "updates_per_env_step=Fraction("),
    (lambda: crl_eqx.relabel(jnp.zeros((5, 2)), discount=1.5, key=key), "relabel(discount=1.5)"),
    (lambda: crl_eqx.relabel([[1.0, 2.0], [2.0, 3.0]], key=0), "relabel(..., key=...)"),
    (lambda: crl_eqx.relabel(jnp.zeros((5, 2, 2)), key=key), "array of shape (5, 2, 2)"),
    (lambda: energy.MRN().pairwise(jnp.zeros((4, 5)), jnp.zeros((4, 5))), "of 5 numbers"),
    (lambda: crl_eqx.objectives.CRL(loss="infonce"), "CRL(loss='infonce')"),
    (lambda: crl_eqx.objectives.CRL(logsumexp_penalty=-1.0), "logsumexp_penalty=-1.0"),
    (lambda: crl_eqx.Critic(None, None, "neg_l2"), "Critic(energy='neg_l2')"),
    (lambda: fit(objective=CRL(goals=Goals(commanded=1.0))), "fit(objective=CRL(goals=Goals("),
    (lambda: fit(objective=CRL(target_entropy_per_action=-1.0)), "is about a policy"),
    (lambda: fit(optimizer=1e-3), "fit(optimizer=0.001)"),
    (lambda: fit(optimizer=crl_eqx.adam_optimizers()), "fit(optimizer={"),
    (lambda: crl_eqx.fit(agent, data, num_updates=1, key=key), "needs a `Critic`"),
    (lambda: crl_eqx.OnPolicyStep(env, PPO, crl_eqx.adam()), "OnPolicyStep(optimizers="),
    (lambda: nn.Stacked(lambda key: nn.ResidualBlock(8, key=key), 0, key=key), "num_blocks=0"),
    (lambda: crl_eqx.Together(step()).one(PAIR, 2), "Together.one(states, 2)"),
    (lambda: crl_eqx.Together(step()).only(PAIR, [0, 5]), "Together.only(states, [0, 5])"),
    (lambda: crl_eqx.fit(critic, EMPTY, num_updates=1, key=key), "fit(critic, data)"),
    (lambda: ring.insert(held, steps(state=jnp.zeros((3, 2, 1)))), "`state` [3, 2, 1]"),
    (lambda: ring.insert(held, steps(episode=jnp.zeros((3, 2)))), "`episode` of float32"),
    (lambda: ring.insert(held, steps(terminated=jnp.zeros((3, 2), bool))), "no `terminated`"),
    (lambda: ring.insert(held, jax.tree.map(lambda x: x[0, 0], steps())), "`state` [4]"),
    (lambda: objectives.SAC(env.success, goals=0.5), "SAC(goals=0.5)"),
    (lambda: objectives.TD3(env.success, goals=None), "TD3(goals=None)"),
    (lambda: objectives.CLearning(env.achieved_goal, goals="all"), "CLearning(goals='all')"),
    (lambda: objectives.SAC(None), "SAC(success=None)"),
    (lambda: objectives.TD3(3), "TD3(success=3)"),
    (lambda: objectives.PPO(None), "PPO(success=None)"),
    (lambda: objectives.CLearning(None), "CLearning(achieved_goal=None)"),
    (lambda: CRL(target_entropy_per_action=jnp.nan), "target_entropy_per_action=nan"),
    (lambda: CRL(target_entropy_per_action="x"), "CRL(target_entropy_per_action='x')"),
    (lambda: losses_of(CRL(goals=Goals(future=0.5, commanded=0.5))), "Goals(commanded=0.5)"),
    (lambda: losses_of(CRL(goals=Goals(commanded=1.0))), "Goals(commanded=1)"),
    (lambda: crl_eqx.Trajectories(rows, achieved_goal=lambda s: s.foo), "cannot be computed"),
    (lambda: crl_eqx.Agent.create(env, depth="4", key=key), "depth='4'"),
    (lambda: crl_eqx.Agent.create(env, energy=energy.MRN(), repr_size="64", key=key), "'64'"),
    (lambda: crl_eqx.Agent.create(env, critic="value", energy=energy.Dot(), key=key), "'value'"),
    (lambda: crl_eqx.Agent.create(env, depth=4, activation=None, key=key), "activation=None"),
    (lambda: crl_eqx.Critic(None, None, None), "Critic(energy=None)"),
    (lambda: agent.act(jnp.zeros(10), jnp.zeros(3), key=0), "Agent.act(..., key=...)"),
    (lambda: data.sample((16,), key=0), "Trajectories.sample(..., key=...)"),
    (lambda: nn.Encoder(3, key=0), "ResidualMLP(..., key=...)"),
    (lambda: nn.Linear(0, 3, key=key), "Linear(in_size=0)"),
    (lambda: nn.ResidualBlock(0, key=key), "ResidualBlock(width=0)"),
    (lambda: nn.Stacked(nn.ResidualBlock, 1, compute="xla", key=key), "Stacked(compute='xla')"),
    (lambda: crl_eqx.adam("x"), "adam(learning_rate='x')"),
    (lambda: crl_eqx.adam(-1.0), "adam(learning_rate=-1.0)"),
    (lambda: crl_eqx.adam(max_grad_norm=-1.0), "adam(max_grad_norm=-1.0)"),
    (lambda: crl_eqx.adam(weight_decay=-1.0), "adam(weight_decay=-1.0)"),
    (lambda: crl_eqx.init_optimizers({"actor": 1}, agent, objectives.GCBC()), "{'actor': 1}"),
]
# No mistakes: kept as they come, lists could not be hashed, and arrays not be compared.
spans = [3.0, 8.0], (3, 8), np.array([3.0, 8.0])
if {envs.make("cheetah", goals=span, physics="native").goals for span in spans} != {(3.0, 8.0)}:
    print("the goals of a cheetah depend on what holds them")
listed = randomize(env, action_delay=[0, 2], masses=[1.0, 1.0])
jax.jit(listed.reset)(key=key)
if listed.variants:
    print("[1.0, 1.0] is a factor of 1")

for i, (call, words) in enumerate(calls):
    try:
        call()
        print(words, "was taken")
    except crl_eqx.UserError as error:
        if words not in str(error) or str(error)[-1] != "." or "\n" in str(error):
            print(words, "is not how this begins, or it is no sentence:", error)
    except Exception as error:
        told = str(error).splitlines()[-1][-200:] if str(error) else repr(error)
        print(words, "->", type(error).__name__, told)
'''


def test_every_mistake_is_told_in_one_sentence_that_shows_what_was_given():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
