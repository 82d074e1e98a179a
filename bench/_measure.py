"""Timing without surprises: fresh processes, pinned cores, CPU time beside wall time, medians.

Only JAX is imported at once: `gpu_suite.py` runs on machines that have little else.
"""

import contextlib
import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax


MIB = 2**20
EVENTS = ("came", "left")  # what the processes of a meeting tell each other, as files
PATIENCE = 1800  # seconds that a process waits for the others to have compiled


def wide_console() -> Any:
    """A `rich` console that does not fold tables where there is no terminal, as in a file."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=120)


def quietest_cores(n: int) -> set[int]:
    """The n cores on which the least has run just now."""
    import psutil

    load = psutil.cpu_percent(interval=0.5, percpu=True)
    return set(sorted(os.sched_getaffinity(0), key=lambda core: load[core])[:n])


def in_fresh_process(script: str, job: dict[str, Any], *, cores: int | None = None) -> Any:
    """Runs `script --job JSON` by itself and returns what its `answer` prints.

    Nothing is compiled, cached or allocated there yet; on a GPU nothing else holds it. With
    `cores` it may use no more than so many, and XLA sizes its thread pool by that.
    """
    # Of several at once the first would take most of a GPU's memory.
    own = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"} if "meeting" in job else {}
    pin = sorted(quietest_cores(cores)) if cores and hasattr(os, "sched_setaffinity") else None
    done = subprocess.run(
        [sys.executable, str(Path(script).resolve()), "--job", json.dumps({"pin": pin} | job)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"} | own,
    )
    if done.returncode:
        raise SystemExit(f"{Path(script).name} {job} ended with code {done.returncode}")
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise SystemExit(f"{Path(script).name} {job} gave no answer") from None


def in_fresh_processes(script: str, jobs: list[dict[str, Any]]) -> Iterator[Any]:
    """`in_fresh_process` for all jobs together, in their order: where there are many cores, all
    compile at once, and then run one after the other, each in its `turn`.

    A process that fails costs the others nothing; it ends the script after the last of them.
    """
    with tempfile.TemporaryDirectory() as room, ThreadPoolExecutor(len(jobs)) as threads:

        def one(number: int) -> Any:
            meeting = {"room": room, "parties": len(jobs), "number": number}
            try:
                return in_fresh_process(script, jobs[number] | {"meeting": meeting})
            except SystemExit:
                for event in EVENTS:  # or the others would wait for this one
                    Path(room, f"{event}-{number}").touch()
                raise

        failed = []
        for future in [threads.submit(one, number) for number in range(len(jobs))]:
            try:
                yield future.result()
            except SystemExit as error:
                failed.append(str(error))
    if failed:
        raise SystemExit("\n".join(failed))


@contextlib.contextmanager
def turn(meeting: dict[str, Any] | None) -> Iterator[None]:
    """Waits until all processes of a meeting have come here, then lets one in after the other.

    Nothing is waited for without a meeting. What compiles on a GPU also tries kernels there, so
    that nobody may be timed before the last has compiled.
    """
    if meeting is None:
        yield
        return
    came, left = (
        [Path(meeting["room"], f"{event}-{number}") for number in range(meeting["parties"])]
        for event in EVENTS
    )
    number, patience = meeting["number"], time.monotonic() + PATIENCE
    came[number].touch()
    while not all(path.exists() for path in came + left[:number]):
        if time.monotonic() > patience:
            raise SystemExit("the other processes of this measurement do not come")
        time.sleep(0.05)
    yield
    left[number].touch()


def answer(job: Callable[..., Any], *, pin: list[int] | None, **settings: Any) -> None:
    """The other end of `in_fresh_process`. Pins first: JAX starts with its first use."""
    if pin:
        os.sched_setaffinity(0, pin)
    print(json.dumps(job(**settings)))


def timed(f: Callable[[], Any]) -> tuple[Any, float, float]:
    """The result once it is there, the seconds that it took, and the CPU-seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = jax.block_until_ready(f())
    return result, time.perf_counter() - wall, time.process_time() - cpu


def compiled(jitted: Any, *args: Any) -> tuple[Any, dict[str, Any]]:
    """The executable, what tracing and compiling took, and what running will take of memory."""
    lowered, trace_wall, trace_cpu = timed(lambda: jitted.lower(*args))
    executable, wall, cpu = timed(lambda: lowered.compile())
    memory = executable.memory_analysis()
    return executable, {
        "compile_seconds": trace_wall + wall,
        "compile_cpu_seconds": trace_cpu + cpu,
        "program_lines": lowered.as_text().count("\n"),
        "temp_mib": memory.temp_size_in_bytes / MIB if memory else None,
    }


def peak_memory_mib() -> dict[str, float]:
    """The most that this process has held: on the host, and on the accelerator if there is one."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB here
    peak = {"peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB}
    stats = jax.devices()[0].memory_stats()
    if stats and "peak_bytes_in_use" in stats:
        peak["peak_device_mib"] = stats["peak_bytes_in_use"] / MIB
    return peak


def peak_rss_from_now() -> Callable[[], float]:
    """Call it before and what it returns after: the MiB by which the process grew at its most.

    Where the system cannot forget an earlier peak (only Linux can), that peak hides smaller ones.
    """
    import psutil

    gc.collect()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    before = psutil.Process().memory_info().rss / MIB
    return lambda: max(0.0, _peak_rss_mib() - before)


def _peak_rss_mib() -> float:
    """Since the last reset, where the system tells."""
    with contextlib.suppress(OSError, StopIteration):
        status = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) / 1024
    return peak_memory_mib()["peak_rss_mib"]


def alternating(steps: dict[str, Callable[[], Any]], rounds: int) -> dict[str, dict[str, Any]]:
    """Runs the steps by turns, so that what else the machine does meets all of them alike.

    The first round warms up and is not counted.
    """
    walls: dict[str, list[float]] = {name: [] for name in steps}
    cpus: dict[str, list[float]] = {name: [] for name in steps}
    for round_ in range(rounds + 1):
        gc.collect()
        for name, step in steps.items():
            _, wall, cpu = timed(step)
            if round_:
                walls[name].append(wall)
                cpus[name].append(cpu)
    return {
        name: {
            "wall_seconds": statistics.median(walls[name]),
            "cpu_seconds": statistics.median(cpus[name]),
            "wall_range": [min(walls[name]), max(walls[name])],
            "cpu_range": [min(cpus[name]), max(cpus[name])],
        }
        for name in steps
    }


def medians(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """One row out of several of the same experiment: medians of numbers, the first of the rest."""
    number = lambda value: isinstance(value, int | float) and not isinstance(value, bool)
    return {
        name: statistics.median(row[name] for row in rows) if number(value) else value
        for name, value in rows[0].items()
    }


def rounded(value: Any) -> Any:
    """Four significant digits are more than a timing is worth."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {name: rounded(item) for name, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list) else value
