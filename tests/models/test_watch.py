"""Watches see every call or operation, and decide what is run."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from srdeploy.models.watch import CallWatch, OperationWatch, argument, name_of, tensors_in


class Calls(CallWatch):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, Any]]] = []

    def called(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.seen.append((name_of(func), kwargs))
        return super().called(func, args, kwargs)


class Operations(OperationWatch):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def called(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.seen.append(name_of(func))
        return super().called(func, args, kwargs)


def test_calls_are_seen_as_the_code_makes_them() -> None:
    x = torch.ones(1, 4, 2, 2)
    with Calls() as watch:
        y = nn.functional.pixel_shuffle(x, upscale_factor=2).add_(1)
        assert y.shape == (1, 1, 4, 4)
    assert watch.seen[:2] == [("pixel_shuffle", {"upscale_factor": 2}), ("add_", {})]
    assert "__get__" in [name for name, _ in watch.seen]
    torch.ones(1).add_(1)
    assert len(watch.seen) == 3  # nothing after it was left


def test_operations_are_what_calls_come_down_to() -> None:
    x = torch.rand(1, 3, 8, 8)
    with torch.no_grad(), Operations() as watch:
        nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(inplace=True))(x)
    assert "convolution" in watch.seen
    assert "relu_" in watch.seen


@pytest.mark.parametrize("kind", [CallWatch, OperationWatch])
def test_as_it_is_a_watch_changes_nothing(kind: type) -> None:
    x = torch.rand(2, 3)
    with kind():
        y = torch.add(x, x, alpha=2)
    torch.testing.assert_close(y, 3 * x)


def test_a_watch_can_replace_a_result() -> None:
    class Doubling(CallWatch):
        def called(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            out = func(*args, **kwargs)
            return 2 * out if func is torch.relu else out

    with Doubling():
        assert torch.relu(torch.tensor(3.0)) == 6


def test_watching_imports_no_compiler() -> None:
    code = (
        "import sys, torch\n"
        "from srdeploy.models.watch import OperationWatch\n"
        "with OperationWatch(): torch.ones(2).add_(1)\n"
        "assert 'torch._dynamo' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_arguments_however_they_were_given() -> None:
    assert argument((1, 2), {}, 1, "weight") == 2
    assert argument((1,), {"weight": 2}, 1, "weight") == 2
    assert argument((1,), {}, 1, "weight") is None


def test_tensors_of_nested_arguments_in_order() -> None:
    a, b, c = (torch.full((1,), float(n)) for n in range(3))
    found = tensors_in(([a, (b, "x")], {"k": {"l": c}, "m": None}, 3.0))
    assert [id(one) for one in found] == [id(a), id(b), id(c)]
    assert tensors_in(Tensor.add) == []
