"""The parts of `experiments.world_gymnast`."""
