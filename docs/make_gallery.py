"""Writes docs/gallery.md and its stills from the tasks themselves.

    python docs/make_gallery.py                  # the text, and a still of every task
    python docs/make_gallery.py --text-only      # after a change of words or numbers

A test compares the text with the code, so that it cannot drift.
"""

import argparse
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import jax
from PIL import Image

from crl_eqx import envs
from crl_eqx.run import still


HERE = Path(__file__).parent
STILLS = HERE / "pictures" / "tasks"
SIZE = (240, 240)  # pixels
SHEET = (
    *("point_u_maze", "reacher", "pusher_easy", "cheetah", "ant", "ant_ball"),
    *("ant_push", "ant_hardest_maze", "humanoid", "humanoid_u_maze", "arm_push_easy"),
    "arm_binpick_hard",
)

JAXGCRL = "[JaxGCRL](https://arxiv.org/abs/2408.11052)"
PAPER = "[1000 Layer Networks for Self-Supervised RL](https://arxiv.org/abs/2503.14858)"
GYM = "[Gymnasium](https://gymnasium.farama.org/environments/mujoco/)"
REFERENCES = {
    "PointMaze": "the point mazes of [D4RL](https://arxiv.org/abs/2004.07219), in the layouts of "
    + PAPER,
    "Reacher": f"{JAXGCRL}; the arm is the reacher of {GYM}",
    "Pusher": f"{JAXGCRL}; the arm is the pusher of {GYM}",
    "Cheetah": f"{JAXGCRL}; the body is the half-cheetah of {GYM}",
    "Ant": f"{JAXGCRL}; the body is the ant of {GYM}",
    "AntMaze": f"{JAXGCRL} and {PAPER}",
    "AntMazeGen": f"the stitching experiment of {PAPER}",
    "AntBall": f"{JAXGCRL}, where it is called soccer",
    "AntPush": f"{JAXGCRL}, after [Data-Efficient Hierarchical RL](https://arxiv.org/abs/1805.08296)",
    "Humanoid": f"{JAXGCRL} and {PAPER}; the body is the humanoid of {GYM}",
    "HumanoidMaze": PAPER,
    "ArmReach": JAXGCRL,
    "ArmGrasp": JAXGCRL,
    "ArmPush": f"{JAXGCRL} and {PAPER}",
    "ArmBinpick": f"{JAXGCRL} and {PAPER}",
}

HEAD = """# Gallery

Every task: a fresh start with its goal in red, what its state is made of, when it succeeds and
where it comes from. `crl-eqx envs NAME` prints most of it, `crl-eqx render --env NAME` films it.
Written by `python docs/make_gallery.py` from the code;
[environments.md](environments.md) has what all tasks share.
"""


def shown(name: str) -> bool:
    """Whether a task has a still of its own: splits look like the task that they are a split of."""
    return re.search(r"_eval$|_gen_", name) is None


def families() -> dict[type, list[str]]:
    """The tasks of each class, in the order of `names()`."""
    found: dict[type, list[str]] = {}
    for name in envs.names():
        found.setdefault(type(envs.make(name, physics="native")), []).append(name)
    return found


def chapter(kind: type, names: list[str]) -> Iterator[str]:
    env = envs.make(names[0], physics="native")
    module = inspect.getmodule(kind)
    assert module is not None and module.__doc__ is not None
    yield f"## {kind.__name__}\n"
    yield module.__doc__.strip() + "\n"
    pictures = [f"![{name}](pictures/tasks/{name}.png)" for name in names if shown(name)]
    if pictures:
        yield "\n".join(pictures) + "\n"
    yield ", ".join(f"`{name}`" for name in names) + "\n"
    yield (inspect.getdoc(kind) or "") + "\n"
    yield "\n".join(_state_table(env)) + "\n"
    rules = {name: _rule(envs.make(name, physics="native")) for name in names}
    differ = len(set(rules.values())) > 1
    rule = "; ".join(f"`{name}` {of}" for name, of in rules.items()) if differ else _rule(env)
    yield f"Success: {rule}. {env.action_size} actions, {_goal(env)}.\n"
    yield f"Reference: {REFERENCES[kind.__name__]}.\n"


def _state_table(env: envs.AbstractMujocoEnv) -> Iterator[str]:
    yield "| numbers | what | unit | achieved goal |\n|---|---|---|---|"
    for row in env.describe_state():
        yield f"| {row.numbers} | {row.what} | {row.unit} | {row.goal} |"


def _rule(env: envs.AbstractMujocoEnv) -> str:
    if type(env).success is not envs.AbstractMujocoEnv.success:
        return "its own, see above"
    rules = [f"distance < {env.threshold:g}"]
    return "; ".join(rules + [f"`{name}` < {limit:g}" for name, limit in env.levels])


def _goal(env: envs.AbstractMujocoEnv) -> str:
    one = env.goal_size == 1
    return f"{env.goal_size} {'number' if one else 'numbers'} of goal"


def text() -> str:
    chapters = ["\n".join(chapter(kind, names)) for kind, names in families().items()]
    return "\n".join([HEAD, *chapters])


def draw_sheet() -> None:
    """A dozen stills in one picture, for the README."""
    width, height = SIZE
    columns = 6
    sheet = Image.new("RGB", (columns * width, -(-len(SHEET) // columns) * height))
    for number, name in enumerate(SHEET):
        place = number % columns * width, number // columns * height
        sheet.paste(Image.open(STILLS / f"{name}.png"), place)
    sheet.resize((sheet.width * 2 // 3, sheet.height * 2 // 3)).save(
        HERE / "pictures" / "tasks.png"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--text-only", action="store_true", help="leave the stills as they are")
    parser.add_argument("--tasks", nargs="+", default=envs.names(), help="draw only these")
    args = parser.parse_args()
    (HERE / "gallery.md").write_text(text())
    STILLS.mkdir(parents=True, exist_ok=True)
    for name in filter(shown, () if args.text_only else args.tasks):
        env = envs.make(name, physics="native")
        print(still(env, STILLS / f"{name}.png", size=SIZE, key=jax.random.key(2)).name)
    if not args.text_only:
        draw_sheet()


if __name__ == "__main__":
    main()
