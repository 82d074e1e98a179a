"""What a person types, and what comes back."""

import dataclasses
import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from crl_eqx import cli, envs
from crl_eqx.cli._train import parse_config, preset_of
from crl_eqx.config import PRESETS, Task
from crl_eqx.run import load_run
from crl_eqx.run_files import read_metrics


OWN = str(Path(__file__).parents[2] / "examples" / "own_task.py") + ":crane"

SMALL = (
    "--preset cpu-demo --depth 4 --width 16 --batch-size 32 --num-envs 8 --unroll-length 10 "
    "--prefill-length 20 --replay-capacity 60 --total-env-steps 400 --eval-every 400 "
    "--eval-episodes 4 --no-diagnostics --no-tensorboard --no-pictures --no-eval-split"
).split()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("cli") / "run"
    assert cli.run(["train", *SMALL, "--run-dir", str(run_dir)]) == 0
    return run_dir


@pytest.mark.parametrize(
    "words, sentence",
    [
        ("train --env point_umaze", "Did you mean point_u_maze"),
        ("train --depth 6", "Did you mean 4 or 8?"),
        ("train --objective sacc", "Did you mean sac?"),
        ("train --preset cpu-demo --batch-size 100000", "or raise `--prefill-length"),
        ("train --preset cpu-demo --total-env-steps 100", "leaves nothing to train on"),
        ("train --train-episode-length 1", "`--train-episode-length 1` must be at least 2."),
        ("train --preset huge", "there are paper, laptop, cpu-demo"),
        ("train --run-dir /proc/nowhere/run", "cannot be written"),
        ("train --replay-capacity 2000000000", "would fit"),
        ("resume", "needs the run's directory"),
        ("resume /nonexistent", "is not a run directory"),
        ("info /nonexistent", "is not a run directory"),
        ("evaluate /nonexistent", "is not a run directory"),
        ("render /nonexistent", "is not a run directory"),
        ("train --env ant_umaze --total-env-steps 10", "`--env ant_umaze`: no such task. Did you"),
        ("train --env task.py", "`--env task.py`: no such task. A task of your own is `task.py:F"),
        ("envs ant_maze", "`crl-eqx envs ant_maze`: no such task. Did you mean"),
        ("render --env ant_maze", "`--env ant_maze`: no such task. Did you mean"),
        ("envs ant --seed -1", "`--seed -1` must lie in 0 to"),
        ("train --resume=", "what follows `--resume=` is empty"),
        ("envs --picture x.png", "needs a task's name"),
        ("envs ant --picture x.foo", "must end in .png"),
        ("envs ant --picture nowhere/x.png", "there is no directory"),
        ("evaluate somewhere --episodes 0", "`--episodes 0` must be positive"),
        ("evaluate somewhere --candidates -1", "`--candidates -1` must be positive"),
        ("render somewhere --episodes 0", "`--episodes 0` must be positive"),
        ("render", "needs either a run's directory or `--env NAME`"),
        ("render somewhere --env ant", "needs either a run's directory or `--env NAME`"),
        ("render --env ants", "Did you mean ant"),
        ("render --env reacher --out /proc/nowhere", "`/proc/nowhere` cannot be written"),
        (
            "render --env point_u_maze --env-option episode_length=0",
            "episodes of 0 steps; they must take from 1 to 10,000,000",
        ),
        ("train --policy-average 9999999999999999", "must be at most 2,147,483,647"),
        ("train --warmup-updates 9999999999999999", "must lie in 0 to 1e9"),
        ("train --stop-when verdict --no-diagnostics", "which `--no-diagnostics` leaves out"),
        (
            "train --preset laptop --stop-when plateau",
            "one and a half times `--conclusive-steps 50000000`, and this run ends after 3000000",
        ),
        ("train --env ant_u_maze_gen_9f", "distinct numbers of cells from 1 to 6"),
        ("train --env nowhere.py:task", "there is no file `nowhere.py`"),
        ("train --seed -5", "`--seed -5` must lie in 0 to"),
        ("train --seed 1 1", "`--seed 1 1` must name distinct seeds"),
        ("train --seed --preset laptop", "`--seed` needs a number, or several"),
        ("train --updates-per-env-step nan", "`--updates-per-env-step nan` must be"),
        ("train --hold-out 1", "`--hold-out 1.0` must be at least 0 and less than 1"),
        ("train --env ant_u_maze_single_eval --hold-out 0.5", "There is a single goal"),
        (
            "train --env gym:Pendulum-v1 --goal-indices 0 --goal-low -1 --goal-high 1 "
            "--goal-threshold 0.1 --hold-out 0.5",
            "needs a MuJoCo task",
        ),
        ("evaluate somewhere --seed -1", "`--seed -1` must lie in 0 to 4294967295"),
        ("render somewhere --seed 99999999999", "`--seed 99999999999` must lie in 0 to"),
        ("evaluate somewhere --episodes 9999999", "`--episodes 9999999` must be at most 100,000"),
        ("train --updates-per-env-step 1e30", "must be 0, or lie in 1e-5 to 1000"),
        ("train --action-delay 0 99999999999", "from 0 to 1000, the smaller one first"),
        ("train --variants 99999999 --randomize-masses 0.5 2", "must lie in 1 to 10,000"),
        ("train --env ant --env-option episode_length=99999999999", "from 1 to 10,000,000"),
        ("train --wandb", "pip install wandb"),
        (f"train --run-dir {'x' * 300}", "cannot be written"),
        ("train --env ant --env-option torque=strong", "must be d4rl or gym or brax or a number."),
        ("train --env ant --env-option torque=-3", "`torque=-3.0` must be one of d4rl, gym, brax"),
        ("train --env ant --env-option control_dt=0.015", "must be a multiple of 0.01 s"),
        ("train --env humanoid --env-option ends=flipped", "must be height or never."),
        (
            "train --env ant --env-option tork=gym",
            "knows episode_length, torque, control_dt, ends.",
        ),
        ("train --env ant --env-option tork=gym", "Did you mean torque?"),
        ("train --env ant --env-option torque", "must be an option's name and its value, as in"),
        (
            "train --env ant --env-option ends=never --env-option ends=never",
            "`ends` is given twice",
        ),
        ("train --env ant --env-option physics=mjx", "say `--physics mjx`"),
        ("train --env ant_u_maze --env-option random_starts=1.5", "must lie in [0, 1]"),
        ("train --env ant_u_maze --env-option without_goals=[[1,1]]", "(1, 1) is no goal cell of"),
        ("train --env ant --train-env-option torque=x", "`--train-env-option torque=x` must be"),
        ("train --env reacher --train-env-option ends=never", "This task knows episode_length."),
        (f"train --env {OWN} --env-option rope=2", "no such option. This task knows none."),
        ("envs ant --env-option torque=strong", "must be d4rl or gym or brax or a number."),
        ("envs --env-option torque=gym", "`crl-eqx envs --env-option` needs a task's name first"),
        ("render --env ant --env-option torque=strong", "must be d4rl or gym or brax or a number."),
        ("render somewhere --env-option torque=gym", "`--env-option` goes with `--env NAME`"),
        ("train --horizon 3 --discount 0.9", "`--horizon 3` and `--discount 0.9` say the same"),
        ("train --preset laptop --discount=0.9 --horizon=3", "say the same thing in two ways"),
        ("train --horizon -1", "`--horizon -1.0` must be positive"),
        (
            "train --env gym:MountainCarContinuous-v0 --goal-indices 0 --goal-low 0.4 --goal-high "
            "0.4 --goal-threshold 0.1 --horizon 3",
            "`--horizon 3.0` is in seconds, and this task does not say how many a control step",
        ),
        (
            "train --p-future 0.5",
            "`--p-future 0.5 --p-random 0.0 --p-commanded 0.0` must add up",
        ),
        ("train --p-future 0.5 --p-random 0.6", "must add up to 1, and add up to 1.1."),
        ("train --p-random 1.5 --p-future -0.5", "`--p-future -0.5` must lie in [0, 1]"),
        ("train --initial-alpha -1", "`--initial-alpha -1.0` must be 0 or positive"),
        ("train --preset laptop --temperature 0.2", "`--temperature 0.2` goes with `--energy"),
        ("ladder --depths 4,8 --wandb-group x", "`--wandb-group x` goes with `--wandb`"),
        ("doctor --variants 8", "`--variants 8` goes with `--randomize-masses`"),
        ("doctor --depths 4,8 --depth 16", "`--depth` beside `--depths 4,8` would do nothing"),
        ("ladder --depths 4,8 --on slurm -j 4", "`-j 4` is about this machine"),
        ("render --env reacher --best", "`--best` is about a run's agent"),
        ("render --env reacher --kernel packed", "`--kernel` is about a run's agent"),
        ("trian", "no such command"),
    ],
)
def test_a_mistake_is_one_sentence_within_seconds(words, sentence, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    begun = time.monotonic()
    assert cli.run(words.split()) == 2
    told = capsys.readouterr().err.strip()
    assert sentence in told
    assert "\n" not in told and "Traceback" not in told
    assert time.monotonic() - begun < 20
    assert not any((tmp_path / "runs").rglob("checkpoints/*")), "nothing may have been begun"


def test_a_flag_that_does_not_exist_exits_with_2(capsys):
    assert cli.run(["train", "--depht", "8"]) == 2
    assert "--depth" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", ["--policy-goals rolled", "--rolled-probability 0.5", "--env-option", "--horizon x"]
)
def test_flags_that_are_gone_or_lack_a_value_exit_with_2(words, capsys):
    assert cli.run(["train", *words.split()]) == 2
    assert words.split()[0] in capsys.readouterr().err


