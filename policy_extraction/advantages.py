"""Advantages of the actions of recorded episodes, from a critic's values.

A critic's value is progress towards the end of the task, so an episode pays once: its outcome (1 solved, 0
not) at its last frame. Then V(t) estimates what it will pay, and a perfect critic gives a perfect episode
advantages near 0.

Unknown values and rewards are NaN, and so is every advantage that follows from one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from envs.errors import UserError
from envs.fields import later


@dataclass(frozen=True)
class Track:
    """What an estimator sees of one episode: values float32 [T], rewards float32 [T], NaN where unknown.

    terminated: nothing is earned after the last frame; else the last value stands for what would have
    followed. group: episodes with the same number are attempts at the same thing.
    """

    values: np.ndarray
    rewards: np.ndarray
    terminated: bool = True
    group: int = 0

    def __post_init__(self) -> None:
        if self.values.shape != self.rewards.shape or self.values.ndim != 1 or not len(self.values):
            raise UserError(
                f"an episode has {self.values.shape} values and {self.rewards.shape} rewards; "
                "give one of each a frame"
            )

    @property
    def bootstrap(self) -> float:
        """The value of what follows the last frame."""
        return 0.0 if self.terminated else float(self.values[-1])


@runtime_checkable
class Advantage(Protocol):
    """Advantages float32 [T] of every episode; `horizon` is the policy's action horizon H."""

    def estimate(self, tracks: Sequence[Track], horizon: int) -> list[np.ndarray]: ...


def chunk_difference(values: np.ndarray, horizon: int) -> np.ndarray:
    """Δ_t = V(min(t+H−1, T−1)) − V(t): what an action chunk of length H gained.

    World Value Models, arXiv 2606.24742, section 5.2.
    """
    ends = np.minimum(np.arange(len(values)) + horizon - 1, len(values) - 1)
    return (values[ends] - values).astype(np.float32)


def lasting_gain(values: np.ndarray, horizon: int, span: int) -> np.ndarray:
    """A_t = min V(t+k) − V(t) over k from H−1 to `span` frames, cut at the episode's end; span 0: to its end.

    What an action chunk gained and kept: a later fall below where it began charges what led to it, which H frames alone do
    not see. With span ≤ H − 1 it is `chunk_difference`. Not published.
    """
    last = len(values) - 1
    reach = span if span else last
    gains = np.empty(len(values), np.float32)
    for t in range(len(values)):
        first = min(t + horizon - 1, last)
        gains[t] = values[first : max(min(t + reach, last), first) + 1].min() - values[t]
    return gains


def beyond_the_end(track: Track, horizon: int) -> np.ndarray:
    """What a chunk that outlasts its episode gains after it: float32 [T], on top of what it gained within.

    The task is done, and was done at the pace of the episode: (V(T−1) − V(0)) / (T − 1) for every action that is left;
    nothing where the last frame earned nothing, unknown (NaN) where that is. Without it the last chunks of an episode, which
    finish the task, seem the worst.
    """
    last = len(track.values) - 1
    left = np.maximum(np.arange(last + 1) + horizon - 1 - last, 0)
    pace = (track.values[-1] - track.values[0]) / max(last, 1)
    earned = track.rewards[-1]
    solved = earned if np.isnan(earned) else np.float32(earned > 0)
    return np.where(left > 0, left * pace * solved, 0).astype(np.float32)


def expectile(numbers: np.ndarray, level: float) -> float:
    """The m with level · Σ (x − m)⁺ = (1 − level) · Σ (m − x)⁺; level .5: the mean. Newey and Powell 1987."""
    ordered = np.sort(numbers.astype(np.float64))
    count, below = len(ordered), np.concatenate([[0.0], np.cumsum(ordered)])
    rank = np.arange(count + 1)  # so many lie below m
    weight = (1 - level) * rank + level * (count - rank)
    candidates = ((1 - level) * below + level * (below[-1] - below)) / weight
    edges = np.concatenate([[-np.inf], ordered, [np.inf]])
    return float(candidates[np.argmax((edges[:-1] <= candidates) & (candidates <= edges[1:]))])


