"""`python -m crl_eqx.lab RUN_DIR NAME`: one run of a sweep, for a job of its own."""

import sys
from pathlib import Path

from rich.console import Console

from .._errors import TrainingError, UserError
from . import train_one


def main() -> int:
    if len(sys.argv) != 3:
        print("usage: python -m crl_eqx.lab RUN_DIR NAME", file=sys.stderr)
        return 2
    try:
        return train_one(Path(sys.argv[1]), sys.argv[2], Console())
    except (UserError, TrainingError) as error:
        print(error, file=sys.stderr)
        return 1 if isinstance(error, TrainingError) else 2


if __name__ == "__main__":
    sys.exit(main())
