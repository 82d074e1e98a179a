"""What is known of Gymnasium before it is imported."""

import importlib.util

from .._errors import UserError


PREFIX = "gym:"
"""`make("gym:FetchReach-v4")` is Gymnasium's FetchReach-v4."""


def is_gymnasium(name: str) -> bool:
    """Whether a task's name is one of Gymnasium's."""
    return name.startswith(PREFIX)


def has_gymnasium() -> bool:
    """Whether it is installed."""
    return importlib.util.find_spec("gymnasium") is not None


def without_gymnasium(call: str) -> UserError:
    """What to say where it is not."""
    return UserError(f"`{call}` needs Gymnasium: pip install gymnasium.")
