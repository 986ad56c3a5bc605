"""Does a judge rank what may be done next? Correlations within groups of branches from one state.

Between states a correlation flatters: any judge that knows early from late would seem to rank. An advantage, and a group
of GRPO's, compares what was done from one state alone.

Dimension letters: G groups, M members of each, D numbers of decisions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

SPREAD = 0.01  # standard deviation of true gains below which no member of a group is better than another
RESAMPLINGS = 2000


def within_groups(judged: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Pearson's r of judged and true gains, both float [G, M], within each group: float [G].

    NaN where the true gains have no spread (`SPREAD`): there is nothing to rank; 0 where the judged ones are all alike: the
    judge ranks nothing.
    """
    one, other = (
        part - part.mean(axis=1, keepdims=True) for part in (judged.astype(float), true.astype(float))
    )
    spread = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
    r = np.where(spread > 1e-9, (one * other).sum(axis=1) / np.maximum(spread, 1e-9), 0.0)
    return np.where(other.std(axis=1) < SPREAD, np.nan, r)


def mean_ranking(correlations: np.ndarray) -> Mapping[str, float | None]:
    """Their mean r over groups, the 95 % interval of its bootstrap over groups low … high, and how many groups.

    Groups without spread (NaN) are left out; with fewer than two others there is no interval, with none no mean: None.
    Every group is from an episode of its own, so that groups are independent (Efron 1979).
    """
    known = correlations[~np.isnan(correlations)]
    if len(known) == 0:
        return {"r": None, "low": None, "high": None, "groups": 0}
    low = high = None
    if len(known) > 1:
        drawn = np.random.default_rng(0).integers(len(known), size=(RESAMPLINGS, len(known)))
        low, high = np.quantile(known[drawn].mean(axis=1), [0.025, 0.975]).tolist()
    return {"r": float(known.mean()), "low": low, "high": high, "groups": len(known)}


def ranking(
    judged: np.ndarray, true: np.ndarray, phase: np.ndarray, names: Sequence[str]
) -> dict[str, dict[str, Mapping[str, float | None]]]:
    """{phase, or "all": {number of decisions: `mean_ranking`}}, of the phases that occur.

    Args:
        judged, true: gains over the first 1 … D decisions, float [G, M, D].
        phase: int [G], where each group begins, as a number in `names`.
    """
    found = np.stack(
        [within_groups(judged[..., count], true[..., count]) for count in range(true.shape[-1])], axis=1
    )
    parts = {"all": np.ones(len(phase), bool)}
    parts |= {name: phase == number for number, name in enumerate(names) if (phase == number).any()}
    return {
        name: {str(count + 1): mean_ranking(found[rows, count]) for count in range(found.shape[1])}
        for name, rows in parts.items()
    }
