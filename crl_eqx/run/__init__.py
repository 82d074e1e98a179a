"""The loop that a person starts: configuration, progress, metrics, checkpoints, pictures."""

import importlib
from typing import Any, TYPE_CHECKING

from .._errors import TrainingError as TrainingError
from ..parts import (
    check as check,
    check_counts as check_counts,
    check_needs as check_needs,
    make_acting as make_acting,
    make_agent as make_agent,
    make_env as make_env,
    make_far as make_far,
    on_this_machine as on_this_machine,
    OWNERS as OWNERS,
    resolved as resolved,
    sizes as sizes,
)
from ..store import CheckpointStore as CheckpointStore
from ..store._files import refuse_link as refuse_link, require_writable as require_writable
from ._begin import (
    check_saved_under as check_saved_under,
    copy_task_files as copy_task_files,
    load_run as load_run,
    resumed_config as resumed_config,
)
from ._deterministic import ask_for_determinism as ask_for_determinism
from ._export import description as description, export_policy as export_policy
from ._finish import draw_run as draw_run
from ._journal import (
    episodes_played as episodes_played,
    evaluated as evaluated,
    failure_in as failure_in,
)
from ._loop import Outcome as Outcome
from ._meter import time_spent as time_spent
from ._other_run import other_runs as other_runs, require_comparing as require_comparing
from ._resources import (
    estimate as estimate,
    Needs as Needs,
    short_of_memory as short_of_memory,
)
from ._run import Run as Run
from ._stopping import reason_to_stop as reason_to_stop
from ._train import (
    check_alike as check_alike,
    train as train,
    train_together as train_together,
)


if TYPE_CHECKING:
    from ._draw import (
        draw_curve as draw_curve,
        draw_pictures as draw_pictures,
        draw_task as draw_task,
        still as still,
    )


_PICTURES = ("draw_curve", "draw_pictures", "draw_task", "still")


def __getattr__(name: str) -> Any:
    """Only pictures need matplotlib and Pillow, which take half a second to import."""
    if name not in _PICTURES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("._draw", __name__), name)
