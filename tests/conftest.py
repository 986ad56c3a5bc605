"""Before anything of the project is imported: headless drawing, quiet libraries, and checked array shapes."""

import os

os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from jaxtyping import install_import_hook

install_import_hook(["policy_extraction", "value_model", "envs"], "beartype.beartype")
