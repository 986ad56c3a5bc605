"""The choices of `reward=` that look at pictures by themselves: a vision-language model, and a success classifier."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from envs.contract import EnvSpec
from envs.errors import UserError
from envs.rollout import Rollout
from experiments.choices.judges import JudgeSource, JudgeWorkshop, Learned, require_pictures
from experiments.lab.artifacts import digest, file_digest
from experiments.settings.config import require
from value_model.chat.client import ConnectionConfig, check_installed
from value_model.success.classifier import (
    ClassifierConfig,
    SuccessClassifier,
    load_classifier,
    side_by_side,
)
from value_model.success.question import VERSION as PROMPT
from value_model.success.rule import attempt_score
from value_model.success.vlm import VLMConfig, VLMJudge

FOLDER, QUALITY = "classifier", "threshold.json"  # of a trained classifier


@dataclass(frozen=True)
class VLMReward:
    """A vision-language model's verdict on the pictures of a rollout: 1 or 0, the majority of several votes."""

    vlm: VLMConfig = field(default_factory=VLMConfig)
    connection: ConnectionConfig = field(default_factory=ConnectionConfig)
    film: int = 4  # control steps between the pictures; one in vlm.every of them is shown
    camera: str = ""  # which it sees; empty: the environment's first
    answers: str = "outputs/vlm_verdicts"  # votes are kept here and never asked for again

    asks_critic = False

    def __post_init__(self) -> None:
        require(self.film >= 1, f"reward.film={self.film} must be at least 1")

    def check(self) -> None:
        """See `RewardChoice`.

        Raises:
            UserError: no model is named, or the client is not installed.
        """
        require(
            bool(self.vlm.model),
            "reward=vlm needs a model: reward.vlm.model=… and, unless it is OpenAI's, reward.vlm.base_url=http://…/v1",
        )
        check_installed()

    def source(self, workshop: JudgeWorkshop) -> JudgeSource:
        """See `RewardChoice`; rollouts without a verdict are reported on stderr."""
        self.check()
        require_pictures("vlm", workshop.spec)
        camera = self.camera or next(iter(workshop.spec.cameras))
        require_camera(camera, workshop.spec)
        settings = {"reward": "vlm", "prompt": PROMPT, "vlm": self.vlm, "film": self.film, "camera": camera}

        def load() -> VLMRewardJudge:
            model = VLMJudge(
                self.vlm,
                Path(self.answers),
                self.connection,
                lambda line: print(f"  {line}", file=sys.stderr),
            )
            return VLMRewardJudge(model, self.film, camera)

        return JudgeSource(load, settings)


@dataclass(frozen=True)
class VLMRewardJudge:
    """A `Judge`: a vision-language model that sees one camera."""

    model: VLMJudge
    film: int
    camera: str

    @property
    def cost(self) -> Mapping[str, int]:
        """See `Costly`."""
        return self.model.cost

    def rewards(self, rollouts: Sequence[Rollout]) -> np.ndarray:
        """See `Judge`."""
        return self.model.verdicts([(r.filmed.images[self.camera], told(r)) for r in rollouts])


@dataclass(frozen=True)
class ClassifierReward:
    """A classifier of pictures, trained on real outcomes: 1 where some picture looks like success and it stays so.

    A rollout is solved at the first picture, `minimum` control steps or more after its start, whose probability and that
    of the next `hold` pictures reach the threshold; a success at the very end needs no picture after it. The threshold is
    the one with the best F1 on a third of the rollouts, on which nothing was trained.
    """

    rollouts: int = 96  # of the policy before training, where success is measured
    data: tuple[
        str, ...
    ] = ()  # folders of LeRobot v3 data sets to learn from as well, where outcomes are known
    path: str = ""  # the folder of a trained one (its stage's artifact); empty: one is trained
    film: int = 4  # control steps between the pictures
    minimum: int = 8  # control steps before which success does not count
    hold: int = 1  # following pictures that must show it too
    linger: int = 8  # control steps that the rollouts it learns from go on after success
    network: ClassifierConfig = field(default_factory=ClassifierConfig)

    asks_critic = False

    def __post_init__(self) -> None:
        for name, least in (("rollouts", 6), ("film", 1), ("minimum", 0), ("hold", 0), ("linger", 0)):
            value = getattr(self, name)
            require(value >= least, f"reward.{name}={value} must be at least {least}")

    def check(self) -> None:
        """See `RewardChoice`: a trained one is there."""
        if self.path:
            read_quality(Path(self.path))

    def source(self, workshop: JudgeWorkshop) -> JudgeSource:
        """See `RewardChoice`."""
        require_pictures("classifier", workshop.spec)
        learned = self._at_hand() if self.path else workshop.classifier(self)
        quality = read_quality(learned.folder)
        settings = {"reward": "classifier", "film": self.film, "minimum": self.minimum, "hold": self.hold}

        def load() -> ClassifierJudge:
            classifier = load_classifier(learned.folder / FOLDER)
            for camera in classifier.config.cameras:
                require_camera(camera, workshop.spec)
            return ClassifierJudge(self, classifier, quality["threshold"])

        return JudgeSource(
            load, settings, {"classifier": digest([learned.digest, quality["threshold"]])}, quality
        )

    def _at_hand(self) -> Learned:
        folder = Path(self.path)
        return Learned(folder, file_digest(folder / FOLDER))


@dataclass(frozen=True)
class ClassifierJudge:
    """A `Judge`: a success classifier, and the threshold from which on an attempt counts as solved."""

    reward: ClassifierReward
    classifier: SuccessClassifier
    threshold: float

    @property
    def film(self) -> int:
        """See `Judge`."""
        return self.reward.film

    def values(self, rollouts: Sequence[Rollout]) -> np.ndarray:
        """See `Graded`: the score of each, see `attempt_score`."""
        films = [rollout.filmed for rollout in rollouts]
        shown = [side_by_side(film.images, self.classifier.config) for film in films]
        probability = self.classifier.probabilities(np.concatenate(shown))
        parts = np.split(probability, np.cumsum([len(film) for film in films])[:-1])
        minimum, hold = self.reward.minimum, self.reward.hold
        scores = [
            attempt_score(part, film.step, minimum, hold) for part, film in zip(parts, films, strict=True)
        ]
        return np.array(scores, np.float32)

    def rewards(self, rollouts: Sequence[Rollout]) -> np.ndarray:
        """See `Judge`."""
        return (self.values(rollouts) >= self.threshold).astype(np.float32)


def read_quality(folder: Path) -> Mapping[str, float]:
    """The threshold of a trained classifier, and how good its verdicts were: f1, precision, recall, rollouts.

    Raises:
        UserError: it is not the folder of one.
    """
    try:
        return {name: float(value) for name, value in json.loads((folder / QUALITY).read_text()).items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"no success classifier in {folder} ({QUALITY} cannot be read); give reward.path the folder of its stage"
        ) from error


def require_camera(camera: str, spec: EnvSpec) -> None:
    """Raise a `UserError` where the environment lacks a camera that a judge sees."""
    shown = ", ".join(spec.cameras) or "none"
    require(camera in spec.cameras, f"the judge sees the camera {camera!r}, the environment shows {shown}")


def told(rollout: Rollout) -> str:
    """The instruction that the policy was told."""
    return rollout.recorded.observation.instruction[0]
