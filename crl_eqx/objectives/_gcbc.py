from typing import ClassVar, final

import jax.numpy as jnp

from .._agent import Agent
from .._types import PRNGKey, Scalar
from ..replay import Batch
from ._base import AbstractObjective, Metrics, ObjectiveState


@final
class GCBC(AbstractObjective):
    """Goal-conditioned behaviour cloning: do again what was done on the way to a goal.

    The policy minimises -mean(log π(a | s, g)), g what the step's own future achieved. There is no
    critic and no temperature: only the agent's policy learns.

    ??? cite
        [Learning to Reach Goals via Iterated Supervised Learning](https://arxiv.org/abs/1912.06088)
    """

    trains: ClassVar[tuple[str, ...]] = ("actor",)

    def __call__(
        self, agent: Agent, state: ObjectiveState, batch: Batch, *, key: PRNGKey
    ) -> tuple[Scalar, Metrics]:
        del state, key  # it remembers nothing and draws nothing
        policy = agent.policy(batch.state, batch.future_goal)
        loss = -jnp.mean(policy.log_prob(batch.action))
        error = jnp.mean(jnp.square(policy.mode() - batch.action))
        return loss, {"actor_loss": loss, "action_mse": error}
