"""Opening a LeRobot data set: what is wrong with it is found, and said, before it is used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from envs.errors import UserError
from envs.films import film_info
from envs.store import layout
from envs.store.depth import deep_pictures, flagged_depth
from envs.store.outcomes import Verdict, read_outcomes
from envs.store.parquet import AGAIN, open_parquet
from envs.store.reading import Reading, chosen_episodes, named_cameras, named_feature
from envs.store.rows import RowMap
from envs.store.versions import Layout, Version2, Version3, numbers

REQUIRED_INFO = ("codebase_version", "fps", "features", "total_episodes", "total_frames", "data_path")


@dataclass(frozen=True)
class Metadata:
    """What a data set says, as it is to be read.

    info: `meta/info.json`; chosen: positions [N] of the episodes to read among all in `layout`; numbers: of all
    episodes [E]; cameras: {name: feature}; action, state, success: features, None where there is none; assume_success:
    see `Reading`; verdicts: {episode number: what the user's table says}, None where there is no table; tasks: {index:
    instruction}.
    """

    info: Mapping[str, Any]
    layout: Layout
    rows: RowMap
    chosen: np.ndarray
    numbers: np.ndarray
    cameras: Mapping[str, str]
    action: str | None
    state: str | None
    success: str | None
    assume_success: bool
    verdicts: Mapping[int, Verdict] | None
    tasks: Mapping[int, str]
    instruction: str


def load_metadata(folder: Path, reading: Reading) -> Metadata:
    """Read and check everything but the frames themselves.

    Raises:
        UserError: the folder is missing, empty, damaged or of another version, files that it names are, or it has not
            what `reading` names.
    """
    info = _load_info(folder)
    of = Version3 if str(info["codebase_version"]).startswith("v3.") else Version2
    layout_of: Layout = of(folder, info)
    known = numbers(layout_of.episodes, "episode_index")
    if len(known) != info["total_episodes"]:
        raise UserError(
            f"meta/episodes of {folder} describes {len(known)} episodes, "
            f"meta/info.json says {info['total_episodes']}; {AGAIN}"
        )
    columns = layout_of.episodes
    named = reading.masks and "masks" in columns.column_names
    masks = columns.column("masks").to_pylist() if named else None
    chosen = chosen_episodes(known, masks, reading, folder)
    rows = RowMap(layout_of, chosen, int(info["total_frames"]), folder)
    _check_columns(folder, info, rows.rows(int(chosen[0])).path)
    seen = named_cameras(_cameras(info, layout_of, rows, chosen), reading)
    _check_videos(info, layout_of, seen, chosen, known)
    lengths = dict(zip(known.tolist(), rows.lengths.tolist(), strict=True))
    features = info["features"]
    return Metadata(
        info=info,
        layout=layout_of,
        rows=rows,
        chosen=chosen,
        numbers=known,
        cameras=seen,
        action=named_feature(features, "action", reading.action, layout.ACTION),
        state=named_feature(features, "state", reading.state, layout.PROPRIO),
        success=_success_feature(features, reading.success),
        assume_success=reading.assume_success,
        verdicts=read_outcomes(Path(reading.outcomes), lengths) if reading.outcomes else None,
        tasks=layout_of.tasks() if "task_index" in features and not reading.instruction else {},
        instruction=reading.instruction,
    )


def _load_info(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise UserError(f"no such data set folder: {folder}")
    path = folder / layout.INFO
    if not path.is_file():
        raise UserError(
            f"{folder} is not a LeRobot data set: it has no {layout.INFO}; give the folder that holds `meta`, "
            "or make one of other recordings: python -m experiments.import_data"
        )
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}); {AGAIN}") from error
    missing = [name for name in REQUIRED_INFO if name not in info]
    if missing:
        raise UserError(f"{path} lacks {', '.join(missing)}; {AGAIN}")
    version = str(info["codebase_version"])
    if not version.startswith(("v2.", "v3.")):
        raise UserError(
            f"{folder} is of version {version}, not v2.0, v2.1 or v3.0; write it again with LeRobot 0.4"
        )
    if not info["total_episodes"]:
        raise UserError(f"the data set {folder} is empty; record or collect some episodes first")
    return info


def _success_feature(features: Mapping[str, Any], wanted: str) -> str | None:
    name = wanted or layout.SUCCESS
    if wanted and wanted not in features:
        raise UserError(
            f"data.success={wanted} is no feature of the data set; it has {', '.join(sorted(features))}"
        )
    return name if name in features else None


def _cameras(info: Mapping[str, Any], of: Layout, rows: RowMap, chosen: np.ndarray) -> dict[str, str]:
    """{name: feature} of the colour cameras, by their names without LeRobot's prefixes where these stay apart."""
    first = int(chosen[0])
    seen: dict[str, str] = {}
    for key, feature in info["features"].items():
        if feature["dtype"] not in ("video", "image") or flagged_depth(feature):
            continue
        if feature["dtype"] == "image" and deep_pictures(open_parquet(rows.rows(first).path), key):
            continue
        if feature["dtype"] == "video":
            path = of.footage(first, key).path
            if path.is_file() and film_info(path).depth:
                continue
        short = key.removeprefix(layout.IMAGE_PREFIX).removeprefix("observation.")
        seen[key if short in seen else short] = key
    return seen


def _check_columns(folder: Path, info: Mapping[str, Any], path: Path) -> None:
    columns = open_parquet(path).schema_arrow.names
    missing = [
        key for key, feature in info["features"].items() if feature["dtype"] != "video" and key not in columns
    ]
    if missing:
        raise UserError(f"{path} lacks the columns {', '.join(missing)} that meta/info.json names; {AGAIN}")


def _check_videos(
    info: Mapping[str, Any], of: Layout, cameras: Mapping[str, str], chosen: np.ndarray, known: np.ndarray
) -> None:
    """Refuse videos of chosen episodes that are missing; where a file holds many episodes, also damaged or short ones."""
    for key in dict.fromkeys(cameras.values()):
        if info["features"][key]["dtype"] != "video":
            continue
        paths, which, ends = of.video_paths(key)
        needed = np.unique(which[chosen]).tolist()
        missing = [file for file in needed if not paths[file].is_file()]
        if missing:
            raise UserError(
                f"missing video {paths[missing[0]]}{f' and {len(missing) - 1} more' * (len(missing) > 1)}; download it "
                f"again, or leave out its episodes: {_exclude(chosen, which, missing, known)}"
            )
        if isinstance(of, Version2):  # a file an episode: too many to open them all; said when they are read
            continue
        for file in needed:
            end = float(ends[chosen[which[chosen] == file]].max())
            seconds = film_info(paths[file]).seconds
            if seconds < end - 1.5 / float(info["fps"]):
                raise UserError(
                    f"{paths[file]} lasts {seconds:.2f} s but its episodes need {end:.2f} s; {AGAIN}, "
                    f"or leave them out: {_exclude(chosen, which, [file], known)}"
                )


def _exclude(chosen: np.ndarray, which: np.ndarray, files: list[int], known: np.ndarray) -> str:
    """The setting that leaves out the episodes of some files."""
    lost = known[chosen[np.isin(which[chosen], files)]]
    return f"data.exclude=[{','.join(str(int(number)) for number in lost)}]"
