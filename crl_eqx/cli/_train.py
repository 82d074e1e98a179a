"""`crl-eqx train` and `crl-eqx resume`."""

import contextlib
import dataclasses
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import tyro
from rich.console import Console

from .._errors import UserError
from ..run import (
    alone,
    check,
    CONFIG,
    Config,
    default_run_dir,
    keep_files,
    load_config,
    Outcome,
    prepare_run_dir,
    PRESETS,
    refuse_link,
    remember,
    require_trust,
    resolved,
    resumed_config,
    save_config,
    SEEDS,
    train as train_run,
    with_whole_path,
)
from ._flags import parse


REFILL = "--refill-replay"
ABOUT = {
    "train": (
        "Train an agent by contrastive reinforcement learning. "
        "`--resume RUN` goes on with a run instead, as `crl-eqx resume RUN` does."
    ),
    "resume": (
        "Go on with a run from its newest good checkpoint, or with several seeds. Only the budget, "
        "evaluation and logging may differ from what the run began with. `--refill-replay` goes on "
        "from the newest checkpoint with whole networks, and fills a damaged replay anew."
    ),
}


def parse_config(arguments: Sequence[str], default: Config, command: str) -> Config:
    """Reads the flags on top of `default`."""
    flags = tyro.conf.OmitArgPrefixes[tyro.conf.OmitSubcommandPrefixes[Config]]
    about = ABOUT[command.split()[0]]
    return parse(flags, command, arguments, default=default, description=about)


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
    name = "paper" if name is None else name
    if name not in PRESETS:
        raise UserError(f"`--preset {name}`: no such preset; there are {', '.join(PRESETS)}.")
    return _without_other_discount(PRESETS[name], arguments)


def _without_other_discount(preset: Config, arguments: Sequence[str]) -> Config:
    """Keeps only the one of discount and horizon that the arguments name: both set the same
    thing, and the preset's would contradict."""
    given = [name for name in ("discount", "horizon") if _value_of(arguments, f"--{name}")[0]]
    if not given:
        return preset
    neither = dataclasses.replace(preset.learning, discount=None, horizon=None)
    return dataclasses.replace(preset, learning=neither)


def train(arguments: Sequence[str], console: Console) -> int:
    run, rest = _value_of(arguments, "--resume")
    if run is not None:
        return resume([run, *rest], console)
    config = parse_config(arguments, _preset(arguments), "train")
    check(config)
    run_dir = config.run_dir or default_run_dir(config)
    if len(config.seed) == 1:
        return _finish(train_run(config, run_dir, console), config, console)
    prepare_run_dir(run_dir)
    for directory in _seed_dirs(config, run_dir).values():
        prepare_run_dir(directory, within=run_dir)
    config = with_whole_path(resolved(config))  # kept for all seeds, wherever they are run
    save_config(config, run_dir / SEEDS)
    keep_files(config, run_dir, console.print)
    remember(config, run_dir)
    return _train_seeds(config, run_dir, console)


def resume(arguments: Sequence[str], console: Console) -> int:
    """`resume RUN [flags]`: only budget, evaluation and logging may differ."""
    if set(arguments[:1]) & {"-h", "--help"}:
        parse_config(["--help"], Config(), "resume RUN")
    if not arguments or arguments[0].startswith("-"):
        raise UserError("`crl-eqx resume RUN [options]` needs the run's directory first.")
    run_dir, refill = Path(arguments[0]), REFILL in arguments
    arguments = [word for word in arguments if word != REFILL]
    several = (run_dir / SEEDS).is_file()
    file = run_dir / (SEEDS if several else CONFIG)
    old = load_config(file)
    new = resumed_config(old, parse_config(arguments[1:], old, f"resume {run_dir}"), run_dir)
    require_trust(new, run_dir)
    check(new)
    if not several:
        outcome = train_run(new, run_dir, console, resume=True, refill_replay=refill)
        return _finish(outcome, new, console)
    with contextlib.ExitStack() as held:  # if one of them is in use, nothing changes
        for directory in _seed_dirs(new, run_dir).values():
            refuse_link(directory)
            if directory.is_dir():
                held.enter_context(alone(directory))
        save_config(new, file)
    return _train_seeds(new, run_dir, console, refill_replay=refill)


def _seed_dirs(config: Config, run_dir: Path) -> dict[int, Path]:
    return {seed: run_dir / f"seed_{seed}" for seed in config.seed}


def _train_seeds(
    config: Config, run_dir: Path, console: Console, *, refill_replay: bool = False
) -> int:
    """One after the other; goes on with those that were begun."""
    seeds = _seed_dirs(config, run_dir)
    for seed, directory in seeds.items():
        console.print(f"seed {seed}", highlight=False)
        alone = dataclasses.replace(config, seed=(seed,))
        begun = (directory / CONFIG).exists()
        outcome = train_run(alone, directory, console, resume=begun, refill_replay=refill_replay)
        code = _finish(outcome, alone, console, whole=run_dir)
        if code:
            return code
    try:
        from ..run import draw_curve  # not before: a run needs no matplotlib

        curve = draw_curve([*seeds.values()], run_dir / "learning_curve.png")
        console.print(f"all seeds        {curve}", highlight=False, soft_wrap=True)
    except (OSError, UserError, ImportError) as error:
        console.print(f"The curve of all seeds could not be drawn: {error}", soft_wrap=True)
    return 0


def program() -> str:
    """What to type before a command, as this program was called."""
    if shutil.which("crl-eqx"):
        return "crl-eqx"
    called = sys.argv[0]
    return called if Path(called).name == "crl-eqx" else "python -m crl_eqx"


def _finish(
    outcome: Outcome, config: Config, console: Console, *, whole: Path | None = None
) -> int:
    """Says what was reached, draws it, and says where to look and how to go on: with `whole`
    where the run is one of several."""
    say = lambda sentence: console.print(sentence, highlight=False, markup=False, soft_wrap=True)
    run = outcome.run_dir
    again = f"{program()} resume {whole or run}"
    if outcome.exit_code:
        say(f"Stopped and saved at {outcome.env_steps:,} environment steps. Go on: {again}")
        return outcome.exit_code
    if outcome.success_rate is not None:
        say(
            f"success rate {outcome.success_rate:.3f} over {config.evaluation.eval_episodes} fresh "
            f"episodes after {outcome.env_steps:,} environment steps"
        )
    more = f"--total-env-steps {2 * config.total_env_steps}"
    if outcome.env_steps < config.total_env_steps:
        enough = config.evaluation.stop_at_success
        say(f"stopped early    two evaluations in a row reached `--stop-at-success {enough}`")
        more = "--stop-at-success None"
    try:
        from ..run import draw_curve, draw_pictures  # not before: a run needs no matplotlib

        say(f"learning curve   {draw_curve([run], run / 'plots' / 'learning_curve.png')}")
        if config.logging.pictures:
            for sentence in draw_pictures(run):
                say(sentence)
    # The training is done and saved, whatever becomes of its pictures.
    except (OSError, UserError, ImportError) as error:
        say(f"The pictures could not be drawn: {error}. Try again: {program()} render {run}")
    say(f"metrics          {run / 'metrics.jsonl'}")
    say(f"checkpoint       {run / 'checkpoints'}")
    say(f"go on            {again} {more}")
    say(f"replay           {program()} render {run}")
    return 0
