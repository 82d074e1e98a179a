"""The loop that a person starts: configuration, progress, metrics, checkpoints, pictures."""

import importlib
from typing import Any, TYPE_CHECKING

from .._errors import TrainingError as TrainingError
from ..store import CheckpointStore as CheckpointStore
from ..store._files import refuse_link as refuse_link, require_writable as require_writable
from ._begin import (
    check_configuration as check_configuration,
    load_run as load_run,
    resumed_config as resumed_config,
)
from ._build import (
    make_acting as make_acting,
    make_env as make_env,
    resolved as resolved,
    sizes as sizes,
)
from ._check import check as check, check_call as check_call
from ._choices import (
    choice_of as choice_of,
    differences as differences,
    experiment_flags as experiment_flags,
    file_name as file_name,
    replaced as replaced,
)
from ._config import (
    ActingName as ActingName,
    Compute as Compute,
    CONFIG as CONFIG,
    Config as Config,
    SWEEP as SWEEP,
)
from ._config_file import (
    as_config as as_config,
    load_config as load_config,
    read_config as read_config,
    save_config as save_config,
    write_config as write_config,
)
from ._directory import (
    alone as alone,
    default_run_dir as default_run_dir,
    keep_files as keep_files,
    prepare_run_dir as prepare_run_dir,
)
from ._export import description as description, export_policy as export_policy
from ._loop import Outcome as Outcome, train as train
from ._presets import PRESETS as PRESETS
from ._provenance import provenance as provenance, read_provenance as read_provenance
from ._resources import estimate as estimate, Needs as Needs
from ._run import Run as Run
from ._trust import (
    remember as remember,
    require_trust as require_trust,
    trusting as trusting,
    with_whole_path as with_whole_path,
)
from ._writers import read_metrics as read_metrics


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
