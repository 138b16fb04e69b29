"""The GPU form where there is no Triton: its kernel, run by a stand-in of Triton's language.

Pointers are tensors and offsets; every read and write is checked to lie inside the tensor.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.sparse import nets


class Pointer:
    """The memory that a tensor begins in, and offsets into it."""

    def __init__(self, tensor: Tensor, offsets: Any = 0) -> None:
        self.tensor, self.offsets = tensor, offsets
        size = tensor.untyped_storage().nbytes() // tensor.element_size()
        start = tensor.storage_offset()
        self.memory = tensor.as_strided((size - start,), (1,), start)
        self.dtype = SimpleNamespace(element_ty=tensor.dtype)

    def __add__(self, offsets: Any) -> Pointer:
        return Pointer(self.tensor, self.offsets + offsets)


class Language(ModuleType):
    """``triton.language``, as far as it is used."""

    float32, constexpr = torch.float32, None
    arange, maximum = staticmethod(torch.arange), staticmethod(lambda x, low: x.clamp(min=low))
    programs: tuple[int, int] = (0, 0)

    def program_id(self, axis: int) -> int:
        return self.programs[axis]

    def zeros(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return torch.zeros(shape, dtype=dtype)

    def dot(self, a: Tensor, b: Tensor, input_precision: str) -> Tensor:
        assert input_precision == "ieee"
        return a.float() @ b.float()

    def load(self, at: Pointer, mask: Any = None, other: Any = None) -> Tensor:
        offsets = torch.as_tensor(at.offsets)
        mask = torch.ones_like(offsets, dtype=torch.bool) if mask is None else mask
        offsets, mask = torch.broadcast_tensors(offsets, mask)
        assert not ((offsets < 0) | (offsets >= len(at.memory)))[mask].any(), "read outside"
        found = at.memory[torch.where(mask, offsets, 0).long()]
        return found if other is None else torch.where(mask, found, other)

    def store(self, at: Pointer, values: Tensor, mask: Tensor) -> None:
        offsets, mask = torch.broadcast_tensors(at.offsets, mask)
        assert not ((offsets < 0) | (offsets >= len(at.memory)))[mask].any(), "written outside"
        at.memory[offsets[mask].long()] = values.expand(mask.shape)[mask]


class Triton(ModuleType):
    """``triton``; launches are counted."""

    def __init__(self) -> None:
        super().__init__("triton")
        self.language = Language("triton.language")
        self.launches: list[tuple[tuple[int, int], dict[str, Any]]] = []

    def cdiv(self, a: int, b: int) -> int:
        return -(-a // b)

    def next_power_of_2(self, n: int) -> int:
        return 1 << (n - 1).bit_length()

    def jit(self, kernel: Callable[..., None]) -> Any:
        def launch(grid: tuple[int, int], *arguments: Any, **constants: Any) -> None:
            self.launches.append((grid, constants))
            given = [Pointer(a) if isinstance(a, Tensor) else a for a in arguments]
            for first in range(grid[0]):
                for second in range(grid[1]):
                    self.language.programs = (first, second)
                    kernel(*given, **constants)

        def at(grid: tuple[int, int]) -> Callable[..., None]:
            return lambda *a, **c: launch(grid, *a, **c)

        return type("Kernel", (), {"__getitem__": lambda self, grid: at(grid)})()


@pytest.fixture
def triton(monkeypatch: pytest.MonkeyPatch) -> Triton:
    found = Triton()
    monkeypatch.setitem(sys.modules, "triton", found)
    monkeypatch.setitem(sys.modules, "triton.language", found.language)
    return found


@pytest.fixture
def gpu(triton: Triton) -> Iterator[Any]:
    before = sys.modules.pop("srdeploy.sparse.gpu", None)
    yield importlib.import_module("srdeploy.sparse.gpu")
    del sys.modules["srdeploy.sparse.gpu"]
    if before is not None:
        sys.modules["srdeploy.sparse.gpu"] = before


@pytest.mark.parametrize(
    "case",
    [{"density": 0.4}, {"density": 0.0}, {"density": 1.0, "dense": (0, 0, 0)},
     {"dense": (12, 12, 12)}, {"dense": (0, 12, 4), "scale": 3}],
    ids=str,
)  # fmt: skip
def test_it_equals_the_network(gpu: Any, case: dict) -> None:
    module = nets.network(**case)
    sparse = gpu.GpuSMSR(module)
    assert not sparse.training
    for size in ((13, 9, 2), (1, 2, 1)):
        x = nets.image(*size)
        with torch.inference_mode():
            assert float((sparse(x) - module(x)).abs().max()) < 0.01


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(("n_in", "n_out", "block"), [(5, 3, 16), (40, 20, 32), (33, 70, 64)])
def test_a_convolution_at_listed_pixels(
    gpu: Any, triton: Triton, kernel: int, relu: bool, n_in: int, n_out: int, block: int
) -> None:
    chance = torch.Generator().manual_seed(0)
    n, height, width = 2, 7, 11
    pixels = n * height * width
    wide = torch.randn(pixels, n_in + 4, generator=chance)
    x = wide[:, 2 : 2 + n_in]
    weight = torch.randn(n_out, n_in, kernel, kernel, generator=chance)
    bias = torch.randn(n_out, generator=chance)
    inside = torch.rand(pixels, generator=chance) < 0.6
    listed, count = gpu.list_pixels(inside)
    wide_out = torch.full((pixels, n_out + 3), 7.0)
    out = wide_out[:, 1 : 1 + n_out]
    matrix = weight.permute(2, 3, 1, 0).reshape(-1, n_out).contiguous()
    gpu.listed_conv(x, matrix, bias, out, listed, count, (height, width), relu=relu)
    image = x.reshape(n, height, width, n_in).permute(0, 3, 1, 2)
    expected = functional.conv2d(image, weight, bias, padding=kernel // 2)
    expected = functional.relu(expected) if relu else expected
    expected = expected.permute(0, 2, 3, 1).reshape(pixels, n_out)
    torch.testing.assert_close(out[inside], expected[inside], rtol=1e-4, atol=1e-4)
    assert (out[~inside] == 7).all()
    assert (wide_out[:, [0, -2, -1]] == 7).all()
    ((grid, constants),) = triton.launches
    assert grid == (-(-pixels // 64), -(-n_out // block))
    assert constants == {"TAPS": kernel, "RELU": relu, "BLOCK_M": 64, "BLOCK_N": block,
                         "BLOCK_K": 32}  # fmt: skip


def test_halves_are_summed_as_floats(gpu: Any) -> None:
    x = torch.full((1, 4096), 1.0, dtype=torch.float16)
    x[:, 2048:] = 2.0**-11
    out = torch.zeros(1, 1, dtype=torch.float16)
    listed, count = gpu.list_pixels(torch.ones(1, dtype=torch.bool))
    one = torch.ones(4096, 1, dtype=torch.float16)
    gpu.listed_conv(x, one, one[0], out, listed, count, (1, 1), relu=False)
    assert out.item() == 2050  # 2048 + 1 + 1 of the bias


@pytest.mark.parametrize("mask", [[0, 1, 1, 0, 1], [0, 0], [1, 1, 1], [1, 0]])
def test_pixels_of_a_mask(gpu: Any, mask: list[int]) -> None:
    listed, count = gpu.list_pixels(torch.tensor(mask, dtype=torch.bool))
    expected = [place for place, inside in enumerate(mask) if inside]
    assert count.tolist() == [len(expected)]
    assert listed.shape == (len(mask),)
    assert listed[: len(expected)].tolist() == expected
    assert listed.dtype == count.dtype == torch.int32
