"""`crl-eqx train` and `crl-eqx resume`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import tyro
from rich.console import Console

from .._errors import UserError
from ..run import (
    check,
    Config,
    default_run_dir,
    draw_curve,
    draw_pictures,
    load_config,
    Outcome,
    PRESETS,
    resumed_config,
    train as train_run,
)


def parse_config(arguments: Sequence[str], default: Config, command: str) -> Config:
    """Reads the flags on top of `default`. Exits with 2 on a flag that does not exist."""
    flags = tyro.conf.OmitArgPrefixes[tyro.conf.OmitSubcommandPrefixes[Config]]
    return tyro.cli(
        flags,
        prog=f"crl-eqx {command}",
        default=default,
        args=list(arguments),
        description=f"{command} an agent by contrastive reinforcement learning.",
    )


def _value_of(arguments: Sequence[str], name: str) -> tuple[str | None, list[str]]:
    """Takes `name VALUE` or `name=VALUE` out of the arguments."""
    rest, value = list(arguments), None
    for i, word in enumerate(rest):
        if word == name and i + 1 < len(rest):
            value = rest[i + 1]
            return value, rest[:i] + rest[i + 2 :]
        if word.startswith(name + "="):
            return word.partition("=")[2], rest[:i] + rest[i + 1 :]
    return value, rest


def _preset(arguments: Sequence[str]) -> Config:
    name, _ = _value_of(arguments, "--preset")
    if name is None:
        return PRESETS["paper"]
    if name not in PRESETS:
        raise UserError(f"`--preset {name}`: no such preset; there are {', '.join(PRESETS)}.")
    return PRESETS[name]


def train(arguments: Sequence[str], console: Console) -> int:
    run, rest = _value_of(arguments, "--resume")
    if run is not None:
        return resume([run, *rest], console)
    config = parse_config(arguments, _preset(arguments), "train")
    check(config)
    return _train_seeds(config, config.run_dir or default_run_dir(config), console)


def _train_seeds(config: Config, run_dir: Path, console: Console) -> int:
    """One directory for one seed; several seeds in directories of their own below it."""
    if len(config.seed) == 1:
        return _finish(train_run(config, run_dir, console), config, console)
    outcomes = []
    for seed in config.seed:
        console.print(f"seed {seed}", highlight=False)
        alone = dataclasses.replace(config, seed=(seed,))
        outcome = train_run(alone, run_dir / f"seed_{seed}", console)
        code = _finish(outcome, alone, console)
        if code:
            return code
        outcomes.append(outcome)
    curve = draw_curve([outcome.run_dir for outcome in outcomes], run_dir / "learning_curve.png")
    console.print(f"all seeds        {curve}", highlight=False, soft_wrap=True)
    return 0


def resume(arguments: Sequence[str], console: Console) -> int:
    """`resume RUN [flags]`: only budget, evaluation and logging may differ."""
    if not arguments or arguments[0].startswith("-"):
        raise UserError("`crl-eqx resume RUN [options]` needs the run's directory first.")
    run_dir = Path(arguments[0])
    old = load_config(run_dir / "config.json")
    new = resumed_config(old, parse_config(arguments[1:], old, f"resume {run_dir}"), run_dir)
    check(new)
    return _finish(train_run(new, run_dir, console, resume=True), new, console)


def _finish(outcome: Outcome, config: Config, console: Console) -> int:
    """Says what was reached, draws it, and says where to look and how to go on."""
    say = lambda sentence: console.print(sentence, highlight=False, markup=False, soft_wrap=True)
    run = outcome.run_dir
    again = f"crl-eqx resume {run}"
    if outcome.exit_code:
        say(f"Stopped and saved at {outcome.env_steps:,} environment steps. Go on: {again}")
        return outcome.exit_code
    if outcome.success_rate is not None:
        say(
            f"success rate {outcome.success_rate:.3f} over {config.evaluation.eval_episodes} fresh "
            f"episodes after {outcome.env_steps:,} environment steps"
        )
    say(f"learning curve   {draw_curve([run], run / 'plots' / 'learning_curve.png')}")
    if config.logging.pictures:
        for sentence in draw_pictures(run):
            say(sentence)
    say(f"metrics          {run / 'metrics.jsonl'}")
    say(f"checkpoint       {run / 'checkpoints'}")
    say(f"go on            {again} --total-env-steps {2 * config.total_env_steps}")
    say(f"replay           crl-eqx render {run}")
    return 0
