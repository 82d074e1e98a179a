"""The commands of `crl-eqx`, one file each, imported when asked for."""

import importlib
import itertools
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .. import __version__
from .._errors import abridged, kept_error, TrainingError, UserError
from ._whose import sentence_about


class Command(NamedTuple):
    """Where a command is, and what it does."""

    module: str
    sentence: str
    function: str | None = None
    """Default: named as the command."""

    def load(self, name: str) -> Callable[[Sequence[str], Any], int]:
        module = importlib.import_module(f".{self.module}", __package__)
        return getattr(module, self.function or name)


COMMANDS: dict[str, Command] = {
    "train": Command("_train", "train an agent (or go on with one: --resume RUN)"),
    "resume": Command("_train", "go on with a run from its newest checkpoint"),
    "doctor": Command("_doctor", "what this machine is, and what a run would take on it"),
    "sweep": Command("_sweep", "train every combination of some choices: --over depth=4,16"),
    "ladder": Command("_sweep", "train several depths, with several seeds each"),
    "ablate": Command("_sweep", "train without one part at a time: LayerNorm, depth, width, ..."),
    "report": Command("_report", "what some runs say: of a sweep, a ladder, or made separately"),
    "compare": Command("_report", "runs side by side: a table as CSV, a figure as PDF"),
    "evaluate": Command("_evaluate", "play fresh episodes with a trained agent and report"),
    "generalize": Command("_generalize", "play an agent where it was not trained"),
    "plot": Command("_plot", "all metrics of a run, or of several, on one sheet"),
    "render": Command("_render", "draw a trained agent, or a task played at random: --env NAME"),
    "export": Command("_export", "write a trained policy as a file that JAX alone can run"),
    "envs": Command("_envs", "list the tasks, or show one"),
    "info": Command("_info", "what a run is, how far it got, and what it was made with"),
}


def _usage() -> str:
    rows = [f"  {name:<12}{command.sentence}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "crl-eqx: deep contrastive reinforcement learning",
            "",
            "usage: crl-eqx COMMAND [options]        crl-eqx COMMAND --help",
            "",
            *rows,
            "",
            "crl-eqx --version",
            "anywhere: --debug  tracebacks in place of sentences",
            "          --trust  run the task file that a run directory from elsewhere names",
        ]
    )


def run(arguments: Sequence[str]) -> int:
    """Runs one command and returns its exit code.

    0: done. 1: training went wrong. 2: a mistake in the call, in your own task, or something
    outside the program, reported in one sentence. 128 + n: saved and stopped by signal n.
    """
    debug, trust = "--debug" in arguments, "--trust" in arguments
    arguments = [word for word in arguments if word not in ("--debug", "--trust")]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return 0
    if arguments[0] == "--version":
        print(f"crl-eqx {__version__}")
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        known = ", ".join(COMMANDS)
        print(f"`crl-eqx {name}`: no such command; there are {known}.", file=sys.stderr)
        return 2
    for before, word in itertools.pairwise([name, *rest]):
        if word == "" or word.startswith("--") and word.endswith("="):
            said = word or before
            print(f"`crl-eqx {name}`: what follows `{said}` is empty.", file=sys.stderr)
            return 2
    try:
        # Here, where a package that is missing is told in a sentence.
        from rich.console import Console

        from ._cache import use_compilation_cache

        use_compilation_cache()
        command = COMMANDS[name].load(name)
        from ..run_files import trusting

        with trusting(trust):
            return command(rest, Console(markup=False))
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        told = kept_error(error)
        expected = isinstance(told, UserError | TrainingError)
        sentence = str(told) if expected else sentence_about(told)
        if debug or sentence is None:
            raise
        print(abridged(sentence), file=sys.stderr)
        return 1 if isinstance(told, TrainingError) else 2
