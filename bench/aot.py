"""What would run on an H200? Compiled for one on a machine that has none.

    make aot                                # all, a quarter of an hour, in its own environment
    python bench/aot.py --programs packed   # these; needs the packages of the extra `aot`

XLA plans every kernel launch and every byte, and ptxas compiles down to machine code, without a
device; only time needs one. Checks the bounds below, writes JSON and a Markdown table.
Launches are those of one update of all three networks (width 256, batch 512, sizes of the ant), a
loop's counted as often as it runs.
"""

import argparse
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from _machine import write


HERE = Path(__file__).parent
SHARED_MEMORY = 232_448
"""Bytes that one block of threads can have on Hopper."""


class Program(NamedTuple):
    """A name, what makes its function and arguments, and what it must not exceed."""

    make: Callable[[], tuple[Callable, tuple[Any, ...]]]
    limits: dict[str, float] = {}
    donate: tuple[int, ...] = ()


def _mesh() -> Any:
    from jax.sharding import AbstractDevice, AbstractMesh, AxisType

    device = AbstractDevice("NVIDIA H200", 132, "cuda")
    return AbstractMesh((1,), ("x",), (AxisType.Auto,), abstract_device=device)


def _update(depth: int, batch_size: int = 512, **network: Any):
    """The library's own train step, with its optimisers."""

    def make():
        import jax
        from _agents import (
            ANT,
            as_batch,
            donated,
            first_carry,
            make_update,
            new_agent,
            random_transitions,
        )

        def carry():
            agent = new_agent(ANT, depth=depth, width=256, key=jax.random.key(0), **network)
            return first_carry(agent)

        step, carry = donated(make_update(), _shapes(carry))
        batch = lambda: as_batch(random_transitions(ANT, batch_size, jax.random.key(1)))
        return step, (carry, jax.eval_shape(batch), jax.eval_shape(lambda: jax.random.key(2)))

    return make


def _learn(depth: int, updates: int = 100, **network: Any):
    """So many updates in one loop, from a replay: what training does between two unrolls."""

    def make():
        import equinox as eqx
        import jax
        from _agents import ANT, new_agent, Sized

        import crl_eqx

        step = crl_eqx.TrainStep(Sized(*ANT), num_envs=512, metrics_of="last")

        def begin():
            agent = new_agent(ANT, depth=depth, width=256, key=jax.random.key(0), **network)
            return step.init(agent, key=jax.random.key(1))

        arrays, static = eqx.partition(_shapes(begin), lambda leaf: hasattr(leaf, "shape"))

        def learn(arrays):
            state, metrics = step.learn_stored(eqx.combine(arrays, static), updates)
            return eqx.filter(state, eqx.is_array), metrics

        return learn, (arrays,)

    return make


def _shapes(make: Callable[[], Any]) -> Any:
    """`make()`, with shapes in place of its arrays."""
    import equinox as eqx

    return eqx.filter_eval_shape(make)


def _tower(width: int, precision: Any, kernel: Any, *, depth: int = 64, together: bool = True):
    """Value and gradient of three towers, after first layers where a kernel takes them in."""

    def make():
        import jax
        import jax.numpy as jnp

        from crl_eqx.kernels import Compute, residual_towers, takes_first
        from crl_eqx.kernels.residual_tower.cases import Case, draw

        case = Case(depth, width, 512)
        x, params = jax.eval_shape(lambda: draw(case, key=jax.random.key(0)))
        one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[:1] + leaf.shape[2:],
                                                             leaf.dtype), params)  # fmt: skip
        xs = [jax.ShapeDtypeStruct(x.shape[1:], x.dtype)] * 3

        first = jax.ShapeDtypeStruct((3, width), jnp.float32)
        firsts = [first] * 3 if takes_first(Compute(kernel, precision), width) else None

        def loss(xs, params, firsts):
            ys = []
            for group in [slice(None)] if together else [slice(i, i + 1) for i in range(3)]:
                before = firsts and firsts[group]
                compute = Compute(kernel, precision)
                ys += residual_towers(xs[group], params[group], compute, firsts=before)
            return sum(jnp.sum(jnp.square(y)) for y in ys)

        return jax.grad(loss, (0, 1, 2)), (xs, [one] * 3, firsts)

    return make


def _norm_swish(width: int):
    def make():
        import jax
        import jax.numpy as jnp

        from crl_eqx.kernels.experimental import norm_swish

        shape = lambda *sizes: jax.ShapeDtypeStruct(sizes, jnp.float32)
        run = lambda *args: jnp.sum(jnp.square(norm_swish(*args, implementation="triton")))
        return jax.grad(run, (0, 1, 2)), (shape(512, width), shape(width), shape(width))

    return make


