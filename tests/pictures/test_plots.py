import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from crl_eqx import AbstractGoalEnv, Agent, envs, EnvState
from crl_eqx.pictures import (
    _curve as curves,
    _energy_map as energy_maps,
    learning_curve,
    trajectories,
)
from crl_eqx.pictures._figure import short_numbers
from crl_eqx.pictures._scene import maze_bounds, position_indices, record
from crl_eqx.pictures._sweep import block_map


class Slide(AbstractGoalEnv):
    """A number moves to another number."""

    state_size: int = 2
    action_size: int = 1
    goal_size: int = 1
    episode_length: int = 20

    def reset(self, *, key):
        return EnvState(None, jnp.zeros(2), jax.random.uniform(key, (1,), minval=-1.0))

    def step(self, env_state, action):
        moved = env_state.state + 0.1 * jnp.concatenate([action, action])
        return EnvState(None, moved, env_state.goal)

    def achieved_goal(self, state):
        return state[..., :1]

    def success(self, state, goal):
        return self.distance(state, goal) < 0.1


@pytest.fixture(scope="module")
def maze():
    return envs.make("point_u_maze", physics="native", episode_length=12)


def rows(offset=0.0, count=6):
    return [
        {
            "env_steps": 1000 * i,
            "eval/success_rate": min(i / 10 + offset, 1.0),
            "eval/success_rate_se": 0.05,
            "eval/time_at_goal": 3.0 * i,
            "eval/final_distance": 5.0 - i / 2,
            "eval_split/success_rate": i / 20,
            "train/critic_loss": 4.0 - i / 10,
            "health/verdict": "healthy",
        }
        for i in range(count)
    ]


def picture(path):
    assert path.stat().st_size < 150_000
    return np.asarray(Image.open(path).convert("RGB"))


def colours(image):
    return len(np.unique(image.reshape(-1, 3), axis=0))


def test_a_learning_curve_is_a_small_legible_png(tmp_path):
    image = picture(learning_curve({"seed_0": rows()}, tmp_path / "curve.png", title="a run"))
    assert image.shape[1] >= 900
    assert colours(image) > 50


def test_several_seeds_are_drawn_with_a_line_for_each(tmp_path):
    one = picture(learning_curve([rows()], tmp_path / "one.png", title=""))
    three = [rows(), rows(0.1), rows(0.3)]
    assert not np.array_equal(one, picture(learning_curve(three, tmp_path / "3.png", title="")))


def test_a_curve_can_be_drawn_before_anything_is_measured(tmp_path):
    picture(learning_curve([[]], tmp_path / "none.png", title="nothing yet"))


def test_rows_without_a_metric_or_with_nan_in_it_are_left_out():
    lines = [{"env_steps": 0}, {"env_steps": 1, "x": float("nan")}, {"env_steps": 2, "x": 7}]
    np.testing.assert_array_equal(curves._curve(lines, "x"), [[2, 7, 0]])


def test_the_band_of_one_run_is_the_standard_error_of_its_evaluations():
    assert curves._curve(rows(), "eval/success_rate")[3, 2] == 0.05


def test_the_band_of_several_seeds_is_the_standard_error_over_them():
    values = np.array([0.1, 0.4, 0.7])
    seeds = [np.array([[0.0, value, 0.0], [10.0, value, 0.0]]) for value in values]
    steps, mean, error = curves._over_seeds(seeds)
    np.testing.assert_array_equal(steps, [0, 10])
    np.testing.assert_allclose(mean, 0.4)
    np.testing.assert_allclose(error, values.std(ddof=1) / np.sqrt(3))


def test_a_seed_that_stopped_at_its_target_keeps_its_last_value():
    """Else the mean would fall to that of the slowest."""
    good, slow = np.array([[0.0, 0, 0], [5, 1, 0]]), np.array([[0.0, 0, 0], [10, 0.5, 0]])
    steps, mean, error = curves._over_seeds([good, slow])
    np.testing.assert_array_equal(steps, [0, 5, 10])
    np.testing.assert_allclose(mean, [0, (1 + 0.25) / 2, (1 + 0.5) / 2])
    assert error[2] > 0


