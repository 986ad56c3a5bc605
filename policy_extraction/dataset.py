"""Experience as rows: one action chunk each, with what the critic says of it. numpy only."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from envs.errors import UserError
from envs.outcomes import tell_only_success
from policy_extraction.advantages import Advantage, Track


@dataclass(frozen=True)
class Dataset:
    """N action chunks and where they come from.

    episode, frame: int64 [N], the chunk starts at that frame of that episode; action: float32 [N, H, A],
    past the end of the episode its last action; instruction: str [N]; value, advantage: float32 [N], NaN
    where unknown; weight: float32 [N]; outcome: float32 [N], what the whole episode earned, NaN where
    unknown; group: int64 [N], attempts at the same thing; behavior_log_prob: float32 [N] or [N, K],
    base_log_prob: as that, and seed: uint32 [N], for chunks that the policy itself drew; executed: int64 [N], how many
    actions of the chunk, from its first, were executed, or are to be learned from; None: all.
    """

    episode: np.ndarray
    frame: np.ndarray
    action: np.ndarray
    instruction: np.ndarray
    value: np.ndarray
    advantage: np.ndarray
    weight: np.ndarray
    outcome: np.ndarray
    group: np.ndarray
    behavior_log_prob: np.ndarray | None = None
    base_log_prob: np.ndarray | None = None
    executed: np.ndarray | None = None
    seed: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.action)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            column = getattr(self, field.name)
            if column is not None and len(column) != len(self.action):
                raise UserError(
                    f"the data set has {len(self.action)} chunks but {len(column)} of {field.name}"
                )

    def rows(self, index: np.ndarray) -> Dataset:
        """The rows at `index`: bool [N] or int [M]."""
        columns = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        given = {name: column for name, column in columns.items() if column is not None}
        return dataclasses.replace(self, **{name: column[index] for name, column in given.items()})


@runtime_checkable
class Trajectory(Protocol):
    """The part of `envs.types.Episode` that is read here."""

    @property
    def actions(self) -> np.ndarray: ...
    @property
    def rewards(self) -> np.ndarray: ...
    @property
    def success(self) -> bool | None: ...
    @property
    def told(self) -> Sequence[str]: ...


def action_chunks(actions: np.ndarray, horizon: int) -> np.ndarray:
    """The chunk that starts at every frame: [T, A] -> [T, H, A]; past the end the last action is
    repeated.
    """
    ends = np.minimum(np.arange(len(actions))[:, None] + np.arange(horizon), len(actions) - 1)
    return actions[ends]


def earnings(rewards: Sequence[np.ndarray], success: Sequence[bool | None]) -> list[np.ndarray]:
    """What every frame of a data set's episodes earned, float32 [T] an episode, NaN where that is unknown.

    Rewards that say no more than whether the task is solved pay once, at the last frame, the episode's outcome: 1 or
    0 as a critic's values expect, NaN where it was not recorded. Rewards that say more are used as they were recorded.
    """
    if not tell_only_success(rewards):
        return [part.astype(np.float32) for part in rewards]
    paid = {None: np.nan, False: 0.0, True: 1.0}
    last = [np.arange(len(part)) == len(part) - 1 for part in rewards]
    return [
        np.where(frame, paid[outcome], 0).astype(np.float32)
        for frame, outcome in zip(last, success, strict=True)
    ]


def build_dataset(
    episodes: Iterable[Trajectory], values: Sequence[np.ndarray], advantage: Advantage, horizon: int
) -> Dataset:
    """One row for every frame of every episode.

    Args:
        episodes: read once, in order; images are not looked at.
        values: the critic's, float32 [T] an episode.
        advantage: an estimator of `policy_extraction.advantages`; attempts at one instruction form a group. Where the
            robot was told one thing after another in an episode, each stretch is an attempt of its own, and only how
            the last one ended is known.
        horizon: length H of the action chunks.

    Raises:
        UserError: there is no episode, an episode and its values differ in length, or no advantage is known.
    """
    actions, told, pieces = [], [], []
    for number, (episode, curve) in enumerate(zip(episodes, values, strict=True)):
        if len(curve) != len(episode.actions):
            raise UserError(
                f"episode {number} has {len(episode.actions)} frames but {len(curve)} values; label it again"
            )
        actions.append(action_chunks(episode.actions.astype(np.float32), horizon))
        told.append(np.array(episode.told))
        pieces += _pieces(episode, np.asarray(curve, np.float32))
    if not actions:
        raise UserError("there is no episode to learn from; collect some first")
    group_of = {text: number for number, text in enumerate(dict.fromkeys(piece.told for piece in pieces))}
    earned = earnings([piece.rewards for piece in pieces], [piece.success for piece in pieces])
    tracks = [
        Track(piece.values, rewards, group=group_of[piece.told])
        for piece, rewards in zip(pieces, earned, strict=True)
    ]
    advantages = np.concatenate(advantage.estimate(tracks, horizon))
    if np.isnan(advantages).all():
        raise UserError(
            "no advantage is known: each one needs a value that is not; label more frames, or use another advantage="
        )
    lengths, parts = [len(chunks) for chunks in actions], [len(track.values) for track in tracks]
    return Dataset(
        episode=np.repeat(np.arange(len(actions)), lengths),
        frame=np.concatenate([np.arange(length) for length in lengths]),
        action=np.concatenate(actions),
        instruction=np.concatenate(told),
        value=np.concatenate([track.values for track in tracks]),
        advantage=advantages,
        weight=np.ones(sum(lengths), np.float32),
        outcome=np.repeat(np.array([track.rewards.sum() for track in tracks], np.float32), parts),
        group=np.repeat(np.array([track.group for track in tracks]), parts),
    )


@dataclass(frozen=True)
class _Piece:
    """A stretch of an episode under one instruction; rewards, values: [T]."""

    told: str
    values: np.ndarray
    rewards: np.ndarray
    success: bool | None


def _pieces(episode: Trajectory, values: np.ndarray) -> list[_Piece]:
    """The stretches of an episode; how one ended after which the robot was told something else is not known."""
    told = episode.told
    starts = [frame for frame in range(len(told)) if not frame or told[frame] != told[frame - 1]]
    ends = [*starts[1:], len(told)]
    return [
        _Piece(
            told[start],
            values[start:end],
            episode.rewards[start:end],
            episode.success if end == len(told) else None,
        )
        for start, end in zip(starts, ends, strict=True)
    ]


def batch_rows(size: int, batch: int, update: int, seed: int) -> np.ndarray:
    """The rows of batch number `update`, int64 [B]: passes over all rows, each shuffled by (seed, pass)."""
    positions = np.arange(update * batch, (update + 1) * batch)
    rows = np.empty(batch, np.int64)
    for number in np.unique(positions // size):
        inside = positions // size == number
        rows[inside] = np.random.default_rng((seed, int(number))).permutation(size)[positions[inside] % size]
    return rows
