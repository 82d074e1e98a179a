"""Every choice of a run, in groups; the defaults are the paper's hyper-parameters."""

import dataclasses
from pathlib import Path
from typing import Literal, TypeAlias

from .._verdict import CONCLUSIVE_STEPS
from ..nn import Compute
from ..objectives import Variant
from ._world import Gymnasium, Randomization, Task


EnergyName: TypeAlias = Literal["neg_l2", "neg_squared_l2", "dot", "cosine", "mrn"]
LossName: TypeAlias = Literal[
    "infonce",
    "infonce_backward",
    "infonce_symmetric",
    "binary_nce",
    "flatnce",
    "dpo",
    "ipo",
    "sppo",
    "forward_backward",
]
ActingName: TypeAlias = Literal["stochastic", "deterministic", "best-of"]
ObjectiveName: TypeAlias = Literal["crl", "gcbc", "c-learning", "sac", "td3", "ppo"]
ScheduleName: TypeAlias = Literal["constant", "cosine", "cooldown"]
PresetName: TypeAlias = Literal["paper", "laptop", "cpu-demo"]


@dataclasses.dataclass(frozen=True)
class Network:
    """The policy, and the networks that teach it."""

    depth: int = 16
    """Dense layers in the residual blocks of every network, a multiple of 4."""
    actor_depth: int | None = None
    """Depth of the policy, if different."""
    critic_depth: int | None = None
    """Depth of the critic's networks (crl: both encoders), if different."""
    width: int = 256
    """Width of every hidden layer."""
    repr_size: int = 64
    """Numbers in a representation."""
    residual: bool = True
    """Skip connections; off is an ablation."""
    layer_norm: bool = True
    """Layer normalisation; off is an ablation."""
    activation: Literal["swish", "relu", "gelu", "tanh"] = "swish"
    """Activation of every hidden layer; any but swish is an ablation."""
    normalize_observations: bool = False
    """Normalise states and goals by their running mean and variance (off in the paper)."""
    init_from: str | None = None
    """A run with whose newest agent this one begins: its weights, temperature and means of
    observations; replay, optimisers and counts begin anew. {seed} in its path stands for the
    seed. This task's states may have more at their end than that run's, as ant_ball's have after
    ant: what is more weighs nothing at first."""


@dataclasses.dataclass(frozen=True)
class Objective:
    """What the agent learns from: contrastive RL, or a rival on the same networks."""

    objective: ObjectiveName = "crl"
    """Contrastive RL (crl), behaviour cloning of hindsight goals (gcbc), a classifier that looks
    one step ahead (c-learning), actor-critic on sparse rewards with hindsight goals (sac, td3), or
    the same without a replay and hindsight (ppo)."""
    polyak_rate: float = 0.005
    """How far the slow copies of the networks follow at every gradient step (c-learning, sac), or
    every --policy-delay of them (td3)."""
    variant: Variant = "td"
    """Whether positives are looked up one step ahead (td) or in the data (nce) (c-learning)."""
    max_weight: float = 20.0
    """Upper limit of the importance weight (c-learning)."""
    exploration_noise: float = 0.2
    """Standard deviation of the noise on actions while collecting (td3)."""
    target_noise: float = 0.2
    """Standard deviation of the noise on the action that the target looks up (td3)."""
    noise_clip: float = 0.5
    """Limit of that noise (td3)."""
    policy_delay: int = 2
    """Gradient steps of the critics for one of the policy (td3)."""
    epochs: int = 4
    """How often the steps of an unroll are gone through (ppo)."""
    gae_lambda: float = 0.95
    """How far advantages look ahead: 0 one step, 1 to the end (ppo)."""
    clip_range: float = 0.2
    """Clip range of the probability ratio (ppo)."""
    entropy_weight: float = 0.003
    """Weight of the policy's entropy (ppo)."""


