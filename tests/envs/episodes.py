"""Small invented episodes."""

import numpy as np

from envs.types import Episode, Segment


def make_episode(seed=0, length=12, height=16, width=16, cameras=("workspace", "wrist"), **changes):
    """An episode whose every pixel and number is random."""
    random = np.random.default_rng(seed)
    fields = {
        "images": {name: random.integers(0, 256, (length, height, width, 3), np.uint8) for name in cameras},
        "proprio": random.normal(size=(length, 8)).astype(np.float32),
        "actions": random.uniform(-1, 1, (length, 7)).astype(np.float32),
        "rewards": np.eye(length, dtype=np.float32)[-1],
        "environment_state": random.normal(size=(length, 8)).astype(np.float32),
        "success": True,
        "task": "stack",
        "instruction": f"stack the cubes, way {seed % 2}",
        "robot": "Panda",
        "seed": seed,
        "fps": 20.0,
        "style": "retry",
        "segments": (Segment("retry", 3, 9), Segment("hesitation", 10, 11)),
    }
    return Episode(**{**fields, **changes})


def assert_same(found, expected):
    """Every field of two episodes is equal, arrays bit by bit."""
    for name in expected.__dataclass_fields__:
        ours, theirs = getattr(found, name), getattr(expected, name)
        if name == "images":
            assert ours.keys() == theirs.keys()
            for camera in theirs:
                np.testing.assert_array_equal(ours[camera], theirs[camera])
        elif isinstance(theirs, np.ndarray):
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(ours, theirs)
        else:
            assert ours == theirs, name
