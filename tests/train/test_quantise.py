"""The hook that learns intervals under rounding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from srdeploy.errors import UserError
from srdeploy.models.digest import weights_sha256
from srdeploy.models.network import Network
from srdeploy.models.quantised import Quantised, Range
from srdeploy.train.fake_quant import as_rounded
from srdeploy.train.hooks import StepHook
from srdeploy.train.interrupt import TrainingStopped
from srdeploy.train.journal import read_metrics
from srdeploy.train.loop import train
from srdeploy.train.quantise import QuantiseHook
from srdeploy.train.recipe import TrainRecipe

Make = Callable[..., TrainRecipe]
LAYERS = ("body.0.body.0", "body.0.body.2", "sum.0", "body.1")


def start(activations: str = "uint8", reach: float = 100.0) -> Quantised:
    ranges = dict.fromkeys(("head.0", *LAYERS), (-reach, reach))
    ranges["body.0.body.0"] = (0.0, reach)
    return Quantised(activations=activations, layers=LAYERS, ranges=ranges, weights_sha256="")


def eight_bits(recipe: Make, **settings: object) -> TrainRecipe:
    return recipe(**{"quantise": {}, **settings})


def error(network: Network, exact: Network) -> float:
    """What rounding makes of a picture."""
    torch.manual_seed(3)
    x = torch.rand(1, 3, 16, 16) * 255
    with torch.no_grad():
        return float((as_rounded(network).module(x) - exact.module(x)).square().mean())


@pytest.mark.parametrize("activations", ["uint8", "int8"])
def test_learns_intervals_that_round_less(
    tiny: Network, recipe: Make, tmp_path: Path, activations: str
) -> None:
    """Far too narrow at first; the weights hardly move, so the intervals do it."""
    first = start(activations, reach=20.0)
    settings = eight_bits(
        recipe, iterations=60, distill={"output": 1.0}, optimiser={"kind": "adam", "lr": 1e-9},
        quantise={"activations": activations, "lr": 0.05, "learn": 0.9},
    )  # fmt: skip
    tuned = train(tiny, settings, tmp_path, hooks=[QuantiseHook(first, settings)], teacher=tiny)
    found = tuned.card.quantised
    assert found is not None
    assert found.weights_sha256 == weights_sha256(tuned.module.state_dict())
    assert (found.activations, found.layers) == (activations, LAYERS)
    before = tiny.card.model_copy(update={"quantised": first})
    assert error(tuned, tiny) < 0.5 * error(Network(tiny.module, before), tiny)
    assert all(low <= 0 <= high for low, high in found.ranges.values())
    if activations == "int8":
        assert all(low == -high for low, high in found.ranges.values())
    else:
        assert found.ranges["body.0.body.0"][0] == 0


def test_weights_learn_to_live_with_coarse_steps(
    tiny: Network, recipe: Make, tmp_path: Path
) -> None:
    first = start(reach=2000.0)
    settings = eight_bits(
        recipe, iterations=120, distill={"output": 1.0}, quantise={"learn": 0.0}, log_every=20,
        optimiser={"kind": "adam", "lr": 1e-3}, schedule={"kind": "cosine"},
    )  # fmt: skip
    tuned = train(tiny, settings, tmp_path, hooks=[QuantiseHook(first, settings)], teacher=tiny)
    assert tuned.card.quantised is not None
    assert tuned.card.quantised.ranges == first.ranges  # not learned
    losses = [entry["loss"] for entry in read_metrics(tmp_path)]
    assert losses[-1] < 0.93 * losses[0]


def test_the_training_pass_rounds_on_the_grid_of_the_card(tiny: Network, recipe: Make) -> None:
    """What the loop computes in its last step is what the card says afterwards."""
    for activations in ("uint8", "int8"):
        settings = eight_bits(recipe, quantise={"activations": activations})
        hook = QuantiseHook(start(activations, reach=123.4567), settings)
        with torch.no_grad():
            hook._factors.mul_(torch.rand_like(hook._factors) + 0.5)
        module = tiny.copy().module
        hook.attach(module)
        x = torch.rand(1, 3, 16, 16) * 255
        with torch.no_grad():
            learned = module(x)
            hook.detach()
            measured = as_rounded(hook.finish(tiny)).module(x)
        assert torch.equal(module(x), tiny.module(x))  # no trace is left
        np.testing.assert_allclose(learned.numpy(), measured.numpy(), atol=1e-3)
        assert hook.finish(tiny).card.quantised is not None


def test_intervals_rest_after_their_time(tiny: Network, recipe: Make, tmp_path: Path) -> None:
    settings = eight_bits(recipe, iterations=20, quantise={"learn": 0.5, "lr": 0.02}, log_every=5)
    train(tiny, settings, tmp_path, hooks=[QuantiseHook(start(), settings)])
    moved = [entry["ranges_moved"] for entry in read_metrics(tmp_path)]
    assert 0 < moved[0] < moved[1]
    assert moved[1] == moved[2] == moved[3]


@pytest.mark.parametrize("at", [3, 14])  # while intervals are learned, and after
def test_stopped_and_resumed_equals_uninterrupted(
    tiny: Network, recipe: Make, tmp_path: Path, at: int
) -> None:
    settings = eight_bits(
        recipe, ema=0.9, schedule={"kind": "cosine"}, quantise={"lr": 0.02}, distill={}
    )

    def run(folder: str, first: Quantised) -> Network:
        hook = QuantiseHook(first, settings)
        return train(tiny, settings, tmp_path / folder, hooks=[hook], teacher=tiny)

    class Stop(QuantiseHook):
        def after_step(self, module: torch.nn.Module, iteration: int) -> None:
            super().after_step(module, iteration)
            if iteration == at:
                import os
                import signal

                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(TrainingStopped):
        hook = Stop(start(), settings)
        train(tiny, settings, tmp_path / "stopped", hooks=[hook], teacher=tiny)
    # Calibration may give other intervals next time; those of the start count.
    resumed, whole = run("stopped", start(reach=90.0)), run("whole", start())
    assert resumed.card.quantised == whole.card.quantised
    for name, tensor in whole.module.state_dict().items():
        assert torch.equal(tensor, resumed.module.state_dict()[name])
    other = start().model_copy(update={"layers": LAYERS[:2]})
    with pytest.raises(UserError, match="other layers in 8 bits"):
        run("stopped", other)


def test_plain_training_refuses_the_section(tiny: Network, recipe: Make, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="leave the section out"):
        train(tiny, eight_bits(recipe), tmp_path, hooks=[StepHook()])


@pytest.mark.parametrize("setting", [{"precision": "fp16"}, {"compile": True}])
def test_what_does_not_go_together(recipe: Make, setting: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="quantise goes with precision fp32 or bf16"):
        eight_bits(recipe, **setting)


def test_low_precision_trains_and_validation_measures_eight_bits(
    tiny: Network, recipe: Make, tmp_path: Path, photographs: Path
) -> None:
    settings = eight_bits(
        recipe, precision="bf16", ema=0.9,
        validation={"data": str(photographs), "every": 20, "protocol": "rgb"},
    )  # fmt: skip
    coarse = start(reach=5000.0)  # so coarse that it shows
    tuned = train(tiny, settings, tmp_path, hooks=[QuantiseHook(coarse, settings)])
    from srdeploy.quality.evaluate import evaluate

    seen = read_metrics(tmp_path)[-1]["psnr_rgb"]
    rounded = evaluate(as_rounded(tuned.copy()), photographs, 2, "rgb", progress=False).psnr
    plain = evaluate(tuned.copy(), photographs, 2, "rgb", progress=False).psnr
    assert seen == pytest.approx(rounded, abs=1e-6)
    assert abs(plain - rounded) > 0.01
    assert Range(*tuned.card.quantised.ranges["sum.0"]).high > 1000  # type: ignore[union-attr]
