"""Adaptive pooling in the words of every format."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from srdeploy.exporting.portable import Portable


@pytest.mark.parametrize("pool", [nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d])
@pytest.mark.parametrize("size", [(3, 5), 4, (None, 2), (6, 7), (13, 1), 1])
def test_windows_of_torch(pool: type[nn.Module], size: object) -> None:
    x = torch.rand(2, 3, 12, 17, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    module = pool(size)
    expected = module(x)
    with Portable():
        found = module(x)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)
