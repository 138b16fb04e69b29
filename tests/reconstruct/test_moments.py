from __future__ import annotations

import torch
from torch import nn

from srdeploy.reconstruct.linear_form import LinearForm
from srdeploy.reconstruct.moments import Moments, input_moments


def test_moments_are_those_of_all_columns() -> None:
    columns = torch.randn(2, 5, 40)
    moments = Moments.zero(2, 5)
    for part in columns.split(7, dim=-1):
        moments.add(part)
    assert moments.count == 40
    for group in range(2):
        torch.testing.assert_close(
            moments.covariance()[group],
            torch.cov(columns[group].double(), correction=0),
            rtol=1e-4,
            atol=1e-5,
        )
    assert moments.second.dtype == torch.float64


def test_what_layers_read_while_the_network_runs() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(True), nn.Conv2d(4, 2, 1))
    inputs = [torch.randn(1, 3, 6, 7), torch.randn(2, 3, 5, 5)]
    kept = [x.clone() for x in inputs]
    for budget in (1, 1 << 30):  # one at a time, and all at once
        found = dict(input_moments(module, ["2", "0"], inputs, budget))
        assert list(found) == ["2", "0"]
        read = torch.cat([module[1](module[0](x)).flatten(2).transpose(0, 1).flatten(1)
                          for x in inputs], dim=1)  # fmt: skip
        torch.testing.assert_close(found["2"].second[0], (read @ read.T).double(), rtol=1e-4,
                                   atol=1e-4)  # fmt: skip
        assert found["0"].count == found["2"].count == 42 + 50
        columns = torch.cat([LinearForm(module[0]).columns(x) for x in inputs], dim=2)
        torch.testing.assert_close(found["0"].first, columns.double().sum(-1), rtol=1e-4, atol=1e-4)
    assert all(torch.equal(x, y) for x, y in zip(inputs, kept, strict=True))
    assert not module[0]._forward_pre_hooks


def test_a_layer_that_never_runs_has_none() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(x)

    found = dict(input_moments(Idle(), ["idle", "used"], [torch.ones(1, 1, 2, 2)]))
    assert list(found) == ["used"]
