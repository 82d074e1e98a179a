"""A report in a browser, where there is one: complete, quiet, and readable on a phone."""

import html
import json
import re
import shutil
import subprocess

import pytest

from crl_eqx.lab import report

from ..run.conftest import console as console
from .test_report import written


BROWSER = next(filter(shutil.which, ("chromium", "chromium-browser", "google-chrome")), None)

MEASURE = """<script>
addEventListener("error", e => document.title += "E", true);
addEventListener("load", () => {
  const images = [...document.images];
  const out = document.createElement("pre");
  out.id = "found";
  out.textContent = JSON.stringify({
    width: innerWidth, page: document.documentElement.scrollWidth,
    wide: images.filter(i => i.naturalWidth > 2.5 * i.naturalHeight).map(i => i.width),
    images: images.length, shown: images.filter(i => i.complete && i.naturalWidth > 0).length,
    smallest: Math.min(...[...document.querySelectorAll("p, td")].map(
      e => parseFloat(getComputedStyle(e).fontSize))),
  });
  document.body.append(out);
});
</script>"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
@pytest.mark.parametrize("width", [400, 1280])
def test_every_figure_is_shown_and_nothing_is_wider_than_the_screen(width, tmp_path, console):
    page = report(
        written(tmp_path, console, {4: (0.1, 0.2, 0.3), 8: (0.4, 0.5, 0.6), 16: (0.5, 0.6, 0.7)})
    )
    probe = page.with_name("probe.html")
    frame = html.escape(page.read_text().replace("</head>", MEASURE + "</head>"), quote=True)
    # A window of Chromium's is never narrower than 500 pixels; a frame is.
    probe.write_text(
        f"<!doctype html><body style='margin:0'><iframe srcdoc=\"{frame}\" "
        f"style='width:{width}px;height:800px;border:0'></iframe><script>"
        "addEventListener('load', () => document.title = "
        "frames[0].document.getElementById('found').textContent)</script></body>"
    )
    done = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
         "--virtual-time-budget=20000", f"--user-data-dir={tmp_path}/profile", "--dump-dom",
         probe.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert not re.search(r"CONSOLE|Uncaught", done.stderr)
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title is not None, done.stderr[-2000:]
    found = json.loads(html.unescape(title[1]))
    assert found["width"] == width
    assert found["page"] <= width  # wide tables scroll inside of their own box
    assert found["wide"] and min(found["wide"]) >= 790  # as do figures side by side
    assert found["images"] == found["shown"] >= 4
    assert found["smallest"] >= 13
