"""Trains many configurations side by side, and keeps a table of what each reached.

    python bench/search.py bench/experiments/ant.toml --jobs 2
    python bench/search.py bench/experiments/ant.toml --only slow fast --seeds 0 1 2

An experiment file has a table per configuration: `flags` of `crl-eqx train` as one text, `seeds`,
and, if wanted, a `why`. `[all]` holds what they share. A run that was killed goes on where it
stopped, one that is done is not repeated, and one that fails is told and does not stop the others.
`--jobs` runs at a time have a core (or an equal share of the cores) each. The table goes to
`RUNS/NAME.md`, best first; figures are of the last evaluation, as mean ± standard error over seeds.
"""

import argparse
import dataclasses
import json
import os
import queue
import shlex
import statistics
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any


COLUMNS = {
    "success": ("eval/success_rate", 2),
    "at goal": ("eval/time_at_goal", 0),
    "distance": ("eval/final_distance", 2),
    "length": ("eval/episode_length", 0),
}


@dataclasses.dataclass(frozen=True)
class Job:
    """One seed of one configuration."""

    name: str
    seed: int
    flags: str
    why: str
    run_dir: Path

    def command(self) -> list[str]:
        program = [sys.executable, "-m", "crl_eqx"]
        if (self.run_dir / "config.json").exists():
            return [*program, "resume", str(self.run_dir)]
        place = ["--seed", str(self.seed), "--run-dir", str(self.run_dir)]
        return [*program, "train", *shlex.split(self.flags), *place]

    def rows(self) -> list[dict[str, Any]]:
        """The evaluations so far."""
        path = self.run_dir / "metrics.jsonl"
        if not path.exists():
            return []
        rows = map(json.loads, path.read_text().splitlines())
        return [row for row in rows if "eval/success_rate" in row]

    def done(self) -> bool:
        return (self.run_dir / ".done").exists()


def read_jobs(file: Path, runs: Path, only: Sequence[str], seeds: Sequence[int]) -> list[Job]:
    """All seeds of the first configuration, then those of the next.

    **Raises:** `SystemExit` if a configuration is asked for that the file does not have.
    """
    tables = tomllib.loads(file.read_text())
    shared = tables.pop("all", {})
    if missing := set(only) - set(tables):
        raise SystemExit(f"{file} has no {', '.join(sorted(missing))}; it has {', '.join(tables)}.")
    return [
        Job(
            name,
            seed,
            " ".join(f"{shared.get('flags', '')} {table.get('flags', '')}".split()),
            table.get("why", ""),
            runs / file.stem / name / f"seed_{seed}",
        )
        for name, table in tables.items()
        if not only or name in only
        for seed in seeds or table.get("seeds", shared.get("seeds", [0]))
    ]


def run_all(jobs: Sequence[Job], at_once: int, seconds: float | None = None) -> None:
    """Runs what is not done, each worker on its own share of the cores; after `seconds` all are
    asked to save and stop."""
    waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
    for job in jobs:
        if not job.done():
            waiting.put(job)
    cores = sorted(os.sched_getaffinity(0))
    shares = [set(cores[i::at_once]) or {cores[i % len(cores)]} for i in range(at_once)]
    deadline = None if seconds is None else time.monotonic() + seconds
    workers = [threading.Thread(target=_work, args=(waiting, share, deadline)) for share in shares]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def _work(waiting: "queue.SimpleQueue[Job]", cores: set[int], deadline: float | None) -> None:
    os.sched_setaffinity(0, cores)  # of this thread, and of what it starts
    while deadline is None or time.monotonic() < deadline:
        try:
            job = waiting.get_nowait()
        except queue.Empty:
            return
        job.run_dir.parent.mkdir(parents=True, exist_ok=True)
        log = job.run_dir.with_suffix(".log")
        begun = time.monotonic()
        with log.open("a") as out:
            process = subprocess.Popen(job.command(), stdout=out, stderr=subprocess.STDOUT)
            try:
                code = process.wait(None if deadline is None else deadline - begun)
            except subprocess.TimeoutExpired:
                process.terminate()  # it saves, and a later call goes on with it
                code = process.wait()
        minutes = (time.monotonic() - begun) / 60
        if code == 0:
            (job.run_dir / ".done").touch()
        print(
            f"{job.name} seed {job.seed}: exit {code} after {minutes:.1f} min ({log})", flush=True
        )


def table(jobs: Sequence[Job]) -> str:
    """What every configuration has reached, as Markdown, the longest at the goal first."""
    lines = []
    for name in dict.fromkeys(job.name for job in jobs):
        mine = [job for job in jobs if job.name == name]
        last = {job.seed: job.rows()[-1] for job in mine if job.rows()}
        if not last:
            continue
        cells = [name, f"`{mine[0].flags}`", " ".join(map(str, last))]
        for column in ("env_steps", "gradient_steps"):
            cells.append(f"{min(row[column] for row in last.values()) / 1000:,.0f} k")
        for metric, digits in COLUMNS.values():
            cells.append(_mean([row[metric] for row in last.values()], digits))
        order = statistics.mean(row["eval/time_at_goal"] for row in last.values())
        lines.append((order, f"| {' | '.join(cells)} | {mine[0].why} |"))
    head = ["name", "flags", "seeds", "steps", "updates", *COLUMNS, "why"]
    rule = "|" + "---|" * len(head)
    rows = [line for _, line in sorted(lines, reverse=True)]
    return "\n".join([f"| {' | '.join(head)} |", rule, *rows, ""])


def _mean(values: Sequence[float], digits: int) -> str:
    mean = f"{statistics.mean(values):.{digits}f}"
    if len(values) < 2:
        return mean
    return f"{mean} ± {statistics.stdev(values) / len(values) ** 0.5:.{digits}f}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", nargs="+", default=[], help="these configurations")
    parser.add_argument("--seeds", nargs="+", type=int, default=[], help="in place of the file's")
    parser.add_argument("--runs", type=Path, default=Path("runs/search"))
    parser.add_argument("--seconds", type=float, help="save and stop all after so long")
    parser.add_argument("--table", action="store_true", help="only print the table so far")
    options = parser.parse_args(arguments)
    jobs = read_jobs(options.file, options.runs, options.only, options.seeds)
    if not options.table:
        run_all(jobs, options.jobs, options.seconds)
    text = table(jobs)
    out = options.runs / f"{options.file.stem}.md"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()
