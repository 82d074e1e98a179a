"""Choices of a run about its task and the world it is in."""

import dataclasses

import tyro


@dataclasses.dataclass(frozen=True)
class Task:
    """The task's own choices."""

    env_option: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """An argument of the task's constructor, such as torque=gym; may be given several times.
    `crl-eqx envs NAME` lists them."""
    train_env_option: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """The same for training alone, not for evaluation, such as random_starts=0.5."""
    resample_goals: float = 0.0
    """Chance, at every control step that ends at the goal, that training commands another: so that
    who has arrived walks on, and does not fill the replay with standing. 0: never."""
    hold_out: float = 0.0
    """About this share of the goals is never commanded in training; evaluation reports seen and
    unseen goals apart, too."""
    hold_out_seed: int = 0
    """Which goals these are."""


@dataclasses.dataclass(frozen=True)
class Randomization:
    """How episodes differ; off by default. Evaluation is randomized alike."""

    randomize_masses: tuple[float, float] = (1.0, 1.0)
    """Lowest and highest factor on the mass and inertia of each body."""
    randomize_friction: tuple[float, float] = (1.0, 1.0)
    """Lowest and highest factor on all sliding friction."""
    randomize_gains: tuple[float, float] = (1.0, 1.0)
    """Lowest and highest factor on the force of each actuator."""
    sensor_noise: float = 0.0
    """Standard deviation of the noise on every number of the state."""
    action_delay: tuple[int, int] = (0, 0)
    """Fewest and most control steps until an action acts."""
    variants: int = 64
    """Models with other masses, friction and gains for episodes to draw from."""


@dataclasses.dataclass(frozen=True)
class Gymnasium:
    """What Gymnasium environments (`--env gym:NAME`) do not say themselves."""

    goal_indices: tuple[int, ...] = ()
    """Which numbers of the observation are the achieved goal, if it is not a goal environment."""
    goal_low: tuple[float, ...] = ()
    """Goals are drawn uniformly between these numbers ..."""
    goal_high: tuple[float, ...] = ()
    """... and these."""
    goal_threshold: float | None = None
    """The distance of success; default a goal environment's own."""
    episode_length: int | None = None
    """Control steps per episode; default Gymnasium's limit."""
