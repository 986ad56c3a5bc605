"""A world model of random weights, which begins where real episodes of Lift begin."""

from __future__ import annotations

from pathlib import Path

from flax import nnx

from envs.store import open_store
from experiments.lab.artifacts import Artifacts
from experiments.settings.config import TaskConfig
from experiments.stages.data import collect_data
from value_model.imagination.clips import encode_frames
from value_model.imagination.config import HandConfig, ImaginationConfig, UnrollConfig
from value_model.imagination.regression import Regression
from value_model.imagination.starts import draw_starts
from value_model.imagination.success import Solved
from value_model.imagination.world_model import WorldModel
from value_model.video.config import TokenizerConfig, VideoConfig
from value_model.video.encoder import FrameEncoder
from value_model.video.tokenizer import Tokenizer

SMALL = ImaginationConfig(
    tokenizer=TokenizerConfig(width=8, channels=4),
    video=VideoConfig(
        layers=1, width=32, heads=2, feedforward=32, patch=(1, 4, 4), text_width=8, time_width=8
    ),
    hand=HandConfig(width=16, layers=1),
    unroll=UnrollConfig(steps=2),
)


def write_world(folder: Path) -> None:
    """The world model in `folder/world`, and its two episodes among `folder/artifacts`."""
    data = collect_data(Artifacts(folder / "artifacts"), TaskConfig("lift"), {"clean": 2}, "world_model", 0)
    rngs = nnx.Rngs(0)
    tokenizer = Tokenizer(SMALL.tokenizer, rngs=rngs)
    frames, told = encode_frames(FrameEncoder(SMALL, 20.0, tokenizer), open_store(data.folder), SMALL)
    dynamics, solved = Regression(SMALL, rngs=rngs), Solved(SMALL, rngs=rngs)
    world = WorldModel(SMALL, tokenizer, dynamics, solved, {"f1": 1.0}, draw_starts(frames, told, 0))
    world.save(folder / "world")
