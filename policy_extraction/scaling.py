"""A policy that was made for numbers in [−1, 1], in the units of those who recorded its data. numpy only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from envs.errors import UserError
from envs.files import atomic_file
from envs.types import Observation
from policy_extraction.types import PLAIN, Batch, Method, Policy, PolicySpec, Sampling, processes_of

SCALING_FILE = "scaling.json"  # in the folder of `Policy.save`


@dataclass(frozen=True)
class Scaling:
    """Between the data's own units and those of a policy.

    state_low, state_high: float [P], the states that are −1 and 1 to the policy; action_low, action_high: float [A],
    the actions; action_least, action_most: float [A], beyond which no action was recorded, and none is given.
    """

    state_low: tuple[float, ...]
    state_high: tuple[float, ...]
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    action_least: tuple[float, ...]
    action_most: tuple[float, ...]

    def state(self, values: np.ndarray) -> np.ndarray:
        """States [..., P] as the policy reads them, float32."""
        return _scaled(values, self.state_low, self.state_high)

    def action(self, values: np.ndarray) -> np.ndarray:
        """Actions [..., A] as the policy learns them, float32."""
        return _scaled(values, self.action_low, self.action_high)

    def own_action(self, values: np.ndarray) -> np.ndarray:
        """The policy's actions [..., A] in the data's units, float32, within what was recorded."""
        own = _unscaled(values, self.action_low, self.action_high)
        return np.clip(own, self.action_least, self.action_most).astype(np.float32)


def _scaled(values: np.ndarray, low: tuple[float, ...], high: tuple[float, ...]) -> np.ndarray:
    """−1 at `low` and 1 at `high`."""
    start, span = np.asarray(low), np.asarray(high) - np.asarray(low)
    return ((values.astype(np.float64) - start) / span * 2 - 1).astype(np.float32)


def _unscaled(values: np.ndarray, low: tuple[float, ...], high: tuple[float, ...]) -> np.ndarray:
    """Undoes `_scaled`, in float64."""
    start, span = np.asarray(low), np.asarray(high) - np.asarray(low)
    return start + (values.astype(np.float64) + 1) / 2 * span


class ScaledPolicy:
    """A `Policy` in the data's units around one that reads and gives numbers in [−1, 1]. Its scaling is saved beside it.

    Args:
        about: what else whoever lets it act has to know, as JSON data; saved with the scaling.
        ends: where it acts in an environment, which takes numbers in [−1, 1]: what −1 and 1 stand for there, in the data's
            units. None: it gives and learns actions in those.
    """

    def __init__(
        self,
        policy: Policy,
        scaling: Scaling,
        about: Mapping[str, Any],
        ends: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
    ) -> None:
        self.policy, self.scaling, self.about, self.ends = policy, scaling, about, ends
        self.spec: PolicySpec = policy.spec

    @property
    def processes(self) -> int:
        """See `SharedTraining`."""
        return processes_of(self.policy)

    def act(self, observation: Observation, seeds: np.ndarray, sampling: Sampling = PLAIN) -> np.ndarray:
        """See `Policy`."""
        own = self.scaling.own_action(self.policy.act(self._seen(observation), seeds, sampling))
        return own if self.ends is None else _scaled(own, *self.ends)

    def preprocess(self, observation: Observation, sampling: Sampling = PLAIN) -> dict[str, np.ndarray]:
        """See `Policy`."""
        return self.policy.preprocess(self._seen(observation), sampling)

    def update(self, batches: Batch, method: Method) -> dict[str, float]:
        """See `Policy`."""
        return self.policy.update(self._learned(batches), method)

    def log_prob(self, batch: Batch) -> np.ndarray:
        """See `Policy`; of the scaled actions: densities are those in [−1, 1]."""
        return self.policy.log_prob(self._learned(batch))

    def save(self, folder: Path) -> None:
        """See `Policy`."""
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_file(folder / SCALING_FILE) as temporary:
            temporary.write_text(json.dumps({"scaling": asdict(self.scaling), "about": dict(self.about)}))
        self.policy.save(folder)

    def restore(self, folder: Path) -> None:
        """See `Policy`."""
        self.scaling, self.about = read_scaling(folder)
        self.policy.restore(folder)

    def _seen(self, observation: Observation) -> Observation:
        width = observation.proprio.shape[1]
        if width != self.spec.proprio_dim:
            raise UserError(f"the state has {width} numbers, the policy reads {self.spec.proprio_dim}")
        return replace(observation, proprio=self.scaling.state(observation.proprio))

    def _learned(self, batch: Batch) -> dict[str, Any]:
        given = batch["action"]
        own = given if self.ends is None else _unscaled(given, *self.ends)
        return {**batch, "action": self.scaling.action(own)}


def read_scaling(folder: Path) -> tuple[Scaling, dict[str, Any]]:
    """The scaling that was saved with a policy, and what else was said about it.

    Raises:
        UserError: there is none, or it is damaged.
    """
    file = folder / SCALING_FILE
    try:
        content = json.loads(file.read_text())
        scaling = Scaling(**{name: tuple(numbers) for name, numbers in content["scaling"].items()})
        return scaling, content["about"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(f"{file} is not a policy's scaling ({error}); train the policy again") from error
