"""From a picture's probability of success to a whole attempt's score, and which recorded pictures show success.

Dimension letters: F pictures of an attempt, T control steps.
"""

from __future__ import annotations

import numpy as np


def attempt_score(probability: np.ndarray, step: np.ndarray, minimum: int, hold: int) -> float:
    """The highest threshold at which an attempt counts as solved, in [0, 1].

    max over pictures i with step_i >= minimum of min(p_i, ..., p_{i + hold}); beyond the last picture nothing is asked for,
    so that a success that ends the attempt needs no picture after it. 0 where the attempt ended before `minimum`.

    Args:
        probability: float [F] of each picture in time; step: int [F], after how many control steps it was taken.
        minimum: control steps before which success does not count.
        hold: following pictures that must show it too.
    """
    held = [probability[first : first + hold + 1].min() for first in np.flatnonzero(step >= minimum)]
    return float(max(held, default=0.0))


def shown_success(step: np.ndarray, rewards: np.ndarray, success: bool, around: int) -> np.ndarray:
    """Which pictures of an attempt of known outcome show the task solved: float32 [F], 1 or 0, NaN for not clear.

    A solved one is solved from the first control step that is paid, where rewards are nothing but 0 and one positive
    number. Other rewards do not tell when: the last picture shows it, and those up to `around` steps before are not clear.

    Args:
        step: int [F] of each picture, the control steps before it; rewards: float [T]; around: control steps.
    """
    if not success:
        return np.zeros(len(step), np.float32)
    paid = rewards > 0
    plain = paid.any() and len(np.unique(rewards[paid])) == 1 and not rewards[~paid].any()
    first = min(int(np.argmax(paid)) + 1, step[-1]) if plain else step[-1]
    shown = (step >= first).astype(np.float32)
    if not plain:
        shown[(step < first) & (step >= first - around)] = np.nan
    return shown
