"""The page: one HTML file that needs nothing else, written an episode at a time."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, TextIO

from envs.files import atomic_file

STYLES = ("page.css",)
SCRIPTS = ("film.js", "keep.js", "page.js")


def write_page(
    path: Path, about: Mapping[str, Any], episodes: Iterable[Mapping[str, Any]], sections: str = ""
) -> None:
    """Write the page; it appears when it is whole.

    Args:
        about: what is said of the data set as a whole, see `experiments.inspection.about`.
        episodes: see `Quality.json`, each with its `sheet` (`Sheet.json`, or null) and whether it is kept (`keep`).
        sections: HTML that comes before the table.
    """
    filled = {
        "title": html.escape(str(about["title"])),
        "style": "\n".join(_read(name) for name in STYLES),
        "sections": sections,
    }
    head, tail = (_fill(part, filled) for part in _read("page.html").split("{{data}}"))
    scripts = "\n".join(_read(name) for name in SCRIPTS)
    with atomic_file(path) as temporary, open(temporary, "w", encoding="utf-8") as page:
        page.write(head)
        _data(page, "about", about)
        for episode in episodes:
            _data(page, "episode", episode)
        page.write(tail.replace("{{script}}", scripts))


def _fill(template: str, filled: Mapping[str, str]) -> str:
    for name, text in filled.items():
        template = template.replace(f"{{{{{name}}}}}", text)
    return template


def _data(page: TextIO, kind: str, content: Mapping[str, Any]) -> None:
    """JSON for the page's script; no text in it can end the element that it stands in."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    page.write(
        f'<script type="application/json" class="{kind}">{text.replace("<", chr(92) + "u003c")}</script>\n'
    )


def _read(name: str) -> str:
    return (files("experiments.inspection") / name).read_text(encoding="utf-8")
