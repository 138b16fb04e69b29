"""Network-wise reconstruction: against Adam by hand, and gone on from after a kill."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from srdeploy.errors import UserError
from srdeploy.models.count import macs
from srdeploy.models.registry import create
from srdeploy.pruning.options import PruneOptions
from srdeploy.reconstruct import network_wise
from srdeploy.reconstruct import steps as steps_module
from srdeploy.reconstruct.calibration import Calibration
from srdeploy.reconstruct.network_wise import fit_output
from srdeploy.reconstruct.run import prune_by_cost
from srdeploy.reconstruct.steps import Steps
from tests.pruning.helpers import user_network

X = torch.rand(5, 2, 9, 8, generator=torch.Generator().manual_seed(1)) * 255


class Killed(Exception):
    """The process ends here."""


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.second = nn.Conv2d(6, 3, 3, padding=1)
        self.shift = nn.Conv2d(3, 3, 1).requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.shift(self.second(torch.relu(self.norm(self.first(x)))))


@pytest.fixture
def pair() -> tuple[Net, Net]:
    """A network, and the same with other weights in a layer."""
    torch.manual_seed(2)
    dense = Net().eval()
    small = copy.deepcopy(dense)
    nn.init.normal_(small.second.weight, std=0.1)
    return dense, small


def difference(dense: nn.Module, small: nn.Module) -> float:
    with torch.no_grad():
        return float((dense(X) - small(X)).abs().double().mean()) / 255


def test_it_is_adam_on_the_absolute_error_of_the_output(pair: tuple[Net, Net]) -> None:
    dense, small = pair
    by_hand, wanted, count = copy.deepcopy(small), dense(X).detach(), 30
    learned = [p for p in by_hand.parameters() if p.requires_grad]
    means, squares = ([torch.zeros_like(p) for p in learned] for _ in range(2))
    for step in range(count):
        generator = torch.Generator().manual_seed(7 * count + step)
        chosen = torch.randint(len(X), (8,), generator=generator)
        loss = (by_hand(X[chosen]) - wanted[chosen]).abs().mean() / 255
        slopes = torch.autograd.grad(loss, learned)
        norm = math.sqrt(sum(float(slope.square().sum()) for slope in slopes))
        rate = 2e-3 * (0.01 + 0.99 * (1 + math.cos(math.pi * step / count)) / 2)
        rate *= min(1.0, (step + 1) / 20)
        with torch.no_grad():
            for p, slope, mean, square in zip(learned, slopes, means, squares, strict=True):
                slope = slope * min(1.0, 1 / (norm + 1e-6))
                mean.lerp_(slope, 0.1)
                square.lerp_(slope**2, 0.001)
                spread = (square / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8
                p -= rate * mean / (1 - 0.9 ** (step + 1)) / spread
    before, seen = difference(dense, small), []
    fit = fit_output(dense, small, X, count, 255, seed=7, on_step=lambda: seen.append(1))
    assert fit.before == pytest.approx(before, rel=1e-5)
    assert fit.after == pytest.approx(difference(dense, small), rel=1e-5)
    assert fit.after < 0.8 * fit.before
    assert len(seen) == count
    for name, tensor in by_hand.state_dict().items():
        torch.testing.assert_close(small.state_dict()[name], tensor, rtol=1e-3, atol=1e-4)
    for name in ("shift.weight", "norm.running_mean", "norm.running_var"):
        assert torch.equal(small.state_dict()[name], dense.state_dict()[name])


def test_the_seed_decides(pair: tuple[Net, Net]) -> None:
    dense, small = pair
    found = []
    for seed in (0, 0, 1):
        found.append(copy.deepcopy(small))
        with torch.no_grad():  # the caller's mode does not matter
            fit_output(dense, found[-1], X, 5, 255, seed=seed)
    weights = [one.second.weight for one in found]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_killed_run_goes_on(
    pair: tuple[Net, Net], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps_module, "EVERY_SECONDS", 0.0)
    dense, small = pair
    kept, whole, rest = Steps(tmp_path, "origin"), copy.deepcopy(small), copy.deepcopy(small)
    wanted = fit_output(dense, whole, X, 12, 255)
    left = iter(range(7))

    def step() -> None:
        if next(left, None) is None:
            raise Killed

    with pytest.raises(Killed):
        fit_output(dense, small, X, 12, 255, on_step=step, kept=kept)
    monkeypatch.setattr(Steps, "write", lambda *given: left_to_do.append(given))
    left_to_do: list[object] = []
    assert fit_output(dense, rest, X, 12, 255, kept=kept) == wanted
    assert len(left_to_do) == 12 - 7
    for name, tensor in whole.state_dict().items():
        assert torch.equal(rest.state_dict()[name], tensor), name


@pytest.mark.parametrize("value", ["the same", "broken"])
def test_what_is_no_better_is_not_taken(pair: tuple[Net, Net], value: str) -> None:
    dense, small = pair
    if value == "the same":
        small = copy.deepcopy(dense)
    else:
        small.first.weight.register_hook(lambda slope: slope * float("nan"))
    before = copy.deepcopy(small.state_dict())
    fit = fit_output(dense, small, X, 3, 255)
    assert fit.after == fit.before
    assert all(torch.equal(small.state_dict()[name], before[name]) for name in before)


@pytest.mark.parametrize("value", [1.0, -1.0])
def test_patches_that_are_not_learned_from_decide(value: float) -> None:
    """The bias stays wrong: making up for it at 1 makes it worse at -1."""
    dense, small = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)
    with torch.no_grad():
        for layer, bias in ((dense, 0.0), (small, 0.1)):
            assert layer.bias is not None
            layer.weight.fill_(1.0)
            layer.bias.fill_(bias)
    assert small.bias is not None
    small.bias.requires_grad_(False)
    x = torch.ones(8, 1, 4, 4)
    x[7] = value
    fit = fit_output(dense, small, x, 9, 1.0)
    assert fit.before == pytest.approx(0.1)
    assert (fit.after < fit.before) == (value > 0) == (small.weight.item() < 1)


def test_code_without_gradients_is_told(pair: tuple[Net, Net]) -> None:
    dense, small = pair
    small.forward = torch.no_grad()(small.forward)  # type: ignore[method-assign]
    with pytest.raises(UserError, match="give --network-wise 0"):
        fit_output(dense, small, X, 3, 255)


def test_it_is_a_step_of_its_own_on_the_card() -> None:
    network = create("ledsr", scale=2, n_blocks=1, n_feats=8)
    images = Calibration(patches=4, side=16, network_wise=10)
    figures = iter([40.0, 20.0, 20.0, 30.0, 31.0])
    small, report = prune_by_cost(
        network, PruneOptions(ratio=0.5), images, lambda *_: {"psnr_y": next(figures)}
    )
    assert list(report.quality) == ["dense", "masked", "compact", "refit", "network-wise"]
    refit, learned = small.card.history[-2:]
    assert (refit["psnr_y_before"], refit["psnr_y_after"]) == (20.0, 30.0)
    assert learned == {
        "step": "network-wise", "images": "builtin", "patches": 4, "steps": 10, "lr": 2e-3,
        "error_before": learned["error_before"], "error_after": learned["error_after"],
        "psnr_y_before": 30.0, "psnr_y_after": 31.0,
    }  # fmt: skip
    assert 0 < learned["error_after"] < learned["error_before"]


class Blind(Net):
    @torch.no_grad()
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x[:, :2])


@pytest.mark.parametrize("asked", [False, True])
def test_code_without_gradients_matters_only_if_steps_were_asked_for(asked: bool) -> None:
    network = user_network(Blind, value_range=255.0)
    images = Calibration(patches=4, side=16, network_wise=3, steps_asked=asked)
    options = PruneOptions(ratio=0.5)
    if asked:
        with pytest.raises(UserError, match="give --network-wise 0"):
            prune_by_cost(network, options, images)
        return
    small, report = prune_by_cost(network, options, images, lambda *_: {"psnr_y": 30.0})
    assert [step["step"] for step in small.card.history][-1] == "refit"
    assert "network-wise" not in report.quality
    assert report.remarks[-1].startswith("network-wise reconstruction was left out")


def test_a_large_network_makes_fewer_steps_unless_they_were_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = create("ledsr", scale=2, n_blocks=1, n_feats=8)
    options, how = PruneOptions(ratio=0.5), {"patches": 4, "side": 16, "network_wise": 10}
    small, _ = prune_by_cost(network, options, Calibration(patches=4, side=16))
    monkeypatch.setattr(network_wise, "UNASKED_MACS", 8 * 3.5 * macs(small, 16, 16))
    for asked, made in ((False, 3), (True, 10)):
        small, report = prune_by_cost(network, options, Calibration(**how, steps_asked=asked))
        step = small.card.history[-1]
        assert step["steps"] == made
        assert step.get("usual_steps") == (None if asked else 10)
        told = [remark for remark in report.remarks if "instead of 10" in remark]
        assert len(told) == (not asked)


@pytest.mark.parametrize(("rate", "taken"), [(1e-3, True), (1e3, False)])
def test_what_was_not_taken_is_told(
    rate: float, taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = create("ledsr", scale=2, n_blocks=1, n_feats=8)
    monkeypatch.setattr(network_wise, "RATE", rate)
    images = Calibration(patches=4, side=16, network_wise=5)
    _, report = prune_by_cost(network, PruneOptions(ratio=0.5), images)
    assert ("nothing of it was taken" in " ".join(report.remarks)) == (not taken)
