"""The setting of torch's CUDA allocator, which it reads once: when CUDA is initialised.

Packages initialise CUDA as they are imported (torchao, which transformers and peft import, asks for
the card's capability), so a job sets it before anything else. Blocks in expandable segments leave
fewer holes, and so larger batches fit.
"""

from __future__ import annotations

import os

_NAMES = "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"


def use_expandable_segments() -> bool:
    """Ask for them, unless the user has a setting; whether the environment was changed."""
    if any(name in os.environ for name in _NAMES):
        return False
    os.environ[_NAMES[0]] = "expandable_segments:True"
    return True
