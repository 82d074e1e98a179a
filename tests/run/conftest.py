import pytest
from rich.console import Console

from crl_eqx.config import Config, experiment_flags, PRESETS, replaced


def tiny(**changes) -> Config:
    """A run of the demo's task that takes seconds; `changes` are fields of any group."""
    small = {
        "total_env_steps": 1200,
        "depth": 4,
        "width": 16,
        "batch_size": 32,
        "num_envs": 8,
        "unroll_length": 10,
        "prefill_length": 20,
        "updates_per_env_step": 0.03,
        "replay_capacity": 60,
        "eval_every": 400,
        "eval_episodes": 4,
        "eval_split": False,
        "stop_at_success": None,
        "log_every": 160,
        "checkpoint_every": 240,
        "diagnostics": False,
        "tensorboard": False,
        "pictures": False,
    }
    if changes.get("objective") == "ppo":  # which has no replay to make small
        for name in ("prefill_length", "updates_per_env_step", "replay_capacity"):
            del small[name]
    if {"discount", "horizon"} & changes.keys():  # as on the command line, only what is named
        small |= {"discount": None, "horizon": None}
    return replaced(PRESETS["cpu-demo"], **small | changes)


def flags(config: Config) -> list[str]:
    """`config` as a command line on top of the demo's preset."""
    words = ["--preset", "cpu-demo", *experiment_flags(config, PRESETS["cpu-demo"])]
    return words if config.run_dir is None else [*words, "--run-dir", str(config.run_dir)]


@pytest.fixture
def console(tmp_path):
    with (tmp_path / "console.txt").open("w") as file:
        yield Console(file=file, width=200)
