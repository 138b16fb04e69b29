"""Options that weights do not show: told by a photograph, asked for, or the usual ones."""

from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor, nn
from torch.nn import functional

from srdeploy.errors import UserError
from srdeploy.models.card import Card
from srdeploy.models.importing.unseen import tell_unseen
from srdeploy.models.network import Network


class Sharper(nn.Module):
    """Bicubic, and better than it: sharpened. With an offset only for pixels of one range."""

    def __init__(self, scale: int, better: bool, offset: float) -> None:
        super().__init__()
        self.scale, self.better, self.offset = scale, better, offset

    def forward(self, x: Tensor) -> Tensor:
        y = functional.interpolate(x, scale_factor=self.scale, mode="bicubic")
        blurred = functional.avg_pool2d(functional.pad(y, (1, 1, 1, 1), mode="replicate"), 3, 1)
        return y + (0.5 if self.better else -1.0) * (y - blurred) + self.offset


def build(config: dict[str, Any]) -> Network:
    scale, value_range = config.get("scale", 3), config.get("value_range", 1.0)
    card = Card(arch="t", scale=scale, scales=(scale,), channels=3, value_range=value_range)
    better = scale == 2 and config.get("identity", True)
    offset = 0.0 if value_range == 1.0 else 40.0
    return Network(Sharper(scale, better, offset), card)


def test_a_photograph_tells_all_together() -> None:
    assumed: list[str] = []
    unseen = {"scale": (4, 3, 2), "identity": (False, True), "value_range": (255.0, 1.0)}
    found = tell_unseen(unseen, build, "file.pth", assumed)
    assert found == {"scale": 2, "identity": True, "value_range": 1.0}
    assert assumed[0] == "scale 2, as a photograph shows"
    assert len(assumed) == 3


def test_what_it_does_not_tell_is_asked_for_or_usual() -> None:
    assumed: list[str] = []
    assert tell_unseen({}, build, "file.pth", assumed) == {}
    with pytest.raises(UserError, match="pass --scale 3 or 4"):
        tell_unseen({"scale": (3, 4)}, build, "file.pth", assumed)
    assert tell_unseen({"identity": (False, True)}, build, "file.pth", assumed) == {
        "identity": False
    }
    assert assumed == ["identity False, as published"]


def test_each_is_told_by_itself() -> None:
    assumed: list[str] = []
    unseen = {"other": (1, 2), "scale": (2, 3), "value_range": (255.0, 1.0)}
    found = tell_unseen(unseen, build, "file.pth", assumed)
    assert found == {"other": 1, "scale": 2, "value_range": 1.0}
    assert assumed[0] == "other 1, as published"
    assert assumed[2] == "pixel values run from 0 to 1, as a photograph shows"
