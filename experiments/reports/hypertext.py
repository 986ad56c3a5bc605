"""The Markdown that our reports are written in, as HTML: headings, tables, pictures, code, bold and paragraphs."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from pathlib import Path

PICTURE = re.compile(r"!\[(?P<text>[^\]]*)\]\((?P<name>[^)]+)\)")


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])


def hypertext(text: str, folder: Path) -> str:
    """A report as HTML; its first heading is left out, its pictures come from `folder` and are put into it."""
    return "\n".join(_block(block, folder) for block in _blocks(text) if not block.startswith("# "))


def escaped(text: str) -> str:
    """Text within HTML, with Markdown's bold and code."""
    found = html.escape(text)
    found = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", found)
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", found)


def _blocks(text: str) -> list[str]:
    """Parts between empty lines; code is one, whatever is in it."""
    found = []
    for number, part in enumerate(text.split("```")):
        code = f"```{part}"
        found += [code] if number % 2 else [block.strip() for block in part.split("\n\n") if block.strip()]
    return found


def _block(block: str, folder: Path) -> str:
    if block.startswith("```"):
        code = html.escape(block.removeprefix("```").partition("\n")[2])
        return f"<details><summary>show</summary><pre>{code}</pre></details>"
    if block.startswith("## "):
        return f"<h2>{escaped(block[3:])}</h2>"
    if block.startswith("|"):
        return _table(block.splitlines())
    if found := PICTURE.fullmatch(block):
        picture = base64.b64encode((folder / found["name"]).read_bytes()).decode()
        return f'<p><img alt="{html.escape(found["text"])}" src="data:image/png;base64,{picture}"></p>'
    return f"<p>{escaped(block)}</p>"


def _table(lines: list[str]) -> str:
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    parts = ["".join(f"<th>{escaped(cell)}</th>" for cell in head)]
    parts += ["".join(f"<td>{escaped(cell)}</td>" for cell in row) for row in rows]
    return f"<table>{''.join(f'<tr>{part}</tr>' for part in parts)}</table>"
