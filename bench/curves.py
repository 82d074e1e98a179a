"""Keeps what the evaluations of runs said, so that their curves can be drawn when they are gone.

    python bench/curves.py runs/cheetah runs/pusher_easy      # bench/results/curves-*.json
    python docs/make_curves.py bench/results/curves-*.json    # a picture of them

A run is what `crl-eqx train --run-dir` has written, of one seed or of several. Of each row of its
metrics that was evaluated its counts and what was evaluated are kept, and of its configuration what
is not the preset's.
"""

import argparse
from pathlib import Path
from typing import Any

from _machine import write
from _measure import rounded

from crl_eqx.config import flat, load_config, OTHER_RUNS, PRESETS
from crl_eqx.run_files import read_metrics


KEPT = ("env_steps", "gradient_steps", "eval/", "eval_split/", "time/elapsed_seconds")
OWN = ("env", "seed", "run_dir")
"""Choices that are told otherwise, or say nothing of the learning."""


def kept(run: Path) -> dict[str, Any]:
    """Of the run of one seed."""
    config = load_config(run / "config.json")
    usual = {name: value for _, name, value in flat(PRESETS[config.preset])}
    chosen = {name: value for _, name, value in flat(config) if value != usual[name]}
    # Where another run lay on this machine is nobody's business.
    chosen |= {name: Path(chosen[name]).name for name in OTHER_RUNS if chosen.get(name)}
    return {
        "task": config.env,
        "seed": config.seed,
        "preset": config.preset,
        "choices": {name: value for name, value in chosen.items() if name not in OWN},
        "evaluations": [
            rounded({name: value for name, value in row.items() if name.startswith(KEPT)})
            for row in read_metrics(run / "metrics.jsonl")
            if "eval/success_rate" in row
        ],
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    args = parser.parse_args()
    rows = [
        {"run": run.name} | kept(seed)
        for run in args.runs
        for seed in sorted(run.glob("seed_*")) or [run]
    ]
    print(f"written to {write('curves', rows).name}")


if __name__ == "__main__":
    main()
