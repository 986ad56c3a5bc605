"""A run's report as one HTML file: what report.md says, the films, and some of its data to look at."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from envs.store import EpisodeInfo, Store
from experiments.inspection.episodes import qualities, usual
from experiments.inspection.keep import Keep
from experiments.inspection.page import write_page
from experiments.inspection.pictures import Sheets
from experiments.inspection.rows import about, page_rows
from experiments.outcome import Labelled
from experiments.reports.hypertext import escaped, hypertext

EACH = 5  # episodes of each style
DATA, FILMS = 8_000_000, 16_000_000  # bytes of pictures of the data, and of films


def write_run_page(folder: Path, text: str, labelled: Labelled | None, critic: str) -> None:
    """Write report.html beside report.md, whose `text` and pictures it shows, and videos/."""
    parts = hypertext(text, folder).split("<h2>Training</h2>")
    films = _films(sorted((folder / "videos").glob("*.mp4")))
    body = f"{parts[0]}{films}<h2>Training</h2>{parts[1]}" if len(parts) == 2 else "".join([*parts, films])
    title = text.partition("\n")[0].removeprefix("# ")
    sections = f'<section class="report">{body}</section>'
    if labelled is None:
        told = {"title": title, "facts": "", "data_set": "", "commands": {}, "keep": {}}
        write_page(folder / "report.html", told, [], sections)
        return
    store = labelled.data.open()
    infos = [store.episode_info(index) for index in range(len(store))]
    common = usual(infos, labelled.labels.values)
    chosen = _some(infos)
    curves = [labelled.labels.values[info.index] for info in chosen]
    described = qualities(chosen, curves, store.fps, common)
    rows = page_rows(store, described, Keep(), Sheets(DATA, len(chosen)), [])
    told = {**about(store, chosen, f"values of critic={critic}", Keep()), "title": title, "facts": ""}
    head = f"<h2>Some of its data</h2><p>{escaped(_which(store, chosen))}</p>"
    write_page(folder / "report.html", told, rows, f'{sections}<section class="report">{head}</section>')


def _some(infos: Sequence[EpisodeInfo]) -> list[EpisodeInfo]:
    """The first episodes of each style, in order."""
    seen: defaultdict[str, int] = defaultdict(int)
    found = []
    for info in infos:
        seen[info.style] += 1
        if seen[info.style] <= EACH:
            found.append(info)
    return found


def _which(store: Store, chosen: Sequence[EpisodeInfo]) -> str:
    which = "All" if len(chosen) == len(store) else f"{len(chosen)} of the"
    return f"{which} {len(store)} episodes. To see others: python -m experiments.inspect {store.folder}"


def _films(paths: Sequence[Path]) -> str:
    """The films, as many as there is room for."""
    left, found = FILMS, []
    for path in paths:
        video = base64.b64encode(path.read_bytes()).decode()
        left -= len(video)
        if left < 0:
            break
        number, seed, outcome = path.stem.split("_", 2)
        caption = f"episode {int(number)}, {seed.replace('seed', 'seed ')}: {outcome}"
        source = f"data:video/mp4;base64,{video}"
        found.append(
            f'<figure><video controls loop muted src="{source}"></video><figcaption>{escaped(caption)}</figcaption></figure>'
        )
    rest = len(paths) - len(found)
    more = f"<p>{rest} more in videos/.</p>" if rest else ""
    return f'<h2>Films after training</h2><div class="films">{"".join(found)}</div>{more}' if paths else ""
