"""`mujoco.mjx`, imported without what it prints at everybody who has no Warp."""

import contextlib
import io


with contextlib.redirect_stdout(io.StringIO()):
    from mujoco import mjx as mjx