def less_those_of_its_phase(gains: np.ndarray, values: np.ndarray, phases: int, level: float) -> np.ndarray:
    """Gains [N] less the `level`-expectile of those from like values [N]: phases of equally many, by value.

    Unknown ones (NaN) stay so, and count for none.
    """
    known = np.flatnonzero(np.isfinite(gains) & np.isfinite(values))
    result = np.full(len(gains), np.nan, np.float32)
    for part in np.array_split(known[np.argsort(values[known], kind="stable")], phases):
        if len(part):
            result[part] = gains[part] - expectile(gains[part], level)
    return result


def discounted_return(rewards: np.ndarray, bootstrap: float, discount: float) -> np.ndarray:
    """G_t = r_t + γ G_{t+1}, with G_T = bootstrap."""
    returns = np.zeros(len(rewards))
    following = bootstrap
    for t in reversed(range(len(rewards))):
        following = returns[t] = rewards[t] + discount * following
    return returns.astype(np.float32)


def n_step_advantage(track: Track, steps: int, discount: float) -> np.ndarray:
    """A_t = Σ_{k<n} γ^k r_{t+k} + γ^n V(t+n) − V(t), with n cut at the end of the episode."""
    length = len(track.values)
    values = np.append(track.values, track.bootstrap)
    advantages = np.empty(length)
    for t in range(length):
        n = min(steps, length - t)
        advantages[t] = (
            discount ** np.arange(n) @ track.rewards[t : t + n] + discount**n * values[t + n] - values[t]
        )
    return advantages.astype(np.float32)


def generalized_advantage(track: Track, discount: float, decay: float) -> np.ndarray:
    """A_t = δ_t + γλ A_{t+1}, δ_t = r_t + γ V(t+1) − V(t). Schulman et al. 2016, arXiv 1506.02438."""
    following_values = np.append(track.values[1:], track.bootstrap)
    errors = track.rewards + discount * following_values - track.values
    return discounted_return(errors, 0.0, discount * decay)


def group_relative(returns: np.ndarray, epsilon: float = 1e-6) -> np.ndarray:
    """(r − mean) / (std + ε) over one group's returns [G], with the sample standard deviation.

    A group of one has no spread to compare with: 0. An unknown return (NaN) stays so, and the others are compared
    without it. World-Gymnast, arXiv 2602.02454.
    """
    known = ~np.isnan(returns)
    advantages = np.where(known, 0, np.nan).astype(np.float32)
    if known.sum() > 1:
        of = returns[known].astype(np.float64)
        advantages[known] = (of - of.mean()) / (of.std(ddof=1) + epsilon)
    return advantages


def require_outcomes(tracks: Sequence[Track], advantage: str) -> None:
    """Refuse to estimate from rewards where not one episode's are known.

    Raises:
        UserError: every episode has unknown rewards.
    """
    if all(np.isnan(track.rewards).any() for track in tracks):
        raise UserError(
            f"advantage={advantage} needs to know how episodes ended, and this data set says it of none of its "
            f"{len(tracks)}: record next.success or next.reward, or use advantage=chunk_difference"
        )


@dataclass(frozen=True)
class ChunkDifference:
    """WVM's: what the values gained over an action chunk. See `chunk_difference`."""

    def estimate(self, tracks: Sequence[Track], horizon: int) -> list[np.ndarray]:
        return [chunk_difference(track.values, horizon) for track in tracks]


