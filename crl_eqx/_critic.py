"""What teaches a policy: critics of several kinds."""

import abc
from typing import Any, ClassVar, Unpack

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._checks import require_count, require_key, require_kind
from ._fork import not_forked
from ._types import Action, Goal, PRNGKey, Repr, State
from .energy import AbstractEnergy, NegL2, require_energy
from .nn import call_together, Encoder, NetworkOptions
from .replay import AbstractData, Batch


class AbstractCritic(eqx.Module):
    """A number f(s, a, g) that grows as the goal gets nearer. Acts on any leading axes."""

    compares_actions: ClassVar[bool] = True
    """Whether the number depends on the action."""

    @abc.abstractmethod
    def __call__(self, state: State, action: Any, goal: Goal) -> Float[Array, "*batch"]:
        """How good `action` is in `state` on the way to `goal`."""

    def of_actions(
        self, state: State, actions: Float[Array, "n *batch action"], goal: Goal
    ) -> Float[Array, "n *batch"]:
        """Its value of several actions in the same `state`."""
        return jax.vmap(lambda action: self(state, action, goal))(actions)

    @abc.abstractmethod
    def networks(
        self, state: State, action: Action, goal: Goal
    ) -> dict[str, tuple[Any, tuple[Float[Array, "*batch _"], ...]]]:
        """Every network by name, and its inputs for these three arrays, for diagnostics."""


class Critic(AbstractCritic):
    """The contrastive critic f(s, a, g) = energy(φ(s, a), ψ(g)): the larger, the sooner `goal`
    follows.

    ```python
    data = crl_eqx.Trajectories(states, actions)
    critic = crl_eqx.Critic.create(data, depth=8, key=key)
    critic, history = crl_eqx.fit(critic, data, num_updates=1000, key=key)
    energy = critic(state, action, goal)
    ```

    Any two modules may be its encoders: `sa_encoder(state, action)` and `g_encoder(goal)`, on
    batches. Where there are no actions, `action` is None and φ is `sa_encoder(state)`.
    """

    sa_encoder: Any
    g_encoder: Any
    energy: AbstractEnergy = NegL2()

    def __check_init__(self):
        require_energy(self.energy, type(self).__name__, optional=False)

    @classmethod
    @not_forked
    def create(
        cls,
        data: AbstractData,
        *,
        depth: int = 16,
        repr_size: int = 64,
        energy: AbstractEnergy | None = None,
        key: PRNGKey,
        **network: Unpack[NetworkOptions],
    ) -> "Critic":
        """Encoders for `data`; the other arguments are as in [`crl_eqx.Agent.create`][].

        **Raises:** `UserError` if a size is not a positive whole number, or `energy` not an energy.
        """
        require_energy(energy, "Critic.create")
        require_kind(data, AbstractData, "Critic.create(data)", "`Trajectories`, or other data")
        require_key(key, "Critic.create(data, key=...)")
        require_count(repr_size, f"Critic.create(repr_size={repr_size!r})")
        if energy is not None:
            energy.check_size(repr_size, f"Critic.create(repr_size={repr_size!r})")
        sa_key, g_key = jax.random.split(key)
        batch = example_batch(data)
        size = batch.state.shape[-1] + batch.action.shape[-1]
        goal_size = batch.future_goal.shape[-1]
        return cls(
            Encoder(size, repr_size=repr_size, depth=depth, key=sa_key, **network),
            Encoder(goal_size, repr_size=repr_size, depth=depth, key=g_key, **network),
            NegL2() if energy is None else energy,
        )

    def sa_repr(self, state: State, action: Action | None = None) -> Repr:
        """φ(s, a), or φ(s)."""
        if action is None or action.shape[-1] == 0:
            return self.sa_encoder(state)
        return self.sa_encoder(state, action)

    def g_repr(self, goal: Goal) -> Repr:
        """ψ(g)."""
        return self.g_encoder(goal)

    @not_forked
    def __call__(self, state: State, action: Action | None, goal: Goal) -> Float[Array, "*batch"]:
        """The energy: up to a constant, how likely `goal` is in the future of (s, a)."""
        return self.energy(self.sa_repr(state, action), self.g_repr(goal))

    def of_actions(
        self, state: State, actions: Float[Array, "n *batch action"], goal: Goal
    ) -> Float[Array, "n *batch"]:
        g_repr = self.g_repr(goal)  # once for all of them
        return jax.vmap(lambda action: self.energy(self.sa_repr(state, action), g_repr))(actions)

    def networks(
        self, state: State, action: Action, goal: Goal
    ) -> dict[str, tuple[Any, tuple[Float[Array, "*batch _"], ...]]]:
        return {
            "sa_encoder": (self.sa_encoder, (state, action)),
            "g_encoder": (self.g_encoder, (goal,)),
        }


class QFunctions(AbstractCritic):
    """Some critics Q(s, a, g), each one network with one output; their minimum is used.

    Any modules that map the same inputs will do.
    """

    q: tuple[Any, ...]

    def values(self, state: State, action: Action, goal: Goal) -> Float[Array, "critics *batch"]:
        """What each of them says."""
        outputs = call_together(self.q, [(state, action, goal)] * len(self.q))
        return jnp.stack([output[..., 0] for output in outputs])

    @not_forked
    def __call__(self, state: State, action: Action, goal: Goal) -> Float[Array, "*batch"]:
        return jnp.min(self.values(state, action, goal), axis=0)

    def networks(
        self, state: State, action: Action, goal: Goal
    ) -> dict[str, tuple[Any, tuple[Float[Array, "*batch _"], ...]]]:
        return {f"q_{i}": (network, (state, action, goal)) for i, network in enumerate(self.q)}


class ValueFunction(AbstractCritic):
    """V(s, g), one network with one output: how good it is to be in a state.

    Any module that maps state and goal to one number will do.
    """

    compares_actions: ClassVar[bool] = False

    v: Any

    @not_forked
    def __call__(self, state: State, action: Any, goal: Goal) -> Float[Array, "*batch"]:
        del action
        return self.v(state, goal)[..., 0]

    def networks(
        self, state: State, action: Action, goal: Goal
    ) -> dict[str, tuple[Any, tuple[Float[Array, "*batch _"], ...]]]:
        return {"v": (self.v, (state, goal))}


def example_batch(data: AbstractData) -> Batch:
    """The shapes of a batch of one."""
    return jax.eval_shape(lambda key: data.sample((1,), key=key), jax.random.key(0))
