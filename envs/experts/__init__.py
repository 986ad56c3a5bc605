"""Scripted experts that demonstrate every task in every style, with privileged knowledge of the simulator."""

from envs.experts.demonstrate import demonstrate, fits_intent

__all__ = ["demonstrate", "fits_intent"]
