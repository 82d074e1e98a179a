"""Run directories damaged at random, and every command on them.

A minute in the suite; `make soak` takes an hour, with another seed each time. A failure names its
seed, and `CRL_EQX_FUZZ_SEED=... pytest tests/run/test_fuzz.py` plays it again.
"""

import contextlib
import json
import os
import random
import shutil
import time
import traceback
import warnings

import pytest
from rich.console import Console

from crl_eqx import cli
from crl_eqx.run import train

from .conftest import tiny


SECONDS = float(os.environ.get("CRL_EQX_FUZZ_SECONDS", 45))
SEED = os.environ.get("CRL_EQX_FUZZ_SEED")
SLOWEST = 60  # seconds that a command may take, compiling included


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("fuzz") / "run"
    train(tiny(total_env_steps=480), run_dir, Console(quiet=True))
    return run_dir


def files(run_dir):
    """The run's own: a damage must not itself write through what `link` has left."""
    found = sorted(path for path in run_dir.rglob("*") if path.is_file() and path.name != ".lock")
    return [path for path in found if not path.is_symlink()]


def flip(run_dir, chance):
    path = chance.choice(files(run_dir))
    data = bytearray(path.read_bytes()) or bytearray(b"?")
    at = chance.randrange(len(data))
    data[at] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def cut(run_dir, chance):
    path = chance.choice(files(run_dir))
    os.truncate(path, chance.randrange(path.stat().st_size + 1))


def swap(run_dir, chance):
    one, other = chance.sample(files(run_dir), 2)
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)


def remove(run_dir, chance):
    path = chance.choice(sorted(run_dir.rglob("*")))
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def link(run_dir, chance):
    """To what is not the run's, and must stay as it is."""
    path = chance.choice(sorted(run_dir.rglob("*")))
    outside = run_dir.parent / "outside"
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.symlink_to(outside if chance.random() < 0.5 else outside / "precious.safetensors")


def pipe(run_dir, chance):
    path = chance.choice(files(run_dir))
    path.unlink()
    os.mkfifo(path)


def folder(run_dir, chance):
    path = chance.choice(files(run_dir))
    path.unlink()
    path.mkdir()


def sparse(run_dir, chance):
    os.truncate(chance.choice(files(run_dir)), 1 << 40)


def deep(run_dir, chance):
    path = chance.choice([path for path in files(run_dir) if path.suffix in (".json", ".jsonl")])
    path.write_text("[" * 100_000 if chance.random() < 0.5 else '{"a":' * 100_000)


def value(run_dir, chance):
    """Another value somewhere in the configuration or a manifest."""
    path = chance.choice([path for path in files(run_dir) if path.suffix == ".json"])
    content = json.loads(path.read_text())
    places = []

    def walk(node):
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    walk(content)
    node, key = chance.choice(places)
    odd = [None, -1, 0, 1e300, 2**63, 2**200, "", "\0", "../x", [], {}, True, "x" * 5000]
    node[key] = chance.choice(odd)
    path.write_text(json.dumps(content))


def closed(run_dir, chance):
    """What may not be read (by others than root)."""
    own = [path for path in sorted(run_dir.rglob("*")) if not path.is_symlink()]
    chance.choice(own).chmod(0)


DAMAGES = (flip, cut, swap, remove, link, pipe, folder, sparse, deep, value, closed)
COMMANDS = (
    "info {}",
    "info {}",
    "evaluate {} --episodes 2",
    "export {}",
    "render {} --episodes 1 --view 2d",
    "resume {}",
    "resume {} --refill-replay",
    "train --env point_u_maze --run-dir {}",
)


def play(seed, finished, room, capfd):
    """One damaged run and one command; None or what was wrong."""
    chance = random.Random(seed)
    shutil.rmtree(room, ignore_errors=True)
    outside = room / "outside"
    outside.mkdir(parents=True)
    (outside / "precious.safetensors").write_bytes(b"precious")
    run_dir = shutil.copytree(finished, room / "run")
    damages = chance.choices(DAMAGES, k=chance.choice([1, 1, 1, 2, 3]))
    for damage in damages:
        # What one damage has left, the next may be unable to read.
        with contextlib.suppress(OSError, IndexError, ValueError, MemoryError, RecursionError):
            damage(run_dir, chance)
    words = chance.choice(COMMANDS).format(run_dir).split()
    if words[0] == "train" and not (run_dir / "config.json").exists():
        words += ["--total-env-steps", "1"]  # which is refused
    capfd.readouterr()
    begun, what = time.monotonic(), f"{[d.__name__ for d in damages]}, {' '.join(words)}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default")  # that lines are damaged, say
            code = cli.run(words)
    except SystemExit as error:
        code = error.code
    except BaseException:
        return f"{what}: {traceback.format_exc()}"
    told = capfd.readouterr().err.strip()
    if code not in (0, 2):
        return f"{what}: exit code {code}, {told}"
    if code == 2 and (not told or "Traceback" in told or len(told) > 4000):
        return f"{what}: was told {told!r}"
    if time.monotonic() - begun > SLOWEST:
        return f"{what}: took {time.monotonic() - begun:.0f} s"
    left = [path.name for path in outside.rglob("*")]
    if left != ["precious.safetensors"] or (outside / left[0]).read_bytes() != b"precious":
        return f"{what}: changed what a link points to"
    return None


def test_every_command_on_a_damaged_run_ends_well(finished, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seeds = iter([int(SEED)]) if SEED else iter(range(int(time.time() * 1000), 2**62))
    until = time.monotonic() + SECONDS
    wrong, played = [], 0
    for seed in seeds:
        problem = play(seed, finished, tmp_path / "room", capfd)
        played += 1
        if problem:
            wrong.append(f"CRL_EQX_FUZZ_SEED={seed}: {problem}")
        if time.monotonic() > until or len(wrong) >= 10:
            break
    assert not wrong, f"{len(wrong)} of {played}:\n" + "\n\n".join(wrong)
    assert played >= 1


def test_values_of_any_length_leave_a_sentence_that_can_be_read(finished, tmp_path, capfd):
    run_dir = shutil.copytree(finished, tmp_path / "run")
    path = run_dir / "config.json"
    written = json.loads(path.read_text())
    refused = 0
    for node in (written, *(value for value in written.values() if isinstance(value, dict))):
        for key, kept in [*node.items()]:
            node[key] = "x" * 5000
            path.write_text(json.dumps(written))
            node[key] = kept
            capfd.readouterr()
            code, told = cli.run(["export", str(run_dir)]), capfd.readouterr().err
            assert code in (0, 2) and len(told) < 1500, f"{key}: {code}, {told}"
            refused += code == 2 and str(run_dir) in told
    assert refused > 50
