"""`crl-eqx info RUN`."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import tyro
from rich.console import Console

from ..run import CheckpointStore, CONFIG, load_config, read_metrics


@dataclasses.dataclass(frozen=True)
class Info:
    """What a run is, how far it got, and what it was made with."""

    run: tyro.conf.Positional[Path]
    """The run's directory."""


def _latest(rows: Sequence[dict], prefix: str) -> dict[str, float]:
    """The last value of every metric under `prefix`."""
    return {k: v for row in rows for k, v in row.items() if k.startswith(prefix)}


def info(arguments: Sequence[str], console: Console) -> int:
    run = tyro.cli(Info, prog="crl-eqx info", args=list(arguments)).run
    config = load_config(run / CONFIG)
    say = lambda sentence: console.print(sentence, highlight=False, markup=False, soft_wrap=True)
    say((run / CONFIG).read_text())
    provenance = run / "provenance.json"
    if provenance.exists():
        facts = json.loads(provenance.read_text())
        say("made with: " + ", ".join(f"{k} {v}" for k, v in facts["versions"].items()))
        say("hardware:  " + ", ".join(f"{k} {v}" for k, v in facts["hardware"].items()))
    rows = read_metrics(run / "metrics.jsonl")
    if rows:
        say(f"reached:   {rows[-1]['env_steps']:,} of {config.total_env_steps:,} environment steps")
        for name, value in sorted(_latest(rows, "eval").items()):
            if not name.endswith("_se"):
                say(f"  {name:<40}{value:.3f}")
        say(f"  health: {rows[-1].get('health/verdict', 'not measured')}")
    steps = CheckpointStore(run / "checkpoints").steps()
    say("checkpoints: " + (", ".join(f"{step:,}" for step in steps) or "none"))
    return 0
