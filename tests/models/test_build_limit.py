"""What a stranger's file may make us build: every large claim is stopped before it is served."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from srdeploy.errors import UserError
from srdeploy.models import build_limit
from srdeploy.models.build_limit import BuildLimit

HUGE = 1 << 36  # numbers: no machine has the memory


def test_an_ordinary_network_is_built() -> None:
    with BuildLimit("net.pth") as limit:
        module = nn.Sequential(*[nn.Conv2d(64, 64, 3) for _ in range(4)])
    weights = sum(p.nbytes for p in module.parameters())
    assert weights <= limit.n_bytes < 4 * weights
    assert torch.equal(module[0](torch.ones(1, 64, 5, 5)).isfinite(), torch.ones(1, 64, 3, 3) > 0)


def test_views_take_nothing() -> None:
    with BuildLimit("net.pth") as limit:
        x = torch.zeros(10, 10)
        _ = [x.expand(100, 10, 10), x[2:], x.view(100), x.t(), x.add_(1)]
    assert limit.n_bytes == x.nbytes


@pytest.mark.parametrize(
    "ask",
    [
        lambda x: torch.empty(HUGE),
        lambda x: torch.zeros(1 << 18, 1 << 18),
        lambda x: torch.ones(HUGE),
        lambda x: torch.full((HUGE,), 2.0),
        lambda x: torch.randn(HUGE),
        lambda x: torch.rand(size=(HUGE,)),
        lambda x: torch.arange(HUGE),
        lambda x: torch.linspace(0, 1, HUGE),
        lambda x: torch.randperm(HUGE),
        lambda x: torch.eye(1 << 20),
        lambda x: x.new_zeros(HUGE),
        lambda x: x.repeat(HUGE, 1),
        lambda x: x.expand(HUGE, 4).clone(),
        lambda x: x.expand(HUGE, 4).double(),
        lambda x: nn.Linear(1 << 18, 1 << 18),
    ],
)
def test_one_claim_too_large(ask: Callable[[Tensor], object]) -> None:
    x = torch.zeros(1, 4)
    with BuildLimit("net.pth"), pytest.raises(UserError, match=r"'net\.pth' claims a network"):
        ask(x)


def test_many_small_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_limit, "MOST_BYTES", 10_000)
    with BuildLimit("a"), pytest.raises(UserError, match="of a size that none here has"):
        for _ in range(100):
            torch.zeros(100)
    monkeypatch.setattr(build_limit, "MOST_OPERATIONS", 20)
    with BuildLimit("a"), pytest.raises(UserError, match="of a size that none here has"):
        for _ in range(100):
            torch.zeros(1)
