"""An agent's weights alone: as a file, or out of a checkpoint."""

import os
import uuid
import warnings
from pathlib import Path
from typing import Any

import equinox as eqx

from .._agent import Agent
from .._errors import UserError
from .._fork import not_forked
from ._arrays import named, read_tree, write_tree
from ._checkpoint import agent_of, CheckpointStore
from ._files import BadFile, refuse_other_than_file, sync_directory
from ._manifest import NAME


@not_forked
def save_agent(path: Path | str, agent: Agent) -> None:
    """Writes an agent's weights as one safetensors file; [`crl_eqx.store.load_agent`][] reads them.

    **Raises:** `UserError` if it cannot be written.
    """
    if not isinstance(agent, eqx.Module) or not named(agent):
        raise UserError(f"`save_agent(path, {agent!r})` needs an agent: it holds no weights.")
    path = _path(path, "save_agent")
    if not path.name:
        raise UserError(f"`save_agent({str(path)!r})` needs the name of a file.")
    temporary = path.with_name(f".saving-{uuid.uuid4().hex}")
    try:
        refuse_other_than_file(path)
        write_tree(temporary, agent, "agent")
        temporary.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"`save_agent({str(path)!r})` failed: {error.strerror}.") from error


def _path(path: Any, call: str) -> Path:
    if not isinstance(path, str | os.PathLike) or "\0" in os.fspath(path):
        raise UserError(f"`{call}({path!r})` needs the path of a file.")
    return Path(path)


@not_forked
def load_agent(path: Path | str, like: Agent) -> Agent:
    """`like` with saved weights.

    **Arguments:**

    - `path`: what `save_agent` wrote, a checkpoint, or a run's directory: its newest checkpoint.
    - `like`: an agent of the same architecture, or only its shapes (`eqx.filter_eval_shape`).

    **Raises:** `UserError` if there are no good weights, or not for such an agent.
    """
    path = _path(path, "load_agent")
    try:
        if path.is_file():
            return read_tree(path, like, "agent")
        if (path / NAME).exists():
            return agent_of(path, like)
    except BadFile as error:
        raise UserError(f"`load_agent({str(path)!r})`: {error}.") from error
    warn = lambda sentence: warnings.warn(sentence, stacklevel=4)
    agent = CheckpointStore(path / "checkpoints").newest_agent(like, report=warn)
    if agent is None:
        raise UserError(
            f"`load_agent({str(path)!r})` found no good weights: it takes a `.safetensors` file, a "
            f"checkpoint, or a run's directory."
        )
    return agent
