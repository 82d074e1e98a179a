"""`crl-eqx sweep`, `crl-eqx ladder` and `crl-eqx ablate`."""

import contextlib
import dataclasses
import time
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from rich.console import Console
from rich.live import Live

from .._errors import UserError
from ..config import Config, file_name, flag, SWEEP
from ..lab import (
    ablations,
    begin_sweep,
    check_programs,
    conclusions,
    FAILURE,
    load_sweep,
    METRIC,
    PARTS,
    read_results,
    report,
    Resources,
    submit_sweep,
    Sweep,
    table,
    train_sweep,
    undone_if_refused,
    update_sweep,
)
from ..run import resolved, resumed_config
from ..run_files import require_trust, with_absolute_path
from ._allowance import cluster, hours_that_cost
from ._flags import program, whole_flag
from ._train import (
    check_together,
    finish_run,
    parse_config,
    preset_of,
    take_flag,
    take_value,
    TOGETHER,
)


EVERY = 5.0  # seconds between two looks at all runs
USUAL_PARTS = "stabilizers", "width", "networks"

_COMMON = """
  --seeds     seeds of each, 0 to N - 1 (default 1)
  -j          runs at a time, each in a process of its own (default 1)
  --together  trains the seeds of each in one program: for GPUs; with -j, programs at a time
  --max-cost  of each run, at --price-per-hour: its --max-hours are what that buys
  --run-dir   where to (default runs/ENV_{command})
  --on        local (default), or slurm: submits a job for each run and returns; with it
              --partition, --account, --minutes (per job, default 1440: then it saves and queues
              again), --gpus, --cpus and --memory-gb of each job

The same command again goes on where it was stopped and repeats nothing; with more seeds, or more
of what differs, it trains what is new. Budget, evaluation, logging and how networks are computed
may change. All other options are those of `crl-eqx train`.
`crl-eqx report RUN-DIR` says what came out."""

HELP = {
    "sweep": """usage: crl-eqx sweep --over NAME=VALUE,VALUE ... [--seeds N] [-j N] [options]

Trains every combination of some choices.

  --over      choices, named as their flags: depth=4,16 discount=0.97,0.99"""
    + _COMMON.format(command="sweep"),
    "ladder": """usage: crl-eqx ladder --depths D,D ... [--seeds N] [-j N] [options]

Trains several depths.

  --depths    Dense layers of every network, multiples of 4, such as 4,16,64"""
    + _COMMON.format(command="ladder"),
    "ablate": f"""usage: crl-eqx ablate [--parts PART PART ...] [--seeds N] [-j N] [options]

Trains the full model, and next to it each change of some parts, alone, with the same budget.

  --parts     of {", ".join(PARTS)}, or all
              (default {" ".join(USUAL_PARTS)})"""
    + _COMMON.format(command="ablate"),
}


def sweep(arguments: Sequence[str], console: Console) -> int:
    return _run("sweep", arguments, console)


def ladder(arguments: Sequence[str], console: Console) -> int:
    return _run("ladder", arguments, console)


def ablate(arguments: Sequence[str], console: Console) -> int:
    return _run("ablate", arguments, console)


_FLAG = {"sweep": "--over", "ladder": "--depths", "ablate": "--parts"}
"""Which flag says what differs."""


class Planned(NamedTuple):
    """What a command asks for."""

    sweep: Sweep
    run_dir: Path
    jobs: int
    together: bool
    cluster: Resources | None = None
    """Under `--on slurm`."""