@dataclasses.dataclass(frozen=True)
class Learning:
    """What is optimised, and how."""

    energy: EnergyName = "neg_l2"
    """How representations are compared."""
    energy_epsilon: float = 1e-12
    """What neg_l2 and mrn add under the square root."""
    temperature: float = 0.1
    """Where the temperature of the cosine energy starts."""
    learned_temperature: bool = True
    """Whether training moves the temperature of the cosine energy."""
    contrastive_loss: LossName = "infonce"
    """What the critic minimises."""
    logsumexp_penalty: float = 0.1
    """Weight of the mean squared logsumexp."""
    target_entropy_per_action: float = -0.5
    """Entropy at which the temperature alpha holds the policy, in nats per action number."""
    initial_alpha: float = 1.0
    """Where alpha starts; 0 stays 0, and any value stays fixed under
    --alpha-learning-rate 0."""
    p_future: float = 1.0
    """How often the policy trains on a goal of the step's own future ..."""
    p_random: float = 0.0
    """... how often on one of another step's future ..."""
    p_commanded: float = 0.0
    """... and how often on the goal that was commanded; the three add up to 1."""
    discount: float | None = 0.99
    """Discount of the geometric distribution of future goals, per control step; 1 is uniform."""
    horizon: float | None = None
    """The same in seconds, exp(-control step / horizon): the mean distance of future goals. Give
    one of the two."""
    batch_size: int = 512
    """Transitions per update."""
    optimizer: str = "adam"
    """Any Optax optimiser, by name."""
    actor_learning_rate: float = 3e-4
    """Learning rate of the policy."""
    critic_learning_rate: float = 3e-4
    """Learning rate of the critic (crl: of both encoders)."""
    alpha_learning_rate: float = 3e-4
    """Learning rate of the entropy temperature."""
    schedule: ScheduleName = "constant"
    """How the learning rates fall until --schedule-updates, where they stay: cosine from the
    beginning, cooldown in a straight line over the last fifth."""
    schedule_updates: int | None = None
    """Length of the schedule in gradient steps; default those of the run, but 31,000 of the preset
    cpu-demo."""
    schedule_end: float = 0.1
    """Where the schedule ends, as a share of the learning rate."""
    warmup_updates: int = 0
    """Gradient steps over which the learning rates rise from zero."""
    weight_decay: float = 0.0
    """Decoupled weight decay (turns adam into adamw)."""
    policy_average: int = 0
    """Updates over which the weights of the policy that is evaluated and kept are averaged,
    exponentially; 0 keeps the latest."""
    max_grad_norm: float | None = None
    """Clips each network's gradient to this norm."""


@dataclasses.dataclass(frozen=True)
class Data:
    """How experience is collected and kept."""

    num_envs: int = 512
    """Environments stepped at once."""
    unroll_length: int = 62
    """Control steps of every environment between two rounds of updates."""
    prefill_length: int = 1000
    """Control steps of every environment before the first update, rounded up to whole unrolls."""
    train_episode_length: int | None = None
    """Control steps after which an episode of training ends, where the task's own are longer: so
    that who has arrived does not fill the replay with standing at its goal."""
    updates_per_env_step: float = 800 / (512 * 62)
    """Gradient steps per environment step, kept exactly."""
    replay_capacity: int = 10_000
    """Steps kept per environment."""
    absorbing: bool = False
    """A fallen robot stays down: futures of an episode that ended early stay in its last state
    instead of being cut."""
    collect_acting: ActingName = "stochastic"
    """How the policy acts while collecting; best-of takes the best of --candidates samples by the
    critic."""
    candidates: int = 16
    """Samples that best-of chooses from."""
    deterministic_share: float = 0.0
    """Share of the environments that act deterministically while collecting, so that
    what stops the deterministic policy is learnt from; needs --collect-acting stochastic."""
    collect: Literal["in-turn", "overlap"] = "in-turn"
    """When experience is collected: before the unroll's updates, or while they are made (overlap),
    on the host's cores beside a GPU; updates then do not see the unroll under way."""
    collect_with: str | None = None
    """A run whose newest agent collects, frozen, in place of the one that learns; {seed} in its
    path stands for the seed. Tells whether depth helps to explore or to learn."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """How progress is measured. May change on resuming."""

    eval_every: int = 1_000_000
    """Environment steps between evaluations."""
    eval_episodes: int = 128
    """Fresh episodes per evaluation."""
    eval_acting: ActingName = "deterministic"
    """How the policy acts while it is evaluated."""
    eval_split: bool = True
    """Also evaluate on the task's far goals (its _eval task), where it has them."""
    stop_at_success: float | None = None
    """Stop once two evaluations in a row reach this success rate."""
    stop_when: tuple[Literal["plateau", "verdict"], ...] = ()
    """Stop once evaluations of the last --conclusive-steps are no better than those before, one by
    one and on average, which takes one and a half times as many steps (plateau), or once the health
    verdict says of three rows in a row that networks are broken, or at last that the run does not
    learn (verdict)."""
    conclusive_steps: int = CONCLUSIVE_STEPS
    """Environment steps below which a flat curve proves nothing: before them a run is not learning
    yet, and is never stopped for it."""


