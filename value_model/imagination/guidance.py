"""Guidance on the action, for dynamics that draw a frame in steps."""

from __future__ import annotations

import jax


def guided(answers: list[jax.Array], weight: float) -> jax.Array:
    """Guidance (arXiv 2207.12598): the answer without the action, and `weight` times what the action changes.

    answers: with the action, and without it unless there is no guidance.
    """
    if len(answers) == 1:
        return answers[0]
    return answers[1] + weight * (answers[0] - answers[1])
