import dataclasses

import pytest
from rich.console import Console

from crl_eqx.run import Config, PRESETS


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
    config, choices = PRESETS["cpu-demo"], small | changes
    for group in dataclasses.fields(config):
        value = getattr(config, group.name)
        if dataclasses.is_dataclass(value):
            names = {field.name for field in dataclasses.fields(value)} & choices.keys()
            value = dataclasses.replace(value, **{name: choices.pop(name) for name in names})
            config = dataclasses.replace(config, **{group.name: value})
    return dataclasses.replace(config, **choices)


def flags(config: Config) -> list[str]:
    """`config` as a command line on top of the demo's preset."""
    words = ["--preset", "cpu-demo"]
    for field in dataclasses.fields(config):
        value, default = getattr(config, field.name), getattr(PRESETS["cpu-demo"], field.name)
        pairs = [(field.name, value, default)]
        if dataclasses.is_dataclass(value):
            inner = dataclasses.fields(value)
            pairs = [(f.name, getattr(value, f.name), getattr(default, f.name)) for f in inner]
        for name, new, old in pairs:
            if new == old:
                continue
            flag = name.replace("_", "-")
            if name.endswith("env_option"):  # each with a flag of its own
                words += [word for option in new for word in (f"--{flag}", option)]
            elif isinstance(new, bool):
                words.append(f"--{flag}" if new else f"--no-{flag}")
            else:
                words += [f"--{flag}", *map(str, new if isinstance(new, tuple) else (new,))]
    return words


@pytest.fixture
def console(tmp_path):
    with (tmp_path / "console.txt").open("w") as file:
        yield Console(file=file, width=200)
