"""From frames to latents: what a trained model, critic or simulator, sees of a video."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from flax import nnx
from jax.sharding import Mesh

from envs.errors import UserError
from envs.text import word_ids
from envs.types import Episode
from value_model.video.config import VideoModelConfig
from value_model.video.follow import Follower
from value_model.video.frames import check_frames, episode_frames, resize, watch
from value_model.video.sharding import place_batch, replicate
from value_model.video.tokenizer import Tokenizer

ENCODE_BATCH = 128


class FrameEncoder:
    """The tokenizer, as it is at each call, at the configured cameras and picture size, and at `fps` frames a second."""

    def __init__(
        self, config: VideoModelConfig, fps: float, tokenizer: Tokenizer, mesh: Mesh | None = None
    ) -> None:
        self.config = config
        self.fps = fps
        self._mesh = mesh
        self._computed = Follower(tokenizer, lambda state: replicate(state, mesh))  # whole on every device
        self._encode = nnx.jit(lambda tokenizer, views: tokenizer.encode(views))

    def encode(self, frames: np.ndarray) -> np.ndarray:
        """Latents float32 [T, h, w, C] of frames uint8 [T, size, size · cameras, 3]; the views' latents side by side."""
        count = len(self.config.cameras)
        views = np.concatenate(np.split(frames, count, axis=2))
        parts, tokenizer = [], self._computed()
        for start in range(0, len(views), ENCODE_BATCH):
            part = views[start : start + ENCODE_BATCH]
            padded = np.concatenate([part, np.zeros((ENCODE_BATCH - len(part), *part.shape[1:]), np.uint8)])
            placed = place_batch(padded, self._mesh)
            parts.append(np.asarray(self._encode(tokenizer, placed))[: len(part)])
        return np.concatenate(np.split(np.concatenate(parts), count), axis=2)

    def stream(self, videos: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """`encode` of each video, in order; a batch holds frames of several, and only a few videos are held at a time."""
        batch = max(1, ENCODE_BATCH // len(self.config.cameras))
        lengths: deque[int] = deque()
        waiting: list[np.ndarray] = []
        known: list[np.ndarray] = []  # a latent each, of videos that are not given yet
        for video in videos:
            lengths.append(len(video))
            waiting.append(video)
            count = sum(map(len, waiting))
            if count >= batch:
                frames = np.concatenate(waiting)
                whole = count - count % batch
                known += list(self.encode(frames[:whole]))
                waiting = [frames[whole:]]
            while lengths and lengths[0] <= len(known):
                length = lengths.popleft()
                yield np.stack(known[:length])
                known = known[length:]
        if lengths:
            known += list(self.encode(np.concatenate(waiting)))
        for length in lengths:
            yield np.stack(known[:length])
            known = known[length:]

    def episodes(self, episodes: Iterable[Episode]) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
        """Of each episode, in order: its latents [T, h, w, C], its instruction's word ids, and its frames to a step."""
        told: deque[tuple[np.ndarray, int]] = deque()

        def shown() -> Iterator[np.ndarray]:
            for episode in watch(episodes, self.config.cameras):
                told.append((word_ids(episode.instruction), self.stride(episode.fps)))
                yield episode_frames(episode, self.config.cameras, self.config.tokenizer.image_size)

        for latents in self.stream(shown()):
            yield latents, *told.popleft()

    def encode_videos(self, videos: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Latents of videos uint8 [T, H, W · cameras, 3], the cameras side by side; resized if need be.

        Raises:
            UserError: frames of a wrong type or shape.
        """
        size, count = self.config.tokenizer.image_size, len(self.config.cameras)
        for video in videos:
            check_frames(video)
            if count > 1 and video.shape[2] != count * video.shape[1]:
                raise UserError(
                    f"the model sees {count} square views side by side ({', '.join(self.config.cameras)}), but a video's "
                    f"frames are {video.shape[1]}×{video.shape[2]}"
                )
        return list(self.stream(resize(video, size, size * count) for video in videos))

    def stride(self, fps: float) -> int:
        """How many frames of a video at `fps` the model steps at a time."""
        if not fps > 0:
            raise UserError(f"fps must be positive, not {fps}")
        return max(1, round(fps / self.fps))
