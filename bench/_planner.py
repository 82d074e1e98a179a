"""A planner that knows the physics: for tasks, to learn whether they can be done at all.

Model-predictive path integral control (`attempt`): from the present state some plans are simulated,
and their actions are averaged; cheap plans count most. Cheap is what brings the achieved goal
nearer; through a maze, along the shortest way. The cross-entropy method (`rehearsal`) refines one
plan from the episode's start. Nothing is learnt.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from crl_eqx import envs
from crl_eqx.envs._bodies._humanoid_body import JOINTS, LAYOUT as HUMANOID
from crl_eqx.envs.tasks.ant_push import AntPush


# What a state costs: the smaller, the nearer to the goal. In the goal's units, more or less.


def cost_of(env: envs.AbstractMujocoEnv) -> Callable[[jax.Array, jax.Array], jax.Array]:
    if isinstance(env, AntPush):
        return _around_the_block
    names = env.layout._fields  # pyright: ignore[reportAttributeAccessIssue]
    if "object" in names:
        hand, gap = ("tip", 0.06) if "tip" in names else ("position", 0.7)
        return functools.partial(_behind, env, env.layout[names.index(hand)].at, gap)
    way = env.distance
    if env.maze is not None:
        way = functools.partial(_along_the_way, env, jnp.asarray(_way_lengths(env.maze)))
    return functools.partial(_on_its_feet, way) if env.layout == HUMANOID else way


def _behind(env, hand, gap, state, goal):
    """The object's distance, and that of what pushes it from a place behind it."""
    thing = env.achieved_goal(state)[:2]
    ahead = (goal[:2] - thing) / (jnp.linalg.norm(goal[:2] - thing) + 1e-6)
    place = thing - gap * ahead
    hand = state[hand]
    apart = jnp.linalg.norm(hand[:2] - place)
    if hand.shape[0] == 3 and goal.shape[0] == 3:  # an arm also has to come down to the object
        apart = apart + jnp.abs(hand[2] - goal[2])
    return 2 * jnp.linalg.norm(thing - goal[:2]) + 0.5 * apart


def _way_lengths(maze: envs.Maze) -> np.ndarray:
    """`[goal cell i, j, cell i, j]`: cells to go; large inside walls."""
    shape = len(maze.rows), len(maze.rows[0])
    lengths = np.full((*shape, *shape), 100.0, np.float32)
    for goal in maze.cells("RG."):
        for cell, steps in maze.steps_from(goal).items():
            lengths[(*goal, *cell)] = steps
    return lengths


def _along_the_way(env, lengths, state, goal):
    """The length of the way over the middles of the next cells, in m."""
    maze = env.maze
    cell = lambda xy: jnp.round((xy - jnp.asarray(maze.origin)) / maze.scale).astype(int)
    here, there = env.position(state), goal[:2]
    i, j = cell(here)
    to_goal = lengths[tuple(cell(there))]
    steps = jnp.asarray([(0, 0), (0, 1), (1, 0), (0, -1), (-1, 0)])
    around = jnp.stack([i, j])[None] + steps
    middles = around * maze.scale + jnp.asarray(maze.origin)[None]
    remaining = to_goal[around[:, 0], around[:, 1]]
    legs = jnp.linalg.norm(middles - here[None], axis=1) + maze.scale * remaining
    nearer = remaining < to_goal[i, j]
    way = jnp.min(jnp.where(nearer, legs, jnp.inf))
    at_the_goal = to_goal[i, j] == 0
    height = jnp.sum(jnp.abs(state[jnp.asarray(env.goal_indices)][2:] - goal[2:]))
    return jnp.where(at_the_goal, jnp.linalg.norm(here - there), way) + 0.5 * height


