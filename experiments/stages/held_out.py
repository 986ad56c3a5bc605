"""Stage `held_out`: how well a policy foretells the actions of episodes that nothing was trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from envs.files import load_arrays, save_arrays
from envs.types import Observation
from experiments.lab.artifacts import Artifacts
from experiments.lab.progress import announce, bar
from experiments.stages.data import Data
from experiments.stages.inputs import observed
from experiments.stages.recorded import Recorded
from policy_extraction.acting import ActingPolicy
from policy_extraction.dataset import Dataset

VERSION = 1
CHUNKS = 64  # of an episode, evenly spaced, that are measured
FILE = "chunks.safetensors"
TIE = 1e-6  # advantages that differ by less are equal


@dataclass(frozen=True)
class HeldOut:
    """What was found of N action chunks of held-out episodes.

    episode, frame: int64 [N]; advantage: float32 [N], NaN where unknown; loss: float32 [N], minus the policy's log_prob
    with noise that depends on the row alone, of the weights in training; error: float32 [N, A], mean over the chunk's
    recorded actions of |one draw − recorded|, of the weights that act, in the data's units; usual: the same of always
    giving the training data's median action; span: float64 [A], between the training data's 1 % and 99 % quantiles, 0 of a
    number that does not change there.
    """

    episode: np.ndarray
    frame: np.ndarray
    advantage: np.ndarray
    loss: np.ndarray
    error: np.ndarray
    usual: np.ndarray
    span: np.ndarray

    @property
    def good(self) -> np.ndarray:
        """bool [N]: the advantage is known, and not below the median of those that are known here."""
        known = self.advantage[~np.isnan(self.advantage)]
        return self.advantage >= (np.median(known) - TIE if len(known) else np.inf)

    def measures(self) -> dict[str, np.ndarray]:
        """{"loss", "action error", "of the usual action"}: float [N]; errors as shares of the span of each number that
        changes.
        """
        moves = self.span > 0
        shares = [errors[:, moves] / self.span[moves] for errors in (self.error, self.usual)]
        error, usual = (share.mean(axis=1) for share in shares)
        return {"loss": self.loss, "action error": error, "of the usual action": usual}

    def by_episode(self, measure: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Means over those `rows` (bool [N]) of each held-out episode, float64 [E], NaN where it has none of them."""
        episodes = np.unique(self.episode)
        parts = [measure[rows & (self.episode == index)] for index in episodes]
        return np.array([part.mean(dtype=np.float64) if len(part) else np.nan for part in parts])


@dataclass(frozen=True)
class Foretold:
    """What was found on held-out episodes before and after training.

    numbers: of the episodes in the data set, in the order of their indices; names: of the numbers of an action.
    """

    before: HeldOut
    after: HeldOut
    numbers: tuple[int, ...]
    names: tuple[str, ...]


def measure_held_out(
    artifacts: Artifacts,
    data: Data,
    recorded: Recorded,
    samples: Dataset,
    inputs: Mapping[str, str],
    prompt: Mapping[str, object],
    make_actor: Callable[[], ActingPolicy],
    label: str,
) -> HeldOut:
    """Measure a policy on held-out episodes.

    Args:
        samples: all chunks of all episodes, with their advantages; inputs: {role: digest} of the policy, and of what the
            advantages were made from; prompt: what else its behaviour depends on; make_actor: called only if there is
            work to do; label: for the progress bar.
    """

    def build(folder: Path) -> None:
        actor, store, parts = make_actor(), data.open(), []
        with bar(f"held out {label}", len(recorded.held_out), "episodes") as shown:
            for index in recorded.held_out.tolist():
                rows = np.flatnonzero(samples.episode == index)
                rows = rows[np.unique(np.linspace(0, len(rows) - 1, CHUNKS).round().astype(int))]
                seen = observed(store, index, samples, rows, actor.policy.spec)
                part = samples.rows(rows)
                length = store.episode_info(index).length
                parts.append(_measured(actor, seen, part, index * CHUNKS, length, recorded.usual))
                shown.update(1)
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        save_arrays(folder / FILE, {**joined, "span": recorded.span})

    recipe = {"episodes": recorded.held_out, "chunks": CHUNKS, "prompt": dict(prompt)}
    made = announce(
        artifacts.make("held_out", VERSION, recipe, {**inputs, "data": data.digest}, build), label
    )
    arrays, _ = load_arrays(made.folder / FILE)
    return HeldOut(**arrays)


def _measured(
    actor: ActingPolicy, seen: Observation, chunks: Dataset, first: int, length: int, usual: np.ndarray
) -> dict[str, np.ndarray]:
    """The columns of `HeldOut` for chunks of one episode of so many frames.

    Args:
        first: the seed of the first row's noise.
    """
    count = len(chunks)
    rows = np.minimum(np.arange(CHUNKS), count - 1)  # always as many, so that nothing is compiled twice
    seeds = first + np.arange(CHUNKS)
    padded, action = seen[rows], chunks.action[rows]
    batch = {"observation": actor.preprocess(padded), "action": action, "seed": seeds.astype(np.uint32)}
    log_prob = actor.policy.log_prob(batch).reshape(CHUNKS, -1).mean(axis=1)
    given = actor.act(padded, seeds)
    frames = chunks.frame[:, None] + np.arange(action.shape[1])
    there = (frames < length)[..., None].astype(np.float32)  # not past the end of the episode

    def error(actions: np.ndarray) -> np.ndarray:
        apart = np.abs(actions - chunks.action) * there
        return (apart.sum(axis=1) / there.sum(axis=1)).astype(np.float32)

    return {
        "episode": chunks.episode,
        "frame": chunks.frame,
        "advantage": chunks.advantage,
        "loss": -log_prob[:count],
        "error": error(given[:count]),
        "usual": error(usual.astype(np.float32)),
    }
