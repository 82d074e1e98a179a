"""From words to choices; what cannot be read is reported in one sentence."""

import contextlib
import difflib
import io
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tyro

from .._errors import UserError


def parse(choices: Any, command: str, arguments: Sequence[str], **more: Any) -> Any:
    """`choices`, a dataclass or what tyro makes of one, from `arguments`; `--help` exits with 0.

    **Raises:** `UserError` for a flag that does not exist, or a value that is not of its type.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(choices, prog=f"crl-eqx {command}", args=list(arguments), **more)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise UserError(f"`crl-eqx {command}`: {_in_one_line(said.getvalue())}") from None


def _in_one_line(box: str) -> str:
    """tyro draws a box: a title, what is wrong, what was perhaps meant, and where help is, with
    rules between them. Where the encoding is not known the title is a part of its own."""
    parts = [""]
    for line in box.splitlines():
        text = line.strip("│ ")
        if text.startswith(("─", "---")):
            parts.append("")
        elif not text.startswith(("╭", "╰")):
            parts[-1] = f"{parts[-1]} {text}".strip()
    wrong, *rest = parts if box.startswith("╭") else parts[1:]
    meant = [part.split()[3] for part in rest if part.startswith("Perhaps you meant: --")]
    hint = f" Did you mean {meant[0]}?" if meant else ""
    return f"{wrong.rstrip('.')}.{hint or _nearest_choice(wrong)}"


def _nearest_choice(wrong: str) -> str:
    """What was perhaps meant, if a flag does not know a word."""
    found = re.search(r"invalid choice '(.*)' for argument.*Expected one of \((.*)\)", wrong)
    if found is None:
        return ""
    near = difflib.get_close_matches(found[1], re.findall(r"'([^']*)'", found[2]), n=1)
    return f" Did you mean {near[0]}?" if near else ""


def program() -> str:
    """What to type before a command, as this program was called."""
    if shutil.which("crl-eqx"):
        return "crl-eqx"
    called = sys.argv[0]
    return called if Path(called).name == "crl-eqx" else "python -m crl_eqx"


def quoted(path: Path) -> str:
    """As a word of a command that a shell will read."""
    return shlex.quote(str(path))


def whole_flag(flag: str, word: str) -> int:
    """**Raises:** `UserError` unless `word` is a whole number."""
    if not re.fullmatch(r"\d{1,9}", word):
        raise UserError(f"`{flag} {word}` must be a whole number.")
    return int(word)


def amount(flag: str, word: str) -> float:
    """**Raises:** `UserError` unless `word` is a number, 0 or positive."""
    if not re.fullmatch(r"\d{1,9}(\.\d+)?", word):
        raise UserError(f"`{flag} {word}` must be a number, 0 or positive.")
    return float(word)
