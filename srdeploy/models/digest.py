"""The identity of weights, apart from the file they lie in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def weights_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Hex SHA-256 over the names, types, shapes and values of a state dict.

    A network saved twice, with another card or under another name, keeps it.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        values = tensor.detach().cpu().contiguous().reshape(-1)
        if len(values):  # none have no strides by which to see them as bytes
            digest.update(values.view(torch.uint8).numpy().data)
    return digest.hexdigest()
