"""Networks whose code reads the image's values: none is traced."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from srdeploy.errors import SrdeployError
from srdeploy.exporting.pixel_reads import pixel_read
from srdeploy.exporting.run import export
from tests.exporting.fickle import Plain, network


class Reads(Plain):
    """An expert of two, by what some code reads of the image."""

    def __init__(self, read: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.read = read
        self.gate = nn.Conv2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return torch.tanh(y) if self.read(self.gate(x)) else y


READS: list[Callable[[Tensor], object]] = [
    lambda x: x.mean() > 9,
    lambda x: int(x.mean((0, 2, 3)).argmax()) > 5,
    lambda x: x.flatten().tolist()[0] > 9,
    lambda x: x.detach().numpy().max() > 9,
    lambda x: [0] * 9 if [1, 2][x.mean((0, 2, 3)).argmax()] > 5 else None,
    lambda x: torch.equal(x, torch.zeros_like(x)),
]

WRITES: list[Callable[[Tensor], object]] = [
    lambda x: torch.zeros(9, 9)[0].copy_(x[0, 0, 0, :9]).sum().item() > 99,
    lambda x: _written(x).max().item() > 99,
]


def _written(x: Tensor) -> Tensor:
    found = torch.zeros(2, 3)
    found[0, 1] = x.mean()
    return found


@pytest.mark.parametrize("read", READS + WRITES)
def test_what_is_read(read: Callable[[Tensor], object]) -> None:
    found = pixel_read(Reads(read).eval(), torch.rand(1, 3, 16, 16))
    assert found is not None
    assert found[1] == ""


NOT_READ: list[Callable[[Tensor], object]] = [
    lambda x: x.shape[2] > 99,
    lambda x: torch.tensor([3.0, 4.0]).max().item() > 9,
    lambda x: torch.arange(x.shape[3]).sum().item() > 1e6,
    lambda x: _forgotten(x) > 9,
]


def _forgotten(x: Tensor) -> float:
    """Memory that held something of the image holds something else afterwards."""
    for _ in range(20):
        y = x.sum((2, 3))
        del y
        if torch.ones(1, 2).mul(2.0).sum().item() > 9:
            return 10.0
    return 0.0


@pytest.mark.parametrize("read", NOT_READ)
def test_what_is_not_read(read: Callable[[Tensor], object]) -> None:
    assert pixel_read(Reads(read).eval(), torch.rand(1, 3, 16, 16)) is None


def test_no_file_holds_what_one_photograph_decided(tmp_path: Path) -> None:
    net = network(Reads(READS[0]))
    with pytest.raises(SrdeployError) as caught:
        export(net, "onnx", tmp_path / "net.onnx", exporter="trace")
    sentence = str(caught.value)
    assert "_local_scalar_dense in the network's own forward" in sentence
    assert "reads a value of the image into Python" in sentence
    assert not list(tmp_path.iterdir())
