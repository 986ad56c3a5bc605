"""The stages of an experiment in their order: data -> critic -> labels -> samples -> policy -> success.

    experiment = Experiment(config, Context(artifacts, tracker, simulators))
    trained = experiment.extract(experiment.label(experiment.collect()))      a method that learns from data
    trained = experiment.improve()                                            one that learns without data
    experiment.evaluate(trained)

Rounds are loops over these: `collect(trained)` gives a policy's own rollouts, which may be labelled and learned from.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from envs.contract import EnvSpec
from envs.errors import UserError
from envs.store import Store, open_store
from envs.types import Episode
from experiments.choices.critics import CriticSource, require_sight
from experiments.choices.environments import measured_in
from experiments.choices.imagination import ImaginationChoice
from experiments.choices.imagined_data import ImaginedData
from experiments.choices.judges import JudgeSource
from experiments.choices.no_env import NoEnv
from experiments.choices.policies import PluginPolicy
from experiments.imagined_learning import follow_critic, imagined_data, say_doubt, world_of
from experiments.lab.artifacts import Artifact, Artifacts, digest
from experiments.lab.context import Context
from experiments.lab.hosts import hosts_together
from experiments.lab.simulators import Simulators
from experiments.lab.tracking import Tracker
from experiments.outcome import Labelled, Outcome
from experiments.settings.config import RolloutData, RunConfig, StoreData, require
from experiments.settings.plugins import source_digest
from experiments.stages.acting import Acting, check_fit, say_what_it_sees
from experiments.stages.critic import examples, get_critic
from experiments.stages.data import Data, get_data
from experiments.stages.evaluate import Evaluation, Trial, evaluate, measured, prompt_of
from experiments.stages.extract import extract, read_history
from experiments.stages.film import film
from experiments.stages.fit import check_data, check_recorded
from experiments.stages.follow import require_pathwise
from experiments.stages.held_out import Foretold, HeldOut, measure_held_out
from experiments.stages.improve import Improvement, improve
from experiments.stages.inputs import make_inputs
from experiments.stages.judge import RolloutWorkshop
from experiments.stages.label import critic_metrics, label
from experiments.stages.recorded import (
    Recorded,
    check_offline,
    read_recorded,
    recorded_spec,
    samples_of,
    saved_policy,
)
from experiments.stages.rollouts import folder_of, policy_digest, roll_out_data, trained_policy
from policy_extraction.acting import ActingPolicy
from policy_extraction.check import check_method, check_policy, check_samples
from policy_extraction.dataset import build_dataset
from policy_extraction.methods.bc import BC
from policy_extraction.remote.policy import NOT_TRAINED
from policy_extraction.scaling import SCALING_FILE, ScaledPolicy
from policy_extraction.types import (
    Method,
    Policy,
    PolicySpec,
    PromptedMethod,
    foresight_of,
    learns_from_data,
    online_rollouts,
)


def run_experiment(config: RunConfig, tracker: Tracker, simulators: Simulators) -> Outcome:
    """Do or reuse every stage of an experiment, whose settings are `resolved`."""
    began = time.monotonic()
    experiment = Experiment(
        config, Context(Artifacts(Path(config.outputs) / "artifacts"), tracker, simulators)
    )
    experiment.check()
    labelled, trained = (
        experiment.learn() if learns_from_data(config.method) else (None, experiment.improve())
    )
    acts = experiment.recorded is None
    asked = labelled or experiment.foresight or config.reward.asks_critic
    return Outcome(
        labelled=labelled,
        critic_metrics=experiment.measure_critic() if acts and asked and experiment.simulated else None,
        judge=experiment.judge.calibration if experiment.online else {},
        before=experiment.evaluate() if acts else None,
        after=experiment.evaluate(trained) if acts else None,
        held_out=experiment.foretell(labelled, trained) if labelled else None,
        policy=trained.folder / "policy",
        videos=experiment.film(trained) if acts else None,
        history=read_history(trained.folder),
        seconds=time.monotonic() - began,
    )


class Experiment:
    """The stages of one configuration; each is done when it is asked for, or found done."""

    def __init__(self, config: RunConfig, context: Context) -> None:
        self.config, self.context, self.artifacts = config, context, context.artifacts
        self.online, self.foresight = online_rollouts(config.method), foresight_of(config.method)

    def check(self) -> None:
        """Try what comes from outside, and whether the parts fit, before any long work.

        Raises:
            UserError: one of them is not what it has to be.
        """
        if not self.config.policy.trainable:
            raise UserError(NOT_TRAINED)
        if hosts_together() is not None and not learns_from_data(self.config.method):
            raise UserError(
                "cluster=torchrun is for methods that learn from data; for rollouts there is cluster=ray"
            )
        if isinstance(self.config.env, NoEnv):
            check_offline(self.config)
        else:
            check_fit(self.spec, self.evaluating.spec, self.evaluating.execute)
            say_what_it_sees(self.evaluating, lambda: self._make(self.world))
        if isinstance(self.config.data, StoreData):
            self._check_data()
        if isinstance(self.config.data, ImaginedData) and learns_from_data(self.config.method):
            world = self.config.data.world
            check_fit(self.spec, world.spec(self.config.task), self.config.data.execute)
        if self.online:
            check_fit(self.spec, self.acting.spec, self.acting.execute)
            self.config.reward.check()
        if self.online or isinstance(self.config.data, RolloutData):
            say_what_it_sees(self.acting, lambda: self._make(self.world))
        if self.foresight:
            check_fit(self.spec, self.acting.spec, self.foresight.execute)
            require(
                self._recorded_before is None,
                "a policy of recordings has units of its own, through which no gradient is followed yet; method=grpo goes "
                "on from it (begin=…)",
            )
            require_pathwise(self._make(self.world))
            world_of(self)
        if self.foresight or (self.online and self.config.reward.asks_critic):
            require_sight(self.config.critic, "rollouts")
        if not self.online or self.config.reward.asks_critic:
            self.config.critic.check(self._examples())
        method_outside = source_digest(type(self.config.method))
        policy_outside = isinstance(self.config.policy, PluginPolicy)
        if method_outside or policy_outside:
            policy = self._make(self.world)
            if policy_outside:
                check_policy(policy)
            check_method(self.config.method, policy)

    def _examples(self) -> list[Episode]:
        """Episodes in the shapes of those that the critic will judge."""
        world = self._recorded_world
        return examples(self.config.task, self.config.data) if world is None else world.examples()

    def _check_data(self) -> None:
        config, store = self.config, self._store
        if self.recorded is None:
            check_data(store, self.spec, config.critic, self.evaluating.spec, config.advantage)
        else:
            bounded = config.policy.bounded and config.policy.normalises
            check_recorded(store, self.spec, config.critic, config.advantage, bounded)

    @cached_property
    def recorded(self) -> Recorded | None:
        """The recordings that take the place of an environment; None where there is one."""
        config = self.config
        if not isinstance(config.env, NoEnv):
            return None
        return read_recorded(config.env, self._store, config.policy.normalises)

    @cached_property
    def _store(self) -> Store:
        """The user's data set."""
        data = self.config.data
        return open_store(data.folder, data.reading)

    @cached_property
    def world(self) -> EnvSpec:
        """What the policy is made for: the environment where it acts, or recordings."""
        return self.recorded.spec if self.recorded else self.acting.spec

    @cached_property
    def acting(self) -> Acting:
        """Where the policy acts to learn."""
        config, env = self.config.evaluate, self.config.env
        execute = self.online.execute if self.online else config.execute
        return Acting(env, self.config.task, env.horizon or config.horizon, config.workers, execute)

    @cached_property
    def evaluating(self) -> Acting:
        """Where success is measured, up to the horizon."""
        config, env = self.config.evaluate, self.config.evaluate_env
        return Acting(
            measured_in(self.config.env, env),
            self.config.task,
            config.horizon,
            config.workers,
            config.execute,
        )

    @cached_property
    def spec(self) -> PolicySpec:
        """What the policy reads and gives."""
        return self.config.policy.shape(self._recorded_before or self.world)

    @cached_property
    def critic(self) -> CriticSource:
        """Who values frames."""
        config = self.config
        return get_critic(self.artifacts, config.task, config.critic, self.context.tracker)

    @cached_property
    def judge(self) -> JudgeSource:
        """Who rewards rollouts; what it has to learn it learns where success is measured."""
        temperature = self.online.temperature if self.online else 1.0
        workshop = RolloutWorkshop(
            self.context,
            self.acting,
            replace(self.evaluating, execute=self.acting.execute),
            lambda: ActingPolicy(self.policy(), self.config.method, temperature),
            self.origin,
            self.config.seed,
            lambda: self.critic,
        )
        return self.config.reward.source(workshop)

    @property
    def _recorded_world(self) -> ImaginationChoice | None:
        """The world model of recordings that is acted in, if it is one."""
        env = self.config.env
        return env if isinstance(env, ImaginationChoice) and env.recorded else None

    @property
    def simulated(self) -> bool:
        """Whether the task of `task=` is acted in, or what imitates it."""
        return self._recorded_world is None

    @cached_property
    def begun(self) -> Path | None:
        """The folder of the policy that training goes on from, if one was named."""
        return trained_policy(Path(self.config.begin)) if self.config.begin else None

    @cached_property
    def _recorded_before(self) -> EnvSpec | None:
        """What the policy that training goes on from was made for, if that was recordings."""
        if self.begun is None or not (self.begun / SCALING_FILE).is_file():
            return None
        return recorded_spec(self.begun)

    def policy(self, trained: Path | None = None) -> Policy:
        """The policy before training, or as it was saved in a folder; in the units of where it acts."""
        if (folder := trained or self.begun) is not None:
            policy = saved_policy(self._make, self.world, folder)
            if isinstance(policy, ScaledPolicy) and self.recorded is None:
                policy.ends = self.world.action_low, self.world.action_high
            return policy
        policy = self._make(self.world)
        return self.recorded.policy(policy) if self.recorded else policy

    def _make(self, world: EnvSpec) -> Policy:
        return self.config.policy.make(world, self.config.train, self.config.seed)

    def learn(self) -> tuple[Labelled, Artifact]:
        """What the method made of data, and the policy that learned from it; of the last round, where there are several."""
        data = self.config.data
        labelled = self.label(self.collect())
        trained = self.extract(labelled)
        for number in range(1, data.rounds if isinstance(data, ImaginedData) else 1):
            labelled = self.label(self.collect(trained, number))
            trained = self.extract(labelled)
        return labelled, trained

    def collect(self, trained: Artifact | None = None, number: int = 0) -> Data:
        """The data of `data=`; with a trained policy, its own rollouts, of round `number`."""
        data = self.config.data
        if isinstance(data, ImaginedData):
            return imagined_data(self, data, trained, number)
        if not isinstance(data, RolloutData) and trained is None:
            return get_data(self.artifacts, self.config.task, data)
        settings = data if isinstance(data, RolloutData) else RolloutData()
        if trained is not None:
            settings = replace(settings, actions=())
        folder = folder_of(trained, settings.policy)
        return roll_out_data(
            self.context,
            settings,
            replace(self.acting, linger=settings.linger),
            lambda: ActingPolicy(self.policy(folder), self.prompted, settings.temperature),
            policy_digest(folder) if folder else self.origin,
        )

    def label(self, data: Data) -> Labelled:
        """The critic's values of the data, and the samples that the method makes of them.

        Only frames that show something new are learned from.
        """
        config = self.config
        labels = label(self.artifacts, data, self.critic)
        horizon = self.spec.action_horizon
        if self.recorded is None:
            samples = build_dataset(data.numbers(), labels.values, config.advantage, horizon)
        else:
            samples = samples_of(data, labels.values, config.advantage, horizon, self.recorded.training)
        if data.stride > 1:
            samples = samples.rows(samples.frame % data.stride == 0)
        selected = config.method.select(samples)
        _, inputs = make_inputs(
            self.artifacts, data, selected, self.policy, self._reader, config.batch.variants
        )
        labelled = Labelled(data, labels, samples, selected, inputs)
        check_samples(config.method, labelled.batch())
        return labelled

    def extract(self, labelled: Labelled) -> Artifact:
        """The policy that the method makes of labelled data."""
        config = self.config
        samples = {"data": labelled.data.digest}
        if type(config.method) is not BC:  # cloning looks at no value: it is trained once for all critics
            samples |= self._valued(labelled)
        return extract(
            self.artifacts,
            config.method,
            config.train,
            config.batch,
            config.seed,
            self.start | samples,
            self.policy,
            labelled.selected,
            labelled.inputs,
            self.context.tracker,
        )

    def improve(self) -> Artifact:
        """The policy that the method makes without data: in `env=`, judged by `reward=` or by the critic."""
        if self.foresight is not None:
            return follow_critic(self, self.foresight)
        config, judge = self.config, self.judge
        assert self.online is not None
        say_doubt(self)
        plan = Improvement(
            self.acting, config.method, self.online, config.train, config.batch.size, config.seed
        )
        inputs = {**self.start, **judge.inputs}
        return improve(self.context, plan, inputs, self.policy, judge.load, judge.settings)

    def measure_critic(self) -> Mapping[str, Any] | None:
        """How good the critic is on episodes that nothing was trained on; None for values from a file."""
        return critic_metrics(self.artifacts, self.config.task, self.config.held_out, self.critic)

    def evaluate(self, trained: Artifact | None = None) -> Evaluation | None:
        """Success of the trained policy, or before training; None where before it there were but random weights."""
        if trained is None and not self.config.policy.pretrained and self.begun is None:
            return None
        return evaluate(self.context, self._trial(trained), "after" if trained else "before")

    def film(self, trained: Artifact) -> Path | None:
        """A folder of films of the trained policy; None where none are wanted."""
        return film(self.context, self._trial(trained)) if self.evaluating.spec.cameras else None

    def foretell(self, labelled: Labelled, trained: Artifact) -> Foretold | None:
        """How well held-out episodes are foretold, before and after training; None where there is an environment."""
        config, recorded, data = self.config, self.recorded, labelled.data
        if recorded is None:
            return None
        every = np.arange(len(recorded.training) + len(recorded.held_out))
        horizon = self.spec.action_horizon
        samples = samples_of(data, labelled.labels.values, config.advantage, horizon, every)

        def found(folder: Path | None, policy: str, method: Method, when: str) -> HeldOut:
            temperature = config.evaluate.temperature
            prompt: dict[str, object] = {"temperature": temperature}
            prompt |= prompt_of(method)
            inputs = {"policy": policy, **self._valued(labelled)}
            actor = lambda: ActingPolicy(self.policy(folder), method, temperature)  # noqa: E731
            return measure_held_out(self.artifacts, data, recorded, samples, inputs, prompt, actor, when)

        before = found(None, self._reader, BC(), "before")
        after = found(trained.folder / "policy", trained.digest, config.method, "after")
        store = data.open()
        numbers = tuple(store.episode_info(index).number for index in recorded.held_out.tolist())
        return Foretold(before, after, numbers, store.spec.action)

    def _trial(self, trained: Artifact | None) -> Trial:
        config = self.config
        folder = trained.folder / "policy" if trained else None
        method: Method = config.method if trained else BC()
        within, temperature = self.evaluating.spec.horizon, config.evaluate.temperature
        return Trial(
            acting=measured(self.evaluating, config.evaluate),
            horizon=within,
            config=config.evaluate,
            seed=config.seed,
            prompt=prompt_of(method),
            inputs={"policy": trained.digest if trained else self.origin},
            make_actor=lambda: ActingPolicy(self.policy(folder), method, temperature),
        )

    @property
    def prompted(self) -> Method:
        """Under whose prompt a policy collects data: the method's, if it has one."""
        method: Method = self.config.method
        return method if isinstance(method, PromptedMethod) else BC()

    @property
    def origin(self) -> str:
        """Digest of the policy before training."""
        if self.begun is not None:
            return policy_digest(self.begun)
        origin = self.config.policy.origin(self.world)
        return digest([origin, self.recorded.digest]) if self.recorded else origin

    def _valued(self, labelled: Labelled) -> dict[str, str]:
        """Digests of what advantages are made from."""
        advantage = self.config.advantage
        source = digest([advantage, source_digest(type(advantage))])
        return {"labels": labelled.labels.digest, "advantage": source}

    @property
    def start(self) -> dict[str, str]:
        """Digests of what every training starts from."""
        return {"policy": self.origin, "method": source_digest(type(self.config.method))}

    @property
    def _reader(self) -> str:
        """Digest of all that the policy's preprocess depends on; random weights depend on the seed too."""
        return self.origin if self.config.policy.pretrained else f"{self.origin}-{self.config.seed}"
