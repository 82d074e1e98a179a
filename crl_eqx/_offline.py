"""A critic alone, learnt from trajectories that are already in memory."""

from collections.abc import Sequence
from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from ._checks import require_count, require_discount, require_key, require_kind
from ._errors import first_line, UserError
from ._fork import not_forked
from ._replay import AchievedGoal, Batch, whole_state
from ._types import Action, Goal, PRNGKey, Repr, State
from ._update import adam
from .energy import AbstractEnergy, NegL2, require_energy
from .nn import Encoder
from .objectives import CRL
from .relabel import future_index


def _numbers(value: Any, name: str) -> np.ndarray:
    """As NumPy's float32. **Raises:** `UserError` in the words of whoever gave `name`."""
    if np.ma.is_masked(value):
        raise UserError(
            f"`Trajectories({name})` has masked numbers: leave those steps out, and say `lengths`."
        )
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise UserError(f"`Trajectories({name})` is no array: {first_line(error)}.") from error
    if array.dtype.kind not in "fiub" and array.dtype != jnp.bfloat16:
        raise UserError(f"`Trajectories({name})` must hold real numbers, not {array.dtype}.")
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        raise UserError(
            f"`Trajectories({name})` must be finite in float32: at {bad[0].tolist()} it holds "
            f"{array[tuple(bad[0])]}."
        )
    return array


def _padded(parts: Sequence[Any], name: str) -> tuple[np.ndarray, np.ndarray]:
    """`[n, t, size]` out of n arrays `[their own length, size]`, zeros after their ends, and their
    lengths."""
    arrays = [_numbers(part, f"{name}[{i}]") for i, part in enumerate(parts)]
    for i, array in enumerate(arrays):
        if array.ndim != 2 or array.shape[1] != arrays[0].shape[-1]:
            raise UserError(
                f"`Trajectories({name})` must be arrays [length, size] of one size: {name}[0] is "
                f"{list(arrays[0].shape)}, and {name}[{i}] is {list(array.shape)}."
            )
    lengths = np.array([len(array) for array in arrays], int)
    padded = np.zeros((len(arrays), lengths.max(initial=0), arrays[0].shape[1]), np.float32)
    for row, array in zip(padded, arrays, strict=True):
        row[: len(array)] = array
    return padded, lengths


