"""`crl-eqx train` and `crl-eqx resume`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from .._errors import UserError
from ..config import CONFIG, Config, load_config, PRESETS, replaced, SWEEP
from ..lab import (
    begin_sweep,
    check_programs,
    FAILURE,
    load_sweep,
    Sweep,
    train_sweep,
    undone_if_refused,
    update_sweep,
)
from ..run import (
    ask_for_determinism,
    check,
    check_needs,
    draw_run,
    episodes_played,
    Outcome,
    resumed_config,
    time_spent,
    train as train_run,
)
from ..run_files import default_run_dir, read_metrics, require_trust
from ._flags import parse, program, quoted


REFILL = "--refill-replay"
DRY_RUN = "--dry-run"
TOGETHER = "--together"
ABOUT = {
    "train": (
        "Train an agent by contrastive reinforcement learning. "
        "`--resume RUN` goes on with a run instead, as `crl-eqx resume RUN` does. `--dry-run` "
        "times a little of the run, says what all of it would take, and stops. `--together` trains "
        "several seeds in one program."
    ),
    "resume": (
        "Go on with a run from its newest good checkpoint, or with several seeds. Only the budget, "
        "evaluation, logging and how networks are computed may differ from what it began with. "
        "`--refill-replay` goes on from the newest checkpoint whose networks are undamaged, and "
        "fills a damaged replay anew. `--together` trains several seeds in one program."
    ),
}


@dataclasses.dataclass(frozen=True)
class _Flags(Config):
    """A configuration as the command line takes it, with several seeds."""

    seed: tuple[int, ...] = (0,)  # pyright: ignore[reportIncompatibleVariableOverride]
    """Seed of the run; several seeds are run one after the other, or with `--together` at once."""


def parse_config(
    arguments: Sequence[str], default: Config, command: str, seeds: tuple[int, ...] = ()
) -> tuple[Config, tuple[int, ...]]:
    """Reads the flags on top of `default`, and all seeds, and prepares JAX for what they ask."""
    flags = tyro.conf.OmitArgPrefixes[tyro.conf.OmitSubcommandPrefixes[_Flags]]
    about = ABOUT.get(command.split()[0], ABOUT["train"])
    choices: dict[str, Any] = {f.name: getattr(default, f.name) for f in dataclasses.fields(Config)}
    choices["seed"] = seeds or (default.seed,)
    like = _Flags(**choices)
    given = parse(flags, command, arguments, default=like, description=about)
    seeds = given.seed
    if not seeds:
        raise UserError("`--seed` needs a number, or several.")
    if len(set(seeds)) < len(seeds):
        raise UserError(f"`--seed {' '.join(map(str, seeds))}` must name distinct seeds.")
    choices = {f.name: getattr(given, f.name) for f in dataclasses.fields(Config)}
    choices["seed"] = seeds[0]
    config = Config(**choices)
    ask_for_determinism(config)
    return config, seeds


def take_value(arguments: Sequence[str], name: str) -> tuple[str | None, list[str]]:
    """Takes every `name VALUE` and `name=VALUE` out of the arguments; the last one counts, as of
    all flags.

    **Raises:** `UserError` if the value is missing.
    """
    value, rest, words = None, [], iter(arguments)
    for word in words:
        if word == name:
            value = next(words, None)
            if value is None:
                raise UserError(f"`{name}` needs a value.")
        elif word.startswith(f"{name}="):
            value = word.partition("=")[2]
        else:
            rest.append(word)
    return value, rest


def take_flag(arguments: Sequence[str], name: str) -> tuple[bool, list[str]]:
    """Takes a flag that has no value out of the arguments."""
    return name in arguments, [word for word in arguments if word != name]


def check_together(together: bool, seeds: int, several: str) -> None:
    """**Raises:** `UserError` for one seed together; `several` asks for more."""
    if together and seeds == 1:
        raise UserError(f"`{TOGETHER}` trains several seeds in one program: say `{several}`.")


def preset_of(arguments: Sequence[str]) -> Config:
    name, _ = take_value(arguments, "--preset")
    name = "paper" if name is None else name
    if name not in PRESETS:
        raise UserError(f"`--preset {name}`: no such preset; there are {', '.join(PRESETS)}.")
    return _without_other_schedule(_without_other_discount(PRESETS[name], arguments), arguments)


def _without_other_discount(preset: Config, arguments: Sequence[str]) -> Config:
    """Keeps only the one of discount and horizon that the arguments name: both set the same
    thing, and the preset's would contradict."""
    given = [name for name in ("discount", "horizon") if take_value(arguments, f"--{name}")[0]]
    if not given:
        return preset
    neither = dataclasses.replace(preset.learning, discount=None, horizon=None)
    return dataclasses.replace(preset, learning=neither)


def _without_other_schedule(preset: Config, arguments: Sequence[str]) -> Config:
    """Without the length of the preset's schedule, if the arguments name another schedule: it is
    as long as the run, if they do not say how long."""
    if take_value(arguments, "--schedule")[0] in (None, preset.learning.schedule):
        return preset
    return replaced(preset, schedule_updates=None)


