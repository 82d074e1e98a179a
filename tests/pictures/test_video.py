import dataclasses
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from imageio_ffmpeg import get_ffmpeg_exe
from PIL import Image

from crl_eqx import AbstractGoalEnv, envs, EnvState, UserError
from crl_eqx.pictures import _view3d as view3d, still, video
from crl_eqx.pictures._clips import clips
from crl_eqx.pictures._geoms import Geoms, mujoco
from crl_eqx.pictures._scene import maze_bounds, Record, record


SIZE = (160, 192)


class Plane(AbstractGoalEnv):
    """A place moves to another place; there is no MuJoCo model."""

    state_size: int = 2
    action_size: int = 2
    goal_size: int = 2
    episode_length: int = 30

    def reset(self, *, key):
        return EnvState(None, jnp.zeros(2), jnp.ones(2))

    def step(self, env_state, action):
        return EnvState(None, env_state.state + 0.1 * action, env_state.goal)

    def achieved_goal(self, state):
        return state

    def success(self, state, goal):
        return self.distance(state, goal) < 0.15


def straight(state, goal, key):
    return jnp.clip(goal[..., :2] - state[..., :2], -1, 1)


@pytest.fixture(scope="module")
def maze():
    return envs.make("point_u_maze", physics="native", episode_length=10)