def planned(command: str, arguments: Sequence[str]) -> Planned:
    """Reads the arguments of `sweep`, `ladder` or `ablate`.

    **Raises:** `UserError` for what cannot be read.
    """
    words, rest = _words_after(arguments, _FLAG[command])
    if command == "ablate":
        words = words or list(USUAL_PARTS)
    if not words:
        needs = "--depths 4,16" if command == "ladder" else "--over depth=4,16"
        raise UserError(f"`crl-eqx {command}` needs to know what differs, such as `{needs}`.")
    axes: dict[str, tuple[Any, ...]] = _axes(words) if command == "sweep" else {}
    if command == "ladder":
        depths = tuple(whole_flag("--depths", word) for word in words)
        axes["depth"] = _distinct(f"--depths {','.join(words)}", depths)
    seeds, rest = _count(rest, "--seeds")
    jobs, rest = _count(rest, "-j")
    together, rest = take_flag(rest, TOGETHER)
    asked, rest = cluster(rest)
    if asked is not None and jobs > 1:
        raise UserError(f"`-j {jobs}` is about this machine: with `--on slurm` each run is a job.")
    hours, rest = hours_that_cost(rest)
    flags = {word.partition("=")[0].replace("_", "-") for word in rest}
    for name in axes:
        if flags & {flag(name), flag(f"no_{name}")}:
            raise UserError(
                f"`{flag(name)}` is what differs between the runs: leave it to `{_FLAG[command]}`."
            )
    # What differs takes the place of what a preset says, as flags do.
    preset = preset_of([*rest, *(f"{flag(name)}={values}" for name, values in axes.items())])
    config, given = parse_config(rest, preset, command)
    if hours is not None:
        least = min(hours, config.max_hours or hours)
        config = dataclasses.replace(config, max_hours=least)
    if given != (0,):
        raise UserError(
            f"`crl-eqx {command}` counts seeds itself: say `--seeds 3` in place of `--seed`."
        )
    check_together(together, seeds, "--seeds 3")
    run_dir = config.run_dir or Path("runs") / f"{file_name(config.env)}_{command}"
    variants = {}
    if command == "ablate":
        parts = list(PARTS) if words == ["all"] else words
        placed = dataclasses.replace(resolved(config), run_dir=run_dir.resolve())
        variants = ablations(placed, parts)
    sweep = Sweep(config, axes | {"seed": tuple(range(seeds))}, variants)
    return Planned(sweep, run_dir, jobs, together, asked)


def _run(command: str, arguments: Sequence[str], console: Console) -> int:
    if set(arguments) & {"-h", "--help"}:
        print(HELP[command])
        return 0
    sweep, run_dir, jobs, together, resources = planned(command, arguments)
    if (run_dir / SWEEP).is_file():
        found = load_sweep(run_dir)
        _refuse_another(found, sweep, run_dir)
        require_trust(found.config, run_dir)
        asked = dataclasses.replace(sweep.config, run_dir=found.config.run_dir)  # it may have moved
        call = f"crl-eqx {command} --run-dir {run_dir}"
        config = resumed_config(found.config, with_absolute_path(asked), call)
        # What a variant names may have moved, too; what is new comes from here.
        sweep = Sweep(config, sweep.axes, {**sweep.variants, **found.variants})
        check_programs(sweep.runs, together=together)
        update_sweep(sweep, run_dir)
    else:
        check_programs(sweep.runs, together=together)
        sweep = begin_sweep(sweep, run_dir, console)
    if resources is not None:
        submitted = submit_sweep(sweep, run_dir, resources, together=together)
        for name, job in submitted.items():
            console.print(f"{name}: job {job.job_id}", highlight=False)
        told = "Submitted; so far" if submitted else "Nothing to submit: all runs are complete"
        after = f"{told}: {program()} report {run_dir}"
        console.print(after, highlight=False, soft_wrap=True)
        return 0
    say = lambda outcome, config: finish_run(outcome, config, console, whole=run_dir)
    with undone_if_refused(sweep, run_dir), _watching(sweep, run_dir, console, jobs) as watch:
        code = train_sweep(
            sweep, run_dir, console, jobs=jobs, together=together, finish=say, watch=watch
        )
    tell = lambda said: console.print(said, highlight=False, soft_wrap=True)
    if code not in (0, FAILURE):
        tell(f"Stopped: the same command goes on. So far: {program()} report {run_dir}")
        return code
    try:
        page = report(run_dir)
    except (OSError, UserError, ImportError) as error:
        tell(f"The report could not be written: {error}")
        return code
    tell("")
    for sentence in conclusions(read_results(run_dir), METRIC):
        tell(sentence)
    tell(f"report           {page}")
    return code


@contextlib.contextmanager
def _watching(
    sweep: Sweep, run_dir: Path, console: Console, jobs: int
) -> Iterator[Callable[[], None]]:
    """While open, the function given keeps a table of the runs up to date: of several jobs at a
    terminal it stands below what is printed; otherwise it is printed after each run."""
    if jobs == 1:
        yield lambda: console.print(table(sweep, run_dir))
    elif not console.is_terminal:
        yield lambda: None
        console.print(table(sweep, run_dir))
    else:
        with Live(console=console, auto_refresh=False) as live:
            seen = 0.0

            def watch() -> None:
                nonlocal seen
                if time.monotonic() - seen > EVERY:
                    seen = time.monotonic()
                    live.update(table(sweep, run_dir), refresh=True)

            yield watch
            live.update(table(sweep, run_dir), refresh=True)


