"""A quarter of an hour on a GPU machine: what is wanted next, in a command of nine minutes.

    python bench/gpu_day.py                           # everything that fits
    python bench/gpu_day.py --only flags determinism  # what did not, in another call: see PARTS
    python bench/gpu_day.py --small --minutes 5       # a try, on CPUs too: tiny, and says nothing

In this order: whole training at depths 16 and 64 with each physics and kernel, evaluation and
health rows included; an update in training's own loop by depth and kernel, beside the published
one; XLA's flags; four seeds in one program; whether `--deterministic` makes two runs the same.

Cells are processes. As many as `--at-once` says compile together, whatever part they are of, and
are then timed one after the other. XLA tries its products while others do: two cells may have
chosen differently. `updates` has the times that `flags` and `together` are to be compared with.
What is not done when the time is up is written down as such; every row is written when it is there.
Writes JSON and Markdown.

It needs this repository, its dependencies and, for whole training, `mujoco` and `mujoco-mjx`; where
these are missing, those cells say so. No network, no pictures, no git.
"""

import argparse
import contextlib
import hashlib
import json
import os
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from _machine import write
from _measure import rounded, timed
from gpu_suite import FLAGS


WIDTH = 256
PATIENCE = 240
"""Seconds in which cells that compile together must have done so."""
SEEDS = 4
DETERMINISTIC = "--xla_gpu_deterministic_ops=true"
FAST = "triton:bf16"


# The cells, by part. A cell says what its process does, and with which of XLA's flags.


def _training() -> Iterator[dict[str, Any]]:
    for depth in (64, 16):
        for collect in ("in-turn", "overlap"):
            yield _whole(depth, "native", FAST, collect)
    yield _whole(16, "mjx", FAST, "in-turn")
    yield _whole(16, "native", "packed:auto", "in-turn")


def _whole(depth: int, physics: str, kernel: str, collect: str) -> dict[str, Any]:
    return dict(do="training", depth=depth, physics=physics, kernel=kernel, collect=collect)


def _updates() -> Iterator[dict[str, Any]]:
    for depth in (4, 16, 64, 256, 1024):
        for kernel in (FAST, "packed:auto"):
            yield dict(do="updates", depth=depth, kernel=kernel)
    for depth in (4, 16):  # unrolled, 64 layers compile for minutes; see `scan_vs_unrolled.py`
        yield dict(do="published", depth=depth)
    yield dict(do="updates", depth=64, kernel=FAST, metrics_of="all")
    yield dict(do="updates", depth=64, kernel="mosaic:bf16")


def _flags() -> Iterator[dict[str, Any]]:
    for depth in (4, 64):
        for name, flags in FLAGS.items():
            if flags:  # the other parts have none
                yield dict(do="updates", depth=depth, kernel=FAST, flags=name, xla_flags=flags)


def _together() -> Iterator[dict[str, Any]]:
    for depth in (4, 64):
        yield dict(do="updates", depth=depth, kernel=FAST, seeds=SEEDS)


def _determinism() -> Iterator[dict[str, Any]]:
    for xla_flags, kernel, physics in (
        (DETERMINISTIC, FAST, "native"),
        ("", FAST, "native"),
        (DETERMINISTIC, "packed:auto", "mjx"),
    ):
        for time_ in ("first", "second"):
            about = dict(flags=xla_flags or "as it is", xla_flags=xla_flags, run=time_)
            yield dict(do="repeated", depth=4, kernel=kernel, physics=physics) | about


PARTS: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
    "training": _training,
    "updates": _updates,
    "flags": _flags,
    "together": _together,
    "determinism": _determinism,
}


