"""One thread: these networks are small, and threads that wait for each other take most of the time on busy cores."""

from contextlib import suppress

with suppress(ImportError):
    import torch

    torch.set_num_threads(1)
