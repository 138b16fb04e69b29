"""What is compared with what, and where the proof's limits lie."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from srdeploy.compacting import proof
from srdeploy.compacting.proof import prove_equal
from srdeploy.errors import SrdeployError, UserError
from tests.pruning.helpers import user_network


class Scale(nn.Module):
    """One weight; adds what it is told where it is told."""

    def __init__(self, more: float = 0.0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.more = more

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return y + self.more


@pytest.fixture(scope="module")
def card() -> Any:
    return user_network(Scale).card


@pytest.mark.parametrize(
    ("value", "range_", "reach"), [(0.5, 1.0, 1.0), (0.5, 255.0, 255.0), (40.0, 1.0, 40.0)]
)
def test_a_difference_is_a_share_of_the_range_or_of_the_output(
    value: float, range_: float, reach: float
) -> None:
    like = SimpleNamespace(value_range=range_)
    wanted = torch.zeros(1, 3, 4, 4, dtype=torch.float64)
    wanted[0, 1, 2, 3] = -value
    found = wanted.clone()
    found[0, 0, 0, 0] += 0.25
    assert proof._difference(wanted, found, like, (4, 4)) == pytest.approx(0.25 / reach)  # type: ignore[arg-type]
    found[0, 0, 0, 0] -= 0.75
    assert proof._difference(wanted, found, like, (4, 4)) == pytest.approx(0.5 / reach)  # type: ignore[arg-type]


def test_outputs_that_cannot_be_compared() -> None:
    like: Any = SimpleNamespace(value_range=1.0)
    one = torch.zeros(1, 3, 4, 5)
    with pytest.raises(SrdeployError, match=r"output has shape \[1, 3, 5, 4\], not \[1, 3, 4, 5\]"):
        proof._difference(one, one.mT, like, (4, 5))
    for bad in (float("nan"), float("inf")):
        broken = one.clone()
        broken[0, 0, 0, 0] = bad
        for pair in ((one, broken), (broken, one)):
            with pytest.raises(SrdeployError, match="on 5x4 pixels is not finite, so nothing can"):
                proof._difference(*pair, like, (4, 5))


@pytest.mark.parametrize(("more", "equal"), [(0.9e-9, True), (1.1e-9, False)])
def test_the_tolerance_in_float64(card: Any, more: float, equal: bool) -> None:
    module = Scale()
    nn.init.zeros_(module.conv.weight)
    nn.init.constant_(module.conv.bias, 0.5)
    other = copy.deepcopy(module)
    other.more = more * card.value_range
    if equal:
        record = prove_equal(module, other, card)
        assert record["max_difference"] == pytest.approx(more, rel=1e-4)
        assert record["tolerance"] == 1e-9
        assert record["dtype"] == "float64"
        return
    with pytest.raises(SrdeployError) as refused:
        prove_equal(module, other, card)
    assert "the outputs differ by 1.10e-09 of their range in float64; no network is written" in str(
        refused.value
    )
    assert "Please report the architecture" in str(refused.value)


def test_limits_of_the_proof() -> None:
    assert {torch.float64: 1e-9, torch.float32: 2e-5} == proof.TOLERANCES
    assert (proof.OWN_ROUNDING, proof.LARGEST_TOLERANCE) == (100, 1e-3)


def test_neither_network_is_changed_by_the_proof(card: Any) -> None:
    module = Scale().train()
    other = copy.deepcopy(module)
    prove_equal(module, other, card)
    assert module.training
    assert module.conv.weight.dtype == torch.float32
    assert torch.equal(module.conv.weight, other.conv.weight)


def test_last_digits_are_shaken_and_zeros_stay() -> None:
    module = nn.Conv2d(1, 4, 5)
    with torch.no_grad():
        module.weight[0] = 0
    moved = proof._shaken(module.double(), torch.float64)
    assert isinstance(moved, nn.Conv2d)
    share = (moved.weight / module.weight - 1)[1:].detach()
    eps = torch.finfo(torch.float64).eps
    assert ((share.abs() <= 2 * eps) & (share.abs() > 0)).all()
    assert (share > 0).any()
    assert (share < 0).any()
    assert (moved.weight[0] == 0).all()
    again: Any = proof._shaken(module, torch.float64)
    assert all(
        torch.equal(a, b) for a, b in zip(moved.parameters(), again.parameters(), strict=True)
    )


def test_what_is_no_image(card: Any) -> None:
    class Pair(Scale):
        def forward(self, x: Tensor) -> Any:
            return super().forward(x), 1

    with pytest.raises(UserError, match="The network returns a tuple, not an image"):
        prove_equal(Pair(), Pair(), card)


def test_a_network_that_runs_on_nothing_is_the_user_s(card: Any) -> None:
    class Never(Scale):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("never")

    with pytest.raises(UserError, match="cannot be run"):
        prove_equal(Never(), Never(), card)
