"""What a run leaves to look at when it has ended."""

from collections.abc import Callable
from pathlib import Path

from .._errors import first_line
from ..config import Config


def draw_run(config: Config, run_dir: Path, say: Callable[[str], None]) -> bool:
    """Draws the curve of a run that has ended and, if it is asked for, its trajectories and a
    video; says where they are.

    **Returns:** whether it could. The run is done and saved either way, and an error is only said.
    """
    try:
        from ._draw import draw_curve, draw_pictures  # not before: a run needs no matplotlib

        curve = draw_curve([run_dir], run_dir / "plots" / "learning_curve.png")
        say(f"learning curve   {curve}")
        if config.logging.pictures:
            for sentence in draw_pictures(run_dir):
                say(sentence)
    except Exception as error:  # of MuJoCo, OpenGL or a video's codec, too
        say(f"The pictures could not be drawn: {first_line(error).rstrip('.')}.")
        return False
    return True
