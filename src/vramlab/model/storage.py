"""What tells the storages of tensors apart."""

from __future__ import annotations

from torch import Tensor


def storage_address(tensor: Tensor) -> int:
    """Where torch keeps a tensor's storage, fake ones too; that of a tensor and its views is one.

    It is free for another storage once this one is gone.
    """
    return int(tensor.untyped_storage()._cdata)