def _around_the_block(state, goal):
    """Push the block away from where the goal is, just far enough, and walk past."""
    ant, block = state[:2], state[29:31]
    flip = goal[0] < goal[1]  # a mirror image: solve for goals at (17, 9)
    turn = lambda xy: jnp.where(flip, xy[::-1], xy)
    ant, block, goal = turn(ant), turn(block), turn(goal)
    to_push = jnp.maximum(10.3 - block[1], 0.0)
    below = jnp.stack([jnp.asarray(10.0), block[1] - 4.3])
    corner = jnp.asarray([12.2, 5.6])  # of the way past the block
    past = jnp.linalg.norm(corner - goal) + jnp.linalg.norm(ant - corner)
    walk = jnp.where(ant[0] < corner[0], past, jnp.linalg.norm(ant - goal))
    return jnp.where(to_push > 0, 20.0 + 2 * to_push + jnp.linalg.norm(ant - below), walk)


def _on_its_feet(cost, state, goal):
    """What a humanoid has to keep to on its way: height, straightness, speed towards the goal."""
    x, y, height, _, tilt_x, tilt_y = state[:6]
    ahead = goal[:2] - jnp.stack([x, y])
    ahead = ahead / (jnp.linalg.norm(ahead) + 1e-6)
    speed = state[HUMANOID.velocity.at][:2] @ ahead
    spin = jnp.linalg.norm(state[HUMANOID.angular_velocity.at])
    sunk = jnp.maximum(1.25 - height, 0.0)
    upright = 4.0 * (tilt_x**2 + tilt_y**2) + 10.0 * sunk + 0.03 * spin
    there = jnp.linalg.norm(state[:3] - goal) < 0.5
    return 3.0 * cost(state, goal) + upright + jnp.abs(speed - 1.5) - 10.0 * there


@dataclasses.dataclass(frozen=True)
class Plans:
    """What is simulated at every step."""

    samples: int = 96
    horizon: float = 1.2  # s
    hold: float = 0.1  # s; how long an action lasts
    spread: float = 0.6
    keep: float = 0.1  # the share of plans that decides how much the cheapest count


REHEARSALS = 120


def controller_of(env: envs.AbstractMujocoEnv) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """From a state and what a plan holds there to an action. A humanoid's plan holds angles."""
    if env.layout != HUMANOID:
        return lambda state, plan: jnp.clip(plan, -1, 1)
    straight = env.reset(key=jax.random.key(0)).state[HUMANOID.joints.at]
    names = [env.model.joint(i).name for i in env.model.actuator_trnid[:, 0]]
    order = np.asarray([JOINTS.index(name) for name in names])

    def servo(state, plan):
        error = straight + plan - state[HUMANOID.joints.at]
        torque = 4.0 * error - 0.2 * state[HUMANOID.joint_velocities.at]
        return jnp.clip(torque[order], -1, 1)

    return servo


def attempt(env: envs.AbstractMujocoEnv, plans: Plans) -> Callable[..., Any]:
    """A compiled function from a key to (whether, after how many steps, nearest and first
    distance)."""
    cost, act = cost_of(env), controller_of(env)
    samples, spread, keep = plans.samples, plans.spread, plans.keep
    limit = env.episode_length
    stride = max(1, round(plans.hold / env.control_dt))
    knots = max(2, round(plans.horizon / env.control_dt / stride))
    size = env.action_size

    def simulate(env_state, plan):
        """The cost of a plan `[knots, action]`."""

        def step(carry, action):
            def hold(_, carry):
                env_state, alive, total = carry
                env_state = env.step(env_state, act(env_state.state, action))
                alive = alive & ~env_state.terminated
                here = cost(env_state.state, env_state.goal)
                return env_state, alive, total + jnp.where(alive, here, 50.0 + here)

            return jax.lax.fori_loop(0, stride, hold, carry), None

        carry = (env_state, jnp.asarray(True), jnp.asarray(0.0))
        return jax.lax.scan(step, carry, plan)[0][2] / (knots * stride)

    def plan(env_state, mean, spread, key):
        noise = spread * jax.random.normal(key, (samples, knots, size))
        plans = jnp.clip(mean[None] + noise.at[0].set(0.0), -1, 1)
        costs = jax.vmap(lambda plan: simulate(env_state, plan))(plans)
        best = jnp.min(costs)
        scale = jnp.maximum(jnp.quantile(costs, keep) - best, 1e-3)
        weights = jax.nn.softmax(-(costs - best) / scale)
        return jnp.einsum("s,ska->ka", weights, plans)

    def body(carry):
        env_state, mean, steps, nearest, key, _ = carry
        key, plan_key = jax.random.split(key)
        mean = plan(env_state, mean, spread, plan_key)
        alive, succeeded = jnp.asarray(True), jnp.asarray(False)
        for _ in range(stride):
            env_state = env.step(env_state, act(env_state.state, mean[0]))
            distance = env.distance(env_state.state, env_state.goal)
            nearest = jnp.where(alive, jnp.minimum(nearest, distance), nearest)
            success = env.success(env_state.state, env_state.goal)
            succeeded = succeeded | (alive & success)
            alive = alive & ~env_state.terminated
        mean = jnp.concatenate([mean[1:], mean[-1:]])
        return env_state, mean, steps + stride, nearest, key, (alive, succeeded)

    def goes_on(carry):
        _, _, steps, _, _, (alive, succeeded) = carry
        return alive & ~succeeded & (steps < limit)

    @jax.jit
    def run(key):
        start_key, key = jax.random.split(key)
        start = env.reset(key=start_key)
        mean = jnp.zeros((knots, size))
        zero = jnp.asarray(0), jnp.asarray(jnp.inf)
        carry = (start, mean, *zero, key, (jnp.asarray(True), jnp.asarray(False)))
        end = jax.lax.while_loop(goes_on, body, carry)
        return end[5][1], end[2], end[3], env.distance(start.state, start.goal)

    return run