def test_help_names_every_command_and_the_papers_defaults(capsys):
    assert cli.run(["--help"]) == 0
    told = capsys.readouterr().out
    assert all(name in told for name in cli.COMMANDS)
    with pytest.raises(SystemExit) as caught:
        cli.run(["train", "--help"])
    assert caught.value.code == 0
    told = capsys.readouterr().out
    assert "--depth" in told and "(default: 16)" in told
    assert "--num-envs" in told and "(default: 512)" in told


def test_presets_set_defaults_that_flags_change(trained):
    told = json.loads((trained / "config.json").read_text())
    assert told["preset"] == "cpu-demo"
    assert told["network"]["width"] == 16
    rates = {name: PRESETS[name].data.updates_per_env_step for name in ("cpu-demo", "paper")}
    assert told["data"]["updates_per_env_step"] == rates["cpu-demo"] != rates["paper"]


def chosen(words):
    words = words.split()
    return parse_config(words, preset_of(words), "train")[0]


@pytest.mark.parametrize("preset", PRESETS)
def test_of_discount_and_horizon_only_the_one_that_is_named_remains(preset):
    of = lambda words: chosen(f"--preset {preset} {words}").learning
    plain = of("")
    assert (plain.discount is None) != (plain.horizon is None)
    for words in ("--discount 0.9", "--discount=0.9"):
        assert (of(words).discount, of(words).horizon) == (0.9, None)
    for words in ("--horizon 2.5", "--horizon=2.5"):
        assert (of(words).discount, of(words).horizon) == (None, 2.5)
    both = of("--horizon 2.5 --discount 0.9")
    assert (both.discount, both.horizon) == (0.9, 2.5), "to be refused"
    rest = dict(discount=None, horizon=None)
    assert dataclasses.replace(of("--discount 0.9"), **rest) == dataclasses.replace(plain, **rest)


