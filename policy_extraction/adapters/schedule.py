"""The learning rate, the same for every framework."""

from __future__ import annotations

from typing import Any

from policy_extraction.types import Training


def learning_rate(xp: Any, training: Training, step: Any) -> Any:
    """Of update number `step` (from 0): linear warm-up times a cosine from 1 down to `final_fraction`."""
    warm = xp.minimum((step + 1) / (training.warmup + 1), 1.0)
    length = max(training.updates - training.warmup, 1)
    done = xp.clip((step - training.warmup) / length, 0.0, 1.0)
    cosine = (1 + xp.cos(xp.pi * done)) / 2
    return training.learning_rate * warm * (training.final_fraction + (1 - training.final_fraction) * cosine)


def ema_decay(xp: Any, training: Training, step: Any) -> Any:
    """Of the averaged weights at update number `step`: shorter at first, so that they leave the start."""
    return xp.minimum(training.ema, (1.0 + step) / (10.0 + step))
