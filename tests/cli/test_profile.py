"""``srdeploy profile``: what layers cost on a device."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.fitting.conftest import ARITHMETIC


def test_the_table_is_told_and_its_predictions_hold(
    tiny: Path, tmp_path: Path, command: Command
) -> None:
    store = tmp_path / "times.sqlite"
    asked = ("profile", tiny, "--input", "48x32", "--device", ARITHMETIC, "--store", store)
    told = command(*asked)
    assert told["block"] == 8
    assert {kind["kind"]["follow"] for kind in told["kinds"]} == {"Relu", "Add"}
    for network in told["networks"]:
        assert network["predicted_ms"] == pytest.approx(network["ms"], rel=0.02)
    assert command(*asked) == told


def test_what_cannot_be_profiled_is_one_sentence(tiny: Path, refused: Command) -> None:
    for words, told in (
        (("--input", "48by32"), "no size"),
        (("--input", "48x32", "--precision", "mixed"), "mixed"),
        (("--input", "48x32", "--runtime", "torch"), "ONNX files"),
        (("--input", "48x32", "--devices", "orin"), "add --farm FILE"),
    ):
        code, sentence = refused("profile", tiny, *words)
        assert code == 2
        assert told in sentence
