"""Outputs and layers against the first artifact's, and the sentences on them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from srdeploy.benchmarking.deciding import compare as module
from srdeploy.benchmarking.deciding.compare import (
    Comparison,
    OutputDifference,
    compare,
    compare_layers,
    picture,
    psnr_drop,
)
from srdeploy.benchmarking.measuring.row import Row, row_of
from srdeploy.benchmarking.showing.compare_table import parity_lines
from srdeploy.errors import UserError
from srdeploy.exporting.layer_differences import TOLERANCE, LayerDifference, LayerDifferences
from srdeploy.measure.scenario import Scenario
from tests.benchmarking.material import measured

NAME = "edsr-s-x2"
LR = np.random.default_rng(0).integers(0, 256, (70, 101, 3), np.uint8)


def row(artifact: str = "a.onnx", **changes: Any) -> Row:
    one = measured([1.0], artifact=artifact)
    return row_of(one, one).model_copy(update={"protocol": "p"} | changes)


@pytest.mark.parametrize(
    ("first", "other", "drop"),
    [
        ({"psnr_y": 30.0}, {"psnr_y": 29.75}, 0.25),
        ({"psnr_rgb": 30.0}, {"psnr_rgb": 30.5}, -0.5),
        ({"psnr_y": 30.0, "psnr_rgb": 9.0}, {"psnr_y": 29.0, "psnr_rgb": 9.0}, 1.0),
        ({"psnr_y": math.inf}, {"psnr_y": math.inf}, 0.0),
        ({"psnr_y": 30.0}, {"psnr_y": 29.0, "protocol": "q"}, None),
        ({"psnr_y": 30.0, "protocol": None}, {"psnr_y": 29.0, "protocol": None}, None),
        ({"psnr_y": 30.0}, {}, None),
        ({}, {"psnr_y": 30.0}, None),
    ],
)
def test_lost_psnr(first: dict[str, Any], other: dict[str, Any], drop: float | None) -> None:
    assert psnr_drop(row(**first), row(**other)) == drop


def test_a_comparison_is_plain_data() -> None:
    found = Comparison([row(), row("b.onnx")], [None, OutputDifference(levels=1.5)])
    first, second = found.to_dict()
    assert first["parity"] is None
    assert (second["artifact"], second["parity"]["levels"]) == ("b.onnx", 1.5)


class Made:
    """Pictures and rows that the test chooses, in place of runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **offsets: float | None) -> None:
        self.offsets, self.asked, self.looked = offsets, [], []
        monkeypatch.setattr(module, "picture", self.picture)
        monkeypatch.setattr(module, "bench", self.bench)
        monkeypatch.setattr(module, "compare_layers", self.layers)

    asked: list[Any]
    looked: list[Any]

    def picture(self, artifact: str, lr: Any, scale: int, threads: Any, options: Any) -> Any:
        self.asked.append((artifact, lr.shape, scale, threads, options))
        offset = self.offsets[artifact]
        if offset is None:
            raise UserError(f"{artifact} does not run.")
        made = np.full((4, 4, 3), 100.0)
        made[0, 0, 0] += offset
        return made

    def bench(self, artifacts: Any, **settings: Any) -> list[Row]:
        self.settings = settings
        return [row(name, psnr_y=30.0 - number) for number, name in enumerate(artifacts)]

    def layers(self, *arguments: Any) -> LayerDifferences:
        self.looked.append(arguments[:2])
        return LayerDifferences(None, None, [], 0, "looked into")


def test_every_artifact_is_held_against_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = TOLERANCE * 255
    made = Made(monkeypatch, a=0.0, same=0.0, close=0.99 * limit, far=-1.01 * limit, gone=None,
                none=math.nan)  # fmt: skip
    scenario = Scenario(inputs=((10, 14),))
    found = compare(["a", "same", "close", "far", "gone", "none"], data="builtin", scale=2,
                    scenario=scenario, threads=3, options={"arch": "x"})  # fmt: skip
    first, same, close, far, gone, none = found.parities
    assert first is None
    assert same == OutputDifference(0.0, math.inf, 1.0)
    assert close is not None
    assert (close.divergence, close.psnr_drop_db) == (None, 2.0)
    assert close.levels == pytest.approx(0.99 * limit)
    assert far is not None
    assert far.levels == pytest.approx(1.01 * limit)
    assert far.divergence is not None
    assert far.divergence.note == "looked into"
    assert gone == OutputDifference(psnr_drop_db=4.0, note="gone does not run.")
    assert none is not None
    assert none.divergence is not None  # NaN is no agreement
    assert made.looked == [("a", "far"), ("a", "none")]
    assert made.asked[0] == ("a", (10, 14, 3), 2, 3, {"arch": "x"})
    assert made.settings == {
        "data": "builtin", "scale": 2, "scenario": scenario, "threads": 3, "options": {"arch": "x"},
        "dense": None,
    }  # fmt: skip


