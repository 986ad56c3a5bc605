"""A trained policy as it acts: under the prompt, guidance and temperature that its method asks for."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from envs.types import Observation
from policy_extraction.types import Method, Policy, PromptedMethod, Sampling


@dataclass(frozen=True)
class ActingPolicy:
    """`act` for rollouts of a policy that `method` trained, or is training."""

    policy: Policy
    method: Method
    temperature: float = 1.0

    def act(self, observation: Observation, seeds: np.ndarray) -> np.ndarray:
        """Action chunks float32 [B, H, A]; row b is drawn with seeds[b]."""
        prompted, sampling = self._prompt(observation)
        return self.policy.act(prompted, seeds, sampling)

    def preprocess(self, observation: Observation) -> dict[str, np.ndarray]:
        """What the network reads when it acts: `Policy.log_prob` of it is that of the policy that acts."""
        return self.policy.preprocess(*self._prompt(observation))

    def _prompt(self, observation: Observation) -> tuple[Observation, Sampling]:
        sampling = Sampling(temperature=self.temperature)
        if not isinstance(self.method, PromptedMethod):
            return observation, sampling
        plain = observation.instruction
        prompts = tuple(self.method.act_instruction(instruction) for instruction in plain)
        guided = replace(sampling, guidance=self.method.guidance, reference=plain)
        return replace(observation, instruction=prompts), guided
