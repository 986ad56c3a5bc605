"""What trainings of all critics have in common: the optimiser, and a folder that belongs to one run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optax

from envs.errors import UserError
from envs.files import atomic_file
from value_model.video.config import OptimConfig


def make_optimizer(optim: OptimConfig, updates: int) -> optax.GradientTransformation:
    """AdamW on clipped gradients, with linear warm-up and cosine decay over `updates`."""
    schedule = optax.warmup_cosine_decay_schedule(
        0.0,
        optim.learning_rate,
        optim.warmup,
        max(updates, optim.warmup + 1),
        optim.final_learning_rate * optim.learning_rate,
    )
    return optax.chain(
        optax.clip_by_global_norm(optim.clip_norm),
        optax.adamw(schedule, optim.beta1, optim.beta2, weight_decay=optim.weight_decay),
    )


def claim(folder: Path, run: Mapping[str, Any]) -> None:
    """Write down which run the folder belongs to.

    Raises:
        UserError: it belongs to another one.
    """
    wanted = json.loads(json.dumps(run))
    note = folder / "run.json"
    if not note.is_file():
        with atomic_file(note) as temporary:
            temporary.write_text(json.dumps(wanted, indent=1))
    elif json.loads(note.read_text()) != wanted:
        raise UserError(
            f"{folder} holds the training of another configuration or seed; choose another folder or delete it"
        )
