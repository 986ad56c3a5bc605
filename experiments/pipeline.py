"""One experiment, stage by stage: data -> critic -> labels -> samples -> policy -> success."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.choices.critics import SidecarChoice
from experiments.choices.policies import PluginPolicy
from experiments.lab.artifacts import Artifact, Artifacts, digest
from experiments.lab.context import Context
from experiments.lab.simulators import Simulators
from experiments.lab.tracking import Tracker
from experiments.settings.config import RunConfig
from experiments.settings.plugins import source_digest
from experiments.stages.critic import CriticSource, get_critic, make_judge
from experiments.stages.data import Data, get_data
from experiments.stages.evaluate import Evaluation, Trial, evaluate, film
from experiments.stages.extract import extract, read_history
from experiments.stages.inputs import make_inputs
from experiments.stages.label import Labels, critic_metrics, label
from experiments.stages.online import FRAME_EVERY, extract_online, judge_success
from policy_extraction.acting import ActingPolicy
from policy_extraction.check import check_method, check_policy
from policy_extraction.dataset import Dataset, build_dataset
from policy_extraction.methods.bc import BC
from policy_extraction.types import Policy, PromptedMethod, online_rollouts

CONTROL_RATE = 20.0  # control steps a second


@dataclass(frozen=True)
class Labelled:
    """The offline part of an experiment: data, values and what the method made of them."""

    data: Data
    labels: Labels
    samples: Dataset
    selected: Dataset


@dataclass(frozen=True)
class Outcome:
    """All that an experiment found; `labelled` is None for methods that learn from rollouts alone."""

    labelled: Labelled | None
    critic_metrics: Mapping[str, Any] | None
    before: Evaluation | None
    after: Evaluation
    videos: Path | None
    history: list[dict[str, Any]]
    seconds: float


def run_experiment(config: RunConfig, tracker: Tracker, simulators: Simulators) -> Outcome:
    """Do or reuse every stage of an experiment, whose settings are `resolved`."""
    began = time.monotonic()
    artifacts = Artifacts(Path(config.outputs) / "artifacts")
    experiment = _Experiment(config, Context(artifacts, tracker, simulators))
    experiment.check_parts()
    online = online_rollouts(config.method)
    labelled = experiment.labelled() if online is None else None
    trained = experiment.train(labelled) if labelled else experiment.train_online()
    metrics = experiment.measure_critic() if labelled or (online and online.reward == "critic") else None
    before = experiment.before()
    after, videos = experiment.after(trained)
    return Outcome(
        labelled=labelled,
        critic_metrics=metrics,
        before=before,
        after=after,
        videos=videos,
        history=read_history(trained.folder),
        seconds=time.monotonic() - began,
    )


class _Experiment:
    """The stages of one configuration, in the order in which they are called."""

    def __init__(self, config: RunConfig, context: Context) -> None:
        self.config, self.context, self.artifacts = config, context, context.artifacts
        self._critic: CriticSource | None = None

    def check_parts(self) -> None:
        """Try parts from outside before any long work.

        Raises:
            UserError: one of them is not what it has to be.
        """
        if source_digest(type(self.config.method)):
            check_method(self.config.method)
        if isinstance(self.config.policy, PluginPolicy):
            check_policy(self.policy())

    def policy(self) -> Policy:
        """The policy before training."""
        return self.config.policy.make(self.config.train, self.config.seed)

    def origin(self) -> dict[str, str]:
        """Digests of what every training starts from."""
        return {
            "policy": self.config.policy.origin(),
            "method": source_digest(type(self.config.method)),
        }

    def critic(self) -> CriticSource:
        """The critic, made once."""
        if self._critic is None:
            self._critic = get_critic(
                self.artifacts, self.config.task, self.config.critic, self.context.tracker
            )
        return self._critic

    def labelled(self) -> Labelled:
        """The data, the critic's values, and the samples that the method makes of them."""
        config = self.config
        data = get_data(self.artifacts, config.task, config.data)
        source = None if isinstance(config.critic, SidecarChoice) else self.critic()
        labels = label(self.artifacts, data, config.critic, source)
        horizon = config.policy.shape().action_horizon
        samples = build_dataset(data.numbers(), labels.values, config.advantage, horizon)
        return Labelled(data, labels, samples, config.method.select(samples))

    def train(self, labelled: Labelled) -> Artifact:
        """Offline extraction."""
        config, selected = self.config, labelled.selected
        _, arrays = make_inputs(
            self.artifacts, labelled.data, selected, self.policy, self._reader(), config.batch.variants
        )
        samples = {"data": labelled.data.digest}
        if type(config.method) is not BC:  # cloning looks at no value: it is trained once for all critics
            advantage = digest([config.advantage, source_digest(type(config.advantage))])
            samples |= {"labels": labelled.labels.digest, "advantage": advantage}
        return extract(
            self.artifacts,
            config.method,
            config.train,
            config.batch,
            config.seed,
            self.origin() | samples,
            self.policy,
            selected,
            arrays,
            self.context.tracker,
        )

    def train_online(self) -> Artifact:
        """Extraction from rollouts."""
        config, online = self.config, online_rollouts(self.config.method)
        assert online is not None
        judge, judged = judge_success, {}
        if online.reward == "critic":
            judge = make_judge(self.critic(), config.task, CONTROL_RATE / FRAME_EVERY)
            judged = {"critic": self.critic().digest}
        return extract_online(
            self.context,
            config.task,
            config.method,
            online,
            config.train,
            config.evaluate,
            config.batch.size,
            config.seed,
            self.origin() | judged,
            self.policy,
            judge,
        )

    def measure_critic(self) -> Mapping[str, Any] | None:
        """How good the critic is on episodes that nothing was trained on; None for values from a file."""
        if isinstance(self.config.critic, SidecarChoice):
            return None
        return critic_metrics(self.artifacts, self.config.task, self.config.held_out, self.critic())

    def before(self) -> Evaluation | None:
        """Success of the policy before training; None where there was nothing but random weights."""
        if not self.config.policy.pretrained:
            return None
        inputs = {"policy": self.config.policy.origin()}
        trial = self._trial({}, inputs, lambda: ActingPolicy(self.policy(), BC()))
        return evaluate(self.context, trial, "before")

    def after(self, trained: Artifact) -> tuple[Evaluation, Path | None]:
        """Success of the trained policy, under its method's prompt, and the folder of its films."""

        def actor() -> ActingPolicy:
            policy = self.policy()
            policy.restore(trained.folder / "policy")
            return ActingPolicy(policy, self.config.method)

        method = self.config.method
        acting = {"method": method} if isinstance(method, PromptedMethod) else {}
        trial = self._trial(acting, {"policy": trained.digest}, actor)
        return evaluate(self.context, trial, "after"), film(self.context, trial)

    def _trial(
        self, acting: Mapping[str, object], inputs: Mapping[str, str], actor: Callable[[], ActingPolicy]
    ) -> Trial:
        config = self.config
        return Trial(config.task, config.evaluate, config.seed, acting, inputs, actor)

    def _reader(self) -> str:
        """Digest of all that the policy's preprocess depends on; random weights depend on the seed too."""
        origin = self.config.policy.origin()
        return origin if self.config.policy.pretrained else f"{origin}-{self.config.seed}"
