"""`crl-eqx info RUN`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from .._errors import UserError
from ..config import CONFIG, load_config
from ..run import check_saved_under, CheckpointStore, failure_in, time_spent
from ..run_files import read_metrics, read_provenance
from ._flags import parse


@dataclasses.dataclass(frozen=True)
class Info:
    """What a run is, how far it got, and what it was made with."""

    run: tyro.conf.Positional[Path]
    """The run's directory."""


def _latest(rows: Sequence[dict], prefix: str) -> dict[str, Any]:
    """The last value of every metric under `prefix`."""
    return {k: v for row in rows for k, v in row.items() if k.startswith(prefix)}


def info(arguments: Sequence[str], console: Console) -> int:
    run = parse(Info, "info", arguments).run
    config = load_config(run / CONFIG)
    say = lambda sentence: console.print(sentence, highlight=False, soft_wrap=True)
    say((run / CONFIG).read_text())  # which has just been read as a configuration
    provenance = run / "provenance.json"
    if provenance.exists():
        facts = read_provenance(provenance)
        if facts is None:
            say(f"made with: unknown, as `{provenance}` is damaged")
        else:
            say("made with: " + ", ".join(f"{k} {v}" for k, v in facts["versions"].items()))
            say("hardware:  " + ", ".join(f"{k} {v}" for k, v in facts["hardware"].items()))
    rows = read_metrics(run / "metrics.jsonl")
    store = CheckpointStore(run / "checkpoints")
    if rows:
        reached = max([rows[-1]["env_steps"], *store.steps()])
        say(f"reached:   {reached:,} of {config.total_env_steps:,} environment steps")
        if spent := time_spent(rows[-1]):
            say(f"time:      {spent}")
        if evaluated := [row for row in rows if "eval/success_rate" in row]:
            say(f"evaluated: at {evaluated[-1]['env_steps']:,} environment steps")
        for name, value in sorted(_latest(rows, "eval").items()):
            if not name.endswith("_se"):
                say(f"  {name:<40}{value:.3f}")
        health = _latest(rows, "health/")
        reason = health.get("health/reason", "")
        if why := failure_in(rows):
            say(f"broke off: {why}")
        say(f"health:    {health.get('health/verdict', 'not measured')}. {reason}".rstrip())
    say("checkpoints: " + (", ".join(f"{step:,}" for step in store.steps()) or "none"))
    for path, why in store.damaged().items():
        say(f"The checkpoint `{path}` cannot be used: {why}.")
    try:
        check_saved_under(store.metadata() or {}, run, config)
    except UserError as error:  # which `resume`, `evaluate` and the others stop at
        say(str(error))
    return 0
