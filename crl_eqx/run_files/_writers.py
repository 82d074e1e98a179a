"""Where metrics go: a JSON line each, TensorBoard, and Weights & Biases if asked."""

import contextlib
import dataclasses
import json
import math
import os
import time
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable, TypeAlias

import numpy as np

from .._errors import UserError
from ..config import Config, SWEEP
from ..store._files import own_directory, read_regular, replace_file


Row: TypeAlias = Mapping[str, Any]
"""Numbers, text and lists of numbers by name; `env_steps` is always among them."""


@runtime_checkable
class Writer(Protocol):
    def write(self, row: Row) -> None: ...
    def close(self) -> None: ...


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a `metrics.jsonl`; a last line that a kill cut short is left out, and so are,
    with a warning, lines that are damaged.

    **Raises:** `UserError` if it cannot be read.
    """
    rows: list[dict[str, Any]] = []
    if not path.exists():
        return rows
    try:
        lines, damaged = read_regular(path).splitlines(), []
    except OSError as error:
        raise UserError(f"`{path}` cannot be read: {error.strerror}.") from error
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            if not _is_row(row):
                raise ValueError("no row of metrics")
        except (ValueError, RecursionError):  # of which JSON's and Unicode's are kinds
            if number < len(lines) or line.endswith(b"}"):
                damaged.append(number)
            continue
        rows.append(row)
    if damaged:
        which = ", ".join(map(str, damaged[:5])) + (" and more" if len(damaged) > 5 else "")
        warnings.warn(f"`{path}`: damaged lines are left out: {which}.", stacklevel=2)
    return rows


def _is_row(row: Any) -> bool:
    """Numbers by name, `env_steps` among them; under `health/` also a word, and lists."""
    if not isinstance(row, dict) or not isinstance(row.get("env_steps"), int):
        return False
    return all(isinstance(x, int | float) for name, x in row.items() if name[:7] != "health/")


class JsonLines:
    """Appends to `metrics.jsonl`, after dropping what a resumed run is about to write again."""

    def __init__(self, path: Path, *, after: int):
        kept = [row for row in read_metrics(path) if row["env_steps"] <= after]
        text = "".join(json.dumps(row) + "\n" for row in kept)
        replace_file(path, text.encode())  # and so no link any more
        self._file = path.open("a", buffering=1)

    def write(self, row: Row) -> None:
        self._file.write(json.dumps(row) + "\n")

    def sync(self) -> None:
        """Until what was written is on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def _scalars(row: Row) -> dict[str, float]:
    """What a chart can show: numbers, and the extremes of lists of numbers."""
    scalars: dict[str, float] = {}
    for name, value in row.items():
        if isinstance(value, Sequence) and not isinstance(value, str) and value:
            scalars |= {f"{name}/min": min(value), f"{name}/max": max(value)}
        elif isinstance(value, int | float) and math.isfinite(value):
            scalars[name] = float(value)
    return scalars


def _lists(row: Row) -> dict[str, Sequence[float]]:
    """Lists of finite numbers, one for each block of a network."""
    lists = {name: value for name, value in row.items() if isinstance(value, list) and value}
    return {name: value for name, value in lists.items() if all(map(math.isfinite, value))}


def _verdict(row: Row) -> str:
    """The verdict with its reason, as a line of text."""
    word = row.get("health/verdict", "")
    return f"{word}: {row.get('health/reason', '')}" if word else ""


class TensorBoard:
    """Event files under `tensorboard/`; what a resumed run writes again replaces the old.

    Written at once: `SummaryWriter` writes in its own thread, where a full disk goes unnoticed.
    """

    def __init__(self, path: Path, *, after: int):
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2
        from tensorboardX.summary import histogram, scalar, text

        proto: Any = event_pb2  # whose classes are made when it is imported
        self._event, self._scalar = proto.Event, scalar
        self._histogram, self._text = histogram, text
        name = f".{uuid.uuid4().hex}"  # which nobody can have foreseen, nor made a link of
        self._writer = EventsWriter(str(path / "events"), name)
        start = proto.SessionLog(status=proto.SessionLog.START)
        self._write(self._event(session_log=start, step=after + 1))

    def write(self, row: Row) -> None:
        summaries = [self._scalar(name, value) for name, value in _scalars(row).items()]
        for name, values in _lists(row).items():
            summaries.append(self._histogram(name, np.array(values), bins=len(values)))
        if said := _verdict(row):
            summaries.append(self._text("health/verdict", said))
        for summary in summaries:
            self._write(self._event(summary=summary, step=row["env_steps"]))
        self._writer.flush()

    def _write(self, event: Any) -> None:
        event.wall_time = time.time()
        self._writer.write_event(event)

    def close(self) -> None:
        self._writer.close()


def _sweep_of(run_dir: Path) -> str | None:
    """The name of the sweep that a run belongs to."""
    whole = run_dir.resolve().parent
    return whole.name if (whole / SWEEP).is_file() else None


class WeightsAndBiases:
    """One W&B run per run directory; the id that it goes on under is kept there."""

    def __init__(self, run_dir: Path, config: Config):
        import wandb  # pyright: ignore[reportMissingImports]

        self._histogram = wandb.Histogram
        kept = run_dir / "wandb_id.txt"
        if not kept.exists():
            replace_file(kept, uuid.uuid4().hex.encode())
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or "crl-eqx",
            group=config.logging.wandb_group or _sweep_of(run_dir),
            id=read_regular(kept, 1000).decode(),
            name=run_dir.as_posix().replace("/", "-"),
            resume="allow",
            config=json.loads(json.dumps(dataclasses.asdict(config), default=str)),
            dir=str(run_dir),
        )

    def write(self, row: Row) -> None:
        blocks = {f"{name}/blocks": self._histogram(v) for name, v in _lists(row).items()}
        self._run.log(_scalars(row) | blocks, step=row["env_steps"])
        if said := _verdict(row):
            self._run.summary["health/verdict"] = said

    def close(self) -> None:
        self._run.finish()


class Writers:
    """All that `config` asks for; rows beyond `after` environment steps are dropped: all of them
    if it is negative.

    What the system refuses (a full disk) is one `UserError`, whichever writer it was.
    """

    def __init__(self, run_dir: Path, config: Config, *, after: int):
        self._run_dir = run_dir
        self._writers: list[Writer] = []
        with self._told():
            self._rows = JsonLines(run_dir / "metrics.jsonl", after=after)
            self._writers.append(self._rows)
            if config.logging.tensorboard:
                folder = own_directory(run_dir / "tensorboard")
                self._writers.append(TensorBoard(folder, after=after))
            if config.logging.wandb:
                self._writers.append(WeightsAndBiases(run_dir, config))

    def write(self, row: Row) -> None:
        with self._told():
            for writer in self._writers:
                writer.write(row)

    def sync(self) -> None:
        """Until the rows written so far are on the disk."""
        with self._told():
            self._rows.sync()

    def close(self) -> None:
        for writer in self._writers:
            with contextlib.suppress(OSError):  # what it still held was told when it was written
                writer.close()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.close()
            raise UserError(
                f"The metrics of `{self._run_dir}` could not be written: {error.strerror}; its "
                f"checkpoints are untouched, and resuming goes on from the last of them."
            ) from error