def smaller(cells: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same for a CPU, tiny, so that the script can be tried; without repetitions."""
    tiny = dict(small=True, depth=4, kernel="packed:auto", physics="native", xla_flags="", flags="")
    found = [cell | {k: v for k, v in tiny.items() if k in (*cell, "small")} for cell in cells]
    return [cell for i, cell in enumerate(found) if cell not in found[:i]]


def described(cell: dict[str, Any]) -> dict[str, Any]:
    """What a row says of its cell."""
    return {name: value for name, value in cell.items() if name not in ("xla_flags", "small")}


# The child: compiles, says so, waits for its turn, and answers.


def _seconds(call: Callable[[], Any], *, least: float, repeats: int) -> list[float]:
    """Of single calls, until there are `repeats` of them and `least` seconds."""
    took: list[float] = []
    while len(took) < repeats or sum(took) < least:
        took.append(timed(call)[1])
    return took


def _ant_run(cell: dict[str, Any], folder: str):
    """The paper's run of the ant."""
    from crl_eqx.config import PRESETS, replaced
    from crl_eqx.run import resolved, Run

    kernel, precision = cell["kernel"].split(":")
    choices: dict[str, Any] = dict(replay_capacity=2000)
    if cell.get("small"):
        choices = dict(
            num_envs=16,
            batch_size=16,
            width=16,
            unroll_length=10,
            replay_capacity=200,
            prefill_length=20,
            eval_episodes=4,
            updates_per_env_step=0.05,
        )
    task = "point_u_maze" if cell.get("small") else "ant"
    choices |= dict(depth=cell["depth"], kernel=kernel, precision=precision, env=task)
    choices |= dict(physics=cell["physics"], collect=cell.get("collect", "in-turn"))
    return Run(resolved(replaced(PRESETS["paper"], **choices)), Path(folder))


def _held(state: Any) -> tuple[dict[str, Any], Callable[[Callable], Any]]:
    """A state that is held nowhere else, as it is donated, and what advances it and gives the
    metrics."""
    held = {"state": state}

    def next_with(advance: Callable) -> Any:
        held["state"], metrics = advance(held["state"])
        return metrics

    return held, next_with


def training(cell: dict[str, Any], my_turn: Callable[[], None]) -> dict[str, Any]:
    """Unrolls with their updates; collecting, an evaluation and health rows alone."""
    import jax

    least = 0.1 if cell.get("small") else 4.0
    with tempfile.TemporaryDirectory() as folder:
        run = _ant_run(cell, folder)
        held, next_with = _held(run.initial())
        for _ in range(3):
            next_with(run.collect)
        key = jax.random.key(0)
        evaluate = lambda: run.evaluations(
            held["state"].acting_agent, key, may_go_on=lambda share: True
        )
        diagnose = lambda: run.diagnose(held["state"], key)
        jax.block_until_ready(next_with(run.update))
        diagnose()
        if cell["physics"] == "native":
            evaluate()  # compiles; on the device that would take another minute
        my_turn()
        unroll = statistics.median(_seconds(lambda: next_with(run.update), least=least, repeats=3))
        collect = statistics.median(
            _seconds(lambda: next_with(run.collect), least=least / 4, repeats=3)
        )
        found = {
            "env_steps_per_second": run.step.env_steps_per_unroll / unroll,
            "unroll_seconds": unroll,
            "updates_per_unroll": run.step.mean_updates_per_unroll,
            "collect_seconds": collect,
            "health_rows_seconds": _seconds(diagnose, least=0, repeats=1)[0],
        }
        if cell["physics"] == "native":
            found["evaluation_seconds"] = _seconds(evaluate, least=0, repeats=1)[0]
        return found


def updates(cell: dict[str, Any], my_turn: Callable[[], None]) -> dict[str, Any]:
    return _in_a_loop(*loop_of_updates(cell), cell, my_turn)


def loop_of_updates(cell: dict[str, Any]) -> tuple[Callable[[], Any], int]:
    """A hundred updates in one loop on the device, of one seed or of several together; and how
    many they are."""
    import equinox as eqx
    import jax
    from _agents import ANT, new_agent, Sized

    import crl_eqx

    kernel, precision = cell["kernel"].split(":")
    number, seeds = (3 if cell.get("small") else 100), cell.get("seeds", 1)
    step = crl_eqx.TrainStep(
        Sized(*ANT),
        num_envs=16,
        batch_size=16 if cell.get("small") else 512,
        prefill_length=100,
        unroll_length=50,
        replay_capacity=200,
        metrics_of=cell.get("metrics_of", "last"),
    )
    width = 16 if cell.get("small") else WIDTH

    def begun(seed: int):
        network = dict(depth=cell["depth"], width=width, kernel=kernel, precision=precision)
        agent = new_agent(ANT, key=jax.random.key(seed), **network)
        return step.start(agent, key=jax.random.key(seed))

    learn = lambda step, state: step.learn_stored(state, number)
    if seeds == 1:
        maker, state, several = step, begun(0), learn
    else:
        maker = crl_eqx.Together(step)
        state = maker.stack([begun(seed) for seed in range(seeds)])
        several = lambda together, state: together.advance(learn, state)
    run = eqx.filter_jit(several, donate="all-except-first")
    _, next_with = _held(state)
    del state
    return lambda: next_with(lambda state: run(maker, state)), number


def published(cell: dict[str, Any], my_turn: Callable[[], None]) -> dict[str, Any]:
    """The published update, unrolled, as many in one loop."""
    import _published
    import jax
    from _agents import ANT, random_transitions

    number = 3 if cell.get("small") else 100
    size, width = (16, 16) if cell.get("small") else (512, WIDTH)
    batch = random_transitions(ANT, size, jax.random.key(1))
    state = _published.init(jax.random.key(0), ANT, depth=cell["depth"], width=width)
    one = lambda _, state: _published.update(state, batch)[0]
    run = jax.jit(lambda state: jax.lax.fori_loop(0, number, one, state), donate_argnums=0)
    _, next_with = _held(state)
    del state
    # What it leads to stands for its metrics, which the loop does not keep.
    advance = lambda: next_with(lambda state: (new := run(state), jax.tree.leaves(new)[0]))
    return _in_a_loop(advance, number, cell, my_turn)


def _in_a_loop(
    advance: Callable[[], Any], number: int, cell: dict[str, Any], my_turn: Callable[[], None]
) -> dict[str, Any]:
    import jax
    from _measure import peak_memory_mib

    begun = time.perf_counter()
    jax.block_until_ready(advance())
    compiling = time.perf_counter() - begun
    my_turn()
    took = _seconds(advance, least=0 if cell.get("small") else 1.0, repeats=5)
    return {
        "update_ms": 1e3 * statistics.median(took) / number,
        "first_call_seconds": compiling,
    } | peak_memory_mib()


def repeated(cell: dict[str, Any], my_turn: Callable[[], None]) -> dict[str, Any]:
    """A fingerprint of what some unrolls of training lead to."""
    import equinox as eqx
    import jax
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        run = _ant_run(cell, folder)
        held, next_with = _held(run.initial())
        for _ in range(3):
            next_with(run.collect)
        jax.block_until_ready(next_with(run.update))
        my_turn()
        took = _seconds(lambda: next_with(run.update), least=0, repeats=3)
        arrays = jax.tree.leaves(eqx.filter(held["state"].agent, eqx.is_array))
    digest = hashlib.sha256(b"".join(np.asarray(x).tobytes() for x in arrays)).hexdigest()
    return {"unroll_seconds": statistics.median(took), "agent": digest[:16]}


DOES = dict(training=training, updates=updates, published=published, repeated=repeated)


def work(cell: dict[str, Any]) -> None:
    def my_turn() -> None:
        print("ready", flush=True)
        sys.stdin.readline()

    try:
        found = DOES[cell["do"]](cell, my_turn)
    except Exception as error:  # a missing package, or memory: the other cells go on
        found = {"failed": f"{type(error).__name__}: {error}".splitlines()[0][:300]}
    print(json.dumps(found), flush=True)


# The parent.


class Cell:
    """A process, and what it says."""

    def __init__(self, cell: dict[str, Any]):
        self.cell = cell
        flags = f"{os.environ.get('XLA_FLAGS', '')} {cell.get('xla_flags', '')}".strip()
        environment = os.environ | {
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # or the first would take all memory
            "JAX_ENABLE_COMPILATION_CACHE": "false",
            "XLA_FLAGS": flags,
        }
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), "--cell", json.dumps(cell)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        self._answer: dict[str, Any] | None = None

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as said:
            for line in filter(str.strip, said):
                self._lines.put(line.strip())
        self._lines.put("")  # the end

    def _heard(self, until: float) -> str | None:
        """The next line; "" where there will be none, None where the time is up."""
        with contextlib.suppress(queue.Empty):
            return self._lines.get(timeout=max(0.0, until - time.time()))
        return None

    def _end(self) -> None:
        assert self._process.stdin is not None
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._listener.join()

    def wait_until_ready(self, until: float) -> None:
        while self._answer is None:
            line = self._heard(until)
            if line == "ready":
                return
            if line is None:
                self._answer = {"left_out": "it had not compiled in time"}
            elif line == "" or line.startswith("{"):
                self._answer = json.loads(line or '{"failed": "the process ended"}')

    def end_if_late(self) -> None:
        if self._answer is not None:
            self._end()

    def timed(self, until: float) -> dict[str, Any]:
        """Its answer, for which it now has the machine to itself."""
        if self._answer is None:
            assert self._process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write("go\n")
                self._process.stdin.flush()
            line = self._heard(until)
            while line is not None and line and not line.startswith("{"):
                line = self._heard(until)
            missing = {"left_out": "the time was up"} if line is None else {"failed": "it ended"}
            self._answer = json.loads(line) if line else missing
        self._end()
        return described(self.cell) | self._answer


