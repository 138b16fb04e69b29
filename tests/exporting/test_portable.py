"""Adaptive pooling in the words of every format."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

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


class Squares(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.factor = factor
        return x * x * factor if not any(ctx.needs_input_grad) else x


class Later(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x + 1

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        raise AssertionError("no derivative is asked for")


def test_functions_with_their_own_derivative_are_looked_into() -> None:
    def network(x: Tensor) -> Tensor:
        return Later.apply(Squares.apply(x, 3.0))

    before = torch.autograd.Function.__dict__["apply"]
    x = torch.rand(2, 3)
    with Portable():
        traced = torch.jit.trace(network, (x,))
    assert torch.autograd.Function.__dict__["apply"] is before
    kinds = {node.kind() for node in traced.graph.nodes()}
    assert "prim::PythonOp" not in kinds
    torch.testing.assert_close(traced(x), 3 * x * x + 1)
