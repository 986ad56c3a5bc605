"""Small policies of LeRobot's from scratch, and the statistics that they normalise by."""

import json

import numpy as np

from policy_extraction.adapters.lerobot_policy import load_policy, new_config, read_statistics
from policy_extraction.types import PolicySpec, Training

SPEC = PolicySpec(
    cameras=("workspace", "wrist"), image_size=32, proprio_dim=3, action_dim=2, action_horizon=8
)
TINY = {
    "act": {
        "pretrained_backbone_weights": None,
        "dim_model": 16,
        "n_heads": 2,
        "dim_feedforward": 16,
        "n_encoder_layers": 1,
        "n_vae_encoder_layers": 1,
        "latent_dim": 4,
    },
    "diffusion": {
        "pretrained_backbone_weights": None,
        "use_group_norm": True,
        "use_separate_rgb_encoder_per_camera": False,
        "down_dims": [8, 16],
        "n_groups": 4,
        "spatial_softmax_num_keypoints": 4,
        "diffusion_step_embed_dim": 8,
        "num_inference_steps": 4,
    },
}


def write_statistics(folder):
    """A data set's statistics, no two numbers alike: states around 5, actions from −1 to 1."""
    state = {
        "mean": [5.0, 6.0, 7.0],
        "std": [2.0, 3.0, 4.0],
        "min": [0.0, 1.0, 2.0],
        "max": [10.0, 11.0, 12.0],
    }
    action = {"mean": [0.1, -0.1], "std": [0.5, 0.4], "min": [-1.0, -1.0], "max": [1.0, 1.0]}
    picture = {"mean": 0.4, "std": 0.2, "min": 0.0, "max": 1.0}
    pictures = {name: [[[value]]] * 3 for name, value in picture.items()}
    stats = {"observation.state": state, "action": action}
    stats |= {f"observation.images.{camera}": pictures for camera in SPEC.cameras}
    (folder / "meta").mkdir(parents=True, exist_ok=True)
    (folder / "meta" / "stats.json").write_text(json.dumps(stats))
    return folder


def small_policy(kind, folder, seed=0, **training):
    """A tiny one from scratch."""
    config = new_config(kind, SPEC, TINY[kind])
    statistics = read_statistics(write_statistics(folder))
    return load_policy(config, None, statistics, {}, Training(warmup=1, **training), seed)


def batch_of(policy, observation, rows, seed=0):
    """A batch [B] of random chunks for these observations."""
    rng = np.random.default_rng(seed)
    shape = (rows, policy.spec.action_horizon, policy.spec.action_dim)
    return {
        "observation": policy.preprocess(observation),
        "action": rng.uniform(-1, 1, shape).astype(np.float32),
        "advantage": rng.normal(size=rows).astype(np.float32),
        "weight": np.ones(rows, np.float32),
    }