def test_flags_that_may_be_given_several_times_are_kept_in_order():
    config = chosen("--env-option torque=gym --env-option=ends=never --train-env-option a=1")
    assert config.task.env_option == ("torque=gym", "ends=never")
    assert config.task.train_env_option == ("a=1",)
    assert chosen("").task == Task()


def test_a_new_run_does_not_overwrite_an_old_one(trained, capsys):
    assert cli.run(["train", *SMALL, "--run-dir", str(trained)]) == 2
    assert f"crl-eqx resume {trained}" in capsys.readouterr().err


def test_resume_refuses_another_experiment_and_shows_the_difference(trained, capsys):
    assert cli.run(["resume", str(trained), "--width", "32", "--log-every", "7"]) == 2
    told = capsys.readouterr().err
    assert "--width 16 -> 32" in told and "log-every" not in told
    assert json.loads((trained / "config.json").read_text())["network"]["width"] == 16


@pytest.mark.parametrize("words", [["--preset", "laptop"], ["--run-dir", "elsewhere"]])
def test_resume_refuses_flags_that_would_do_nothing(trained, capsys, words):
    assert cli.run(["resume", str(trained), *words]) == 2
    assert f"{words[0]} " in capsys.readouterr().err


def test_resume_has_help_of_its_own(capsys):
    for words in (["resume", "--help"], ["train", "--help"]):
        with pytest.raises(SystemExit) as caught:
            cli.run(words)
        assert caught.value.code == 0
        told = " ".join(capsys.readouterr().out.split())
        assert ("--resume RUN" in told) == (words[0] == "train")
        assert "--total-env-steps" in told