def _programs() -> dict[str, Program]:
    fused = {"spilled_bytes": 0, "shared_memory": SHARED_MEMORY}
    packed = {"launches_per_turn": 14}
    shallow = {"temp_mib": 1024}
    deep = {"temp_mib": 12 * 1024, "compile_seconds": 90}
    sparing = {"temp_mib": 6 * 1024, "compile_seconds": 90}

    def update(depth: int, limits: dict[str, float], **network: Any) -> Program:
        return Program(_update(depth, **network), limits, donate=(0,))

    def fused_tower(kernel: str, width: int, precision: str) -> Program:
        return Program(_tower(width, precision, kernel), fused)

    programs = {
        "update, xla": update(64, {}, kernel="xla"),
        "update, checkpoint": update(64, {}, kernel="checkpoint"),
        "update, packed": update(64, packed | shallow, kernel="packed"),
        "update, packed, bf16": update(64, packed | shallow, kernel="packed", precision="bf16"),
        "update, triton, bf16": update(64, fused | shallow, kernel="triton", precision="bf16"),
        "update, depth 1024, packed": update(1024, packed | deep, kernel="packed"),
        "update, depth 1024, packed, remat block": update(
            1024, sparing, kernel="packed", remat="block"
        ),
        "update, depth 1024, triton, bf16": update(
            1024, fused | deep, kernel="triton", precision="bf16"
        ),
        "learn, triton, bf16": Program(
            _learn(64, kernel="triton", precision="bf16"),
            fused | shallow | {"launches_per_turn": 60},
            donate=(0,),
        ),
        "three towers, packed, one by one": Program(
            _tower(256, "auto", "packed", together=False), packed
        ),
        "three towers, packed, together": Program(_tower(256, "auto", "packed"), packed),
    }
    for width, precision in (
        (128, "bf16"),
        (256, "bf16"),
        (512, "bf16"),
        (128, "tf32"),
        (256, "tf32"),
    ):
        name = f"three towers, triton, {precision}, width {width}"
        programs[name] = fused_tower("triton", width, precision)
    if importlib.metadata.version("jax") >= "0.11":
        for width in (128, 256):
            name = f"three towers, mosaic, bf16, width {width}"
            programs[name] = fused_tower("mosaic", width, "bf16")
    for width in (128, 256, 512):
        programs[f"norm_swish, triton, width {width}"] = Program(_norm_swish(width), fused)
    return programs


PROGRAMS = _programs()


# What the compiler says.


def _launches(sequence: str, hlo: str) -> dict[str, Any]:
    """Of XLA's list of what is launched: outside loops, per turn of each loop, and in all."""
    wrappers = ("kAsyncStart", "kAsyncDone", "kDynamicSliceFusion", "kSequential")
    loops: list[int] = []
    outside, in_body = 0, False
    for line in sequence.splitlines():
        if line.strip() in ("condition:", "body:"):
            in_body = line.strip() == "body:"
            continue
        kind = re.match(r"( *)\d+: (k\w+)", line)
        if kind is None or kind[2] in wrappers:
            continue
        if kind[2] == "kWhile":
            loops.append(0)
        elif not kind[1]:
            outside, in_body = outside + 1, False
        elif in_body:
            loops[-1] += 1
    # One that draws until it has drawn well has no length of its own; its first turn will do.
    known = [re.search(r'known_trip_count":\{"n":"(\d+)"', line) for line in hlo.splitlines()
             if " while(" in line]  # fmt: skip
    turns = [1 if found is None else int(found[1]) for found in known]
    if len(turns) != len(loops):
        raise SystemExit(f"{len(loops)} loops are launched, and {len(turns)} are in the program")
    per_loop = [{"turns": n, "launches": count} for n, count in zip(turns, loops, strict=True)]
    total = outside + sum(loop["turns"] * loop["launches"] for loop in per_loop)
    return {"outside": outside, "loops": per_loop, "launches": total}


def _kernels(sequence: str, log: str) -> list[dict[str, Any]]:
    """Of the kernels that are ours: registers and spilled bytes from ptxas, shared memory."""
    compiled = re.findall(
        r"entry function '(\w+)' for .*?(\d+) bytes spill stores, (\d+) bytes spill loads.*?"
        r"Used (\d+) registers",
        log,
        flags=re.DOTALL,
    )
    launched = dict(re.findall(r" (\w+) grid: .*?shared_memory: (\d+) bytes", sequence))
    return [
        {
            "kernel": name,
            "registers": int(registers),
            "spilled_bytes": int(stores) + int(loads),
            # Mosaic's is not listed; it does not compile what does not fit.
            "shared_memory": int(launched[name]) if name in launched else None,
        }
        for name, stores, loads, registers in sorted(set(compiled))
        if name.startswith(("tower_", "norm_swish_"))
    ]


