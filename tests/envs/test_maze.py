import functools

import jax
import numpy as np
import pytest

from crl_eqx import UserError
from crl_eqx.envs import make, Maze
from crl_eqx.envs._maze import MAZES
from crl_eqx.envs.tasks import ant_maze, humanoid_maze


@pytest.mark.parametrize("layout", MAZES)
def test_wall_boxes_cover_every_wall_cell_exactly_once_and_nothing_else(layout):
    maze = Maze(MAZES[layout], 3.0)
    covered = np.zeros((len(maze.rows), len(maze.rows[0])), int)
    for i, j in np.ndindex(*covered.shape):
        for box in maze.walls:
            inside = np.abs(np.array(maze.centre((i, j))) - box.centre) < box.half_size
            covered[i, j] += inside.all()
    walls = np.array([[kind == "#" for kind in row] for row in maze.rows])
    np.testing.assert_array_equal(covered, walls.astype(int))
    total = sum(4 * box.half_size[0] * box.half_size[1] for box in maze.walls)
    assert total == pytest.approx(walls.sum() * 9.0)


@pytest.mark.parametrize("layout, boxes", {"u_maze": 5, "big_maze": 12, "hardest_maze": 15}.items())
def test_walls_are_merged_into_few_boxes(layout, boxes):
    assert len(Maze(MAZES[layout], 1.0).walls) <= boxes


@pytest.mark.parametrize("layout", [name for name in MAZES if name.endswith("_eval")])
def test_a_far_split_is_the_same_maze_with_some_of_its_goals(layout):
    trained = Maze(MAZES[layout.removesuffix("_eval").removesuffix("_single")], 1.0)
    far = Maze(MAZES[layout], 1.0)
    assert set(far.cells("G")) < set(trained.cells("G"))
    assert far.cells("#") == trained.cells("#") and far.cells("R") == trained.cells("R")


def test_rows_are_x_and_columns_are_y():
    maze = Maze(("###", "#R#", "#.#", "#G#", "###"), 2.0)
    assert maze.starts == ((2.0, 2.0),) and maze.goals == ((6.0, 2.0),)


def test_goals_can_be_taken_out():
    maze = Maze.named("big_maze_eval", 4.0, [(2, 5)])
    assert maze.rows[2] == "#..#..G#"
    assert len(maze.goals) == len(Maze.named("big_maze_eval", 4.0).goals) - 1


def test_taking_out_a_cell_that_is_no_goal_names_those_that_are():
    with pytest.raises(UserError, match=r"\(1, 1\) is no goal cell of u_maze; those are \(1, 2\)"):
        Maze.named("u_maze", 4.0, [(1, 1)])


@pytest.mark.parametrize("layout", MAZES)
def test_every_goal_can_be_reached_from_the_start(layout):
    maze = Maze(MAZES[layout], 1.0)
    reached, queue = set(maze.cells("R")), [*maze.cells("R")]
    for i, j in queue:
        near = {(i, j + 1), (i + 1, j), (i, j - 1), (i - 1, j)} & set(maze.cells("RG."))
        queue += near - reached
        reached |= near
    assert set(maze.cells("G")) <= reached and len(maze.cells("R")) == 1


@pytest.mark.parametrize("layout, cells", {"u_maze": 7, "u4_maze": 11, "u5_maze": 17}.items())
def test_a_path_visits_every_free_cell_once_step_by_step(layout, cells):
    maze = Maze(MAZES[layout], 1.0)
    path = np.asarray(maze.path())
    assert len(path) == cells and tuple(path[0]) in maze.cells("R")
    assert {tuple(cell) for cell in path.tolist()} == set(maze.cells("RG."))
    np.testing.assert_array_equal(np.abs(np.diff(path, axis=0)).sum(1), 1)


def test_random_starts_are_a_share():
    for share in (-0.1, 1.5, float("nan")):
        sentence = rf"`random_starts={share}` must lie in \[0, 1\]"
        with pytest.raises(UserError, match=sentence):
            Maze.named("u_maze", 4.0, random_starts=share)
        for name in ("point_u_maze", "ant_u_maze", "humanoid_u_maze"):
            with pytest.raises(UserError, match=sentence):
                make(name, random_starts=share)


DRAWS = 20_000