def test_a_damaged_checkpoint_is_one_sentence(trained, tmp_path, capsys):
    run_dir = tmp_path / "run"
    shutil.copytree(trained, run_dir)
    for path in (run_dir / "checkpoints").glob("step_*/agent.safetensors"):
        path.write_bytes(path.read_bytes()[:-100])
    assert cli.run(["evaluate", str(run_dir)]) == 2
    told = capsys.readouterr().err.strip()
    assert "cannot be used" in told and "\n" not in told


def test_train_resume_is_resume(trained, capsys):
    assert cli.run(["train", "--resume", str(trained), "--total-env-steps", "560"]) == 0
    assert "after 560 environment steps" in " ".join(capsys.readouterr().out.split())


def test_a_policy_is_exported(trained, tmp_path, capsys):
    path = tmp_path / "policy.stablehlo"
    assert cli.run(["export", str(trained), "--out", str(path)]) == 0
    assert f"{path}  " in capsys.readouterr().out
    assert json.loads(path.with_name(f"{path.name}.json").read_text())["env"] == "point_u_maze"


def test_a_run_goes_on_with_another_kernel(trained, capsys):
    words = ["--kernel", "packed", "--precision", "bf16", "--total-env-steps", "720"]
    assert cli.run(["resume", str(trained), *words]) == 0
    assert "after 720 environment steps" in " ".join(capsys.readouterr().out.split())
    told = json.loads((trained / "config.json").read_text())
    assert told["compute"] == {
        "kernel": "packed",
        "precision": "bf16",
        "remat": "auto",
        "unroll": 1,
    }


def test_evaluate_takes_a_kernel_of_its_own(trained, capsys):
    words = ["evaluate", str(trained), "--episodes", "2", "--json"]
    seen = []
    for kernel in ("xla", "packed"):
        assert cli.run([*words, "--kernel", kernel]) == 0
        seen.append(json.loads(capsys.readouterr().out)["point_u_maze"]["final_distance"])
    assert seen[0] == pytest.approx(seen[1], rel=1e-3)
    assert cli.run([*words, "--kernel", "triton"]) == 2
    assert "`--kernel triton`" in capsys.readouterr().err