def compile_for_h200(name: str) -> dict[str, Any]:
    """In a process of its own, whose log and dumps the parent reads."""
    import jax
    from jax.experimental import topologies

    program = PROGRAMS[name]
    described = (HERE / "h200.txtpb").read_text()
    topology = topologies.get_topology_desc(
        platform="cuda", target_config=described, topology="1x1x1"
    )
    mesh = topologies.make_mesh(topo=topology, mesh_shape=(1,), axis_names=("x",))
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    there = lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=everywhere)
    with jax.sharding.use_abstract_mesh(_mesh()):
        function, args = program.make()
        args = jax.tree.map(there, args)
        start = time.perf_counter()
        lowered = jax.jit(function, donate_argnums=program.donate).trace(*args).lower()
    compiled = lowered.compile()
    seconds = time.perf_counter() - start
    memory = compiled.memory_analysis()
    return {
        "compile_seconds": round(seconds, 1),
        "temp_mib": round(memory.temp_size_in_bytes / 2**20),
        "argument_mib": round(memory.argument_size_in_bytes / 2**20),
        "hlo": compiled.as_text(),
    }


def measure(name: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as dump:
        environment = os.environ | {
            "JAX_ENABLE_COMPILATION_CACHE": "false",
            "XLA_FLAGS": f"--xla_dump_to={dump} --xla_dump_hlo_as_text",
            "TF_CPP_MIN_LOG_LEVEL": "0",
            "TF_CPP_VMODULE": "subprocess_compilation=3",  # ptxas -v, in the log
        }
        command = [sys.executable, str(Path(__file__).resolve()), "--child", name]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            raise SystemExit(f"{name} could not be compiled:\n{done.stderr[-4000:]}")
        sequences = sorted(Path(dump).glob("*.thunk_sequence.txt"))
        sequence = sequences[-1].read_text()
    row = json.loads(done.stdout.splitlines()[-1])
    hlo = row.pop("hlo")
    row |= _launches(sequence, hlo) | {"kernels": _kernels(sequence, done.stderr)}
    return {"program": name} | row


def _exceeded(row: dict[str, Any]) -> list[str]:
    """Which limits of its program a row does not keep."""
    known = lambda field: [k[field] for k in row["kernels"] if "mosaic" not in k["kernel"]]
    worst = lambda field: max(known(field), default=0 if row["kernels"] else None)
    values = {
        "temp_mib": row["temp_mib"],
        "compile_seconds": row["compile_seconds"],
        "launches_per_turn": max((loop["launches"] for loop in row["loops"]), default=None),
        "spilled_bytes": worst("spilled_bytes"),
        "shared_memory": worst("shared_memory"),
    }
    return [
        f"{row['program']}: {name} is {values.get(name)}, at most {limit} is allowed"
        for name, limit in PROGRAMS[row["program"]].limits.items()
        if values.get(name) is None or values[name] > limit
    ]


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| program | launches | outside loops | per turn of each loop | temporaries (MiB) "
        "| compile (s) | our kernels: registers, spilled bytes, shared memory (KiB) |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        loops = ", ".join(f"{loop['launches']} × {loop['turns']}" for loop in row["loops"])
        kernels = "; ".join(
            f"{k['kernel']} {k['registers']}, {k['spilled_bytes']}, "
            + ("?" if k["shared_memory"] is None else f"{k['shared_memory'] / 1024:.0f}")
            for k in row["kernels"]
        )
        cells = [row["program"], f"{row['launches']:,}", row["outside"], loops or "none"]
        cells += [f"{row['temp_mib']:,}", row["compile_seconds"], kernels or "none"]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--programs", nargs="+", default=[""], help="parts of names")
    parser.add_argument("--out", type=Path, help="default: bench/results")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ["JAX_PLATFORMS"] = "cpu"  # else CUDA's plugin looks for a device
    if args.child:
        print(json.dumps(compile_for_h200(args.child)))
        return
    chosen = [name for name in PROGRAMS if any(part in name for part in args.programs)]
    rows = []
    for name in chosen:
        rows.append(measure(name))
        print(table(rows[-1:]).splitlines()[-1], flush=True)
    name = f"aot-h200-jax-{importlib.metadata.version('jax')}"
    path = write(name, rows, directory=args.out)
    path.with_suffix(".md").write_text(table(rows) + "\n")
    print(f"written to {path.name}")
    failures = [sentence for row in rows for sentence in _exceeded(row)]
    if failures:
        raise SystemExit("\n".join(failures))


if __name__ == "__main__":
    main()