def rehearsal(env: envs.AbstractMujocoEnv, plans: Plans) -> Callable[..., Any]:
    """As `attempt`, for one plan that is refined by the cross-entropy method and never revised."""
    act = controller_of(env)
    stride = max(1, round(plans.hold / env.control_dt))
    knots = round(plans.horizon / env.control_dt / stride)
    shape = knots, env.action_size
    survivors, kept = plans.samples // 12, 6

    def play(start, plan):
        """The nearest distance before the end, and the step at which it was reached."""

        def step(carry, angles):
            env_state, alive, nearest, at = carry
            env_state = env.step(env_state, act(env_state.state, angles))
            alive = alive & ~env_state.terminated
            distance = env.distance(env_state.state, env_state.goal)
            nearer = alive & (distance < nearest[0])
            nearest = jax.tree.map(
                lambda new, old: jnp.where(nearer, new, old), (distance, at), nearest
            )
            return (env_state, alive, nearest, at + 1), None

        nearest = env.distance(start.state, start.goal), jnp.asarray(0)
        carry = start, jnp.asarray(True), nearest, jnp.asarray(1)
        return jax.lax.scan(step, carry, jnp.repeat(plan, stride, axis=0))[0][2]

    def body(carry):
        start, key, mean, spread, best, nearest, rounds = carry
        key, noise_key = jax.random.split(key)
        tried = mean + spread * jax.random.normal(noise_key, (plans.samples, *shape))
        tried = tried.at[:kept].set(best)
        distances, steps = jax.vmap(functools.partial(play, start))(tried)
        order = jnp.argsort(distances)[:survivors]
        elite = tried[order]
        mean = 0.8 * jnp.mean(elite, axis=0) + 0.2 * mean
        spread = jnp.maximum(0.8 * jnp.std(elite, axis=0) + 0.2 * spread, 0.03)
        nearest = distances[order[0]], steps[order[0]]
        return start, key, mean, spread, elite[:kept], nearest, rounds + 1

    @jax.jit
    def run(key):
        start_key, key = jax.random.split(key)
        start = env.reset(key=start_key)
        from_start = env.distance(start.state, start.goal)
        mean, spread = jnp.zeros(shape), jnp.full(shape, plans.spread)
        nearest = from_start, jnp.asarray(0)
        carry = start, key, mean, spread, jnp.zeros((kept, *shape)), nearest, jnp.asarray(0)
        goes_on = lambda carry: (carry[5][0] >= env.threshold) & (carry[6] < REHEARSALS)
        nearest, steps = jax.lax.while_loop(goes_on, body, carry)[5]
        return nearest < env.threshold, steps, nearest, from_start

    return run
