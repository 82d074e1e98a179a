"""`crl-eqx info RUN`."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import tyro
from rich.console import Console

from .._errors import UserError
from ..config import CONFIG, load_config
from ..run import check_configuration, CheckpointStore, read_metrics
from ..run_files import read_provenance
from ._flags import parse


@dataclasses.dataclass(frozen=True)
class Info:
    """What a run is, how far it got, and what it was made with."""

    run: tyro.conf.Positional[Path]
    """The run's directory."""


def _latest(rows: Sequence[dict], prefix: str) -> dict[str, float]:
    """The last value of every metric under `prefix`."""
    return {k: v for row in rows for k, v in row.items() if k.startswith(prefix)}


def progress(rows: Sequence[dict]) -> str | None:
    """Whether the latest evaluation beats the first by more than chance; None if there are
    not two."""
    evaluations = [row for row in rows if "eval/final_distance" in row]
    if len(evaluations) < 2:
        return None
    first, last = evaluations[0], evaluations[-1]
    steps = last["gradient_steps"] - first["gradient_steps"]
    gains = {"final distance": ("eval/final_distance", -1), "success": ("eval/success_rate", 1)}
    told = []
    for name, (key, sign) in gains.items():
        chance = 2 * math.hypot(first[f"{key}_se"], last[f"{key}_se"])
        better = sign * (last[key] - first[key]) > chance
        told.append((better, f"{name} {first[key]:.3g} -> {last[key]:.3g}"))
    what = ", ".join(words for _, words in told)
    if any(better for better, _ in told):
        return f"better than untrained ({what})"
    return f"no better than untrained after {steps:,} updates ({what}; within 2 standard errors)"


def info(arguments: Sequence[str], console: Console) -> int:
    run = parse(Info, "info", arguments).run
    config = load_config(run / CONFIG)
    say = lambda sentence: console.print(sentence, highlight=False, markup=False, soft_wrap=True)
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
    if rows:
        say(f"reached:   {rows[-1]['env_steps']:,} of {config.total_env_steps:,} environment steps")
        for name, value in sorted(_latest(rows, "eval").items()):
            if not name.endswith("_se"):
                say(f"  {name:<40}{value:.3f}")
        verdict = rows[-1].get("health/verdict", "not measured")
        say(f"  gradients and representations: {verdict}")
        if sentence := progress(rows):
            say(f"  learning: {sentence}")
    store = CheckpointStore(run / "checkpoints")
    say("checkpoints: " + (", ".join(f"{step:,}" for step in store.steps()) or "none"))
    for path, why in store.damaged().items():
        say(f"The checkpoint `{path}` cannot be used: {why}.")
    try:
        check_configuration(store.metadata() or {}, run, config)
    except UserError as error:  # which `resume`, `evaluate` and the others stop at
        say(str(error))
    return 0
