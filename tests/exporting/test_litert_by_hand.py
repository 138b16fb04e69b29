"""The export to LiteRT where its converter is not installed: of stand-ins."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting import litert as stage
from srdeploy.exporting.litert import export_litert
from srdeploy.models.card import Card
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.runtime.session import Session
from srdeploy.runtime.table import Availability, Module


class Converted(Session):
    """What was converted, run by torch; off by a little where told."""

    runtime = "litert"
    network: Network
    off = 0.0

    def __init__(self, path: Path, threads: int) -> None:
        assert threads == 1
        assert path.read_bytes() == b"flatbuffer with a card"
        super().__init__(self.network.card, threads)

    def _run(self, x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return self.network.module(torch.from_numpy(x)).numpy() + np.float32(self.off)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """LiteRT's converter, which notes what it is given."""
    seen: dict[str, Any] = {}

    class Model:
        def model_content(self) -> bytearray:
            return bytearray(b"flatbuffer")

    def convert(module: Any, examples: tuple[Any, ...]) -> Model:
        seen["module"], (seen["example"],) = module, examples
        if "fails" in seen:
            raise seen["fails"]
        return Model()

    def with_card(data: bytes, card: Card) -> bytes:
        seen["card"] = card
        return data + b" with a card"

    package = ModuleType("litert_torch")
    package.convert = convert  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "litert_torch", package)
    monkeypatch.setattr(Module, "availability", lambda self: Availability(True, ""))
    monkeypatch.setattr(stage, "_with_card", with_card)
    monkeypatch.setattr(stage, "_operators", lambda path: {"CONV_2D": 3})
    monkeypatch.setattr(stage, "LitertSession", Converted)
    monkeypatch.setattr(Converted, "off", 0.0)
    return seen


def network() -> Network:
    made = create("ledsr", n_blocks=1, n_feats=4)
    Converted.network = made
    return made


def test_one_size_with_its_card(given: dict[str, Any], tmp_path: Path) -> None:
    source = network()
    report = export_litert(source, tmp_path / "net.tflite", sizes="32x24")
    assert given["module"] is source.module
    assert given["example"].shape == (1, 3, 24, 32)
    step = given["card"].history[-1]
    assert (step["step"], step["target"], step["precision"], step["size"]) == (
        "export", "litert", "fp32", [24, 32],
    )  # fmt: skip
    assert step["parity"] == {"tolerance": 1e-4, "sizes": [[24, 32]]}
    assert set(step["tools"]) == {"srdeploy", "torch", "litert-torch", "ai-edge-litert"}
    assert (tmp_path / "net.tflite").read_bytes() == b"flatbuffer with a card"
    assert (report.target, report.precision, report.opset) == ("litert", "fp32", None)
    assert report.operators == {"CONV_2D": 3}
    assert report.parity is not None
    assert report.parity.sizes == [(24, 32)]
    assert report.parity.max_abs_diff == 0
    assert report.notes == ["one input size, 32x24: LiteRT's converter writes no other"]
    assert report.bytes == 22


def test_another_result_is_refused(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = network()
    monkeypatch.setattr(Converted, "off", 0.5)  # of 255: twenty times what rounding explains
    with pytest.raises(SrdeployError, match="The TFLite file"):
        export_litert(source, tmp_path / "net.tflite", sizes="32x24")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("pre_upscaled", "multiple", "size"),
    [(False, 1, (270, 480)), (False, 7, (273, 483)), (True, 1, (720, 1280)),
     (True, 32, (736, 1280))],
)  # fmt: skip
def test_the_size_unless_told(pre_upscaled: bool, multiple: int, size: tuple[int, int]) -> None:
    card = Card(arch="t", scale=2, scales=(2,), channels=3, value_range=1.0,
                pre_upscaled=pre_upscaled, size_multiple=multiple)  # fmt: skip
    assert stage._default_size(card) == size


def test_sizes_that_cannot_be(given: dict[str, Any], tmp_path: Path) -> None:
    for sizes in ("8..16", "8x8,16x16"):
        with pytest.raises(UserError, match=r"writes one input size, not '.*'; give 480x270"):
            export_litert(network(), tmp_path / "net.tflite", sizes=sizes)
    source = network()
    odd = Network(source.module, source.card.model_copy(update={"size_multiple": 4}))
    for sizes in ("32x30", "30x32"):
        with pytest.raises(UserError, match=rf"cannot take {sizes} pixels; give multiples of 4"):
            export_litert(odd, tmp_path / "net.tflite", sizes=sizes)


@pytest.mark.parametrize(
    ("error", "said"), [(ValueError("no such op\nmore"), "no such op"), (KeyError(), "KeyError()")]
)
def test_a_converter_that_refuses(
    given: dict[str, Any], error: Exception, said: str, tmp_path: Path
) -> None:
    given["fails"] = error
    with pytest.raises(SrdeployError) as caught:
        export_litert(network(), tmp_path / "net.tflite", sizes="32x24")
    assert str(caught.value) == f"LiteRT's converter refuses this network ({said})."
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", ["litert_torch", "ai_edge_litert"])
def test_what_is_missing(
    given: dict[str, Any], missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        Module, "availability", lambda self: Availability(self.name != missing, "get it")
    )
    with pytest.raises(UserError, match=r"LiteRT is not possible here: get it\."):
        export_litert(network(), tmp_path / "net.tflite")