@dataclass(frozen=True)
class Lasting:
    """What an action chunk gained and kept. See `lasting_gain`."""

    span: int = 0  # control steps ahead up to which it has to be kept; 0: to the end of the episode
    finish: bool = later(False)  # what outlasts a solved episode gains on, see `beyond_the_end`

    def __post_init__(self) -> None:
        if self.span < 0:
            raise UserError(f"advantage.span is {self.span}; it must not be negative")

    def estimate(self, tracks: Sequence[Track], horizon: int) -> list[np.ndarray]:
        gains = [lasting_gain(track.values, horizon, self.span) for track in tracks]
        if not self.finish:
            return gains
        return [gain + beyond_the_end(track, horizon) for gain, track in zip(gains, tracks, strict=True)]


@dataclass(frozen=True)
class WithinPhase:
    """What a chunk gained beside others from where the critic saw the task as far. See `less_those_of_its_phase`.

    Early chunks gain less than late ones by construction; here each is compared with its like. The expectile is what IQL
    (Kostrikov et al. 2021, arXiv 2110.06169) takes for a state's value, here of the critic's gains.
    """

    phases: int = 10
    level: float = 0.5  # of the expectile; .5: the mean
    lasting: bool = False  # of gains that were kept, see `Lasting`

    def __post_init__(self) -> None:
        if self.phases < 1 or not 0 < self.level < 1:
            raise UserError("advantage.phases must be at least 1, advantage.level between 0 and 1")

    def estimate(self, tracks: Sequence[Track], horizon: int) -> list[np.ndarray]:
        own = Lasting() if self.lasting else ChunkDifference()
        gains, values = np.concatenate(own.estimate(tracks, horizon)), [track.values for track in tracks]
        ends = np.cumsum([len(part) for part in values])[:-1]
        return np.split(less_those_of_its_phase(gains, np.concatenate(values), self.phases, self.level), ends)


@dataclass(frozen=True)
class NStepTD:
    """Temporal difference over n control steps. See `n_step_advantage`."""

    steps: int = 10
    discount: float = 1.0

    def estimate(self, tracks: Sequence[Track], horizon: int) -> list[np.ndarray]:
        require_outcomes(tracks, "n_step_td")
        return [n_step_advantage(track, self.steps, self.discount) for track in tracks]


@dataclass(frozen=True)
class GAE:
    """Generalised advantage estimation. See `generalized_advantage`."""

    discount: float = 1.0
    decay: float = 0.95  # λ

    def estimate(self, tracks: Sequence[Track], horizon: int) -> list[np.ndarray]:
        require_outcomes(tracks, "gae")
        return [generalized_advantage(track, self.discount, self.decay) for track in tracks]


@dataclass(frozen=True)
class MonteCarlo:
    """The return to the end of the episode, less the value (baseline) unless told otherwise."""

    discount: float = 1.0
    baseline: bool = True

    def estimate(self, tracks: Sequence[Track], horizon: int) -> list[np.ndarray]:
        require_outcomes(tracks, "monte_carlo")
        return [
            discounted_return(track.rewards, track.bootstrap, self.discount)
            - (track.values if self.baseline else np.float32(0))
            for track in tracks
        ]


@dataclass(frozen=True)
class GroupRelative:
    """An episode's return against its group's, the same at every frame. See `group_relative`."""

    epsilon: float = 1e-6

    def estimate(self, tracks: Sequence[Track], horizon: int) -> list[np.ndarray]:
        require_outcomes(tracks, "group_relative")
        returns = np.array([track.rewards.sum() for track in tracks], np.float32)
        groups = np.array([track.group for track in tracks])
        advantages = np.zeros(len(tracks), np.float32)
        for group in np.unique(groups):
            advantages[groups == group] = group_relative(returns[groups == group], self.epsilon)
        return [
            np.full(len(track.values), value, np.float32)
            for track, value in zip(tracks, advantages, strict=True)
        ]


ADVANTAGES: dict[str, type] = {
    "chunk_difference": ChunkDifference,
    "lasting": Lasting,
    "within_phase": WithinPhase,
    "n_step_td": NStepTD,
    "gae": GAE,
    "monte_carlo": MonteCarlo,
    "group_relative": GroupRelative,
}