def train(arguments: Sequence[str], console: Console) -> int:
    run, rest = take_value(arguments, "--resume")
    if run is not None:
        return resume([run, *rest], console)
    dry, arguments = take_flag(arguments, DRY_RUN)
    together, arguments = take_flag(arguments, TOGETHER)
    config, seeds = parse_config(arguments, preset_of(arguments), "train")
    check(config)
    check_needs([config])
    check_together(together, len(seeds), "--seed 0 1 2")
    if dry:
        from ..lab import forecast  # a run does not need it

        each = f" Of {len(seeds)} seeds, each." if len(seeds) > 1 else ""
        if together:
            each = f" That is one seed alone: {len(seeds)} with `{TOGETHER}` are not timed here."
        console.print(f"{forecast(config)}{each}", highlight=False, soft_wrap=True)
        return 0
    run_dir = config.run_dir or default_run_dir(config)
    if len(seeds) == 1:
        return finish_run(train_run(config, run_dir, console), config, console)
    sweep = Sweep(config, {"seed": seeds})
    check_programs(sweep.runs, together=together)
    sweep = begin_sweep(sweep, run_dir, console)
    with undone_if_refused(sweep, run_dir):
        return _train_sweep(sweep, run_dir, console, together=together)


def resume(arguments: Sequence[str], console: Console) -> int:
    """`resume RUN [flags]`: only budget, evaluation, logging and compute may differ."""
    if set(arguments[:1]) & {"-h", "--help"}:
        parse_config(["--help"], Config(), "resume RUN")
    if not arguments or arguments[0].startswith("-"):
        raise UserError("`crl-eqx resume RUN [options]` needs the run's directory first.")
    run_dir = Path(arguments[0])
    if DRY_RUN in arguments:
        raise UserError(
            f"`{DRY_RUN}` times a new run: `crl-eqx info {run_dir}` says what this one has taken."
        )
    refill, arguments = take_flag(arguments, REFILL)
    together, arguments = take_flag(arguments, TOGETHER)
    command = f"resume {run_dir}"
    if not (run_dir / SWEEP).is_file():
        old = load_config(run_dir / CONFIG)
        new, seeds = parse_config(arguments[1:], old, command)
        _refuse_other_seeds(run_dir, (old.seed,), seeds)
        check_together(together, len(seeds), "--seed 0 1 2")
        new = resumed_config(old, new, f"crl-eqx resume {run_dir}")
        require_trust(new, run_dir)
        check(new)
        outcome = train_run(new, run_dir, console, resume=True, refill_replay=refill)
        return finish_run(outcome, new, console)
    sweep = load_sweep(run_dir)
    old, several = sweep.config, sweep.axes.get("seed", (sweep.config.seed,))
    new, seeds = parse_config(arguments[1:], old, command, several)
    _refuse_other_seeds(run_dir, several, seeds)
    new = resumed_config(old, dataclasses.replace(new, seed=old.seed), f"crl-eqx resume {run_dir}")
    require_trust(new, run_dir)
    sweep = dataclasses.replace(sweep, config=new)
    update_sweep(sweep, run_dir)
    return _train_sweep(sweep, run_dir, console, together=together, refill_replay=refill)


def _refuse_other_seeds(run_dir: Path, old: tuple[int, ...], new: tuple[int, ...]) -> None:
    if old != new:
        before, after = (" ".join(map(str, seeds)) for seeds in (old, new))
        raise UserError(
            f"`crl-eqx resume {run_dir}` would change the experiment: --seed {before} -> {after}; "
            f"start a new run for that."
        )


def _train_sweep(
    sweep: Sweep, run_dir: Path, console: Console, *, together: bool, refill_replay: bool = False
) -> int:
    """All runs, and a curve of them together."""
    finish = lambda outcome, config: finish_run(outcome, config, console, whole=run_dir)
    code = train_sweep(
        sweep,
        run_dir,
        console,
        together=together,
        refill_replay=refill_replay,
        finish=finish,
    )
    if code not in (0, FAILURE):
        return code
    if set(sweep.axes) != {"seed"} or sweep.variants:  # a mean over them would mean nothing
        say = f"all runs         {program()} report {quoted(run_dir)}"
        console.print(say, highlight=False, soft_wrap=True)
        return code
    try:
        from ..run import draw_curve  # not before: a run needs no matplotlib

        curve = draw_curve([run_dir / name for name in sweep.runs], run_dir / "learning_curve.png")
        say = f"all seeds        {curve}"
    except (OSError, UserError, ImportError) as error:
        say = f"The curve of all seeds could not be drawn: {error}"
    console.print(say, highlight=False, soft_wrap=True)
    return code


def finish_run(
    outcome: Outcome, config: Config, console: Console, *, whole: Path | None = None
) -> int:
    """Says what was reached, draws it, and says where to look and how to go on: with `whole`
    where the run is one of several."""
    say = lambda sentence: console.print(sentence, highlight=False, soft_wrap=True)
    run = outcome.run_dir
    again = f"{program()} resume {quoted(whole or run)}"
    if outcome.exit_code:
        say(f"Stopped and saved at {outcome.env_steps:,} environment steps. Go on: {again}")
        return outcome.exit_code
    rows = read_metrics(run / "metrics.jsonl")
    if outcome.success_rate is not None:
        say(
            f"success rate {outcome.success_rate:.3f} over {episodes_played(rows, config)} fresh "
            f"episodes after {outcome.env_steps:,} environment steps"
        )
    if rows and (spent := time_spent(rows[-1])):
        say(f"time             {spent}")
    more, reason = [], outcome.reason
    if outcome.env_steps >= config.total_env_steps:
        more.append(f"--total-env-steps {2 * config.total_env_steps}")
    elif reason is not None:
        say(f"stopped early    {reason.why}")
    if reason is not None:  # without this it would end at once
        more.append(reason.go_on)
    if not draw_run(config, run, say):
        say(f"Try again: {program()} render {quoted(run)}")
    say(f"metrics          {run / 'metrics.jsonl'}")
    say(f"checkpoint       {run / 'checkpoints'}")
    say(f"go on            {' '.join([again, *more])}")
    say(f"replay           {program()} render {quoted(run)}")
    return 0
