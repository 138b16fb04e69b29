"""Where sparse pays, in words and as a chart, without timing anything; and all of it once."""

from __future__ import annotations

import platform
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from srdeploy.benchmarking.measuring import smsr_forms
from srdeploy.benchmarking.measuring import sparse as module
from srdeploy.benchmarking.measuring.smsr_forms import (
    ENGINE,
    REFERENCE,
    SizeResult,
    in_turns,
    write_forms,
)
from srdeploy.benchmarking.measuring.sparse import BreakEven, break_even
from srdeploy.data.benchmark import open_benchmark
from srdeploy.data.images import write_png
from srdeploy.errors import UserError
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.models.store import save_network
from srdeploy.runtime.open import open_session
from srdeploy.runtime.table import RUNTIMES, Availability, Runtime
from tests.sparse import nets
from tests.sparse.test_library import here

DENSE = {REFERENCE: 20.0, "openvino bf16": 10.0, "openvino int8": 5.0}


def sized(side: int, sparse: list[float]) -> SizeResult:
    return SizeResult(side, [0.0, 0.5, 1.0], {"sparse int8": sparse}, DENSE)


FOUND = BreakEven(
    "smsr", "torch", 3, 7, {"cpu": "c"}, 0.1,
    [sized(64, [0.0, 5.0, 25.0]), sized(128, [1.0, 2.0, 3.0]), sized(256, [11.0, 12.0, 13.0])],
    {REFERENCE: 30.0, "openvino bf16": 29.95, "openvino int8": 28.5, "sparse int8": 29.99},
    "Set5",
)  # fmt: skip


def test_only_forms_that_lose_little_are_rivals() -> None:
    assert FOUND.sentences() == [
        "64x64, against openvino bf16: sparse int8 pays below 62% of pixels inside",
        "128x128, against openvino bf16: sparse int8 pays at every density",
        "256x256, against openvino bf16: sparse int8 never pays",
    ]
    assert "openvino int8" not in FOUND.allowed
    unjudged = replace(FOUND, psnr={})  # random weights
    assert unjudged.sentences()[0].startswith(
        "64x64, against openvino int8: sparse int8 pays below"
    )
    assert replace(FOUND, drop=2.0).allowed == unjudged.allowed
    with pytest.raises(FrozenInstanceError):
        FOUND.threads = 4  # type: ignore[misc]
    assert FOUND.to_dict()["sizes"][0]["dense_ms"] == DENSE


def test_images_are_told_with_the_worst_of_them() -> None:
    images = {
        "sparse int8": {"a": [4.0, 5.0, 9.0], "b": [9.0, 9.0]},
        "openvino bf16": {"a": [10.0, 10.0], "b": [10.0, 10.0]},
        REFERENCE: {"a": [20.0], "b": [20.0]},
        "openvino int8": {"a": [1.0], "b": [1.0]},
    }
    found = replace(FOUND, images_ms=images)
    assert found.sentences()[-1] == (
        "Set5: sparse int8 is 1.43 times as fast as openvino bf16, the fastest dense form, and "
        "takes at most 0.90 times the fastest dense form of an image"
    )
    dispatched = replace(found, images_ms={**images, "dispatch": {"a": [4.0], "b": [10.4]}})
    assert "Set5: dispatch is 1.39 times as fast" in dispatched.sentences()[-1]
    assert "at most 1.04 times" in dispatched.sentences()[-1]


def test_the_chart_shows_every_form_that_counts() -> None:
    root = ElementTree.fromstring(FOUND.chart())
    space = "{http://www.w3.org/2000/svg}"
    texts = [one.text for one in root.iter(f"{space}text")]
    assert texts[:3] == [
        "SMSR, 256x256 pixels, 3 threads", "pixels inside the masks, %",
        "time over the fastest dense form",
    ]  # fmt: skip
    assert texts[-3:] == ["sparse int8", "openvino bf16", REFERENCE]
    lines = [one.get("points", "").split() for one in root.iter(f"{space}polyline")]
    heights = [[float(pair.split(",")[1]) for pair in line] for line in lines]
    assert heights[1][0] == heights[1][1]  # dense: the same at every density
    assert heights[2][0] < heights[0][2] < heights[0][0] < heights[1][0]  # 2 > 1.3 > 1.1 > 1
    dashed = [bool(one.get("stroke-dasharray")) for one in root.iter(f"{space}polyline")]
    assert dashed == [False, True, True]