def test_trajectories_are_drawn_over_the_energy_in_a_small_png(maze, tmp_path, getkey):
    agent = Agent.create(maze, depth=4, width=16, key=getkey())
    path = tmp_path / "ways.png"
    image = picture(trajectories(maze, agent, path, num_episodes=4, key=getkey(), title="ways"))
    assert image.shape[1] == 900
    assert colours(image) > 50


def test_trajectories_of_an_arm_are_drawn_without_energy(tmp_path, getkey):
    arm = envs.make("reacher", physics="native", episode_length=5)
    assert position_indices(arm, key=getkey()) is None
    agent = Agent.create(arm, depth=4, width=16, key=getkey())
    path = tmp_path / "ways.png"
    picture(trajectories(arm, agent, path, num_episodes=2, key=getkey(), title="ways"))


def test_goals_of_one_number_are_drawn_over_time(tmp_path, getkey):
    agent = Agent.create(Slide(), depth=4, width=16, key=getkey())
    path = tmp_path / "ways.png"
    picture(trajectories(Slide(), agent, path, num_episodes=3, key=getkey(), title="ways"))


def test_the_state_tells_where_position_can_be_overwritten(maze, getkey):
    assert position_indices(maze, key=getkey()) == (0, 1)


def test_the_energy_map_is_the_critic_at_every_place_and_nothing_inside_walls(maze, getkey):
    agent = Agent.create(maze, depth=4, width=16, key=getkey())
    # φ(s, a) is the position and ψ(g) the goal, so the energy is the negative distance.
    parts = lambda agent: (agent.critic.sa_encoder, agent.critic.g_encoder)
    agent = eqx.tree_at(parts, agent, (lambda state, action: state[..., :2], lambda goal: goal))
    goal = np.array([6.0, 2.0], np.float32)
    field = energy_maps.energy_map(maze, agent, goal, maze_bounds(maze), maze.maze, key=getkey())
    assert field is not None
    x, y = np.meshgrid(field.x, field.y)
    free = field.inside
    right = -np.hypot(x - goal[0], y - goal[1])
    np.testing.assert_allclose(field.energy[free], right[free], atol=1e-5)
    middle_wall = (np.abs(x - 4) < 0.8) & (y < 4.8)
    assert np.all(np.isnan(field.energy[middle_wall]))
    assert not np.any(free[middle_wall])


def test_the_coloured_goal_is_the_one_with_the_longest_way(maze, getkey):
    played = record(lambda s, g, key: jnp.zeros((len(s), 2)), maze, 32, key=getkey())
    chosen = energy_maps.far_goal(played, maze.maze)
    # Around the wall and back: nearest to the start as the crow flies, but for one.
    np.testing.assert_allclose(played.goal[0, chosen], [6.0, 2.0])


def test_small_numbers_of_an_axis_are_written_out():
    short = short_numbers()
    labels = [short(x, None) for x in (0, 0.5, 1.5, 14, 600, 1000, 200_000, 1.5e6, -2e3)]
    assert labels == ["0", "0.5", "1.5", "14", "600", "1k", "200k", "1.5M", "\N{MINUS SIGN}2k"]


def test_one_block_has_one_mark():
    """The axis of a network with a single block reads 1, and no 0.6 and 0.8."""
    axes = Figure().subplots()
    block_map(axes, [0, 100], np.ones((2, 1)))
    low, high = axes.get_ylim()
    assert [mark for mark in axes.get_yticks() if low <= mark <= high] == [1]


def test_rows_of_a_map_lie_at_their_own_steps():
    mesh = block_map(Figure().subplots(), [0, 10, 100], np.ones((3, 2)))
    np.testing.assert_allclose(mesh.get_coordinates()[0, :, 0], [0, 10, 100, 190])
