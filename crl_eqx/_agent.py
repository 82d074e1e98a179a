import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ._checks import require_count, require_flag, require_key, require_kind, require_number
from ._env import AbstractGoalEnv
from ._errors import UserError
from ._fork import not_forked
from ._types import Action, Goal, PRNGKey, Repr, Scalar, State
from .energy import AbstractEnergy, NegL2, require_energy
from .nn import Actor, Encoder, Normalizer
from .nn._residual_mlp import run_mlps_together


class AbstractAgent(eqx.Module):
    """A policy and what teaches it: the interface for collecting, evaluating and updating.

    `policy` gives a distribution of actions, `act` an action, `critic` a number that grows as the
    goal gets nearer; `groups` are the parameters by what moves them.
    """

    actor: eqx.AbstractVar[Any]
    log_alpha: eqx.AbstractVar[Scalar]
    state_normalizer: eqx.AbstractVar[Normalizer | None]
    goal_normalizer: eqx.AbstractVar[Normalizer | None]

    @property
    @abc.abstractmethod
    def has_critic(self) -> bool:
        """Whether there is a critic."""

    @abc.abstractmethod
    def critic(self, state: State, action: Action, goal: Goal) -> Float[Array, "*batch"]:
        """How good `action` is in `state` on the way to `goal`."""

    @abc.abstractmethod
    def groups(self) -> dict[str, PyTree]:
        """All that learns: `actor`, `critic` and `alpha`."""

    @abc.abstractmethod
    def with_groups(self, groups: dict[str, PyTree]) -> "AbstractAgent":
        """The agent with these groups replaced."""

    @abc.abstractmethod
    def networks(
        self, state: State, action: Action, goal: Goal
    ) -> dict[str, tuple[Any, tuple[Float[Array, "*batch _"], ...]]]:
        """Every network by name, and its input for these three, for diagnostics."""

    def _seen(self, state: State) -> State:
        return state if self.state_normalizer is None else self.state_normalizer(state)

    def _wanted(self, goal: Goal) -> Goal:
        return goal if self.goal_normalizer is None else self.goal_normalizer(goal)

    @not_forked
    def policy(self, state: State, goal: Goal):
        """The distribution of the action, a [`crl_eqx.nn.TanhNormal`][]."""
        return self.actor(self._seen(state), self._wanted(goal))

    @not_forked
    def act(
        self, state: State, goal: Goal, *, key: PRNGKey | None = None, candidates: int = 1
    ) -> Action:
        """What to do in `state` to reach `goal`.

        Without `key` the deterministic action; with it a sample of the policy, or, with
        `candidates` > 1, the critic's favourite of that many samples.
        """
        require_count(candidates, f"Agent.act(candidates={candidates!r})")
        if key is None and candidates > 1:
            raise UserError(
                f"`Agent.act(candidates={candidates})` needs a `key` to draw more than one."
            )
        policy = self.policy(state, goal)
        if key is None:
            return policy.mode()
        if candidates == 1:
            return policy.sample(key=key)
        actions = jax.vmap(lambda key: policy.sample(key=key))(jax.random.split(key, candidates))
        best = jnp.argmax(self._values(state, actions, goal), axis=0)
        return jnp.take_along_axis(actions, best[None, ..., None], axis=0)[0]

    def _values(
        self, state: State, actions: Float[Array, "n *batch action"], goal: Goal
    ) -> Float[Array, "n *batch"]:
        """What the critic says of several actions in the same `state`."""
        return jax.vmap(lambda action: self.critic(state, action, goal))(actions)

    def observe(self, state: State, goal: Goal) -> "AbstractAgent":
        """Updates the running moments, if any, with states and the goals they achieve."""
        if self.state_normalizer is None or self.goal_normalizer is None:
            return self
        new = self.state_normalizer.update(state), self.goal_normalizer.update(goal)
        return eqx.tree_at(lambda a: (a.state_normalizer, a.goal_normalizer), self, new)


