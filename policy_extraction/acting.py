"""A trained policy as it acts: under the prompt, guidance and temperature that its method asks for."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from envs.types import Observation
from policy_extraction.types import Method, Policy, PromptedMethod, Sampling


@dataclass(frozen=True)
class ActingPolicy:
    """`act` for rollouts of a policy that `method` trained."""

    policy: Policy
    method: Method
    temperature: float = 1.0

    def act(self, observation: Observation, seeds: np.ndarray) -> np.ndarray:
        """Action chunks float32 [B, H, A]; row b is drawn with seeds[b]."""
        sampling = Sampling(temperature=self.temperature)
        if isinstance(self.method, PromptedMethod):
            plain = observation.instruction
            prompts = tuple(self.method.act_instruction(instruction) for instruction in plain)
            observation = replace(observation, instruction=prompts)
            sampling = replace(sampling, guidance=self.method.guidance, reference=plain)
        return self.policy.act(observation, seeds, sampling)
