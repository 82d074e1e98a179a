"""All that a run is at one moment."""

import equinox as eqx

from ._agent import Agent
from ._rollout import Episodes
from ._types import Count, PRNGKey
from ._update import OptState
from .nn import Actor
from .objectives._base import ObjectiveState
from .replay import BufferState


class TrainState(eqx.Module):
    """The whole state of a run: the rest of the run follows from it, bit for bit."""

    agent: Agent
    opt_state: OptState
    buffer: BufferState
    episodes: Episodes
    key: PRNGKey
    env_steps: Count
    """Over all environments, the prefill included; 32 bits, so at most 2³¹ - 1."""
    gradient_steps: Count
    update_debt: Count
    """Updates still owed, in units of 1/denominator of updates per unroll: keeps the ratio
    of updates to environment steps exact when it is not a whole number per unroll."""
    average: Actor | None = None
    """Of the policy's weights over the latest updates; None if `policy_average` is 0."""
    objective_state: ObjectiveState = None
    """What the objective remembers, such as target networks."""

    @property
    def acting_agent(self) -> Agent:
        """The agent to evaluate and to keep: with the averaged policy, if there is one."""
        return self.agent if self.average is None else with_actor(self.agent, self.average)


def with_actor(agent: Agent, actor: Actor) -> Agent:
    """`agent` with another policy of the same kind."""
    return eqx.tree_at(lambda a: a.actor, agent, actor)
