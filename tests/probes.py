"""Environments so small that the right answer to every question about them is known."""

import equinox as eqx
import jax
import jax.numpy as jnp

from crl_eqx import AbstractGoalEnv, EnvState


class Box(AbstractGoalEnv):
    """A point in [-1, 1]² that moves by 0.15 times the action, and must come within 0.2."""

    state_size: int = 2
    action_size: int = 2
    goal_size: int = 2
    episode_length: int = 20

    def reset(self, *, key):
        state, goal = jax.random.uniform(key, (2, 2), minval=-1, maxval=1)
        return EnvState(None, state, goal)

    def step(self, env_state, action):
        state = jnp.clip(env_state.state + 0.15 * action, -1, 1)
        return EnvState(None, state, env_state.goal)

    def achieved_goal(self, state):
        return state

    def success(self, state, goal):
        return self.distance(state, goal) < 0.2

    def success_levels(self, state, goal):
        return {"easy": self.distance(state, goal) < 0.4}


class Corridor(AbstractGoalEnv):
    """Cells 0, 1, 2, … of a corridor: a positive action goes up by one, any other down by one.

    Every episode starts in cell 0 and wants `goal_cell`; the wall at cell `end` stops the walker.
    Episodes terminate on entering `trap_cell`, if there is one. The rule `easy` is one cell wide.
    """

    goal_cell: int = 3
    end: int = 100
    trap_cell: int = -1
    episode_length: int = 10
    state_size: int = 1
    action_size: int = 1
    goal_size: int = 1

    def reset(self, *, key):
        del key
        return EnvState(None, jnp.zeros(1), jnp.full(1, float(self.goal_cell)))

    def step(self, env_state, action):
        move = jnp.where(action > 0, 1.0, -1.0)
        state = jnp.clip(env_state.state + move, 0, self.end)
        return EnvState(None, state, env_state.goal, terminated=state[0] == self.trap_cell)

    def achieved_goal(self, state):
        return state

    def success(self, state, goal):
        return self.distance(state, goal) < 0.5

    def success_levels(self, state, goal):
        return {"easy": self.distance(state, goal) < 1.5}


class Logbook(AbstractGoalEnv):
    """Writes down what happened: the state is (nonce, age, previous action).

    The nonce is drawn anew at every reset and tells episodes apart, and so does the goal. If
    `max_life` is positive, an episode ends by itself after a drawn number of steps in
    [1, max_life], and fails instead of falling when that number is odd.
    """

    max_life: int = 0
    episode_length: int = 5
    state_size: int = 3
    action_size: int = 1
    goal_size: int = 2

    def reset(self, *, key):
        nonce_key, goal_key, life_key = jax.random.split(key, 3)
        state = jnp.array([jax.random.uniform(nonce_key), 0.0, 0.0])
        life = jax.random.randint(life_key, (), 1, max(self.max_life, 1) + 1)
        return EnvState(life.astype(jnp.float32), state, jax.random.uniform(goal_key, (2,)))

    def step(self, env_state, action):
        nonce, age, _ = env_state.state
        over = (self.max_life > 0) & (age + 1 >= env_state.physics)
        return EnvState(
            env_state.physics,
            jnp.stack([nonce, age + 1, action[0]]),
            env_state.goal,
            terminated=over,
            failed=over & (env_state.physics % 2 == 1),
        )

    def achieved_goal(self, state):
        return state[..., :2]

    def success(self, state, goal):
        return self.distance(state, goal) < 0.0


class Cycle(AbstractGoalEnv):
    """A walk on a ring of cells, seen one-hot, that the action does not influence.

    With probability `forward` it goes on to the next cell, else it stays.
    """

    cells: int = 6
    forward: float = 0.7
    episode_length: int = 100
    action_size: int = 1
    state_size: int = 6
    goal_size: int = 6

    def reset(self, *, key):
        cell_key, key = jax.random.split(key)
        state = jax.nn.one_hot(jax.random.randint(cell_key, (), 0, self.cells), self.cells)
        return EnvState(key, state, jnp.zeros(self.cells).at[0].set(1.0))

    def step(self, env_state, action):
        del action
        move_key, key = jax.random.split(env_state.physics)
        moves = jax.random.bernoulli(move_key, self.forward)
        state = jnp.where(moves, jnp.roll(env_state.state, 1), env_state.state)
        return EnvState(key, state, env_state.goal)

    def achieved_goal(self, state):
        return state

    def success(self, state, goal):
        return self.distance(state, goal) < 0.5


class Pull(eqx.Module):
    """A policy that always pushes with the same strength."""

    action: float

    def __call__(self, state, goal, key):
        del goal, key
        return jnp.full((*state.shape[:-1], 1), self.action)