def test_two_are_needed_and_the_first_must_run(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(monkeypatch, a=None, b=0.0)
    for few in ([], ["a"]):
        with pytest.raises(UserError, match="name two or more"):
            compare(few, data="builtin", scale=2)
    with pytest.raises(UserError, match="a does not run"):
        compare(["a", "b"], data="builtin", scale=2)
    assert not hasattr(made, "settings")  # told before anything is measured


def test_the_median_image_unless_a_size_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(monkeypatch, a=0.0, b=0.0)
    compare(["a", "b"], data="builtin", scale=2)
    assert made.asked[0][1] == module.choose_image("builtin", 2).shape
    assert made.settings["scenario"] == Scenario()


def test_a_picture_is_neither_rounded_nor_clipped() -> None:
    made = picture(NAME, LR[:12, :10], 2, 1, {})
    assert (made.shape, made.dtype) == ((24, 20, 3), np.float64)
    assert np.abs(made - made.round()).max() > 0.1


def test_layers_are_compared_on_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def activations(artifact: str, x: Any, **options: Any) -> dict[str, Any]:
        seen.append((artifact, x, options))
        return {"layer": x}

    monkeypatch.setattr(module, "activations_of", activations)
    found = compare_layers(NAME, NAME, LR, 2, {})
    assert (found.first, len(found.layers)) == (None, 1)
    assert seen[0][2] == {"arch": None, "scale": 2}
    x = seen[0][1]
    assert x.shape == (1, 3, 64, 64)
    np.testing.assert_allclose(x[0].transpose(1, 2, 0) / x.max(), LR[3:67, 18:82] / 255, atol=1e-2)
    compare_layers(NAME, NAME, LR[:10, :12], 2, {})
    assert seen[-1][1].shape == (1, 3, 10, 12)


def test_what_cannot_be_looked_into_says_so() -> None:
    found = compare_layers(NAME, "absent.onnx", LR, 2, {})
    assert "absent.onnx" in str(found.note)
    assert (found.first, found.worst, found.layers, found.unmatched) == (None, None, [], 0)


def gap(name: str, factor: float = 1.0) -> LayerDifference:
    return LayerDifference(name, 0.0123, 37.6, factor)


def lines(*parities: OutputDifference | None) -> list[str]:
    rows = [row(), *(row(f"{n}.onnx") for n in range(len(parities)))]
    return parity_lines(Comparison(rows, [None, *parities]))


def test_outputs_that_agree() -> None:
    assert lines(
        OutputDifference(0.0012345, 98.76, 0.0004), OutputDifference(0.0, math.inf, -0.25)
    ) == [
        "0.onnx against a.onnx:",
        "  outputs: at most 0.00123 of 255 levels apart, PSNR 98.8 dB",
        "  quality: 0.000 dB lost on the set",
        "  layers: not looked into, the outputs agree to rounding",
        "1.onnx against a.onnx:",
        "  outputs: at most 0 of 255 levels apart, PSNR equal",
        "  quality: 0.250 dB gained on the set",
        "  layers: not looked into, the outputs agree to rounding",
    ]
    assert lines(OutputDifference(psnr_drop_db=0.5, note="It fell.")) == [
        "0.onnx against a.onnx:", "  quality: 0.500 dB lost on the set", "  not compared: It fell.",
    ]  # fmt: skip
    assert lines(None) == []


def test_layers_that_part() -> None:
    many = [gap(f"l{n}", 255.0 if n == 1 else 1.0) for n in range(14)]
    told = lines(OutputDifference(1.0, 40.0, None, LayerDifferences(many[0], many[3], many, 2)))
    assert told[2] == (
        "  layers: first apart at l0 (1.2e-02 of its largest value, 38 dB); the error grows most "
        "at l3"
    )
    assert told[3] == f"    {'l0':<28}  1.2e-02    37.6 dB"
    assert told[4] == f"    {'l1':<28}  1.2e-02    37.6 dB, up to a factor of 255"
    assert told[14] == f"    {'l11':<28}  1.2e-02    37.6 dB"
    assert told[15:] == [
        "    ... 2 more layers (--verbose lists them)",
        "    2 layers have no counterpart of their name and shape",
    ]
    few = lines(OutputDifference(1.0, 40.0, None, LayerDifferences(many[0], many[3], many[:12], 0)))
    assert len(few) == 15


def test_layers_that_do_not_part_or_cannot_be_told() -> None:
    agree = LayerDifferences(None, None, [gap("a"), gap("b")], 3)
    assert lines(OutputDifference(1.0, 40.0, None, agree))[2:] == [
        "  layers: all 2 that match agree to rounding; the outputs part after the last of them"
    ]
    noted = LayerDifferences(gap("a"), gap("a"), [], 3, "nothing matches")
    assert lines(OutputDifference(1.0, 40.0, None, noted))[2:] == ["  layers: nothing matches"]
