"""What a user says of episodes in a table of their own: how they ended, of what quality they are, where they lapse.

A CSV or parquet file with the columns

    episode       number of the episode in the data set
    success       true, false, yes, no, 1, 0; empty: unknown
    style         any word for the quality, such as clean; of a lapse: hesitation or retry
    start, end    first and last frame of a lapse; empty: the row is of the whole episode

of which all but `episode` may be left out. An episode may have several rows, one a lapse. One with a single lapse, of whose
quality nothing else is said, is of the lapse's style.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq

from envs.errors import UserError
from envs.types import Segment

COLUMNS = ("episode", "success", "style", "start", "end")
OUTCOMES = {"true": True, "yes": True, "1": True, "1.0": True} | {
    "false": False,
    "no": False,
    "0": False,
    "0.0": False,
}
UNKNOWN = ("", "none", "null", "nan", "unknown")
LAPSES = ("hesitation", "retry")


@dataclass(frozen=True)
class Verdict:
    """What a table says of one episode; None and "": nothing."""

    success: bool | None = None
    style: str = ""
    segments: tuple[Segment, ...] = ()


def read_outcomes(path: Path, lengths: Mapping[int, int]) -> dict[int, Verdict]:
    """{episode number: verdict} of a user's table.

    Args:
        lengths: {episode number: frames} of the data set that it is about.

    Raises:
        UserError: no such table, a column or a value that is none of the above, an episode that the data set does not
            have, a lapse outside of its episode, or two outcomes of one episode.
    """
    table = read_table(path)
    unknown = sorted(set(table.column_names) - set(COLUMNS))
    if "episode" not in table.column_names or unknown:
        what = f"a column {unknown[0]!r}" if unknown else "no column 'episode'"
        raise UserError(f"{path} has {what}; its columns are {', '.join(COLUMNS)}")
    verdicts: dict[int, Verdict] = {}
    for line, row in enumerate(table.to_pylist(), start=1):
        where = f"{path}, row {line}"
        number = whole_number(row["episode"], "episode", where)
        if number not in lengths:
            raise UserError(
                f"{where}: the data set has no episode {number}; "
                f"its {len(lengths)} episodes go from {min(lengths)} to {max(lengths)}"
            )
        verdicts[number] = _joined(verdicts.get(number, Verdict()), row, lengths[number], where)
    return {number: _with_style(verdict) for number, verdict in verdicts.items()}


def _with_style(verdict: Verdict) -> Verdict:
    if verdict.style or len(verdict.segments) != 1:
        return verdict
    return replace(verdict, style=verdict.segments[0].kind)


def read_table(path: Path) -> pa.Table:
    """A CSV or parquet file.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    if not path.is_file():
        raise UserError(f"no such table: {path}")
    try:
        if path.suffix == ".parquet":
            return pq.read_table(path)
        return csv.read_csv(path, convert_options=csv.ConvertOptions(strings_can_be_null=True))
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"{path} is no table: {str(error).splitlines()[0]}; write it as CSV or parquet"
        ) from error


def outcome(value: object, where: str) -> bool | None:
    """True, false or unknown (None), however it is written.

    Raises:
        UserError: it is none of these.
    """
    word = "" if value is None else str(value).strip().lower()
    if word in UNKNOWN:
        return None
    if word not in OUTCOMES:
        raise UserError(f"{where}: success is {value!r}; write true, false or nothing")
    return OUTCOMES[word]


def whole_number(value: object, name: str, where: str) -> int:
    """A whole number.

    Raises:
        UserError: it is none.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer():
        return int(value)
    raise UserError(f"{where}: {name} is {value!r}; write a whole number")


def _joined(before: Verdict, row: Mapping[str, Any], length: int, where: str) -> Verdict:
    success, style = outcome(row.get("success"), where), str(row.get("style") or "").strip()
    if None not in (before.success, success) and before.success != success:
        raise UserError(f"{where}: success is another than in a row before; write it once")
    success = before.success if success is None else success
    ends = [row.get(name) for name in ("start", "end")]
    if all(_empty(end) for end in ends):
        if before.style and style and before.style != style:
            raise UserError(f"{where}: style is another than in a row before; write it once")
        return Verdict(success, style or before.style, before.segments)
    start, end = (
        whole_number(value, name, where) for value, name in zip(ends, ("start", "end"), strict=True)
    )
    if style not in LAPSES:
        raise UserError(
            f"{where}: a stretch from start to end is a {' or '.join(LAPSES)}, not {style!r}; write its style"
        )
    if not 0 <= start <= end < length:
        raise UserError(f"{where}: frames {start} to {end} are not in the episode, which has {length} frames")
    segments = sorted((*before.segments, Segment(style, start, end)), key=lambda part: part.start)  # type: ignore[arg-type]
    return Verdict(success, before.style, tuple(segments))


def _empty(value: object) -> bool:
    return value is None or (isinstance(value, float) and bool(np.isnan(value))) or value == ""
