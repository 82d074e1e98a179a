"""Checkpoints: directories that appear whole or not at all.

```
checkpoints/
    step_000001015808/
        manifest.json          sizes and checksums of all files, metadata, format version
        agent.safetensors      the networks, just as `_agent_file.py` writes them
        state.safetensors      optimisers, environments, key, counters
    replay/                    segments of the replay, shared by the checkpoints that need them
```
"""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import msgspec

from .._agent import Agent
from .._errors import UserError
from .._train_state import TrainState, with_actor
from ..replay import TrajectoryBuffer
from ._arrays import most_bytes, read_tree, write_tree
from ._files import BadFile, write_synced
from ._manifest import check_metadata, Manifest, NAME, read_manifest
from ._saved import SavedCheckpoints
from ._segments import empty_buffer, read_replay, Replay, write_replay


_AGENT, _STATE = "agent.safetensors", "state.safetensors"


class NoneGood(UserError):
    """There are checkpoints, and none can be gone on with."""


def _rest(state: TrainState) -> TrainState:
    """What `state.safetensors` holds: all but the agent and the replay. Where the policy is
    averaged, the agent's file has the average, and this one the policy that trains."""
    rest = eqx.tree_at(lambda s: (s.agent, s.buffer), state, (None, None))
    if state.average is None:
        return rest
    return eqx.tree_at(lambda s: s.average, rest, state.agent.actor)