def test_evaluate_reports_means_and_standard_errors(trained, capsys):
    assert cli.run(["evaluate", str(trained), "--episodes", "4", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows.keys() == {"point_u_maze", "point_u_maze_eval"}
    assert {"success_rate", "success_rate_se", "time_at_goal"} <= rows["point_u_maze"].keys()


@pytest.mark.parametrize("acting", ["stochastic", "best-of"])
def test_evaluate_can_act_otherwise(trained, capsys, acting):
    words = [
        "evaluate",
        str(trained),
        "--episodes",
        "2",
        "--acting",
        acting,
        "--env",
        "point_u_maze",
    ]
    assert cli.run(words) == 0
    assert "success_rate" in capsys.readouterr().out


def test_evaluate_refuses_candidates_that_nobody_chooses_from(trained, capsys):
    assert cli.run(["evaluate", str(trained), "--candidates", "4"]) == 2
    assert "`--candidates 4` goes with `--acting best-of`" in capsys.readouterr().err


def test_evaluate_refuses_a_task_of_another_size(trained, capsys):
    assert cli.run(["evaluate", str(trained), "--env", "reacher"]) == 2
    assert "was trained on point_u_maze" in capsys.readouterr().err


def test_info_tells_what_the_run_is(trained, capsys):
    assert cli.run(["info", str(trained)]) == 0
    told = capsys.readouterr().out
    assert '"depth": 4' in told and "jax" in told and "checkpoints:" in told
    assert "evaluated: at " in told


def test_envs_lists_every_task_and_draws_one(capsys, tmp_path):
    assert cli.run(["envs"]) == 0
    told = capsys.readouterr().out
    assert [name for name in envs.names() if name not in told] == []
    path = tmp_path / "task.png"
    assert cli.run(["envs", "point_u_maze", "--picture", str(path)]) == 0
    assert path.read_bytes().startswith(b"\x89PNG")


def test_several_seeds_are_runs_below_one_directory(tmp_path, capsys):
    words = ["train", *SMALL, "--seed", "1", "2", "--run-dir", str(tmp_path / "runs")]
    assert cli.run(words) == 0
    first, second = (
        (tmp_path / "runs" / f"seed_{seed}" / "metrics.jsonl").read_text() for seed in (1, 2)
    )
    assert first != second
    assert (tmp_path / "runs" / "learning_curve.png").exists()
    capsys.readouterr()

    assert cli.run(["info", str(tmp_path / "runs")]) == 2
    assert "holds several runs" in capsys.readouterr().err
    assert cli.run(["resume", str(tmp_path / "runs"), "--total-env-steps", "480"]) == 0
    for seed in (1, 2):
        rows = read_metrics(tmp_path / "runs" / f"seed_{seed}" / "metrics.jsonl")
        assert rows[-1]["env_steps"] == 480


def test_several_seeds_that_could_not_begin_leave_their_directory_free(tmp_path, capsys):
    words = ["train", *SMALL, "--seed", "1", "2", "--run-dir", str(tmp_path / "runs")]
    assert cli.run([*words, "--init-from", "nowhere/seed_{seed}"]) == 2
    assert "nowhere/seed_1` is not a run directory" in capsys.readouterr().err
    assert cli.run([*words, "--total-env-steps", "480"]) == 0


def test_a_mean_is_drawn_over_seeds_alone(tmp_path, capsys):
    runs = str(tmp_path / "runs")
    words = ["sweep", *SMALL, "--over", "activation=swish,relu", "--run-dir", runs]
    assert cli.run(words) == 0
    assert cli.run(["resume", runs, "--total-env-steps", "480"]) == 0
    assert f"report {runs}" in capsys.readouterr().out.replace("\n", "")
    assert not (tmp_path / "runs" / "learning_curve.png").exists()


def test_several_seeds_begin_only_if_none_of_them_is_in_use(tmp_path, capsys):
    used = tmp_path / "runs" / "seed_2"
    used.mkdir(parents=True)
    (used / "config.json").touch()
    words = ["train", *SMALL, "--seed", "1", "2", "--run-dir", str(tmp_path / "runs")]
    assert cli.run(words) == 2
    assert f"`--run-dir {used}` already holds a run" in capsys.readouterr().err
    assert not (tmp_path / "runs" / "seed_1" / "config.json").exists()


def test_envs_shows_the_layout_of_a_state(capsys):
    assert cli.run(["envs", "ant_ball"]) == 0
    told = capsys.readouterr().out
    assert "object: x, y" in told and "29–30" in told and "rad/s" in told


def test_envs_shows_the_options_of_a_task_and_what_they_change(capsys):
    assert cli.run(["envs", "ant", "--env-option", "torque=gym"]) == 0
    told = capsys.readouterr().out
    for row in (
        r"torque +│ d4rl or gym or brax or a number +│ d4rl",
        r"control_dt +│ a number or null +│",
        r"episode_length +│ a whole number +│ 1000",
        r"ant +│ 29 +│ 8 +│ 2 +│ 1000 +│ 0\.05 +│",  # 0.1 without the option
    ):
        assert re.search(row, told), row


def test_brackets_are_shown_as_they_are(tmp_path, capsys):
    """They are markup to rich, unless somebody says that nothing is."""
    crane = (Path(__file__).parents[2] / "examples" / "own_task.py").read_text()
    optional = "def crane(physics: str | None = None, label: str = '[red]', part: str = 'a[/b]')"
    file = tmp_path / "task.py"
    file.write_text(crane.replace("def crane(physics: str | None = None)", optional))
    assert cli.run(["envs", f"{file}:crane"]) == 0
    told = capsys.readouterr().out
    assert "[red]" in told and "a[/b]" in told and "\\[" not in told


def test_any_task_is_filmed_and_drawn_without_a_run(tmp_path, capsys):
    words = f"render --env arm_reach --episodes 1 --view 2d --out {tmp_path}"
    assert cli.run(words.split()) == 0
    assert (tmp_path / "arm_reach.mp4").stat().st_size > 1000
    assert (tmp_path / "arm_reach.png").stat().st_size > 500
    assert "arm_reach.mp4" in capsys.readouterr().out.replace("\n", "")


def test_a_task_of_ones_own_is_trained_by_its_name(tmp_path):
    run_dir = tmp_path / "run"
    assert cli.run(["train", *SMALL, "--env", OWN, "--run-dir", str(run_dir)]) == 0
    assert cli.run(["evaluate", str(run_dir), "--episodes", "4"]) == 0


OWN_WITH_OPTIONS = f"""
import runpy

def crane(gear: float = 8.0, physics: str | None = None):
    names = runpy.run_path({OWN.partition(":")[0]!r})
    names["crane"].__globals__["CRANE"] = names["CRANE"].replace('gear="8"', f'gear="{{gear}}"')
    return names["crane"](physics)
"""


def test_an_option_of_a_task_of_ones_own_is_kept_by_its_run(tmp_path, capsys):
    (tmp_path / "own.py").write_text(OWN_WITH_OPTIONS)
    task, run_dir = f"{tmp_path / 'own.py'}:crane", tmp_path / "run"
    words = ["--env", task, "--env-option", "gear=16", "--train-env-option", "gear=4"]
    words += ["--horizon", "2", "--p-future", "0.4", "--p-random", "0.3", "--p-commanded", "0.3"]
    words += ["--initial-alpha", "0", "--run-dir", str(run_dir)]
    assert cli.run(["train", *SMALL, *words]) == 0
    run, agent = load_run(run_dir)
    assert run.env.model.actuator_gear[0, 0] == 16 and run.step.env.model.actuator_gear[0, 0] == 4
    assert run.step.buffer.discount == pytest.approx(math.exp(-0.05 / 2))
    assert agent.log_alpha == -math.inf, "trained, and yet still 0"
    trained = read_metrics(run_dir / "metrics.jsonl")[-1]
    assert trained["train/alpha"] == 0 and math.isfinite(trained["train/actor_loss"])
    assert cli.run(["evaluate", str(run_dir), "--episodes", "4"]) == 0
    capsys.readouterr()
    assert cli.run(["resume", str(run_dir), "--env-option", "gear=8"]) == 2
    told = capsys.readouterr().err
    assert "--env-option ('gear=16',) -> " in told and "gear=8" in told
    assert cli.run(["resume", str(run_dir), "--total-env-steps", "480"]) == 0
    assert "after 480 environment steps" in " ".join(capsys.readouterr().out.split())


def test_the_version_is_told(capsys):
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out.strip() == "crl-eqx 0.1.0"


BROKEN_TASK = """
import jax
from crl_eqx.envs import MujocoGoalEnv


def built(physics: str | None = None):
    return MujocoGoalEnv("no.xml"[:undefined])


def drawn(physics: str | None = None):
    return MujocoGoalEnv(
        FILE,
        goal_indices=[0],
        draw_goal=lambda key: jax.random.uniform(key, (1,)) @ jax.numpy.ones(3),
        threshold=0.1,
        episode_length=10,
        physics=physics,
    )
"""
ONE_JOINT = """<mujoco><worldbody><body><joint name="x"/><geom size="1"/></body></worldbody>
<actuator><motor joint="x"/></actuator></mujoco>"""


@pytest.mark.parametrize(
    "function, line, error", [("built", 7, "NameError"), ("drawn", 14, "TypeError")]
)
def test_an_error_in_a_task_of_ones_own_names_its_file_and_line(
    function, line, error, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.xml").write_text(ONE_JOINT)
    (tmp_path / "broken.py").write_text(BROKEN_TASK.replace("FILE", repr("model.xml")))
    words = ["train", "--preset", "cpu-demo", "--env", f"broken.py:{function}"]
    assert cli.run(words) == 2
    told = capsys.readouterr().err.strip()
    assert f"broken.py:{line}`" in told and error in told and "\n" not in told
    with pytest.raises((NameError, TypeError)):
        cli.run([*words, "--debug"])


def test_a_reader_that_goes_costs_no_run(tmp_path):
    words = [sys.executable, "-m", "crl_eqx", "train", *SMALL, "--run-dir", str(tmp_path / "run")]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=120) == 0
    assert read_metrics(tmp_path / "run" / "metrics.jsonl")[-1]["env_steps"] == 400


WITHOUT = """
import importlib.abc, importlib.metadata, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in ("imageio", "imageio_ffmpeg", "tensorboardX", "gymnasium"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())

def version(name, known=importlib.metadata.version):
    if name == "crl-eqx":
        raise importlib.metadata.PackageNotFoundError(name)
    return known(name)

importlib.metadata.version = version
from crl_eqx import cli
sys.exit(cli.run(sys.argv[1:]))
"""


def test_what_a_command_does_not_use_may_be_missing(tmp_path):
    """A source tree on the path without metadata, videos or TensorBoard."""
    words = ["train", *SMALL, "--run-dir", str(tmp_path / "run")]
    done = subprocess.run([sys.executable, "-c", WITHOUT, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="needs another user")
def test_nobody_without_a_home_can_look_at_a_run(trained):
    done = subprocess.run(
        ["setpriv", "--reuid=12345", "--clear-groups", "env", "-u", "HOME", sys.executable, "-m",
         "crl_eqx", "--version"],
        capture_output=True, text=True,
    )  # fmt: skip
    if "Permission denied" in done.stderr:
        pytest.skip("that user may not read this installation")
    assert done.returncode == 0, done.stderr
    code = "from crl_eqx.cli._cache import use_compilation_cache as use; use()"
    done = subprocess.run(
        ["setpriv", "--reuid=12345", "--clear-groups", "env", "-u", "HOME", sys.executable, "-c",
         code],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", [["info", ""], ["train", "--run-dir", ""], ["resume", ""]])
def test_an_empty_argument_is_not_the_folder_one_stands_in(words, capsys):
    assert cli.run(words) == 2
    assert "is empty." in capsys.readouterr().err


def test_a_device_is_not_written_over(trained, capsys):
    before = os.stat(os.devnull).st_mode
    assert cli.run(["export", str(trained), "--out", os.devnull]) == 2
    assert "there is something that is no file" in capsys.readouterr().err
    assert os.stat(os.devnull).st_mode == before


@pytest.mark.parametrize("out", [".", "/", "a\\b", ".."])
def test_a_policy_is_written_into_a_file(out, trained, capsys):
    assert cli.run(["export", str(trained), "--out", out]) == 2
    assert f"`--out {out}` is no name of a file" in capsys.readouterr().err


def told(*words, out=subprocess.PIPE, **variables):
    """Exit code and stderr of a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "crl_eqx", *words],
        stdout=out,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | variables,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "variables, sentence",
    [
        (dict(JAX_PLATFORMS="nosuch"), "`JAX_PLATFORMS=nosuch`: Unable to initialize backend"),
        (dict(MUJOCO_GL="nosuch"), "invalid value for environment variable MUJOCO_GL: nosuch."),
    ],
)
def test_what_the_environment_says_wrongly_is_told_in_one_sentence(variables, sentence, tmp_path):
    code, error = told("render", "--env", "reacher", "--out", str(tmp_path), **variables)
    assert code == 2 and error.startswith(sentence) and error.count("\n") == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a full device")
def test_what_could_not_be_printed_is_no_success(trained):
    with open("/dev/full", "w") as full:
        code, error = told("info", str(trained), out=full)
    assert (code, error) == (2, "Not all could be printed: No space left on device.\n")


MISSING = """
import sys
for name in sys.argv.pop(1).split(","):
    sys.modules[name] = None
from crl_eqx import cli
sys.exit(cli.run(sys.argv[1:]))
"""


def test_who_looks_at_a_run_needs_nothing_that_draws_or_trains(trained):
    words = ["matplotlib,PIL,psutil,tensorboardX,imageio_ffmpeg", "info", str(trained)]
    done = subprocess.run([sys.executable, "-c", MISSING, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    words = ["matplotlib,PIL,psutil,tensorboardX", "evaluate", str(trained), "--episodes", "2"]
    done = subprocess.run([sys.executable, "-c", MISSING, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "package, words",
    [("matplotlib", "render --env reacher"), ("rich", "envs reacher"), ("mujoco", "envs reacher")],
)
def test_a_package_that_is_missing_is_named(package, words):
    call = [sys.executable, "-c", MISSING, package, *words.split()]
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"This needs the package `{package}`, which is not installed")


def test_several_seeds_do_not_follow_a_link_out_of_their_run(tmp_path, capsys):
    outside, run_dir = tmp_path / "outside", tmp_path / "run"
    outside.mkdir()
    run_dir.mkdir()
    (run_dir / "seed_1").symlink_to(outside)
    assert cli.run(["train", *SMALL, "--seed", "0", "1", "--run-dir", str(run_dir)]) == 2
    assert f"`{run_dir / 'seed_1'}` is a link" in capsys.readouterr().err
    assert not [*outside.iterdir()]


def test_info_says_where_a_configuration_is_not_the_one_that_was_trained(trained, tmp_path, capsys):
    run_dir = shutil.copytree(trained, tmp_path / "run")
    written = json.loads((run_dir / "config.json").read_text())
    del written["learning"]  # which makes it the default
    (run_dir / "config.json").write_text(json.dumps(written))
    assert cli.run(["info", str(run_dir)]) == 0
    assert "is not what its checkpoints were saved under" in capsys.readouterr().out
    assert cli.run(["info", str(trained)]) == 0
    assert "is not what" not in capsys.readouterr().out


def test_weights_without_their_replay_are_not_read_under_another_configuration(
    trained, tmp_path, capsys
):
    run_dir = shutil.copytree(trained, tmp_path / "run")
    for segment in (run_dir / "checkpoints" / "replay").iterdir():
        segment.unlink()
    assert cli.run(["evaluate", str(run_dir), "--episodes", "2"]) == 0
    written = json.loads((run_dir / "config.json").read_text())
    written["learning"]["p_future"], written["learning"]["p_random"] = 1.0, 0.0
    (run_dir / "config.json").write_text(json.dumps(written))
    capsys.readouterr()
    assert cli.run(["evaluate", str(run_dir), "--episodes", "2"]) == 2
    assert "is not what its checkpoints were saved under" in capsys.readouterr().err


def test_a_flag_that_cannot_be_read_gets_one_sentence(capsys):
    for words, sentence in {
        "train --depth 1e300": "`crl-eqx train`: Error parsing --depth: invalid literal for int() "
        "with base 10: '1e300'.\n",
        "train --physics x": "`crl-eqx train`: invalid choice 'x' for argument '--physics'. "
        "Expected one of ('auto', 'native', 'mjx', 'warp').\n",
        "train --depht 4": "`crl-eqx train`: Unrecognized options: --depht, 4. "
        "Did you mean --depth?\n",
        "envs ant --picture": "`crl-eqx envs`: Missing value for argument '--picture'. Expected 1 "
        "values.\n",
    }.items():
        assert cli.run(words.split()) == 2
        assert capsys.readouterr().err == sentence


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
def test_a_closed_standard_output_ends_in_no_traceback(trained):
    for words, code in ((f"info {trained}", 0), ("info /nowhere", 2)):
        done = subprocess.run(
            ["sh", "-c", f"exec {sys.executable} -m crl_eqx {words} >&-"],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert done.returncode == code and "Traceback" not in done.stderr


def test_info_says_which_checkpoints_are_damaged(trained, tmp_path, capsys):
    run_dir = shutil.copytree(trained, tmp_path / "run")
    newest = max((run_dir / "checkpoints").glob("step_*"))
    (newest / "agent.safetensors").write_bytes(b"abc")
    assert cli.run(["info", str(run_dir)]) == 0
    told = capsys.readouterr().out
    assert f"The checkpoint `{newest}` cannot be used: `agent.safetensors` has 3 bytes" in told


def test_metrics_that_cannot_be_read_are_named(trained, tmp_path, capsys):
    run_dir = shutil.copytree(trained, tmp_path / "run")
    (run_dir / "metrics.jsonl").unlink()
    (run_dir / "metrics.jsonl").mkdir()
    assert cli.run(["info", str(run_dir)]) == 2
    assert f"`{run_dir / 'metrics.jsonl'}` cannot be read" in capsys.readouterr().err


def test_a_task_that_goes_elsewhere_leaves_its_user_where_he_is(tmp_path):
    file = tmp_path / "wandering.py"
    own = OWN.rpartition(":")[0]
    file.write_text(
        f"import os, sys\nsys.path.insert(0, {str(Path(own).parent)!r})\n"
        "from own_task import crane\n"
        "def f(physics=None):\n    os.chdir('/')\n    return crane(physics=physics)\n"
    )
    here = Path.cwd()
    envs.make(f"{file}:f", physics="native")
    assert Path.cwd() == here
