"""A policy and its critic."""

from typing import Any, Literal, TypeAlias, Unpack

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ._checks import require_count, require_flag, require_key, require_kind, require_number
from ._critic import AbstractCritic, Critic, QFunctions, ValueFunction
from ._env import AbstractGoalEnv
from ._errors import UserError
from ._fork import not_forked
from ._types import Action, Goal, PRNGKey, Scalar, State
from .energy import AbstractEnergy, NegL2, require_energy
from .nn import Actor, check_depth, Encoder, NetworkOptions, Normalizer


CriticKind: TypeAlias = Literal["contrastive", "twin-q", "value", "none"]
"""What teaches the policy: `"contrastive"`, a [`crl_eqx.Critic`][]; `"twin-q"`,
[`crl_eqx.QFunctions`][], two of them; `"value"`, a [`crl_eqx.ValueFunction`][]; `"none"`, no
critic."""


class Agent(eqx.Module):
    """A policy and the critic that teaches it.

    ```python
    agent = crl_eqx.Agent.create(env, depth=16, key=key)
    action = agent.act(state, goal)                  # deterministic
    action = agent.act(state, goal, key=key)         # a sample of the policy
    energy = agent.value(state, action, goal)        # the larger, the nearer
    ```

    Any module that maps state and goal to a distribution of actions will do for `actor`. Only the
    agent knows of normalisation: its networks are given states and goals normalised.
    """

    actor: Any
    critic: AbstractCritic | None
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
        critic: CriticKind = "contrastive",
        depth: int = 16,
        actor_depth: int | None = None,
        critic_depth: int | None = None,
        repr_size: int = 64,
        energy: AbstractEnergy | None = None,
        normalize: bool = False,
        initial_alpha: float = 1.0,
        key: PRNGKey,
        **network: Unpack[NetworkOptions],
    ) -> "Agent":
        """An untrained agent of the paper's shape for `env` (only its sizes are read).

        **Arguments:**

        - `critic`: what the objective needs, as its `critic` says: `"contrastive"`,
            `"twin-q"`, `"value"` or `"none"`.
        - `depth`: Dense layers in the residual blocks of every network, a multiple of 4;
            `actor_depth` and `critic_depth` override it.
        - `repr_size`, `energy`: of a contrastive critic: numbers in a representation, and how
            representations are compared, default [`crl_eqx.energy.NegL2`][]; no other critic
            takes an energy.
        - `normalize`: whether states and goals are normalised by their running moments.
        - `initial_alpha`: where the entropy temperature starts; 0 stays 0, whatever the optimiser.
        - `**network`: further keywords of [`crl_eqx.nn.ResidualMLP`][], such as `width`.
        """
        require_kind(env, AbstractGoalEnv, f"Agent.create({env!r})", "a task, as `make` gives")
        require_key(key, "Agent.create(env, key=...)")
        require_flag(normalize, f"Agent.create(normalize={normalize!r})")
        require_energy(energy, "Agent.create")
        require_number(initial_alpha, f"Agent.create(initial_alpha={initial_alpha!r})")
        depths = dict(depth=depth, actor_depth=actor_depth, critic_depth=critic_depth)
        for name, value in depths.items():
            if value is not None:
                check_depth(value, f"Agent.create({name}={value!r})")
        require_count(repr_size, f"Agent.create(repr_size={repr_size!r})")
        if energy is not None:
            if critic != "contrastive":
                raise UserError(
                    f"`Agent.create(critic={critic!r}, energy={energy!r})`: only a contrastive "
                    f"critic has an energy."
                )
            energy.check_size(repr_size, f"Agent.create(repr_size={repr_size!r})")
        actor_depth = depth if actor_depth is None else actor_depth
        critic_depth = depth if critic_depth is None else critic_depth
        encoder = lambda in_size, out_size, key: Encoder(
            in_size, repr_size=out_size, depth=critic_depth, key=key, **network
        )
        state_size, goal_size, action_size = env.state_size, env.goal_size, env.action_size
        actor_key, *keys = jax.random.split(key, 1 if critic == "none" else 3)
        match critic:
            case "contrastive":
                made = Critic(
                    encoder(state_size + action_size, repr_size, keys[0]),
                    encoder(goal_size, repr_size, keys[1]),
                    NegL2() if energy is None else energy,
                )
            case "twin-q":
                size = state_size + action_size + goal_size
                made = QFunctions(tuple(encoder(size, 1, key) for key in keys))
            case "value":
                made = ValueFunction(encoder(state_size + goal_size, 1, keys[0]))
            case "none":
                made = None
            case _:
                raise UserError(
                    f"`Agent.create(critic={critic!r})` must be 'contrastive', 'twin-q', "
                    f"'value' or 'none'."
                )
        return cls(
            Actor(state_size, goal_size, action_size, depth=actor_depth, key=actor_key, **network),
            made,
            jnp.log(jnp.asarray(initial_alpha, jnp.float32)),
            Normalizer(state_size) if normalize else None,
            Normalizer(goal_size) if normalize else None,
        )

    def normalized_state(self, state: State) -> State:
        """`state` as the networks see it."""
        return state if self.state_normalizer is None else self.state_normalizer(state)

    def normalized_goal(self, goal: Goal) -> Goal:
        """`goal` as the networks see it."""
        return goal if self.goal_normalizer is None else self.goal_normalizer(goal)

    @not_forked
    def policy(self, state: State, goal: Goal):
        """The distribution of the action, a [`crl_eqx.nn.TanhNormal`][]."""
        return self.actor(self.normalized_state(state), self.normalized_goal(goal))

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
        require_key(key, "Agent.act(..., key=...)")
        if candidates == 1:
            return policy.sample(key=key)
        actions = jax.vmap(lambda key: policy.sample(key=key))(jax.random.split(key, candidates))
        critic = self._critic(f"act(candidates={candidates})")
        if not self.compares_actions:
            raise UserError(
                f"`Agent.act(candidates={candidates})` asks the critic, and a "
                f"{type(critic).__name__} does not tell actions apart."
            )
        values = critic.of_actions(
            self.normalized_state(state), actions, self.normalized_goal(goal)
        )
        best = jnp.argmax(values, axis=0)
        return jnp.take_along_axis(actions, best[None, ..., None], axis=0)[0]

    @not_forked
    def value(self, state: State, action: Action, goal: Goal) -> Float[Array, "*batch"]:
        """What the critic says: the larger, the better `action` is in `state` on the way to
        `goal`. **Raises:** `UserError` if there is no critic."""
        critic = self._critic("value(...)")
        return critic(self.normalized_state(state), action, self.normalized_goal(goal))

    @property
    def compares_actions(self) -> bool:
        """Whether there is a critic that tells a good action from a bad one."""
        return self.critic is not None and self.critic.compares_actions

    def _critic(self, call: str) -> AbstractCritic:
        if self.critic is None:
            raise UserError(f"`Agent.{call}` asks the critic, and this agent has no critic.")
        return self.critic

    def observe(self, state: State, goal: Goal) -> "Agent":
        """Updates the running moments, if any, with states and the goals they achieve."""
        if self.state_normalizer is None or self.goal_normalizer is None:
            return self
        new = self.state_normalizer.update(state), self.goal_normalizer.update(goal)
        return eqx.tree_at(lambda a: (a.state_normalizer, a.goal_normalizer), self, new)

    def with_moments_of(self, other: "Agent") -> "Agent":
        """With the running moments of `other`, an agent of the same kind."""
        where = lambda a: (a.state_normalizer, a.goal_normalizer)
        return eqx.tree_at(where, self, where(other), is_leaf=lambda leaf: leaf is None)

    def groups(self) -> dict[str, PyTree]:
        """The trainable parts, by optimiser group."""
        return {"actor": self.actor, "critic": self.critic, "alpha": self.log_alpha}

    def with_groups(self, groups: dict[str, PyTree]) -> "Agent":
        """The agent with these groups replaced."""
        new = self.groups() | groups
        parts = new["actor"], new["critic"], new["alpha"]
        nothing = lambda part: part is None
        return eqx.tree_at(lambda a: (a.actor, a.critic, a.log_alpha), self, parts, is_leaf=nothing)

    def networks(
        self, state: State, action: Action, goal: Goal
    ) -> dict[str, tuple[Any, tuple[Float[Array, "*batch _"], ...]]]:
        """Every network by name, and its inputs for these three arrays, for diagnostics."""
        critics = {} if self.critic is None else self.critic.networks(state, action, goal)
        return {"actor": (self.actor, (state, goal)), **critics}
