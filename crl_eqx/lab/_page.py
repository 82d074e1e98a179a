"""A report's Markdown as one page that needs nothing else: pictures and videos are inside."""

import base64
import html
import re
from pathlib import Path


_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1f2933; max-width: 52rem; margin: 2rem auto;
       padding: 0 1rem; }
img, video { max-width: 100%; height: auto; }
figure { display: inline-block; width: 15rem; margin: 0.5rem; vertical-align: top; }
figcaption { font-size: 0.85rem; }
table { border-collapse: collapse; font-size: 0.9rem; }
td, th { border-bottom: 1px solid #e4e7eb; padding: 0.3rem 0.6rem; text-align: left; }
.wide { overflow-x: auto; }
.wide img { max-width: none; width: 50rem; } /* on a phone its words would be too small */
pre { background: #f5f7fa; padding: 0.8rem; overflow-x: auto; font-size: 0.85rem; }
"""


def as_page(text: str, folder: Path) -> str:
    """The Markdown of a report, whose pictures and videos lie below `folder`, as HTML."""
    parts = [_block(block, folder) for block in text.strip().split("\n\n")]
    title = html.escape(text.splitlines()[0].removeprefix("# "))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>"
    )


def _block(block: str, folder: Path) -> str:
    if heading := re.fullmatch(r"(#+) (.*)", block):
        level = len(heading[1])
        return f"<h{level}>{_inline(heading[2])}</h{level}>"
    if picture := re.fullmatch(r"!\[(.*)\]\((.*)\)", block):
        png = (folder / picture[2]).read_bytes()
        said, data = html.escape(picture[1], quote=True), base64.b64encode(png).decode()
        image = f'<img alt="{said}" src="data:image/png;base64,{data}">'
        return f'<p class="wide">{image}</p>' if _is_wide(png) else f"<p>{image}</p>"
    if film := re.fullmatch(r"\[(.*)\]\((.*\.mp4)\)", block):
        data = base64.b64encode((folder / film[2]).read_bytes()).decode()
        source = f"data:video/mp4;base64,{data}"
        return (
            f'<figure><video controls muted loop playsinline src="{source}"></video>'
            f"<figcaption>{_inline(film[1])}</figcaption></figure>"
        )
    if block.startswith("```"):
        return f"<pre>{html.escape(block.strip('`').strip())}</pre>"
    if block.startswith("|"):
        return f'<div class="wide">{_rows(block)}</div>'
    if block.startswith("- "):
        return f"<ul><li>{_inline(block[2:])}</li></ul>"
    return f"<p>{_inline(block)}</p>"


def _is_wide(png: bytes) -> bool:
    """Whether a picture is several figures side by side."""
    width, height = (int.from_bytes(png[at : at + 4]) for at in (16, 20))  # of its first chunk
    return width > 2.5 * height


def _rows(block: str) -> str:
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
    row = lambda kind, line: "".join(f"<{kind}>{_inline(cell)}</{kind}>" for cell in line)
    head, _, *rest = cells
    return (
        f"<table><tr>{row('th', head)}</tr>"
        + "".join(f"<tr>{row('td', line)}</tr>" for line in rest)
        + "</table>"
    )


def _inline(text: str) -> str:
    text = html.escape(text)
    text = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", text)
    return re.sub(r"`(.+?)`", r"<code>\1</code>", text)
