"""Training a world value model at the published scale: Wan2.2-TI2V-5B's weights, a fresh value stream, encoded clips.

    store = encode_clips([open_store(data)], weights, config, clips_folder)     once, see `wan_encode`
    critic = train_wan(store, weights, config, folder)                          on all devices there are
    critic.label(open_store(other_data))

Published (arXiv 2606.24742): PRESETS["wan2_2_ti2v_5b"], 30,000 updates of 1,024 clips in bfloat16.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from envs.errors import UserError
from value_model.critic.config import WVMConfig
from value_model.critic.network import Clip
from value_model.critic.train import train_network
from value_model.critic.wan.clip_store import ClipStore
from value_model.critic.wan.critic import WanCritic, load_wan_critic, saved_wan_network
from value_model.critic.wan.encode import encoding_settings
from value_model.critic.wan.network import load_wan_network
from value_model.video.loop import HostBatches, Progress
from value_model.video.recipe import claim
from value_model.video.sharding import device_mesh, parameter_sharding


def train_wan(
    clips: ClipStore,
    weights: Path,
    config: WVMConfig,
    folder: Path,
    seed: int = 0,
    progress: Progress | None = None,
    device: str | None = None,
    start: Path | None = None,
) -> WanCritic:
    """Train on encoded clips. A killed run resumes from its last checkpoint, on any number of devices.

    Args:
        clips: what `wan_encode.encode_clips` made with these weights and this configuration.
        weights: folder of a diffusers pipeline: transformer, vae, text_encoder and tokenizer.
        folder: gets the checkpoints and, at the end, the model. If it holds the finished model already, that is returned.
        seed: of the value stream, the batches and the noise.
        progress: called after every update, see `loop.Progress`.
        device: of the encoders of the critic that is returned, for torch.
        start: the folder of a critic trained with these encoders to go on from; `config` is `continued` from its own.

    Raises:
        UserError: the clips are of other encoders or settings; the transformer is of another shape; the folder belongs
            to another run; a loss is not finite.
    """
    found, wanted = clips.run["settings"], encoding_settings(config, weights)
    different = [name for name in wanted if found.get(name) != wanted[name]]
    if different:
        name = different[0]
        raise UserError(
            f"the clips in {clips.folder} were encoded with {name}={found.get(name)}, not {wanted[name]}; "
            "encode them again or change the configuration"
        )
    run = {"seed": seed, "config": dataclasses.asdict(config), "clips": clips.run}
    claim(folder, run | ({"start": True} if start else {}))
    mesh = device_mesh()
    sharding = None if mesh is None else parameter_sharding(mesh)
    if (folder / "config.json").is_file():
        return load_wan_critic(folder, weights, sharding, device)
    if start is None:
        network = load_wan_network(weights, config, seed, sharding)
    else:
        network = saved_wan_network(start, config, sharding)

    size = config.optim.batch

    def read(number: int, rows: slice) -> Clip:
        return clips.batch(number, size, seed, rows)

    batches = HostBatches(read, size)
    network = train_network(network, batches, 1, folder / "network", seed, progress, mesh)
    critic = WanCritic(config, network, weights, device)
    critic.save(folder)
    return critic
