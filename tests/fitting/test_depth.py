"""Whole residual blocks as a choice of a fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from srdeploy.fitting.result import FitOptions, FitResult
from srdeploy.fitting.run import fit
from srdeploy.fitting.subject import Subject
from srdeploy.fitting.worth import Measured
from srdeploy.models.load import load_network
from srdeploy.models.network import Network
from srdeploy.models.probes import photograph, run
from srdeploy.models.registry import create
from srdeploy.reconstruct.calibration import Calibration
from tests.fitting.conftest import ARITHMETIC


@pytest.fixture(scope="module")
def idle() -> Network:
    """A network of three blocks, of which the middle one hardly does anything."""
    torch.manual_seed(0)
    network = create("edsr", scale=2, n_feats=16, n_blocks=3)
    end = network.module.get_submodule("body.1.body.2")
    with torch.no_grad():
        for tensor in end.parameters():
            tensor.mul_(1e-3)
    return network


@pytest.fixture(scope="module")
def fitted(
    idle: Network, small_images: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[FitResult, Path]:
    """Three quarters of the dense network's time."""
    folder = tmp_path_factory.mktemp("depth")
    options = FitOptions(
        device=ARITHMETIC, size=(32, 48), budgets_ms=(2.6,), precisions=("fp32",),
        pixel_shuffles=("crd",), network_wise=0, calibration=str(small_images),
        data=str(small_images),
    )  # fmt: skip
    (found,) = fit(idle, "idle", options, folder / "out", folder / "times.sqlite")
    return found, folder / "out"


def test_the_price_of_a_block_is_what_is_left_without_it(idle: Network, small_images: Path) -> None:
    subject = Subject.of(idle)
    assert [block.name for block in subject.blocks] == ["body.0", "body.1", "body.2"]
    prices = Measured(subject, Calibration(str(small_images)).inputs(idle)).removals()
    assert prices["body.1"][0] < 0.1 * min(prices["body.0"][0], prices["body.2"][0])
    kept = Subject.of(idle, ["body.1.*"])  # a layer that stays keeps its block
    assert [block.name for block in kept.blocks] == ["body.0", "body.2"]


def test_a_block_that_does_nothing_goes_first(
    idle: Network, fitted: tuple[FitResult, Path]
) -> None:
    result, folder = fitted
    assert result.met
    assert result.blocks == ("body.1",)
    assert result.predicted_ms == pytest.approx(result.p50_ms, rel=0.02)
    assert result.widths["body.1.body.0"] == result.widths["body.1.body.2"] == 0
    assert result.widths["body.2.body.0"] > 0
    assert "the whole block is gone; with it one would take" in result.why["body.1"]
    assert "the block stays; without it one would save" in result.why["body.0"]
    assert result.why["body.1.body.0"] == "gone with its block"
    small = load_network(folder / result.weights)
    assert small.card.config["n_blocks"] == 2  # its architecture has fewer, and nothing is left
    assert {n: w for n, w in small.card.widths.items() if n.startswith("body.1")} == {
        f"body.1.body.{n}": result.widths[f"body.2.body.{n}"] for n in (0, 2)
    }
    steps = [step for step in small.card.history if step["step"] == "prune"]
    assert steps[-1]["remove_blocks"] == ["body.1"]
    x = torch.from_numpy(photograph(idle.card, (32, 48)))
    wanted = run(idle.module, x)
    error = float((run(small.module, x) - wanted).square().mean())
    assert error < 0.05 * float((wanted - wanted.mean()).square().mean())
