"""The refit against least squares done the long way, on networks whose answer is known."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from srdeploy.errors import SrdeployError
from srdeploy.pruning.plan import Plan, cut
from srdeploy.reconstruct.lockstep import Targets
from srdeploy.reconstruct.refit import LayerFit, refit
from srdeploy.reconstruct.sums import SumWatch, Term


def plan_of(keep: dict[str, dict[int, list[int]]]) -> Plan:
    return Plan(method="obs", options={}, removed={}, keep=keep, zero={})


class Chain(nn.Module):
    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.first = nn.Conv2d(2, 6, 3, padding=1)
        self.relu = nn.ReLU(inplace)
        self.second = nn.Conv2d(6, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.relu(self.first(x)))


HALF = {"first.weight": {0: [0, 2, 3, 5]}, "first.bias": {0: [0, 2, 3, 5]},
        "second.weight": {1: [0, 2, 3, 5]}}  # fmt: skip
X = torch.randn(5, 2, 12, 11, generator=torch.Generator().manual_seed(1))


def _least_squares(dense: Chain, small: Chain, x: torch.Tensor) -> float:
    """The least error that the second layer can have."""
    with torch.no_grad():
        wanted = dense(x).transpose(0, 1).flatten(1).double()
        read = torch.relu(small.first(x))
        columns = nn.functional.unfold(read, 3, padding=1).transpose(0, 1).flatten(1).double()
    free = torch.cat([columns, torch.ones(1, columns.shape[1], dtype=torch.float64)])
    fitted = torch.linalg.lstsq(free.T, wanted.T).solution.T @ free
    return float((wanted - fitted).square().mean())


@pytest.mark.parametrize("inplace", [False, True])
def test_a_layer_becomes_the_least_squares_solution(inplace: bool) -> None:
    dense = Chain(inplace).eval()
    small = cut(dense, plan_of(HALF))
    seen: list[LayerFit] = []
    with torch.no_grad():
        before = float((dense(X) - small(X)).square().mean())
    fits = refit(dense, small, plan_of(HALF), X, ridge=1e-9, on_layer=seen.append)
    assert fits == seen
    assert [fit.layer for fit in fits] == ["first", "second"]
    with torch.no_grad():
        after = float((dense(X) - small(X)).square().mean())
        power = float(dense(X).square().mean())
    assert after == pytest.approx(_least_squares(dense, small, X), rel=1e-3)
    assert after < before
    assert fits[1].after == pytest.approx(after / power, rel=1e-2)
    assert fits[1].before == pytest.approx(before / power, rel=1e-2)
    kept = dense.first.weight[[0, 2, 3, 5]]
    torch.testing.assert_close(small.first.weight, kept)  # there was nothing to mend
    assert not small.first._forward_hooks


def test_the_ridge_pulls_towards_the_weights_that_were_there() -> None:
    dense = Chain().eval()
    moved = []
    for ridge in (1e-6, 1.0, 1e6):
        small = cut(dense, plan_of(HALF))
        old = small.second.weight.clone()
        refit(dense, small, plan_of(HALF), X, ridge=ridge)
        moved.append(float((small.second.weight - old).norm()))
    assert moved[0] > 2 * moved[1] > 100 * moved[2]


class Residual(nn.Module):
    """Two blocks on a stream, scaled; the second can make up for what the first has lost."""

    def __init__(self, how: str) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.how = how
        self.head = nn.Conv2d(2, 4, 3, padding=1)
        self.a1, self.a2 = nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(6, 4, 1)
        self.b1, self.b2 = nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(6, 4, 1)
        self.tail = nn.Conv2d(4, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        s = self.head(x)
        for one, two in ((self.a1, self.a2), (self.b1, self.b2)):
            y = two(torch.relu(one(s)))
            if self.how == "plus":
                s = s + y
            elif self.how == "in place":
                y += s
                s = y
            elif self.how == "into the stream":
                s += y
            elif self.how == "scaled":
                s = y.mul(0.5) + s
            else:
                s = torch.add(s, 0.5 * y)
        return self.tail(s)


STREAM = {"a1.weight": {0: [0, 1, 4]}, "a1.bias": {0: [0, 1, 4]}, "a2.weight": {1: [0, 1, 4]}}


@pytest.mark.parametrize("how", ["plus", "in place", "into the stream", "scaled", "add"])
def test_later_layers_make_up_for_what_a_skip_has_lost(how: str) -> None:
    dense = Residual(how).eval()
    plan = plan_of(STREAM)
    small = cut(dense, plan)
    refit(dense, small, plan, X, ridge=1e-9)
    with torch.no_grad():
        with_sums = float((dense(X) - small(X)).square().mean())
        # Without looking at sums: the layers fitted to their own dense outputs.
        apart = cut(dense, plan)
        original = SumWatch.follow
        SumWatch.follow = lambda self, layer, output: None  # type: ignore[method-assign]
        try:
            refit(dense, apart, plan, X, ridge=1e-9)
        finally:
            SumWatch.follow = original  # type: ignore[method-assign]
        without = float((dense(X) - apart(X)).square().mean())
        unfitted = float((dense(X) - cut(dense, plan)(X)).square().mean())
    assert with_sums < without < unfitted


def test_what_was_made_non_linear_in_place_is_no_term() -> None:
    sums: list[Term] = []
    y, x = torch.randn(3), torch.randn(3)
    with SumWatch(lambda term, other: sums.append(term)) as watch:
        watch.follow("conv", y)
        torch.relu_(y)
        _ = y + x
        assert sums == []
        watch.follow("conv", y)
        _ = x + y * 2.0 * 3.0
        watch.follow("conv", y)
        _ = y + y.sum()  # of another shape
        watch.follow("conv", y)
        y[0] = 1.0
        _ = y + x
    assert [(term.layer, term.factor) for term in sums] == [("conv", 6.0)]


class Twice(Chain):
    """The same layer runs twice; a second one is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(6, 6, 1)
        self.shift = nn.Conv2d(3, 3, 1).requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.mix(torch.relu(self.mix(torch.relu(self.first(x)))))
        return self.shift(self.second(y))


def test_layers_that_run_twice_and_frozen_ones_stay() -> None:
    dense = Twice().eval()
    small = copy.deepcopy(dense)
    with torch.no_grad():
        for layer in (small.first, small.second):
            layer.weight.mul_(0.9)
    before = copy.deepcopy(small)
    fits = refit(dense, small, plan_of({}), X)
    assert [fit.layer for fit in fits] == ["first", "second"]
    assert torch.equal(small.mix.weight, before.mix.weight)
    assert torch.equal(small.shift.weight, before.shift.weight)
    torch.testing.assert_close(small.first.weight, dense.first.weight, rtol=0.02, atol=0.02)


def test_a_failure_of_the_dense_network_is_raised_here() -> None:
    class Breaks(Chain):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.first(x)
            raise ValueError(f"no {tuple(y.shape)}")

    targets = Targets(Breaks(), X, ["first", "second"], [])
    with pytest.raises(ValueError, match="no"), targets:
        assert targets.take("first").shape == (5, 6, 12, 11)
        targets.take("second")


def test_another_order_is_told_and_the_thread_ends() -> None:
    targets = Targets(Chain(), X, ["first", "second"], [])
    with pytest.raises(SrdeployError, match="please report"), targets:
        targets.take("second")
    assert not targets._thread.is_alive()
