"""Adaptive pooling, sorts and functions with a derivative in the words of every format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
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


@pytest.mark.parametrize("down", [False, True])
def test_a_stable_sort_is_written_as_one(down: bool, tmp_path: Path) -> None:
    class Sorted(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            return (
                *x.sort(dim=1, descending=down, stable=True),
                torch.argsort(x, dim=1, descending=down, stable=True),
            )

    x = torch.randint(0, 5, (2, 300), generator=torch.Generator().manual_seed(0)).float()
    expected = Sorted()(x)
    with Portable():
        torch.onnx.export(Sorted(), (x,), tmp_path / "sorted.onnx", dynamo=False)
    session = onnxruntime.InferenceSession(tmp_path / "sorted.onnx")
    found = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    for one, other in zip(found, expected, strict=True):
        assert (one == other.numpy()).all()


def test_places_of_a_row() -> None:
    def written(x: Tensor) -> Tensor:
        x[1, torch.tensor([3, 0])] = 7
        x[torch.tensor([0, 2]), 1] = torch.tensor([5.0, 6.0])
        x[0, 2:] = torch.tensor([1.0, 2.0])
        x[torch.tensor([True, False, False]), 0] = 9.0
        return x

    with Portable():
        found = written(torch.zeros(3, 4))
    assert torch.equal(found, written(torch.zeros(3, 4)))


class FallsBack(nn.Module):
    """Tries something that fails for small images, and does something else (GRL of spandrel)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3)
        self.pad = nn.ReflectionPad2d((0, 40, 0, 40))

    def forward(self, x: Tensor) -> Tensor:
        try:
            return self.conv(self.pad(x))
        except RuntimeError:
            return self.conv(nn.functional.pad(x, (0, 40, 0, 40)))


def test_what_fails_and_is_caught_is_no_part_of_a_trace() -> None:
    """It ends the process where it is."""
    module, x = FallsBack().eval(), torch.rand(1, 3, 24, 20)
    with Portable():
        traced = torch.jit.trace(module, (x,))
        graph, *_ = torch.jit._get_trace_graph(module, (x,), _return_inputs_states=True)
    torch.testing.assert_close(traced(x + 1), module(x + 1))
    assert len([node for node in graph.nodes() if node.kind() == "aten::pad"]) == 1


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
