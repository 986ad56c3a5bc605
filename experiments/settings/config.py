"""The schema of every command's configuration: frozen dataclasses, whose fields are the settings.

A field of type Any is a Hydra group; its choices are stored in `experiments.choices.groups`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from envs.errors import UserError, check_choice
from envs.fields import later
from envs.robosuite.tasks import ROBOTS
from envs.store import Reading
from envs.types import STYLES
from experiments.lab.seeds import first_seed
from policy_extraction.types import Training


def require(condition: bool, message: str) -> None:
    """Raise a `UserError` with `message` unless `condition` holds."""
    if not condition:
        raise UserError(message)


@dataclass(frozen=True)
class TaskConfig:
    """What the robot shall do, with which arm, and what it sees."""

    name: str = MISSING
    robot: str = "Panda"
    image_size: int = 64  # pixels, square; cameras are "workspace" and "wrist"

    def __post_init__(self) -> None:
        check_choice("robot", self.robot, ROBOTS)
        require(32 <= self.image_size <= 512, f"task.image_size={self.image_size} must be between 32 and 512")


@dataclass(frozen=True)
class MixtureData:
    """Demonstrations by the scripted experts: how many episodes of each style."""

    clean: int = 40
    noisy: int = 0
    slow: int = 0
    hesitation: int = 40
    retry: int = 40
    detour: int = 40
    failure: int = 40
    seed: int = 0

    def __post_init__(self) -> None:
        require(min(self.styles.values(), default=1) > 0, "data: numbers of episodes must not be negative")
        require(bool(self.styles), "data: at least one style must have episodes, for instance data.clean=40")

    @property
    def styles(self) -> dict[str, int]:
        """{style: number of episodes} of the styles that occur."""
        return {style: getattr(self, style) for style in STYLES if getattr(self, style)}


@dataclass(frozen=True)
class StoreData:
    """A LeRobot data set of the user's own, v3.0 or v2.x; where names differ from ours, which of its are meant."""

    path: Any = ""  # its folder; to train a critic, also several: [A,B]
    cameras: dict[str, str] = field(default_factory=dict)  # data.cameras.workspace=front: what is front there
    action: str = ""  # its feature of the actions; empty: action
    state: str = ""  # its feature of the robot's state; empty: observation.state
    success: str = ""  # its feature that marks solved frames; empty: next.success
    assume_success: bool = False  # episodes solved their task if nothing says how they ended
    outcomes: str = ""  # a CSV or parquet of one's own: episode, success, style, start, end
    instruction: str = ""  # what the robot was told; empty: as recorded
    masks: tuple[str, ...] = ()  # of its subsets, the only ones that are read, such as [better]; empty: all
    episodes: tuple[int, ...] = ()  # the only ones that are read; empty: all
    exclude: tuple[int, ...] = ()  # episodes that are left out

    def __post_init__(self) -> None:
        folders = [self.path] if isinstance(self.path, str) else self.path
        require(
            isinstance(folders, tuple | list)
            and bool(folders)
            and all(isinstance(one, str) and one for one in folders),
            "data=store needs the folder of a LeRobot data set: data.path=/path/to/it",
        )

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders of `path`."""
        return tuple(Path(one) for one in ([self.path] if isinstance(self.path, str) else self.path))

    @property
    def folder(self) -> Path:
        """The only folder of `path`.

        Raises:
            UserError: there are several.
        """
        require(len(self.folders) == 1, f"data.path names {len(self.folders)} folders; here it takes one")
        return self.folders[0]

    @property
    def reading(self) -> Reading:
        """How its folder is read."""
        return Reading(
            cameras=self.cameras,
            action=self.action,
            state=self.state,
            success=self.success,
            assume_success=self.assume_success,
            masks=self.masks,
            episodes=self.episodes,
            exclude=self.exclude,
            outcomes=self.outcomes,
            instruction=self.instruction,
        )


@dataclass(frozen=True)
class RolloutData:
    """A policy's own rollouts in the environment of `env=`, with other data sets or alone.

    Or, with `actions`, what was done in episodes of data sets, each in the scene of another; the solved ones first.
    """

    policy: str = ""  # a run's folder, or its policy's; empty: `policy=` before training
    episodes: int = 100
    temperature: float = 1.0  # of action tokens
    actions: tuple[str, ...] = ()  # folders of data sets whose actions are done; none: the policy acts
    linger: int = 5  # control steps that an episode goes on after success, so that the data show it done
    also: tuple[str, ...] = ()  # folders of LeRobot v3 data sets, which come first
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.episodes >= 1, f"data.episodes={self.episodes} must be at least 1")
        require(self.linger >= 0, f"data.linger={self.linger} must not be negative")
        require(self.temperature > 0, f"data.temperature={self.temperature} must be positive")
        require(
            not (self.policy and self.actions),
            "data.policy acts, and with data.actions nobody does: leave one of them out",
        )
        first_seed("own_rollouts", self.seed)


@dataclass(frozen=True)
class HeldOutConfig:
    """Episodes that only measure the critic; their seeds are used for nothing else."""

    clean: int = 10
    hesitation: int = 10
    retry: int = 10

    def __post_init__(self) -> None:
        smallest = min(self.clean, self.hesitation, self.retry)
        require(smallest >= 1, "held_out: each style needs at least one episode")

    @property
    def styles(self) -> dict[str, int]:
        """{style: number of episodes}."""
        return {"clean": self.clean, "hesitation": self.hesitation, "retry": self.retry}


@dataclass(frozen=True)
class BatchConfig:
    """How the training meets the data."""

    size: int = 256  # action chunks in a batch
    variants: int = (
        4  # copies of every picture, each shifted by up to 3 pixels, that a frozen encoder reads once
    )
    dispatch: int = 50  # updates in one call of the device
    checkpoint_seconds: float = 20.0  # a killed run loses about this much work

    def __post_init__(self) -> None:
        for name in ("size", "variants", "dispatch"):
            require(getattr(self, name) >= 1, f"batch.{name}={getattr(self, name)} must be at least 1")
        require(self.checkpoint_seconds >= 0, "batch.checkpoint_seconds must not be negative")


@dataclass(frozen=True)
class EvaluateConfig:
    """How success is measured."""

    episodes: int = 50
    horizon: int = 0  # control steps (20 a second); 0: the task's own
    stretch: float = 1.0  # roll on to this multiple of the horizon: who gets there late?
    execute: int = 8  # actions of every chunk that are executed before the policy looks again
    temperature: float = 1.0  # of action tokens; below 1 a policy is sharper than it was trained
    workers: int = 0  # simulator processes; 0: one per core
    videos: int = 2  # episodes to keep as a film
    stop: bool = later(
        True
    )  # an episode ends where it is solved; else at the horizon, and counts if it is solved then
    scene: int = later(
        -1
    )  # the test scene in which all episodes begin; -1: each begins in a scene of its own

    def __post_init__(self) -> None:
        require(self.temperature > 0, f"evaluate.temperature={self.temperature} must be positive")
        require(self.episodes >= 1, f"evaluate.episodes={self.episodes} must be at least 1")
        require(
            self.horizon >= 0, f"evaluate.horizon={self.horizon} must be positive, or 0 for the task's own"
        )
        require(self.stretch >= 1, f"evaluate.stretch={self.stretch} must be at least 1")
        require(self.execute >= 1, f"evaluate.execute={self.execute} must be at least 1")
        require(self.workers >= 0, f"evaluate.workers={self.workers} must not be negative")
        require(self.videos >= 0, f"evaluate.videos={self.videos} must not be negative")
        require(
            self.scene >= -1, f"evaluate.scene={self.scene} must be 0 or more, or -1 for a scene an episode"
        )


@dataclass(frozen=True)
class WandbConfig:
    """Weights & Biases. `auto`: online if this machine is logged in, else offline."""

    mode: str = "auto"
    project: str = "policy-extraction"

    def __post_init__(self) -> None:
        modes = ("auto", "online", "offline", "disabled")
        require(self.mode in modes, f"wandb.mode={self.mode} must be one of {', '.join(modes)}")


@dataclass(frozen=True)
class RunConfig:
    """One experiment: task, environment, data, critic, advantages, method, reward, policy, evaluation."""

    task: Any = MISSING
    env: Any = MISSING  # where online methods and `data=rollouts` act
    evaluate_env: Any = MISSING  # where success is measured
    data: Any = MISSING
    critic: Any = MISSING
    advantage: Any = MISSING
    method: Any = MISSING
    reward: Any = MISSING  # of online methods' rollouts
    policy: Any = MISSING
    begin: str = later(
        ""
    )  # folder of a run, or of its policy, which training goes on from; empty: `policy=` as it is
    held_out: HeldOutConfig = field(default_factory=HeldOutConfig)
    train: Training = field(default_factory=lambda: Training(learning_rate=0.0))  # 0: as the method needs it
    batch: BatchConfig = field(default_factory=BatchConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    wandb: WandbConfig = field(default_factory=WandbConfig)
    branch_check: int = 16  # states from which short imagined branches are tried before they teach; 0: none
    seed: int = 0  # of the training and of the evaluation; the data have their own (data.seed)
    name: str = ""  # of the run's folder; empty: made from the choices
    outputs: str = "outputs"

    def __post_init__(self) -> None:
        first_seed("evaluation", self.seed)
        require(self.train.updates >= 1, f"train.updates={self.train.updates} must be at least 1")
        require(
            self.train.learning_rate >= 0,
            f"train.learning_rate={self.train.learning_rate} must not be negative",
        )
        require(self.branch_check >= 0, f"branch_check={self.branch_check} must not be negative")
        require(not set(self.name) & set("/\\"), f"name={self.name!r} is the name of a folder: no slashes")
