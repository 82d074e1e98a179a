"""The gallery is what the code says."""

import importlib.util
from pathlib import Path

from crl_eqx import envs


DOCS = Path(__file__).parent.parent / "docs"


def _script():
    spec = importlib.util.spec_from_file_location("make_gallery", DOCS / "make_gallery.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_gallery_is_what_the_code_says():
    written = (DOCS / "gallery.md").read_text()
    assert written == _script().text(), "run: python docs/make_gallery.py --text-only"
    assert all(f"`{name}`" in written for name in envs.names())


def test_every_task_has_a_still():
    script = _script()
    for name in filter(script.shown, envs.names()):
        drawn = (script.STILLS / f"{name}.png").is_file()
        assert drawn, f"run: python docs/make_gallery.py --tasks {name}"