class CheckpointStore:
    """A run's checkpoints, oldest to newest.

    ```python
    store = CheckpointStore(run_dir / "checkpoints")
    store.save(state, step.buffer, metadata={"success_rate": 0.9})
    like = eqx.filter_eval_shape(lambda: step.init(agent, key=key))
    state, metadata = store.restore(like, step.buffer, report=print)
    ```

    A process killed at any moment of a save leaves either the checkpoints from before or those
    from after it; the next save clears away anything else it leaves.

    **Arguments:**

    - `directory`: made by the first save.
    - `keep`: how many checkpoints are kept.
    - `replay`: whether the replay is saved, in segments; a save writes only new ones.
    """

    def __init__(self, directory: Path | str, *, keep: int = 3, replay: bool = True):
        if keep < 1:
            raise UserError(f"`CheckpointStore(keep={keep})` must be at least 1.")
        self.directory = Path(directory)
        self._saved = SavedCheckpoints(self.directory)
        self._keep, self._with_replay = keep, replay
        self._replay: Replay | None = None  # saved or restored last: what the next save builds on
        self._entered = False

    def steps(self) -> list[int]:
        """Environment steps of the checkpoints present, ascending."""
        return sorted({manifest.env_steps for manifest in self._saved.good().values()})

    def damaged(self) -> dict[Path, str]:
        """Checkpoints that are present but not good, and why, as far as can be seen without
        reading arrays."""
        examined = self._saved.examined().items()
        return {path: str(why) for path, why in examined if isinstance(why, BadFile)}

    def metadata(self) -> dict[str, Any] | None:
        """The metadata of the newest checkpoint with a good manifest, whether or not its arrays are
        good; None if there is none."""
        for path in reversed(self._saved.entries()):
            try:
                return read_manifest(path).metadata
            except BadFile:
                continue
        return None

    def adopt(self) -> None:
        """Takes the checkpoints that are there for this store's own: the next save may drop them.
        `restore` does the same."""
        self._entered = True

    def save(
        self, state: TrainState, buffer: TrajectoryBuffer, *, metadata: dict[str, Any]
    ) -> Path:
        """Adds a checkpoint; the oldest beyond `keep` go, as do those of a future that was
        abandoned by restoring an earlier one.

        **Raises:** `UserError` if it cannot be written, with the earlier ones untouched, or if
        the directory holds checkpoints that this store did not restore.
        """
        self._refuse_strangers()
        check_metadata(metadata)
        env_steps = int(state.env_steps)
        try:
            self._saved.segments.mkdir(parents=True, exist_ok=True)
            self._saved.tidy(self._replay)
            replay = None
            if self._with_replay:
                replay = write_replay(self._saved.segments, state.buffer, buffer, self._replay)
            path = self._write(state, replay, metadata, env_steps)
        except OSError as error:
            with contextlib.suppress(OSError):
                self._saved.tidy(self._replay)
            raise UserError(
                f"The checkpoint of step {env_steps:,} could not be written in "
                f"`{self.directory}`: {error.strerror}; those before it are untouched."
            ) from error
        self._replay, self._entered = replay, True
        # The new one is safe. What cannot be cleared away now, as it is being read, the next save
        # clears away.
        with contextlib.suppress(OSError):
            self._saved.drop_old(path, self._keep)
            self._saved.tidy(replay)
        return path

    def abandon_after(self, env_steps: int) -> None:
        """Drops the checkpoints of later steps, from which nobody shall go on: what was restored
        is an earlier one. The next save would drop them, too, but might not be reached.

        **Raises:** `UserError` if that is refused.
        """
        try:
            self._saved.drop_after(env_steps)
        except OSError as error:
            raise UserError(
                f"Checkpoints after step {env_steps:,} in `{self.directory}` could not be removed: "
                f"{error.strerror}."
            ) from error

    def _refuse_strangers(self) -> None:
        """A save drops other checkpoints, but only those this store knows as its own."""
        if not self._entered and (others := self._saved.entries()):
            raise UserError(
                f"`CheckpointStore({str(self.directory)!r}).save` found checkpoints (newest: "
                f"`{others[-1].name}`) that it did not restore: call `restore` or `adopt` first, "
                f"or name another directory."
            )

    def _write(
        self, state: TrainState, replay: Replay | None, metadata: dict[str, Any], env_steps: int
    ) -> Path:
        temporary = self._saved.temporary()
        manifest = Manifest(
            env_steps=env_steps,
            inserted=int(state.buffer.inserted),
            agent=write_tree(temporary / _AGENT, state.acting_agent, "agent"),
            state=write_tree(temporary / _STATE, _rest(state)),
            replay=replay,
            metadata=metadata,
        )
        write_synced(temporary / NAME, [manifest.encode()])
        return self._saved.publish(temporary, env_steps)

    def restore(
        self,
        like: TrainState,
        buffer: TrajectoryBuffer,
        *,
        report: Callable[[str], None],
        refill: bool = False,
        at: int | None = None,
    ) -> tuple[TrainState, dict[str, Any]] | None:
        """The newest good checkpoint's state and metadata; None if there is no checkpoint.

        **Arguments:**

        - `like`: a state of the same run, or only its shapes.
        - `buffer`: of the same run.
        - `report`: gets one sentence on why a checkpoint was skipped, and what is lost if the
            replay was not saved.
        - `refill`: go on with the newest whose networks are intact, with an empty replay if its
            own is damaged. (Checkpoints share segments: a damaged one affects them all.)
        - `at`: only the checkpoint of that environment step, not the newest.

        **Raises:** `NoneGood`, a `UserError`, if there are checkpoints but none is good; another
        `UserError` if one is good but of another shape than `like`.
        """
        bad: dict[Path, str] = {}
        whole: Path | None = None  # the newest whose networks could go on without their replay
        for path in self._saved.newest_first(at):
            without = "was not saved"
            try:
                manifest = self._saved.examine(path)
                if manifest.env_steps == 0 and whole:
                    break  # that would be to begin the run over
                state = self._read(path, manifest, like, buffer)
            except (BadFile, OSError) as error:
                bad[path] = str(error)
                report(f"The checkpoint `{path}` cannot be used: {error}.")
                manifest = self._with_whole_networks(path, like)
                whole = whole or (manifest and path)
                if manifest is None or not refill:
                    continue
                manifest, without = msgspec.structs.replace(manifest, replay=None), "is damaged"
                state = self._read(path, manifest, like, buffer)
            if manifest.replay is None:
                report(_what_is_lost(path, without, min(manifest.inserted, buffer.capacity)))
            self._replay, self._entered = manifest.replay, True
            return state, manifest.metadata
        if not bad:
            return None
        offer = whole and (
            f" The networks of `{whole}` are whole: `--refill-replay` goes on with them, and "
            f"collects the replay anew."
        )
        raise NoneGood(
            f"None of the {len(bad)} checkpoints in `{self.directory}` is good; the newest: "
            f"{next(iter(bad.values()))}.{offer or ''}"
        )

    def _with_whole_networks(self, path: Path, like: TrainState) -> Manifest | None:
        """The manifest of a checkpoint of which all but the replay is as it was written."""
        try:
            manifest = read_manifest(path)
            _check_networks(manifest, path, like)
        except (BadFile, OSError):
            return None
        return manifest

    def _read(
        self, path: Path, manifest: Manifest, like: TrainState, buffer: TrajectoryBuffer
    ) -> TrainState:
        _check_networks(manifest, path, like)
        agent = read_tree(path / _AGENT, like.agent, "agent")
        rest = read_tree(path / _STATE, _rest(like))
        if manifest.replay is None:
            ring = empty_buffer(like.buffer, buffer)
        else:
            ring = read_replay(self._saved.segments, manifest.replay, like.buffer, buffer)
        if rest.average is not None:  # the two trade places again
            trained, average = rest.average, agent.actor
            agent = with_actor(agent, trained)
            rest = eqx.tree_at(lambda s: s.average, rest, average)
        holes = lambda s: (s.agent, s.buffer)
        return eqx.tree_at(holes, rest, (agent, ring), is_leaf=lambda leaf: leaf is None)

    def newest_agent(self, like: Agent, *, report: Callable[[str], None]) -> Agent | None:
        """The weights of the newest checkpoint whose weights are good; `report` gets one
        sentence on why others were skipped."""
        for path in self._saved.newest_first():
            try:
                return agent_of(path, like)
            except (BadFile, OSError) as error:
                if path.exists():
                    report(f"The checkpoint `{path}` cannot be used: {error}.")
        return None


def _check_networks(manifest: Manifest, path: Path, like: TrainState) -> None:
    """**Raises:** `BadFile` if a file of the checkpoint itself is not as it was written."""
    manifest.agent.check(path, most_bytes(like.agent))
    manifest.state.check(path, most_bytes(_rest(like)))


def _what_is_lost(path: Path, why: str, steps: int) -> str:
    return (
        f"The replay of `{path}` {why}: resuming begins with an empty one, which a prefill fills "
        f"first, its {steps:,} steps per environment are lost, and the run will not be "
        f"bit-identical to an uninterrupted one."
    )


def agent_of(checkpoint: Path, like: Agent) -> Agent:
    read_manifest(checkpoint).agent.check(checkpoint, most_bytes(like))
    return read_tree(checkpoint / _AGENT, like, "agent")
