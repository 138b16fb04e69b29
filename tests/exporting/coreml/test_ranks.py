"""What Core ML has no dimensions or no order for, in what it has: the same values to rounding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from srdeploy.errors import SrdeployError
from srdeploy.exporting.coreml import sorting
from srdeploy.exporting.portable import StableSorts
from srdeploy.exporting.run import export
from srdeploy.models.probes import photograph, run
from srdeploy.runtime.open import open_session
from tests.exporting.fickle import Plain, network

ct = pytest.importorskip("coremltools")

SIDE = 8


class Windows(Plain):
    """Windows of ``b h/w w/w w w c`` are normalised, mixed and cut while they have six axes."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(3)
        self.mix = nn.Linear(3, 6)
        self.shift = nn.Parameter(torch.randn(SIDE, 1, 3))

    def forward(self, x: Tensor) -> Tensor:
        n, c, height, width = x.shape
        t = x.view(n, c, height // SIDE, SIDE, width // SIDE, SIDE).permute(0, 2, 4, 3, 5, 1)
        a, b = self.mix(self.norm(t) + self.shift).chunk(2, -1)
        t = t + torch.sigmoid(a) * (a + b).softmax(3) * t.mean((3, 4), keepdim=True)
        t = torch.where(t > 0.5, t, t.square())
        t = t + (b @ b.transpose(-1, -2)).softmax(-1) @ t + t[:, :, :, :, 1:2]
        t = torch.cat([t[..., :1], t[..., 1:].flip(-1)], -1) + t.amax(-1, keepdim=True)
        pair = torch.stack([t, -t], 4)  # seven
        t = pair.permute(0, 4, 6, 1, 3, 2, 5)[:, 0] - pair[..., 1, :, :].permute(0, 5, 1, 3, 2, 4)
        return super().forward(t.reshape(n, c, height, width))


class Sorted(Plain):
    """Pixels by category, by level, and by level from above; equal ones in their order."""

    def forward(self, x: Tensor) -> Tensor:
        n, c, height, width = x.shape
        t = x.flatten(2)
        levels = (t[:, 0] * 9).round()
        for order in (
            t.argmax(1).argsort(dim=-1, stable=True),
            levels.sort(stable=True)[1],
            levels.sort(dim=1, descending=True, stable=True)[1],
            t.argmax(1).argsort(1, True),  # in any order
        ):
            back = torch.zeros_like(order)
            for i in range(n):
                back[i, order[i]] = torch.arange(order.shape[1])
            t = t.gather(2, order[:, None].expand(-1, c, -1)) + t
            t = t + 0.5 * t.gather(2, back[:, None].expand(-1, c, -1))
        return super().forward(t.view(n, c, height, width))


@pytest.mark.parametrize("kind", [Windows, Sorted])
def test_the_same_values(kind: type[Plain], tmp_path: Path) -> None:
    net = network(kind())
    path = tmp_path / "net.mlpackage"
    report = export(net, "coreml", path, sizes="24x16")
    assert any("order of equal values open" in one for one in report.notes) == (kind is Sorted)
    x = photograph(net.card, (16, 24), 2)[1:]
    with open_session(path) as session:
        found = session.run(x)
    with StableSorts():
        exact = run(net.module.double(), torch.from_numpy(x).double()).numpy()
    np.testing.assert_allclose(found, exact, rtol=1e-6, atol=2e-5)


def test_what_is_not_known_is_named(tmp_path: Path) -> None:
    class Flipped(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.part = nn.Conv3d(2, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            t = x.view(1, 3, 2, 4, 2, -1).unsqueeze(-1).unsqueeze(1).expand(-1, 2, *[-1] * 6)
            return super().forward(t.cumprod(3)[:, 0].reshape(x.shape))

    with pytest.raises(SrdeployError) as caught:
        export(network(Flipped()), "coreml", tmp_path / "net.mlpackage", sizes="16x16")
    assert "coremltools cannot convert the operation" in str(caught.value)
    assert not (tmp_path / "net.mlpackage").exists()


def test_more_values_than_keys_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sorting, "_LARGEST", 2000)
    with pytest.raises(SrdeployError, match=r"operation sort.* 384 values, more than 44"):
        export(network(Sorted()), "coreml", tmp_path / "net.mlpackage", sizes="24x16")
