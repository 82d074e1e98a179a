"""`crl-eqx export RUN`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import tyro
from rich.console import Console

from .._errors import UserError
from ..config import CONFIG, GENERALIZATION, SWEEP
from ..run import description, export_policy, load_run, require_writable
from ._flags import parse


KEPT = (CONFIG, SWEEP, GENERALIZATION, "metrics.jsonl", "provenance.json", ".lock")


@dataclasses.dataclass(frozen=True)
class Export:
    """Writes a run's policy as StableHLO, which needs only JAX to run."""

    run: tyro.conf.Positional[Path]
    """The run's directory."""
    out: Path | None = None
    """The file; default policy.stablehlo in the run's directory. Beside it, one with .json
    appended describes input and output."""
    best: bool = False
    """Take the agent of the best evaluation instead of the newest."""


def export(arguments: Sequence[str], console: Console) -> int:
    options = parse(Export, "export", arguments)
    run, agent = load_run(options.run, best=options.best)
    path = options.out or options.run / "policy.stablehlo"
    if not path.name or "\\" in path.name or path.is_dir():
        raise UserError(f"`--out {path}` is no name of a file: give one such as policy.stablehlo.")
    of_a_run = any((path.parent / name).is_file() for name in (CONFIG, SWEEP))
    if of_a_run and not {path.name, description(path).name}.isdisjoint(KEPT):
        raise UserError(f"`--out {path}` is a file of the run itself: name another.")
    require_writable(path.parent, "name another file with `--out`")
    export_policy(agent, run.env, path, {"env": run.config.env})
    for written in (path, description(path)):
        size = f"{written.stat().st_size / 1024:,.0f} KiB"
        console.print(f"{written}  {size}", highlight=False, soft_wrap=True)
    return 0