class Agent(AbstractAgent):
    """A policy and the critic f(s, a, g) = energy(φ(s, a), ψ(g)) that teaches it.

    ```python
    agent = crl_eqx.Agent.create(env, depth=16, key=key)
    action = agent.act(state, goal)                  # deterministic
    action = agent.act(state, goal, key=key)         # a sample of the policy
    energy = agent.critic(state, action, goal)       # the larger, the nearer
    ```

    Any module that maps the same inputs will do for `actor`, `sa_encoder` and `g_encoder`.
    """

    actor: Any
    sa_encoder: Any
    g_encoder: Any
    energy: AbstractEnergy
    log_alpha: Scalar
    """Logarithm of the entropy temperature α."""
    state_normalizer: Normalizer | None = None
    goal_normalizer: Normalizer | None = None

    @classmethod
    @not_forked
    def create(
        cls,
        env: AbstractGoalEnv,
        *,
        depth: int = 16,
        actor_depth: int | None = None,
        critic_depth: int | None = None,
        repr_size: int = 64,
        energy: AbstractEnergy | None = None,
        normalize: bool = False,
        initial_alpha: float = 1.0,
        key: PRNGKey,
        **network,
    ) -> "Agent":
        """An untrained agent of the paper's shape for `env` (only its sizes are read).

        **Arguments:**

        - `depth`: Dense layers in the residual blocks of all three networks, a multiple of 4;
            `actor_depth` and `critic_depth` override it.
        - `repr_size`: numbers in a representation.
        - `energy`: how representations are compared, default [`crl_eqx.energy.NegL2`][].
        - `normalize`: whether states and goals are normalised by their running moments.
        - `initial_alpha`: where the entropy temperature starts; 0 stays 0, whatever the optimiser.
        - `**network`: further keywords of [`crl_eqx.nn.ResidualMLP`][], such as `width`.
        """
        require_kind(env, AbstractGoalEnv, f"Agent.create({env!r})", "a task, as `make` gives")
        require_key(key, "Agent.create(env, key=...)")
        require_flag(normalize, f"Agent.create(normalize={normalize!r})")
        require_energy(energy, "Agent.create")
        require_number(initial_alpha, f"Agent.create(initial_alpha={initial_alpha})")
        actor_key, sa_key, g_key = jax.random.split(key, 3)
        actor_depth = depth if actor_depth is None else actor_depth
        critic_depth = depth if critic_depth is None else critic_depth
        critic = dict(repr_size=repr_size, depth=critic_depth, **network)
        sizes = env.state_size, env.goal_size, env.action_size
        return cls(
            actor=Actor(*sizes, depth=actor_depth, key=actor_key, **network),
            sa_encoder=Encoder(env.state_size + env.action_size, key=sa_key, **critic),
            g_encoder=Encoder(env.goal_size, key=g_key, **critic),
            energy=NegL2() if energy is None else energy,
            log_alpha=jnp.log(jnp.asarray(initial_alpha, jnp.float32)),
            state_normalizer=Normalizer(env.state_size) if normalize else None,
            goal_normalizer=Normalizer(env.goal_size) if normalize else None,
        )

    @not_forked
    def sa_repr(self, state: State, action: Action) -> Repr:
        """φ(s, a)."""
        return self.sa_encoder(self._seen(state), action)

    @not_forked
    def g_repr(self, goal: Goal) -> Repr:
        """ψ(g)."""
        return self.g_encoder(self._wanted(goal))

    def forward(
        self, state: State, action: Action, goal: Goal, policy_goal: Goal
    ) -> tuple[Any, Repr, Repr]:
        """π(·|s, policy_goal), φ(s, a) and ψ(goal), as from `policy`, `sa_repr` and `g_repr`;
        networks of equal depth and width go through one scan where a kernel can."""
        actor, sa, g = self.actor, self.sa_encoder, self.g_encoder
        # Not of a subclass, which may do something else.
        if (type(actor), type(sa), type(g)) != (Actor, Encoder, Encoder):
            return self.policy(state, policy_goal), self.sa_repr(state, action), self.g_repr(goal)
        seen = self._seen(state)
        outputs, sa_repr, g_repr = run_mlps_together(
            (actor.network, sa.network, g.network),
            ((seen, self._wanted(policy_goal)), (seen, action), (self._wanted(goal),)),
        )
        return actor.distribution(outputs), sa_repr, g_repr

    @not_forked
    def critic(self, state: State, action: Action, goal: Goal) -> Float[Array, "*batch"]:
        """The energy f(s, a, g): up to a constant, how likely g is in the future of (s, a)."""
        return self.energy(self.sa_repr(state, action), self.g_repr(goal))

    @property
    def has_critic(self) -> bool:
        return True

    def _values(
        self, state: State, actions: Float[Array, "n *batch action"], goal: Goal
    ) -> Float[Array, "n *batch"]:
        g_repr = self.g_repr(goal)
        return jax.vmap(lambda action: self.energy(self.sa_repr(state, action), g_repr))(actions)

    def groups(self) -> dict[str, PyTree]:
        critic = self.sa_encoder, self.g_encoder, self.energy
        return {"actor": self.actor, "critic": critic, "alpha": self.log_alpha}

    def with_groups(self, groups: dict[str, PyTree]) -> "Agent":
        all_groups = self.groups() | groups
        where = lambda a: (a.actor, a.sa_encoder, a.g_encoder, a.energy, a.log_alpha)
        new = all_groups["actor"], *all_groups["critic"], all_groups["alpha"]
        return eqx.tree_at(where, self, new)

    def networks(
        self, state: State, action: Action, goal: Goal
    ) -> dict[str, tuple[Any, tuple[Float[Array, "*batch _"], ...]]]:
        return {
            "actor": (self.actor, (state, goal)),
            "sa_encoder": (self.sa_encoder, (state, action)),
            "g_encoder": (self.g_encoder, (goal,)),
        }
