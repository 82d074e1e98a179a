"""Rewords the library's error messages as flags."""

import re

from ._choices import flag, flat
from ._config import Config


_NAMES = {
    "future": "p_future",
    "random": "p_random",
    "commanded": "p_commanded",
    "epsilon": "energy_epsilon",
    "masses": "randomize_masses",
    "friction": "randomize_friction",
    "gains": "randomize_gains",
}
"""Arguments that have another name as flags."""


def in_flags(sentence: str) -> str:
    """`sentence` with flags in place of arguments.

    ```python
    in_flags("`TrainStep(batch_size=1)` must be at least 2: raise `num_envs=8`.")
    # `--batch-size 1` must be at least 2: raise `--num-envs 8`.
    ```

    Names that are not choices of a configuration are left unchanged.
    """
    known = {name for _, name, _ in flat(Config())}

    def translated(match: re.Match[str]) -> str:
        inner = re.sub(r"^[\w.]+\((.*)\)$", r"\1", match[1])
        words = []
        for part in re.split(r", (?=\w+=)", inner):
            name, equals, value = part.partition("=")
            name = _NAMES.get(name, name)
            if name not in known:
                return match[0]
            value = re.sub(r"[(),'\"]", "", value)  # of a tuple, or of a word
            words.append(f"{flag(name)} {value}" if equals else flag(name))
        return f"`{' '.join(words)}`"

    return re.sub(r"`([^`]+)`", translated, sentence)
