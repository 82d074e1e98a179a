"""What is known about Gymnasium before it is imported."""

import importlib.metadata
import importlib.util

from .._errors import UserError


PREFIX = "gym:"
"""`make("gym:FetchReach-v4")` is Gymnasium's FetchReach-v4."""


def is_gymnasium(name: str) -> bool:
    """Whether a task's name is one of Gymnasium's."""
    return name.startswith(PREFIX)


def has_gymnasium() -> bool:
    """Whether Gymnasium is installed."""
    return importlib.util.find_spec("gymnasium") is not None


def without_gymnasium(call: str) -> UserError:
    """The error to raise if it is not installed."""
    return UserError(f"`{call}` needs Gymnasium: pip install gymnasium.")


def gymnasium_packages(name: str) -> tuple[str, ...]:
    """The packages that the environment `gym:NAME` comes from, once it has been made; none for
    other tasks, or if it does not come from a package."""
    if not is_gymnasium(name) or not has_gymnasium():
        return ()
    import gymnasium

    spec = gymnasium.registry.get(name.rpartition(":")[2])  # `gym:MODULE:NAME` names a module, too
    entry = spec and spec.entry_point
    module = entry.partition(":")[0] if isinstance(entry, str) else getattr(entry, "__module__", "")
    known = importlib.metadata.packages_distributions()
    return tuple(sorted(set(known.get(module.partition(".")[0], ()))))
