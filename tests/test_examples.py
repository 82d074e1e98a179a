"""Every example runs as a user would run it, and shows what it says it shows."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest


EXAMPLES = sorted(path.stem for path in (Path(__file__).parent.parent / "examples").glob("*.py"))


def _run(name: str) -> str:
    path = Path(__file__).parent.parent / "examples" / f"{name}.py"
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, str(path)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def printed() -> Iterator[Callable[[str], str]]:
    """What an example prints. All run at once, two at a time: most of it is compiling."""
    with ThreadPoolExecutor(2) as pool:
        running = {name: pool.submit(_run, name) for name in EXAMPLES}
        yield lambda name: running[name].result()


def _numbers(pattern: str, text: str) -> list[float]:
    """The groups of `pattern`, which has to be found, as numbers."""
    found = re.search(pattern, text)
    assert found, f"{pattern!r} is not in:\n{text}"
    return [float(group.replace(",", "")) for group in found.groups()]


def test_train_a_step_learns_something_and_answers(printed):
    text = printed("train_a_step")
    assert "residual, LayerNorm and swish are active in every network" in text
    losses = [float(loss) for loss in re.findall(r"critic loss ([\d.]+)", text)]
    assert len(losses) == 3 and losses[-1] < losses[0]
    *action, energy = _numbers(r"action \[ *(\S+) +(\S+?) *\], energy (\S+)", text)
    assert all(abs(a) <= 1 for a in action) and energy < 0


def test_saved_weights_come_back_and_others_are_refused(printed):
    text = printed("saved_weights")
    line = lambda name: re.findall(rf"^{name}: +(.+)$", text, re.MULTILINE)[0]
    assert line("loaded") == line("original")
    assert "other sizes" in line("refused") or "another kind" in line("refused")
    assert line("a new run starts from them") == "True, at 0 environment steps"


def test_pieces_work_alone(printed):
    text = printed("pieces")
    assert _numbers(r"scan against loop (\S+)", text)[0] < 1e-5
    loss, chance = _numbers(r"infonce: (\S+) \(chance (\S+)\)", text)
    assert 0 < loss < chance
    mean, least = _numbers(r"futures lie (\S+) steps ahead on average, at least (\S+)", text)
    assert 5 < mean < 10 and least == 1
    states, goals = re.findall(r"\[([^\]]+)\]", text.splitlines()[-1])
    assert all(float(s) < float(g) for s, g in zip(states.split(), goals.split(), strict=True))


def test_an_environment_of_ones_own_is_learnt(printed):
    text = printed("own_environment")
    assert _numbers(r"success before: (\S+)", text)[0] < 0.3
    assert _numbers(r"success after .+: (\S+)", text)[0] > 0.7


def test_a_model_of_ones_own_is_learnt(printed):
    text = printed("own_mjcf")
    assert "state 4, goal 2, action 2, 0.05 s per step" in text
    before, after = _numbers(r"success_rate: (\S+) before, (\S+) after", text)
    assert before < 0.2 and after > 0.5
    before, after = _numbers(r"final_distance: (\S+) before, (\S+) after", text)
    assert after < before / 2


def test_a_task_in_thirty_lines_shows_its_state(printed):
    text = printed("own_task")
    assert re.search(r"0–1 +qpos: .*\n +2–3 +qvel", text)
    place, upright = _numbers(r"to \[ *(\S+) +(\S+?) *\]", text)
    assert -1.5 < place < 1.5 and upright == 0


def test_an_offline_critics_energy_falls_with_the_distance_in_time(printed):
    text = printed("offline_critic")
    energies = _numbers(r"20 and 40 steps away: (\S+), (\S+), (\S+), (\S+)", text)
    assert energies == sorted(energies, reverse=True)
    first, last, chance = _numbers(r"\naccuracy (\S+) -> (\S+) \(chance (\S+)\)", text)
    assert last > 3 * chance > 3 * first / 2
    assert _numbers(r"own encoders: accuracy \S+ -> (\S+)", text)[0] > 2 * chance


def test_gymnasium_both_ways_learns_and_gives(printed):
    text = printed("gymnasium_both_ways")
    assert _numbers(r"upright before: (\d+) of", text)[0] < 5
    assert _numbers(r"upright after .+: (\d+) of", text)[0] > 10
    assert "as a VectorEnv: states (4, 4)" in text


def test_an_exported_policy_acts_on_any_batch(printed):
    text = printed("exported_policy")
    assert "actions of a batch of 1: (1, 2)" in text and "actions of a batch of 3: (3, 2)" in text


def test_every_example_is_looked_at():
    source = Path(__file__).read_text()
    assert EXAMPLES and all(f'printed("{name}")' in source for name in EXAMPLES)
