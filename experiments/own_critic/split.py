"""Which of the recordings a model learns from, and which are kept from it to measure it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from envs.errors import UserError
from envs.store import EpisodeInfo, Store, open_store
from experiments.settings.config import StoreData, require
from value_model.critic.metrics.episodes import EXPERT_STYLES, progress_is_known, true_progress

EXPERT, MARKED, OTHER = "experts", "marked lapses", "others"
_TOO_FEW = "{} has fewer than two episodes: one is needed to learn from, one to measure; record more"
TOLD = (
    "say how they ended in a table, data.outcomes=table.csv with episode,success, or, if all of them are good "
    "demonstrations, data.assume_success=true"
)


@dataclass(frozen=True)
class SplitConfig:
    """Which episodes are held out of the training."""

    share: float = 0.2  # of the episodes of each instruction and kind
    most: int = 40  # of each kind at most, so that measuring stays short
    seed: int = 0  # of which ones

    def __post_init__(self) -> None:
        require(0 < self.share < 1, f"split.share={self.share} must lie between 0 and 1")
        require(self.most >= 1, f"split.most={self.most} must be at least 1")


@dataclass(frozen=True)
class Part:
    """One folder's episodes, by their indices in `store`."""

    store: Store
    trained: tuple[int, ...]
    held_out: tuple[int, ...]

    def numbers(self, indices: Sequence[int]) -> tuple[int, ...]:
        """Numbers in the data set of these episodes."""
        return tuple(self.store.episode_info(index).number for index in indices)


def open_recordings(data: StoreData) -> list[Store]:
    """The data sets that a command line names.

    Raises:
        UserError: one of them cannot be read or is named twice, they have different rates, or settings that number the
            episodes of one folder are to hold for several.
    """
    folders = data.folders
    if len(folders) > 1:
        for name in ("outcomes", "episodes", "exclude"):
            require(
                not getattr(data, name),
                f"data.{name} numbers the episodes of one folder, and data.path names {len(folders)}; "
                "merge them first (lerobot-edit-dataset), or give one",
            )
    twice = [folder for folder in folders if [one.resolve() for one in folders].count(folder.resolve()) > 1]
    require(not twice, f"data.path names {twice[0] if twice else ''} twice; name each folder once")
    stores = [open_store(folder, data.reading) for folder in folders]
    rates = sorted({store.fps for store in stores})
    if len(rates) > 1:
        told = ", ".join(f"{store.folder} {store.fps:g}" for store in stores)
        raise UserError(
            f"the data sets have different frame rates ({told}); train on those of one rate, "
            "then go on with the others: critic.init=FOLDER"
        )
    return stores


def kind(info: EpisodeInfo, folder: Path) -> str:
    """What an episode is to a critic: an undisturbed success, one with a marked lapse, or something of unknown value.

    Raises:
        UserError: a marked lapse that does not fit its episode.
    """
    if info.segments and len(info.instructions) > 1:
        return OTHER
    if info.success and not info.segments and info.style in (*EXPERT_STYLES, "unknown"):
        return EXPERT
    if not progress_is_known(info):
        return OTHER
    try:
        true_progress(info.length, info.segments)
    except UserError as error:
        raise UserError(
            f"episode {info.number} of {folder}: {error}; a lapse lies between the first and the last frame: mark it so, "
            f"or leave the episode out: data.exclude=[{info.number}]"
        ) from error
    return MARKED


def split(stores: Sequence[Store], config: SplitConfig, experts: bool = True) -> list[Part]:
    """A share of the episodes of each instruction and kind is held out, at least one; each leaves one to learn from.

    Args:
        experts: one of them has to be on either side, as a critic needs it.

    Raises:
        UserError: fewer than two experts, where they are needed, or than two episodes.
    """
    strata: defaultdict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for place, store in enumerate(stores):
        for info in _infos(store):
            if info.length > 1:
                strata[kind(info, store.folder), info.instruction].append((place, info.index))
    if experts:
        _require_experts(stores, sum(len(rows) for (of, _), rows in strata.items() if of == EXPERT))
    random = np.random.default_rng(config.seed)
    held_out: set[tuple[int, int]] = set()
    for of in (EXPERT, MARKED, OTHER):
        mine = [rows for (what, _), rows in sorted(strata.items()) if what == of]
        shuffled = [[rows[at] for at in random.permutation(len(rows))] for rows in mine]
        chosen = [
            row for rows in shuffled for row in rows[: min(round(config.share * len(rows)), len(rows) - 1)]
        ]
        if of == EXPERT and experts and not chosen:
            chosen = max(shuffled, key=len)[:1]
        held_out |= {chosen[at] for at in random.permutation(len(chosen))[: config.most]}
    if not held_out:
        rows = max(strata.values(), key=len, default=[])
        require(
            len(rows) + len(strata) > 2, _TOO_FEW.format(", ".join(str(store.folder) for store in stores))
        )
        held_out = {rows[int(random.integers(len(rows)))]}
    return [
        Part(
            store,
            tuple(index for index in range(len(store)) if (place, index) not in held_out),
            tuple(index for index in range(len(store)) if (place, index) in held_out),
        )
        for place, store in enumerate(stores)
    ]


def counts(parts: Sequence[Part], held_out: bool) -> dict[str, int]:
    """{kind: number of episodes} of one side."""
    found = {EXPERT: 0, MARKED: 0, OTHER: 0}
    for part in parts:
        for index in part.held_out if held_out else part.trained:
            found[kind(part.store.episode_info(index), part.store.folder)] += 1
    return found


def _infos(store: Store) -> Iterator[EpisodeInfo]:
    return (store.episode_info(index) for index in range(len(store)))


def _require_experts(stores: Sequence[Store], experts: int) -> None:
    if experts >= 2:
        return
    infos = [info for store in stores for info in _infos(store)]
    unknown = sum(info.success is None for info in infos)
    where = ", ".join(str(store.folder) for store in stores)
    need = (
        "a critic learns from undisturbed successes and is measured on others: it needs two of them at least"
    )
    if unknown:
        raise UserError(
            f"{need}; {where} has {experts}, and of {unknown} of its {len(infos)} episodes nothing says how they ended "
            f"({TOLD})"
        )
    raise UserError(
        f"{need}; of the {len(infos)} episodes of {where} {experts} are (record more, or correct their outcomes in a "
        "table: data.outcomes=table.csv with episode,success)"
    )