@functools.cache
def cells_of(name, share):
    """How often each cell is a start, and how often a goal, over many draws."""
    env = make(name, random_starts=share, physics="native")
    draw = jax.jit(jax.vmap(lambda key: env.draw(key=key)))(
        jax.random.split(jax.random.key(0), DRAWS)
    )
    sizes = len(env.maze.rows), len(env.maze.rows[0])
    counts = []
    for places in (draw.qpos[:, :2], draw.goal[:, :2]):
        cells = env.maze.nearest_cells(np.asarray(places))
        counts.append(np.bincount(np.ravel_multi_index(cells.T, sizes), minlength=np.prod(sizes)))
    return env.maze, *(np.reshape(count, sizes) / DRAWS for count in counts)


def assert_near(shares, expected):
    """To four standard errors."""
    assert (np.abs(shares - expected) <= 4 * np.sqrt(expected * (1 - expected) / DRAWS)).all()


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("name", ["point_big_maze", "ant_big_maze", "humanoid_big_maze"])
def test_a_share_of_the_episodes_starts_in_any_free_cell(name, share):
    maze, starts, _ = cells_of(name, share)
    free = np.array([[kind != "#" for kind in row] for row in maze.rows])
    first = np.array([[kind == "R" for kind in row] for row in maze.rows])
    expected = share * free / free.sum() + (1 - share) * first
    assert free.sum() == 26 and first.sum() == 1
    assert_near(starts, expected)
    np.testing.assert_array_equal(starts > 0, free if share else first)


@pytest.mark.parametrize("name", ["point_big_maze", "ant_big_maze", "humanoid_big_maze"])
def test_random_starts_leave_the_goals_as_they_were(name):
    maze, _, goals = cells_of(name, 1.0)
    lettered = np.array([[kind == "G" for kind in row] for row in maze.rows])
    assert_near(goals, lettered / lettered.sum())
    _, _, before = cells_of(name, 0.0)
    np.testing.assert_array_equal(goals, before)  # by the same keys the same


def test_starts_at_random_and_goals_are_drawn_apart():
    env = make("point_u_maze", random_starts=1.0, physics="native")
    draw = jax.jit(jax.vmap(lambda key: env.draw(key=key)))(
        jax.random.split(jax.random.key(1), DRAWS)
    )
    pairs = np.concatenate([draw.qpos, draw.goal], axis=1)
    cells = env.maze.nearest_cells(pairs.reshape(-1, 2, 2)).reshape(-1, 4)
    _, counts = np.unique(cells, axis=0, return_counts=True)
    assert len(counts) == 7 * 6
    assert_near(counts / DRAWS, np.full(42, 1 / 42))


def test_a_maze_keeps_a_goal():
    with pytest.raises(UserError, match="leaves no goal of u_maze_single_eval"):
        Maze.named("u_maze_single_eval", 4.0, [(3, 1)])


def test_an_origin_shifts_cells_and_walls_alike():
    rows = ("###", "#R#", "#G#", "###")
    plain, shifted = Maze(rows, 2.0), Maze(rows, 2.0, (10.0, -1.0))
    assert shifted.starts == ((12.0, 1.0),) and shifted.cell(np.asarray([12.4, 0.2])) == (1, 1)
    for box, moved in zip(plain.walls, shifted.walls, strict=True):
        np.testing.assert_allclose(np.subtract(moved.centre, box.centre), (10.0, -1.0))
        assert moved.half_size == box.half_size


def test_steps_along_a_path_count_its_cells():
    maze = Maze(MAZES["u5_maze"], 1.0)
    path = maze.path()
    assert maze.steps_from(path[0]) == {cell: steps for steps, cell in enumerate(path)}
    both = maze.steps_from(path[0], path[-1])
    assert both[path[1]] == both[path[-2]] == 1 and max(both.values()) == 8


@pytest.mark.parametrize("layout", [name for name in MAZES if not name.endswith("_eval")])
@pytest.mark.parametrize("task, reach", [(ant_maze, 1.3), (humanoid_maze, 1.5)])
def test_no_robot_reaches_more_walls_at_once_than_mjx_looks_at(layout, task, reach):
    maze = Maze(MAZES[layout], task.SCALE)
    offsets = np.linspace(-0.5, 0.5, 41) * maze.scale
    square = np.stack(np.meshgrid(offsets, offsets), axis=-1).reshape(-1, 2)
    places = np.asarray([maze.centre(cell) for cell in maze.cells("RG.")])[:, None] + square[None]
    centres, halves = (np.asarray(x) for x in zip(*maze.walls, strict=True))
    apart = np.abs(places[:, :, None] - centres[None, None]) - halves[None, None]
    within = np.linalg.norm(np.maximum(apart, 0.0), axis=-1) < reach
    assert within.sum(-1).max() <= task.NEAR_WALLS
