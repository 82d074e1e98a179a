"""Will the run fit? Asked before anything is compiled."""

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

import equinox as eqx
import jax

from .._container import memory_limit
from .._errors import UserError
from .._step import AbstractTrainStep
from .._train_state import TrainState
from ..config import Config, replaced
from ..parts import make_agent


@dataclasses.dataclass(frozen=True)
class Needs:
    """Bytes that a run will need."""

    replay: int
    parameters: int
    """Parameters with the optimisers' state, and the copies that follow slowly."""
    update: int
    """Gradients and kept activations of one update."""
    disk: int

    @property
    def memory(self) -> int:
        return self.replay + self.parameters + self.update

    def __str__(self) -> str:
        return (
            f"needs {_size(self.memory)} of memory (replay {_size(self.replay)}, networks and "
            f"optimisers {_size(self.parameters)}, one update {_size(self.update)}) and up to "
            f"{_size(self.disk)} of disk"
        )


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def _bytes(tree) -> int:
    arrays = (leaf for leaf in jax.tree.leaves(tree) if hasattr(leaf, "dtype"))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in arrays)


def estimate(config: Config, step: AbstractTrainStep, state: TrainState) -> Needs:
    """`state` may be abstract (`eqx.filter_eval_shape`): nothing is allocated."""
    replay = _bytes(state.buffer)
    parameters = _bytes((state.agent, state.opt_state, state.average, state.objective_state))
    update = step.audit(state.agent).working_bytes(step.batch_size)
    # While a checkpoint is written its predecessors still stand, and their replays overlap but
    # for what was collected in between.
    rows = min(step.buffer.capacity, 1 + config.total_env_steps // step.num_envs)
    stored = replay * rows // step.buffer.capacity
    kept = config.logging.keep_checkpoints + 1
    between = config.logging.checkpoint_every / max(rows * step.num_envs, 1)
    replays = stored * (1 + min(between, 1.0) * (kept - 1)) if config.logging.save_replay else 0
    kept += 2 * config.logging.keep_best  # the best one, and while it is replaced its successor
    return Needs(replay, parameters, update, int(kept * parameters + replays))


def free_memory() -> int:
    """Bytes that are free where JAX computes."""
    stats = jax.devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    import psutil  # which nothing else of a run needs

    available = psutil.virtual_memory().available
    limit = memory_limit()
    return available if limit is None else min(available, limit)


def what_fits(config: Config, step: AbstractTrainStep, needs: Needs, memory: int) -> list[str]:
    """Flags, each of which alone makes a run fit that needs more than `memory`."""
    found = []
    network = config.compute
    if network.kernel in ("auto", "checkpoint") and network.remat != "block":
        less = replaced(config, remat="block")
        make = lambda key: make_agent(less, step.env, key=key)
        agent = eqx.filter_eval_shape(make, jax.random.key(0))
        update = step.audit(agent).working_bytes(step.batch_size)
        if needs.memory - needs.update + update <= memory:
            found.append("--remat block")
    room = memory - needs.parameters - needs.update
    rows = int(0.9 * max(room, 0) / max(needs.replay, 1) * step.buffer.capacity)
    if rows >= step.unroll_length:
        found.append(f"--replay-capacity {rows}")
    return found


def _taken(run_dir: Path) -> int:
    """Bytes of the checkpoints that a run is going to replace, if it is resumed."""
    files = [path for name in ("checkpoints", "best") for path in (run_dir / name).rglob("*")]
    return sum(path.stat().st_size for path in files if path.is_file())


def check_resources(
    config: Config, step: AbstractTrainStep, needs: Needs, run_dirs: Sequence[Path]
) -> None:
    """`needs` are those of each of the runs in these directories, which one process trains; none
    of them has taken its memory yet.

    **Raises:** `UserError` when memory or disk cannot hold them; it says what would fit.
    """
    among, run_dir = len(run_dirs), run_dirs[0]
    disk = shutil.disk_usage(run_dir).free + sum(map(_taken, run_dirs))
    who = "The run" if among == 1 else f"Each of {among} runs"
    if short := short_of_memory(config, step, needs, among=among):
        raise UserError(f"{who} {needs}, {short}.")
    if needs.disk * among > disk:
        raise UserError(
            f"{who} {needs}, but {_size(disk)} of disk are free under `{run_dir}`: lower "
            f"`--keep-checkpoints` or `--replay-capacity`, or pass `--no-save-replay`."
        )


def short_of_memory(
    config: Config, step: AbstractTrainStep, needs: Needs, *, among: int = 1
) -> str | None:
    """What to say of runs for which memory is short, with what would fit; None if they fit."""
    memory = free_memory()
    if needs.memory * among <= memory:
        return None
    if needs.memory <= memory:
        advice = f"`--together` fits {memory // needs.memory} of them"
    elif flags := what_fits(config, step, needs, memory):
        advice = " or ".join(f"`{flag}`" for flag in flags) + " would fit"
    else:
        advice = "a smaller `--depth`, `--width` or `--batch-size` is needed"
    return f"but {_size(memory)} of memory are free: {advice}"