def _words_after(arguments: Sequence[str], flag: str) -> tuple[list[str], list[str]]:
    """Takes `flag WORD WORD ...`, up to the next flag, out of the arguments."""
    joined = f"{flag}="
    arguments = [
        part
        for word in arguments
        for part in (word.split("=", 1) if word.startswith(joined) else [word])
    ]
    if flag not in arguments:
        return [], list(arguments)
    start = arguments.index(flag) + 1
    stop = next((i for i in range(start, len(arguments)) if arguments[i].startswith("-")), None)
    words = list(arguments[start:stop])
    if flag != "--over":
        words = [part for word in words for part in word.split(",") if part]
    return words, [*arguments[: start - 1], *([] if stop is None else arguments[stop:])]


def _axes(words: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """From `depth=4,16`, values as the choice's type has them."""
    kinds = {
        field.name: hint
        for group in dataclasses.fields(Config)
        for kind in (type(getattr(Config(), group.name)),)
        if dataclasses.is_dataclass(kind)
        for field in dataclasses.fields(kind)
        for hint in (typing.get_type_hints(kind)[field.name],)
    } | {"env": str}
    axes = {}
    for word in words:
        said, equals, values = word.partition("=")
        name = said.replace("-", "_")
        if not equals or not values:
            raise UserError(f"`--over {word}` must be a choice and its values: depth=4,16.")
        if name not in kinds or any(
            typing.get_origin(kind) is tuple for kind in _kinds(kinds[name])
        ):
            near = [flag(known)[2:] for known in kinds if name in known and known != name]
            hint = f"; there are {', '.join(near)}" if near else ""
            raise UserError(
                f"`--over {word}`: `{said}` is no choice of `crl-eqx train` in which the runs of a "
                f"sweep can differ{hint}."
            )
        if name in axes:
            raise UserError(
                f"`--over {word}`: `{said}` is named twice; give all its values at once."
            )
        each = tuple(_value(word, part, kinds[name]) for part in values.split(","))
        axes[name] = _distinct(f"--over {word}", each)
    return axes


def _distinct(call: str, values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise UserError(f"`{call}` names a value twice.")
    return values


def _kinds(kind: Any) -> tuple[Any, ...]:
    """Of `float | None` both."""
    unions = typing.Union, types.UnionType
    return typing.get_args(kind) if typing.get_origin(kind) in unions else (kind,)


def _value(word: str, text: str, kind: Any) -> Any:
    """**Raises:** `UserError` if `text`, of `--over word`, is not of that kind."""
    kinds = _kinds(kind)
    if text == "None" and type(None) in kinds:
        return None
    try:
        return msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError:
        known = [str(choice) for one in kinds for choice in typing.get_args(one)]
        names = {float: "a number", int: "a whole number", bool: "true or false"}
        one_of = f"one of {', '.join(known)}" if known else ""
        needs = one_of or " or ".join(names.get(one, "None") for one in kinds)
        raise UserError(f"`--over {word}`: `{text}` must be {needs}.") from None


def _count(arguments: Sequence[str], flag: str) -> tuple[int, list[str]]:
    value, rest = take_value(arguments, flag)
    if value is None:
        return 1, rest
    if not value.isdecimal() or not 1 <= int(value) <= 10_000:
        raise UserError(f"`{flag} {value}` must be a number from 1 to 10,000.")
    return int(value), rest


def _refuse_another(found: Sweep, planned: Sweep, run_dir: Path) -> None:
    """A sweep can be given more runs: seeds, depths, parts.

    **Raises:** `UserError` if the directory holds one of other runs.
    """
    ours, theirs = set(planned.runs), set(found.runs)
    if lost := sorted(theirs - ours):
        raise UserError(
            f"`--run-dir {run_dir}` holds a sweep of {len(theirs)} runs, of which {lost[0]} would "
            f"be none any more: ask for at least what it has, or name another directory."
        )