def test_requests_that_cannot_be_served(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="A side of 7 pixels is too small to time; take 8 or more"):
        break_even(sides=(64, 7))
    with pytest.raises(UserError, match="'edsr-s-x2' is ledsr; sparse convolution is SMSR's"):
        break_even("edsr-s-x2", sides=(8,))
    with pytest.raises(UserError, match="A dispatch file needs a network's FILE, and two --sides"):
        break_even(sides=(8, 16), dispatch=Path("a.dispatch"))

    def none() -> Any:
        raise module.Unavailable("no compiler")

    monkeypatch.setattr(module, "load_kernel", none)
    with pytest.raises(UserError, match="had here: no compiler; leave --kernel out"):
        break_even(sides=(8,), backend="native")


def test_turns_are_turned_round() -> None:
    ran: list[str] = []

    class Told:
        def __init__(self, name: str) -> None:
            self.name = name

        def run(self, x: np.ndarray) -> None:
            ran.append(f"{self.name}{x}")

    sessions: Any = {"a": Told("a"), "b": Told("b")}
    times = in_turns(sessions, {"1": np.array(1), "2": np.array(2)}, 2)
    assert ran == ["b1", "a1", "b2", "a2", "a1", "b1", "a2", "b2", "b1", "a1", "b2", "a2"]
    assert all(len(ms) == 2 for one in times.values() for ms in one.values())


def test_forms_that_are_not_here_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = Runtime.availability

    def only_torch(row: Runtime) -> Availability:
        if row.name in ("onnxruntime", "openvino", "ncnn"):
            return Availability(False, f"no {row.name}")
        return usual(row)

    def written(network: Network, target: str, path: Path, precision: str) -> None:
        if precision == "int8":
            raise UserError("no bytes here")
        path.write_text(f"{target} {precision}")

    monkeypatch.setattr(Runtime, "availability", only_torch)
    monkeypatch.setattr(smsr_forms, "export", written)
    card = create("smsr", n_modules=2, n_layers=3, n_feats=12, mask_feats=4, reduction=4).card
    forms, missing = write_forms(Network(nets.network(), card), tmp_path, backend="torch")
    names = [form.name for form in forms]
    assert names[:2] == [ENGINE, REFERENCE]
    assert names[2:] == ["sparse fp32", f"sparse {'fp16' if on_arm() else 'bf16'}"]
    assert missing == {
        "onnxruntime": "no onnxruntime", "openvino": "no openvino", "ncnn": "no ncnn",
        "sparse int8": "no bytes here",
    }  # fmt: skip
    assert next(form.file.read_text() for form in forms if form.file) == "sparse-runner fp32"
    _, without = write_forms(
        Network(nets.network(), card), tmp_path, runtimes=["ncnn"], backend="torch"
    )
    assert without.keys() == {"ncnn", "sparse int8"}


def on_arm() -> bool:
    return platform.machine().lower() in ("aarch64", "arm64")


@pytest.mark.slow
@pytest.mark.skipif(not here(), reason="needs a C compiler")
def test_all_of_it(tmp_path: Path) -> None:
    """Every installed runtime on a small network, the dispatch file, and images through that."""
    network = create("smsr", n_modules=2, n_layers=3, n_feats=12, mask_feats=4, reduction=4)
    network = Network(nets.network(), network.card)
    save_network(network, tmp_path / "net.safetensors")
    (tmp_path / "set").mkdir()
    for number, pair in enumerate(open_benchmark("builtin", 2)[:2]):
        write_png(tmp_path / "set" / f"{number}.png", pair.hr()[40:104, 40:140])
    found = break_even(
        str(tmp_path / "net.safetensors"),
        sides=(64, 16),
        threads=1,
        repeats=1,
        images=str(tmp_path / "set"),
        drop=3.0,
        dispatch=tmp_path / "net.dispatch",
    )
    assert [one.side for one in found.sizes] == [16, 64]
    for name in ("onnxruntime", "openvino", "ncnn"):
        forms = [form for form in found.sizes[0].dense_ms if form.startswith(name)]
        assert forms or not RUNTIMES[name].availability(), found.missing
    assert found.psnr.keys() == found.sizes[0].dense_ms.keys() | found.sizes[0].sparse_ms.keys()
    assert found.images_ms.keys() == found.psnr.keys() | {"dispatch"}
    with (
        open_session(tmp_path / "net.dispatch", threads=1) as session,
        open_session(network) as own,
    ):
        x = nets.image(20, 33).numpy()
        assert np.abs(session.run(x) - own.run(x)).mean() < 3
        assert "of pixels were expected inside masks" in session.notes[0]
