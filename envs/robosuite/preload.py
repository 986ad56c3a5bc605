"""What every process that simulates needs, imported once where they are forked from: robosuite, and what it compiles."""

import numpy as np

import envs.robosuite.vector  # noqa: F401
from envs.robosuite.world import quiet_robosuite

# The first of its compiled functions that is called loads the compiler, too.
quiet_robosuite().utils.transform_utils.mat2quat(np.eye(3))
