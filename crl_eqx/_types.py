"""Named shapes, shared by all modules. `*batch` is any number of leading axes, or none."""

from typing import TypeAlias

from jaxtyping import Array, Bool, Float, Int, Key


State: TypeAlias = Float[Array, "*batch state"]
"""What the agent perceives; it never contains the commanded goal."""

Goal: TypeAlias = Float[Array, "*batch goal"]
"""A point of the space that `AbstractGoalEnv.achieved_goal` maps into."""

Action: TypeAlias = Float[Array, "*batch action"]
"""In [-1, 1] for every task."""

Repr: TypeAlias = Float[Array, "*batch repr"]
"""What an encoder returns: φ(s, a) or ψ(g)."""

Scalar: TypeAlias = Float[Array, ""]
Count: TypeAlias = Int[Array, ""]
Flag: TypeAlias = Bool[Array, "*batch"]
PRNGKey: TypeAlias = Key[Array, ""]