def _as_block(value: Any, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    """`[n, t, size]`, and the lengths where a list says them itself."""
    if isinstance(value, list | tuple) and value and all(np.ndim(part) == 2 for part in value):
        return _padded(value, name)
    return _numbers(value, name), None


def _whole_lengths(lengths: Any, n: int, t: int) -> np.ndarray:
    try:
        found = np.asarray(lengths)
    except ValueError:  # a ragged list
        found = np.empty(0, object)
    whole = found.dtype.kind in "iu" or (found.dtype.kind == "f" and (found % 1 == 0).all())
    if found.shape != (n,) or not whole or found.min(initial=0) < 0 or found.max(initial=0) > t:
        raise UserError(
            f"`Trajectories(lengths={lengths})` must be {n} whole numbers from 0 to {t}, one for "
            f"each trajectory."
        )
    return found.astype(int)


class Trajectories(eqx.Module):
    """`n` trajectories of up to `t` steps.

    **Arguments:**

    - `states`: `[n, t, state]`, or a list of n arrays `[length, state]`, whose lengths may differ.
    - `actions`: `[n, t, action]` or such a list, or none: then φ takes the state alone.
    - `lengths`: `[n]`, how many steps of each trajectory are real; default all of them.

    **Raises:** `UserError` when shapes disagree, a number is not real and finite, a length is not
    a whole number of steps, or no trajectory has two steps.
    """

    states: Float[Array, "n t state"]
    actions: Float[Array, "n t action"]
    lengths: Int[Array, " n"]

    @not_forked
    def __init__(self, states: Any, actions: Any = None, lengths: Any = None):
        states, own_lengths = _as_block(states, "states")
        if states.ndim != 3:
            raise UserError(
                f"`Trajectories(states)` must be [n, t, state] or a list of [length, state], not "
                f"{states.shape}."
            )
        n, t, _ = states.shape
        if actions is None:
            actions, action_lengths = np.zeros((n, t, 0), np.float32), None
        else:
            actions, action_lengths = _as_block(actions, "actions")
        if actions.ndim != 3 or actions.shape[:2] != (n, t):
            raise UserError(
                f"`Trajectories(actions=...)` must be [{n}, {t}, action] like the states, not "
                f"{actions.shape}."
            )
        if own_lengths is not None and action_lengths is not None:
            for i in np.flatnonzero(own_lengths != action_lengths):
                raise UserError(
                    f"`Trajectories`: states[{i}] has {own_lengths[i]} steps, and actions[{i}] has "
                    f"{action_lengths[i]}."
                )
        whole = np.full(n, t) if own_lengths is None else own_lengths
        if lengths is not None:
            found = _whole_lengths(lengths, n, t)
            if (found > whole).any():
                raise UserError(
                    f"`Trajectories(lengths={lengths})`: the trajectories have only "
                    f"{whole.tolist()} steps."
                )
            whole = found
        if whole.max(initial=0) < 2:
            raise UserError("`Trajectories`: no trajectory has two steps, so none has a future.")
        self.states, self.actions = jnp.asarray(states), jnp.asarray(actions)
        self.lengths = jnp.asarray(whole, jnp.int32)

    @not_forked
    def sample(
        self,
        size: int,
        *,
        discount: float,
        achieved_goal: AchievedGoal = whole_state,
        key: PRNGKey,
    ) -> Batch:
        """`size` steps, uniform over those that have a future, each with the `achieved_goal` of a
        state of its future."""
        step_key, future_key = jax.random.split(key)
        steps_before = jnp.cumsum(jnp.maximum(self.lengths - 1, 0))
        index = jax.random.randint(step_key, (size,), 0, steps_before[-1])
        row = jnp.searchsorted(steps_before, index, side="right")
        time = index - jnp.where(row > 0, steps_before[row - 1], 0)
        future = future_index(self.lengths[row], time, discount=discount, key=future_key)
        state = self.states[row, time]
        goal = achieved_goal(self.states[row, future])
        return Batch(state, self.actions[row, time], state[:, :0], goal)


class Critic(eqx.Module):
    """f(s, a, g) = energy(φ(s, a), ψ(g)) without a policy.

    ```python
    data = crl_eqx.Trajectories(states, actions)
    critic = crl_eqx.Critic.create(data, depth=8, key=key)
    critic, history = crl_eqx.fit(critic, data, num_updates=1000, key=key)
    ```

    Any two modules may be its encoders: `sa_encoder(state, action)` (without actions:
    `sa_encoder(state)`) and `g_encoder(goal)`, on batches.
    """

    sa_encoder: Any
    g_encoder: Any
    energy: AbstractEnergy = NegL2()

    @classmethod
    @not_forked
    def create(
        cls,
        data: Trajectories,
        *,
        goal_size: int | None = None,
        energy: AbstractEnergy | None = None,
        key: PRNGKey,
        **encoder,
    ) -> "Critic":
        """Encoders for `data`; goals are whole states unless `goal_size` says otherwise.

        **Raises:** `UserError` if a size is not a positive whole number, or `energy` is none.

        `**encoder` are keywords of [`crl_eqx.nn.Encoder`][], such as `depth` and `width`.
        """
        if goal_size is not None:
            require_count(goal_size, f"Critic.create(goal_size={goal_size!r})")
        require_energy(energy, "Critic.create")
        require_kind(data, Trajectories, "Critic.create(data)", "`Trajectories`")
        require_key(key, "Critic.create(data, key=...)")
        sa_key, g_key = jax.random.split(key)
        state_size, action_size = data.states.shape[-1], data.actions.shape[-1]
        return cls(
            Encoder(state_size + action_size, key=sa_key, **encoder),
            Encoder(goal_size or state_size, key=g_key, **encoder),
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
    def __call__(self, state: State, goal: Goal, action: Action | None = None):
        """The energy, `[*batch]`: the larger, the sooner `goal` follows."""
        return self.energy(self.sa_repr(state, action), self.g_repr(goal))


def _check_sizes(critic: Critic, data: Trajectories, achieved_goal: AchievedGoal) -> None:
    """**Raises:** `UserError` unless the critic takes what `data` and `achieved_goal` give."""
    state, action = data.states[0, :1], data.actions[0, :1]
    goal = jnp.zeros(jax.eval_shape(achieved_goal, state).shape)
    given = f"states and actions of {state.shape[-1]} and {action.shape[-1]}"
    wanted = {
        f"`achieved_goal` gives goals of {goal.shape[-1]}": lambda: critic.g_repr(goal),
        f"the data have {given}": lambda: critic.sa_repr(state, action),
    }
    for what, call in wanted.items():
        try:
            jax.eval_shape(call)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"`fit(critic, data)`: {what} numbers, which is not what the critic was made for "
                f"(`Critic.create(data, goal_size=...)`)."
            ) from error


@not_forked
def fit(
    critic: Critic,
    data: Trajectories,
    *,
    num_updates: int,
    batch_size: int = 256,
    discount: float = 0.99,
    objective: CRL | None = None,
    optimizer: optax.GradientTransformation | None = None,
    achieved_goal: AchievedGoal = whole_state,
    key: PRNGKey,
) -> tuple[Critic, dict[str, Float[Array, " updates"]]]:
    """Trains a critic on trajectories in memory, as one compiled scan.

    **Arguments:**

    - `num_updates`, `batch_size`: gradient steps, and transitions in each.
    - `discount`: of the distribution of futures.

    **Other arguments:**

    - `objective`: whose critic loss, default [`crl_eqx.objectives.CRL`][].
    - `optimizer`: default Adam 3e-4.
    - `achieved_goal`: the part of a state that is a goal, default all of it.

    **Returns:** the critic, and every metric as an array `[num_updates]`.

    **Raises:** `UserError` if a number is out of its range, or goals or states do not fit the
    critic's encoders.
    """
    require_kind(critic, eqx.Module, "fit(critic, data)", "a `Critic`")
    require_kind(data, Trajectories, "fit(critic, data)", "`Trajectories`")
    require_key(key, "fit(..., key=...)")
    require_discount(discount, f"fit(discount={discount!r})")
    require_count(num_updates, f"fit(num_updates={num_updates!r})")
    # Contrasts need two.
    require_count(batch_size, f"fit(batch_size={batch_size!r})", least=2)
    _check_sizes(critic, data, achieved_goal)
    goals = jnp.isfinite(jax.jit(achieved_goal)(data.states)).all(axis=-1)
    real = np.arange(data.states.shape[1]) < np.asarray(data.lengths)[:, None]
    for row, time in np.argwhere(real & ~np.asarray(goals)):
        raise UserError(
            f"`fit(achieved_goal=...)` gives goals that are not finite, the first of them for "
            f"states[{row}, {time}]."
        )
    objective = CRL() if objective is None else objective
    optimizer = adam() if optimizer is None else optimizer
    params, static = eqx.partition(critic, eqx.is_inexact_array)

    def loss(params, batch):
        critic = eqx.combine(params, static)
        sa_repr = critic.sa_repr(batch.state, batch.action)
        g_repr = critic.g_repr(batch.future_goal)
        value, metrics = objective.critic_loss(critic.energy, sa_repr, g_repr)
        return value, metrics | {"critic_loss": value}

    def body(carry, key):
        params, opt_state = carry
        batch = data.sample(batch_size, discount=discount, achieved_goal=achieved_goal, key=key)
        grads, metrics = jax.grad(loss, has_aux=True)(params, batch)
        with jax.numpy_dtype_promotion("standard"):  # optax mixes its int counters with floats
            updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), metrics

    @eqx.filter_jit
    def run(params, key):
        keys = jax.random.split(key, num_updates)
        return jax.lax.scan(body, (params, optimizer.init(params)), keys)

    (fitted, _), history = run(params, key)
    return cast(Critic, eqx.combine(fitted, static)), history
