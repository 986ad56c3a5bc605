"""Small policies of LeRobot's from scratch, and the statistics that they normalise by."""

import json

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    PreTrainedTokenizerFast,
    SmolVLMConfig,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
    SmolVLMVideoProcessor,
)

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
    "smolvla": {
        "num_vlm_layers": 2,
        "resize_imgs_with_padding": (32, 32),
        "num_steps": 2,
        "max_state_dim": 4,
        "max_action_dim": 4,
    },
}
SPECIAL = ("<unk>", "<pad>", "<fake_token_around_image>", "<image>", "<global-img>", "<end_of_utterance>")


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


def write_vlm(folder):
    """A SmolVLM of two layers without weights, with a tokenizer that reads letters: what a SmolVLA is built on."""
    letters = [*SPECIAL, *map(chr, range(32, 127)), "\n"]
    tokenizer = Tokenizer(models.WordLevel({letter: at for at, letter in enumerate(letters)}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    named = ("fake_image_token", "image_token", "global_image_token", "end_of_utterance_token")
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        pad_token="<pad>",
        eos_token="<end_of_utterance>",
        extra_special_tokens=dict(zip(named, SPECIAL[2:], strict=True)),
    )
    parts = SmolVLMImageProcessor(), fast, SmolVLMVideoProcessor()
    SmolVLMProcessor(*parts, image_seq_len=4).save_pretrained(folder)
    both = {"num_attention_heads": 2}
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "image_size": 32} | both
    text = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 16} | both
    text |= {"model_type": "llama", "num_key_value_heads": 1, "vocab_size": len(letters)}
    config = SmolVLMConfig(
        vision_config=vision | {"patch_size": 8},
        text_config=text,
        scale_factor=2,
        image_token_id=SPECIAL.index("<image>"),
    )
    config.save_pretrained(folder)
    return folder


def tiny(kind, folder):
    """The settings of a tiny one, and what it is built on."""
    return TINY[kind] | ({"vlm_model_name": str(write_vlm(folder / "vlm"))} if kind == "smolvla" else {})


def small_policy(kind, folder, seed=0, **training):
    """A tiny one from scratch."""
    config = new_config(kind, SPEC, tiny(kind, folder))
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
