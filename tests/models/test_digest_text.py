"""What a digest of weights is of."""

from __future__ import annotations

import hashlib

import numpy as np
import torch

from srdeploy.models import (
    digest,
)


def test_a_digest_is_of_names_types_shapes_and_values() -> None:
    x = torch.arange(6.0)
    text = b"a torch.float32 [2, 3]\n" + x.numpy().tobytes() + b"b torch.int64 []\n"
    expected = hashlib.sha256(text + np.int64(7).tobytes()).hexdigest()
    assert digest.weights_sha256({"b": torch.tensor(7), "a": x.reshape(2, 3)}) == expected
    none = torch.from_numpy(np.zeros(0, np.float32))
    empty = hashlib.sha256(b"n torch.float32 [0]\n").hexdigest()
    assert digest.weights_sha256({"n": none}) == empty
    assert digest.weights_sha256({"a": x.reshape(3, 2).T, "b": torch.tensor(7)}) != expected
