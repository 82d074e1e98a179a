from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ._agent import AbstractAgent
from ._checks import require_count, require_flag, require_key, require_kind, require_number
from ._env import AbstractGoalEnv
from ._errors import UserError
from ._fork import not_forked
from ._types import Action, Goal, PRNGKey, Scalar, State
from .nn import Actor, Encoder, Normalizer
from .nn._residual_mlp import run_mlps_together


class ActorCritic(AbstractAgent):
    """A policy and any number of critics Q(s, a, g), each one network with one output.

    ```python
    agent = crl_eqx.ActorCritic.create(env, depth=16, key=key)         # twins, for SAC and TD3
    agent = crl_eqx.ActorCritic.create(env, num_critics=0, key=key)    # a policy alone, for GCBC
    ```

    `critic` is the least of the critics' numbers. Any modules that map the same inputs will do.
    """

    actor: Any
    critics: tuple[Any, ...]
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
        num_critics: int = 2,
        depth: int = 16,
        actor_depth: int | None = None,
        critic_depth: int | None = None,
        normalize: bool = False,
        initial_alpha: float = 1.0,
        key: PRNGKey,
        **network,
    ) -> "ActorCritic":
        """An untrained agent for `env` (only its sizes are read).

        **Arguments:**

        - `num_critics`: 2 for SAC, TD3 and C-learning, 0 for behaviour cloning.
        - the others: as in [`crl_eqx.Agent.create`][].
        """
        require_kind(env, AbstractGoalEnv, f"ActorCritic.create({env!r})", "a task")
        require_key(key, "ActorCritic.create(env, key=...)")
        require_count(num_critics, f"ActorCritic.create(num_critics={num_critics!r})", least=0)
        require_flag(normalize, f"ActorCritic.create(normalize={normalize!r})")
        require_number(initial_alpha, f"ActorCritic.create(initial_alpha={initial_alpha})")
        actor_key, *critic_keys = jax.random.split(key, 1 + num_critics)
        actor_depth = depth if actor_depth is None else actor_depth
        critic_depth = depth if critic_depth is None else critic_depth
        sizes = env.state_size, env.goal_size, env.action_size
        critic = dict(repr_size=1, depth=critic_depth, **network)
        return cls(
            actor=Actor(*sizes, depth=actor_depth, key=actor_key, **network),
            critics=tuple(Encoder(sum(sizes), key=key, **critic) for key in critic_keys),
            log_alpha=jnp.log(jnp.asarray(initial_alpha, jnp.float32)),
            state_normalizer=Normalizer(env.state_size) if normalize else None,
            goal_normalizer=Normalizer(env.goal_size) if normalize else None,
        )

    @property
    def has_critic(self) -> bool:
        return len(self.critics) > 0

    def values(
        self, state: State, action: Action, goal: Goal, critics: tuple[Any, ...] | None = None
    ) -> Float[Array, "critics *batch"]:
        """What each critic says; or each of `critics`, such as targets, if given. Networks of
        equal depth and width go through one scan where a kernel can."""
        critics = self.critics if critics is None else critics
        if not critics:
            raise UserError(f"This {type(self).__name__} has no critic: its policy is all it has.")
        inputs = self._seen(state), action, self._wanted(goal)
        if all(type(critic) is Encoder for critic in critics):  # a subclass may do something else
            networks = [critic.network for critic in critics]
            outputs = run_mlps_together(networks, [inputs] * len(networks))
        else:
            outputs = [critic(*inputs) for critic in critics]
        return jnp.stack([output[..., 0] for output in outputs])

    @not_forked
    def critic(self, state: State, action: Action, goal: Goal) -> Float[Array, "*batch"]:
        """The least of the critics' values. **Raises:** `UserError` if there are none."""
        return jnp.min(self.values(state, action, goal), axis=0)

    def groups(self) -> dict[str, PyTree]:
        return {"actor": self.actor, "critic": self.critics, "alpha": self.log_alpha}

    def with_groups(self, groups: dict[str, PyTree]) -> "ActorCritic":
        new = self.groups() | groups
        where = lambda a: (a.actor, a.critics, a.log_alpha)
        return eqx.tree_at(where, self, (new["actor"], new["critic"], new["alpha"]))

    def networks(
        self, state: State, action: Action, goal: Goal
    ) -> dict[str, tuple[Any, tuple[Float[Array, "*batch _"], ...]]]:
        critics = {
            f"critic_{i}": (critic, (state, action, goal)) for i, critic in enumerate(self.critics)
        }
        return {"actor": (self.actor, (state, goal)), **critics}
