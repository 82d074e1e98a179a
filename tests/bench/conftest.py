import importlib
from pathlib import Path

import pytest


BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def bench(monkeypatch):
    """Imports one of the scripts, as Python does when a person starts it."""
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module