def answers(cells: list[dict[str, Any]], until: float, at_once: int) -> Iterator[dict[str, Any]]:
    """Of all cells, `at_once` of them compiling together."""
    for first in range(0, len(cells), at_once):
        some = cells[first : first + at_once]
        if time.time() > until:
            yield from (described(cell) | {"left_out": "the time was up"} for cell in some)
            continue
        running = [Cell(cell) for cell in some]
        patience = min(until, time.time() + PATIENCE)
        for cell in running:
            cell.wait_until_ready(patience)
        for cell in running:  # nobody compiles while another is timed
            cell.end_if_late()
        yield from (cell.timed(until) for cell in running)


def markdown(rows: list[dict[str, Any]]) -> str:
    """A table of each part, whose columns are what its rows have."""
    lines: list[str] = []
    for name in dict.fromkeys(row["part"] for row in rows):
        of_part = [{k: v for k, v in row.items() if k != "part"} for row in rows
                   if row["part"] == name]  # fmt: skip
        columns = list(dict.fromkeys(column for row in of_part for column in row))
        lines += [f"## {name}", "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
        lines += [
            f"| {' | '.join(str(row.get(column, '')) for column in columns)} |" for row in of_part
        ]
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--minutes", type=float, default=8.5, help="in all")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--at-once", type=int, default=max(1, 3 * (os.cpu_count() or 1) // 2 - 2))
    parser.add_argument("--small", action="store_true", help="a try, on CPUs too")
    parser.add_argument("--out", type=Path, help="default: bench/results")
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cell:
        return work(json.loads(options.cell))
    until, rows, name = time.time() + 60 * options.minutes, [], "gpu_day"
    cells = {of: list(PARTS[of]()) for of in options.only}
    if options.small:
        name, cells = "gpu_day-small", {of: smaller(some) for of, some in cells.items()}
    parts = [of for of, some in cells.items() for _ in some]
    every = [cell for some in cells.values() for cell in some]
    for of, row in zip(parts, answers(every, until, options.at_once), strict=True):
        rows.append({"part": of} | rounded(row))
        print(json.dumps(rows[-1]), flush=True)
        path = write(name, rows, directory=options.out)
        path.with_suffix(".md").write_text(markdown(rows))
    print(f"written to {path.name}")


if __name__ == "__main__":
    main()
