"""Actions as the published world model reads them.

Ten numbers: translation 3, rotation 3, closedness of the gripper 1, translation of the base 2, rotation of the base 1 (which
is 1 in the null action alone).
"""

from __future__ import annotations

import numpy as np

from envs.errors import UserError

TRANSLATION = 1.75 / 0.05  # of a metre
TRANSLATION_LIMIT = 1.74
ROTATION = 1.4 / 0.25  # of a radian
ROTATION_LIMIT = 1.4


def published_actions(actions: np.ndarray) -> np.ndarray:
    """Actions float32 [..., 10] of a single arm's [..., 7], scaled as the released checkpoint's Bridge data are.

    Args:
        actions: translation in metres and rotation in radians of one control step, and the gripper from −1, open, to +1,
            closed. Those of robosuite in [−1, 1] are .05 m and .5 rad at 1 with its default controller.

    Raises:
        UserError: not seven numbers, or not finite.
    """
    actions = np.asarray(actions, np.float32)
    if actions.ndim < 1 or actions.shape[-1] != 7:
        raise UserError(
            f"the published world model takes actions of 7 numbers (3 translation, 3 rotation, gripper), not {actions.shape}"
        )
    if not np.isfinite(actions).all():
        raise UserError("an action is not finite; give numbers to the world model")
    translation = np.clip(actions[..., :3] * TRANSLATION, -TRANSLATION_LIMIT, TRANSLATION_LIMIT)
    rotation = np.clip(actions[..., 3:6] * ROTATION, -ROTATION_LIMIT, ROTATION_LIMIT)
    closed = np.clip(actions[..., 6:], -1.0, 1.0)
    base = np.zeros((*actions.shape[:-1], 3), np.float32)
    return np.concatenate([translation, rotation, closed, base], axis=-1).astype(np.float32)
