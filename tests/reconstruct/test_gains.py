from __future__ import annotations

import pytest
import torch
from torch import nn

from srdeploy.reconstruct.gains import output_gains


class Chain(nn.Module):
    """``first`` goes through a factor, ``second`` comes out as it is, ``idle`` never runs."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.factor = factor
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.second = nn.Conv2d(1, 4, 3, padding=1)
        self.idle = nn.Conv2d(1, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.factor * self.first(x) + self.second(x)


def spread(layer: nn.Module, x: torch.Tensor) -> float:
    with torch.no_grad():
        return float(layer(x).transpose(0, 1).flatten(1).var(-1).mean())


@pytest.mark.parametrize("factor", [0.0, 0.5, 3.0])
def test_gains_are_those_of_a_chain_known_by_hand(factor: float) -> None:
    network = Chain(factor).eval()
    x = torch.rand(1, 1, 64, 64)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    gains = output_gains(network, ["first", "second", "idle"], [x])
    assert list(gains) == ["first", "second"]
    assert gains["second"] == pytest.approx(spread(network.second, x), rel=0.05)
    assert gains["first"] == pytest.approx(factor**2 * spread(network.first, x), rel=0.05)
    assert all(torch.equal(before[n], t) for n, t in network.state_dict().items())
    assert gains == output_gains(network, ["first", "second"], [x])
    assert not network.first._forward_hooks
