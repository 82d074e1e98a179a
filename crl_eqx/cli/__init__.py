"""The commands of `crl-eqx`, one file each."""

import sys
from collections.abc import Callable, Sequence

from rich.console import Console

from .._errors import UserError
from ..run import TrainingError
from ._cache import use_compilation_cache
from ._envs import envs
from ._evaluate import evaluate
from ._export import export
from ._info import info
from ._render import render
from ._train import resume, train


COMMANDS: dict[str, tuple[Callable[[Sequence[str], Console], int], str]] = {
    "train": (train, "train an agent (or go on with one: --resume RUN)"),
    "resume": (resume, "go on with a run from its newest checkpoint"),
    "evaluate": (evaluate, "play fresh episodes with a trained agent and report"),
    "render": (render, "draw a trained agent, or a task played at random: --env NAME"),
    "export": (export, "write a trained policy as a file that JAX alone can run"),
    "envs": (envs, "list the tasks, or show one"),
    "info": (info, "what a run is, how far it got, and what it was made with"),
}


def _usage() -> str:
    rows = [f"  {name:<10}{sentence}" for name, (_, sentence) in COMMANDS.items()]
    return "\n".join(
        [
            "crl-eqx: deep contrastive reinforcement learning",
            "",
            "usage: crl-eqx COMMAND [options]        crl-eqx COMMAND --help",
            "",
            *rows,
        ]
    )


def run(arguments: Sequence[str]) -> int:
    """Runs one command and returns its exit code.

    0: done. 1: training went wrong. 2: a mistake in the call, told in one sentence. 128 + n: saved
    and stopped by signal n.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        known = ", ".join(COMMANDS)
        print(f"`crl-eqx {name}`: no such command; there are {known}.", file=sys.stderr)
        return 2
    use_compilation_cache()
    try:
        return COMMANDS[name][0](rest, Console())
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except TrainingError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