@pytest.fixture
def no_opengl(monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(view3d, "_backends", lambda: ["disable", "osmesa_that_is_not_there"])


@pytest.fixture
def opengl(maze, tmp_path):
    try:
        still(maze, tmp_path / "probe.png", size=(32, 32), view="3d", key=jax.random.key(0))
    except UserError as error:
        pytest.skip(str(error))


def frames(path):
    command = [get_ffmpeg_exe(), "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, SIZE[1], SIZE[0], 3)


def reddish(image):
    """Where the goal's red is."""
    red, green, blue = np.moveaxis(np.asarray(image, int)[..., :3], -1, 0)
    return (red > 140) & (green < 120) & (blue < 120)


def test_a_video_shows_every_episode_one_after_the_other(maze, tmp_path, getkey):
    path = tmp_path / "video.mp4"
    result = video(maze, straight, path, num_episodes=2, size=SIZE, view="2d", key=getkey())
    assert result == (path, "2d", None)
    pictures = frames(path)
    assert len(pictures) >= 2 * 10 * 2  # 10 steps of 0.2 s each, at 20 frames per second
    moved = np.abs(pictures[0].astype(int) - pictures[len(pictures) // 3]).max()
    assert moved > 50


def test_a_gif_is_made_where_the_name_says_so(tmp_path, getkey):
    path = tmp_path / "video.gif"
    video(Plane(), straight, path, num_episodes=1, size=SIZE, key=getkey())
    with Image.open(path) as image:
        assert getattr(image, "n_frames") > 5  # noqa: B009


def test_an_environment_without_a_model_is_drawn_in_2d(tmp_path, getkey):
    path = tmp_path / "video.mp4"
    result = video(Plane(), straight, path, num_episodes=2, size=SIZE, key=getkey())
    assert result == (path, "2d", None)
    assert reddish(frames(path)[0]).any()


def test_an_environment_without_a_model_has_no_3d(tmp_path, getkey):
    with pytest.raises(UserError, match="Plane has no MuJoCo model"):
        video(Plane(), straight, tmp_path / "video.mp4", size=SIZE, view="3d", key=getkey())


def test_without_opengl_the_video_is_2d_and_a_sentence_names_the_package(
    maze, no_opengl, tmp_path, capfd, getkey
):
    path = tmp_path / "video.mp4"
    path, view, note = video(maze, straight, path, num_episodes=1, size=SIZE, key=getkey())
    assert view == "2d"
    assert note is not None and "libosmesa6" in note
    assert path.stat().st_size > 1000
    assert capfd.readouterr() == ("", "")


def test_what_the_user_set_is_named_when_it_gives_no_opengl(maze, tmp_path, monkeypatch, getkey):
    monkeypatch.setenv("MUJOCO_GL", "disable")
    with pytest.raises(UserError, match="MUJOCO_GL=disable"):
        still(maze, tmp_path / "still.png", view="3d", key=getkey())


def test_a_driver_that_breaks_off_gives_a_whole_2d_video(maze, tmp_path, monkeypatch, getkey):
    blank = np.zeros((SIZE[1] - 32, SIZE[0], 3), np.uint8)
    monkeypatch.setattr(view3d, "_stream", lambda *_: iter([blank, blank]))
    path = tmp_path / "video.mp4"
    path, view, _ = video(maze, straight, path, num_episodes=1, size=SIZE, key=getkey())
    assert view == "2d"
    pictures = frames(path)
    assert len(pictures) >= 20 and pictures[0][:100].mean() > 60


def test_3d_shows_the_goal_and_prints_nothing(maze, opengl, tmp_path, capfd, getkey):
    path = still(maze, tmp_path / "still.png", size=(160, 160), view="3d", key=getkey())
    image = Image.open(path)
    assert image.size == (160, 160)
    assert reddish(image).sum() > 20
    assert capfd.readouterr() == ("", "")


def test_3d_makes_a_video(maze, opengl, tmp_path, getkey):
    path = tmp_path / "video.mp4"
    result = video(maze, straight, path, num_episodes=1, size=SIZE, view="auto", key=getkey())
    assert result == (path, "3d", None)
    pictures = frames(path)
    assert np.abs(pictures[0].astype(int) - pictures[20]).max() > 50


def test_a_still_shows_the_goal_in_its_place(maze, tmp_path):
    key = jax.random.key(1)
    goal = maze.reset(key=jax.random.split(key, 1)[0]).goal
    image = Image.open(still(maze, tmp_path / "still.png", size=(300, 300), view="2d", key=key))
    rows, columns = np.nonzero(reddish(image))
    # The middle of the maze is the middle of the picture; y is up.
    bounds = maze_bounds(maze)
    assert bounds is not None
    pixels = 300 / ((bounds[1, 0] - bounds[0, 0]) * 1.12)
    right = 150 + (np.asarray(goal) - bounds.mean(axis=0)) * pixels * np.array([1, -1])
    np.testing.assert_allclose([columns.mean(), rows.mean()], right, atol=1.5)


def test_the_bounds_of_a_maze_follow_its_origin():
    env = envs.make("ant_push", physics="native")
    np.testing.assert_array_equal(maze_bounds(env), [[-6, -6], [22, 22]])


def test_a_path_that_cannot_be_written_is_named(tmp_path, getkey):
    with pytest.raises(OSError, match="nowhere"):
        video(Plane(), straight, tmp_path / "nowhere" / "video.mp4", size=SIZE, key=getkey())


def test_odd_sizes_are_refused(tmp_path, getkey):
    with pytest.raises(UserError, match="must be even"):
        video(Plane(), straight, tmp_path / "video.mp4", size=(321, 240), key=getkey())


@pytest.fixture(scope="module")
def walked() -> Record:
    return record(straight, Plane(), 1, key=jax.random.key(0))


def test_a_clip_ends_a_while_after_its_goal_is_reached(walked):
    (clip,) = clips(walked, control_dt=None, fps=20)
    first = int(np.argmax(walked.success[:, 0]))
    assert clip.step[-1] == first + int(0.08 * 31) < 30
    assert not clip.reached[0] and clip.reached[-1]
    assert clip.length == 30


def test_a_clip_plays_in_real_time_and_moves_between_steps(walked):
    (clip,) = clips(walked, control_dt=0.2, fps=20)
    np.testing.assert_allclose(clip.step[:5], [0, 0.25, 0.5, 0.75, 1])
    halfway = (walked.position[0, 0] + walked.position[1, 0]) / 2
    np.testing.assert_allclose(clip.position[2], halfway)


def test_long_episodes_are_played_faster(walked):
    slow = dataclasses.replace(walked, success=np.zeros_like(walked.success))
    (clip,) = clips(slow, control_dt=10.0, fps=20)
    assert len(clip) <= 6 * 20 + 2
    assert clip.step[-1] == 30


def test_an_episode_that_ends_at_once_is_still_a_clip(walked):
    (clip,) = clips(dataclasses.replace(walked, length=np.array([0])), control_dt=0.1, fps=20)
    assert len(clip) >= 1


BODIES = """
<mujoco><worldbody>
  <geom type="plane" size="1 1 1"/>
  <geom name="box" type="box" size="1 2 3" pos="5 0 0" euler="0 0 90"/>
  <body><freejoint/>
    <geom name="capsule" type="capsule" size="0.5" fromto="0 0 0 2 0 0"/>
    <geom name="cylinder" type="cylinder" size="0.7 2"/>
    <geom name="ellipsoid" type="ellipsoid" size="1 2 3"/>
    <geom name="hidden" type="sphere" size="9" rgba="1 1 1 0"/>
  </body>
</worldbody></mujoco>
"""


def test_footprints_are_what_one_sees_from_above():
    model = mujoco.MjModel.from_xml_string(BODIES)
    geoms = Geoms(model)
    assert len(geoms) == 4 and list(geoms.fixed) == [0]
    places, turns = geoms.poses(model.qpos0[None])
    right = [((3, -1), (7, 1)), ((-0.5, -0.5), (2.5, 0.5)), ((-0.7, -0.7), (0.7, 0.7))]
    for index, (low, high) in enumerate([*right, ((-1, -2), (1, 2))]):
        corners = geoms.footprint(index, places[0, index], turns[0, index])
        np.testing.assert_allclose(corners.min(axis=0), low, atol=0.01)
        np.testing.assert_allclose(corners.max(axis=0), high, atol=0.01)


@pytest.mark.parametrize("azimuth, elevation", [(90.0, -60.0), (200.0, -20.0)])
def test_the_camera_sees_every_point(azimuth, elevation):
    points = np.random.default_rng(0).normal(size=(50, 3)) * (9, 4, 1) + (3, -2, 1)
    tangents = np.array([0.5, 0.4])
    camera = view3d._fit(points, tangents, azimuth, elevation)
    turn, tilt = np.radians(azimuth), np.radians(elevation)
    # As MuJoCo documents its free camera.
    away = np.array([np.cos(tilt) * np.cos(turn), np.cos(tilt) * np.sin(turn), np.sin(tilt)])
    right = np.array([np.sin(turn), -np.cos(turn), 0])
    seen = points - (camera[:3] - camera[3] * away)
    across, upright = (seen @ right) / (seen @ away), (seen @ np.cross(right, away)) / (seen @ away)
    used = max(np.abs(across).max() / tangents[0], np.abs(upright).max() / tangents[1])
    assert 0.95 < used < 1.02


HIDDEN = """
<mujoco><worldbody><geom type="plane" size="1 1 1"/><body name="cart">
<joint name="x" type="slide" damping="1"/>GEOM<site name="tip"/></body></worldbody>
<actuator><motor joint="x"/></actuator></mujoco>
"""


@pytest.mark.parametrize(
    "geom", ['<geom size="0.1" group="3"/>', '<inertial pos="0 0 0" mass="1" diaginertia="1 1 1"/>']
)
def test_a_model_that_shows_nothing_by_default_is_drawn_all_the_same(geom, tmp_path):
    task = envs.MujocoGoalEnv(
        mujoco.MjSpec.from_string(HIDDEN.replace("GEOM", geom)),
        joints=["x"],
        draw_goal=lambda key: jax.random.uniform(key, (1,)),
        threshold=0.1,
        episode_length=5,
        physics="native",
    )
    push = lambda state, goal, key: jnp.ones(state.shape[:-1] + (1,))
    made = video(task, push, tmp_path / "x.gif", num_episodes=1, size=SIZE, key=jax.random.key(0))
    assert made.path.stat().st_size > 500