@dataclasses.dataclass(frozen=True)
class Logging:
    """What is written, and how often. May change on resuming."""

    log_every: int = 50_000
    """Environment steps between rows of metrics.jsonl."""
    metrics_of: Literal["auto", "all", "last"] = "auto"
    """The updates of an unroll that metrics are of: the mean over all, or the last one alone, which
    saves a GPU about 40 launches an update; auto is last there, and all on CPUs."""
    diagnostics: bool = True
    """Add gradient norms per block, representation rank and a verdict to every row."""
    checkpoint_every: int = 1_000_000
    """Environment steps between checkpoints; after ten minutes without one there is one more."""
    keep_checkpoints: int = 3
    """Checkpoints kept."""
    keep_best: bool = True
    """Also keep the checkpoint of the best evaluation, without its replay, in best/."""
    save_replay: bool = True
    """Keep the replay in the checkpoints, so that resuming is exact."""
    tensorboard: bool = True
    """Write TensorBoard event files."""
    wandb: bool = False
    """Report to Weights & Biases (needs the extra `wandb`)."""
    wandb_group: str | None = None
    """The group of the run there; default the directory of a sweep's runs. Without
    WANDB_PROJECT the project is crl-eqx."""
    pictures: bool = True
    """Draw trajectories and a video when training ends."""


@dataclasses.dataclass(frozen=True)
class Config:
    """A training run."""

    env: str = "point_u_maze"
    """The task; `crl-eqx envs` lists them. gym:NAME is a Gymnasium environment,
    FILE.py:FUNCTION your own task."""
    physics: Literal["auto", "native", "mjx", "warp"] = "auto"
    """MuJoCo's C engine (native), MuJoCo in JAX (mjx), or MuJoCo Warp (warp, needs the extra
    `warp`); auto is native on CPUs and beside a GPU with enough cores, else mjx."""
    total_env_steps: int = 100_000_000
    """Environment steps to take at least, prefill included."""
    max_hours: float | None = None
    """Stop, saved and evaluated, once the run has been at work for so long."""
    seed: int = 0
    """Seed of the run."""
    deterministic: bool = False
    """On a GPU: two runs of one seed, or one that was resumed, give the same numbers, bit for bit,
    and take longer. On a CPU they always do."""
    run_dir: Path | None = None
    """Output directory; default runs/ENV_depthDEPTH, with seeds below it."""
    preset: PresetName = "paper"
    """The set of defaults that the other flags change: paper (a GPU, hours), laptop (two cores,
    half an hour), cpu-demo (two cores, minutes)."""
    task: Task = Task()
    network: Network = Network()
    objective: Objective = Objective()
    learning: Learning = Learning()
    data: Data = Data()
    randomization: Randomization = Randomization()
    evaluation: Evaluation = Evaluation()
    logging: Logging = Logging()
    compute: Compute = Compute()
    gymnasium: Gymnasium = Gymnasium()


CONFIG = "config.json"
"""The configuration of a run, in its directory."""

GENERALIZATION = "generalization.json"
"""What `generalize` has found, there."""

SWEEP = "sweep.json"
"""What several runs have in common and in what they differ, in the directory above theirs."""
