"""Runs as a user starts them: in a process of their own, compiled as usual."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from crl_eqx.run_files import read_metrics


QUIET = "--no-pictures", "--no-tensorboard"


def trained(run_dir: Path, *words: str) -> list[dict[str, Any]]:
    """The evaluations of `crl-eqx train WORDS`, without what the tests' own process changes about
    the compiler: what it rounds otherwise makes another run."""
    ours = {"JAX_DISABLE_MOST_OPTIMIZATIONS", "XLA_FLAGS"}
    env = {name: value for name, value in os.environ.items() if name not in ours}
    command = [sys.executable, "-m", "crl_eqx", "train", *words, "--run-dir", str(run_dir)]
    subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
    return [row for row in read_metrics(run_dir / "metrics.jsonl") if "eval/success_rate" in row]
