import jax
import numpy as np
import pytest

from crl_eqx import envs, UserError
from crl_eqx.envs.tasks.ant_maze_gen import AntMazeGen


def make(name) -> AntMazeGen:
    env = envs.make(name)
    assert isinstance(env, AntMazeGen)
    return env


@pytest.mark.parametrize("maze", ["u", "u2", "u3", "u4", "u5"])
def test_goals_lie_as_many_cells_along_the_path_as_the_name_says(maze):
    env = make(f"ant_{maze}_maze_gen_1f3f")
    path = env.maze.path()
    place = {cell: number for number, cell in enumerate(path)}
    draw = jax.jit(jax.vmap(lambda key: env.draw(key=key)))(
        jax.random.split(jax.random.key(0), 2000)
    )
    starts = [place[env.maze.cell(xy)] for xy in np.asarray(draw.qpos[:, :2])]
    goals = [place[env.maze.cell(xy)] for xy in np.asarray(draw.goal)]
    apart = np.subtract(goals, starts)
    assert set(apart) == {1, 3}
    assert abs((apart == 1).mean() - 0.5) < 0.05
    assert set(np.asarray(starts)[apart == 3]) == set(range(len(path) - 3))


def test_the_far_end_of_a_path_has_one_pair():
    env = make("ant_u_maze_gen_6f")
    draw = env.draw(key=jax.random.key(0))
    np.testing.assert_allclose(draw.qpos[:2], (4, 4), atol=0.11)
    np.testing.assert_array_equal(draw.goal, (12, 4))


def test_the_split_of_a_generalization_task_has_all_longer_distances():
    assert envs.eval_split("ant_u_maze_gen_1f2f3f") == "ant_u_maze_gen_4f5f6f"
    assert envs.eval_split("ant_u_maze_gen_1f5f") == "ant_u_maze_gen_6f"
    assert envs.eval_split("ant_u_maze_gen_6f") is None
    assert make("ant_u4_maze_gen_10f").distances == (10,)


@pytest.mark.parametrize("cfg", ["7f", "1f0f", "2f2f"])
def test_distances_that_the_path_does_not_have_are_refused(cfg):
    with pytest.raises(UserError, match=r"distinct numbers of cells from 1 to 6, the length of"):
        envs.make(f"ant_u_maze_gen_{cfg}")


def test_a_maze_that_is_no_path_is_refused():
    with pytest.raises(UserError, match="do not form one path"):
        AntMazeGen("big_maze", [1])
    with pytest.raises(UserError, match="no such task"):
        envs.make("ant_big_maze_gen_1f")
