"""`mujoco.mjx`, imported without the message it prints if Warp is missing."""

import contextlib
import io


with contextlib.redirect_stdout(io.StringIO()):
    from mujoco import mjx as mjx
