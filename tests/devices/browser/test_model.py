"""What a page is asked about a network, and what is made of its answers; no browser is needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

pytest.importorskip("tornado", reason="tornado is not installed: pip install 'srdeploy[browser]'")

from srdeploy.devices.browser.model import BrowserModel, _precision, comparison
from srdeploy.devices.browser.runtime_files import VERSION
from srdeploy.devices.browser.server import Server
from srdeploy.devices.errors import DeviceError
from srdeploy.devices.protocol import Job
from tests.devices.tiny_onnx import OPTIONS, tiny_onnx

X = np.arange(210, dtype=np.float64).reshape(2, 3, 5, 7)


class Page:
    """A phone whose page answers as told.

    Attributes:
        told: What it told of its browser.
        asked: Every job, oldest first.
        answers: By the job's kind; an error is raised.
    """

    def __init__(self, **told: Any) -> None:
        self.name, self.told, self.alive = "pixel", told, True
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.body: bytes | None = None
        self.answers: dict[str, Any] = {
            "open": {"load_ms": 12, "version": "1.31.0"}, "prepare": {"first_ms": 45},
            "turn": {"samples_ms": [4.0, 4.5]}, "run": {}, "close": {},
        }  # fmt: skip

    def ask(self, do: str, **fields: Any) -> tuple[dict[str, Any], bytes | None]:
        self.asked.append((do, fields))
        if isinstance(self.answers[do], Exception):
            raise self.answers[do]
        return self.answers[do], self.body


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server("127.0.0.1", 0, tmp_path, None, print)


def tell(sentence: str) -> None:
    """What a model gets to tell by."""


@pytest.fixture
def load(server: Server, tmp_path: Path) -> Callable[..., BrowserModel]:
    def load(page: Page, backend: str = "wasm", scale: int = 2, **job: Any) -> BrowserModel:
        path = tiny_onnx(tmp_path / "small.onnx", scale=scale)
        asked = Job(str(path), options=OPTIONS, timeout_seconds=77, **job)
        return BrowserModel(server, page, asked, backend, 9.0, tell)  # type: ignore[arg-type]

    return load


WAITS = {"timeout": 77, "patience": 9.0, "tell": tell}


def test_a_network_is_opened_there(
    server: Server, load: Callable[..., BrowserModel], tmp_path: Path
) -> None:
    page = Page(cores=8, isolated=True)
    model = load(page, threads=3)
    content = (tmp_path / "small.onnx").read_bytes()
    (name,) = server._blobs
    assert server._blobs[name] == (content, "application/octet-stream")
    network = {
        "key": f"{name}-wasm-3", "blob": {"id": name, "bytes": len(content)}, "backend": "wasm",
        "threads": 3, "label": "browser (wasm)",
    }  # fmt: skip
    assert page.asked == [("open", {**WAITS, "title": "small.onnx", "model": network})]
    loaded = model.loaded
    assert (loaded.runtime, loaded.runtime_version, loaded.provider, loaded.precision) == (
        "browser (wasm)", "1.31.0", "wasm", "fp32",
    )  # fmt: skip
    assert (loaded.threads, loaded.load_ms, loaded.notes, loaded.card.scale) == (3, 12.0, (), 2)
    assert model.peak_mb() is None


@pytest.mark.parametrize(
    ("told", "backend", "asked", "threads"),
    [
        ({"cores": 8, "isolated": True}, "wasm", None, 4),
        ({"cores": 4, "isolated": True}, "wasm", None, 4),
        ({"cores": 3, "isolated": True}, "wasm", None, 3),
        ({"isolated": True}, "wasm", None, 1),
        ({"cores": 2, "isolated": True}, "wasm", 6, 6),
        ({"cores": 8, "isolated": False}, "wasm", 6, 1),
        ({"cores": 8, "isolated": True}, "webgpu", 6, 1),
    ],
)
def test_threads(
    load: Callable[..., BrowserModel],
    told: dict[str, Any], backend: str, asked: int | None, threads: int,
) -> None:  # fmt: skip
    page = Page(**told)
    model = load(page, backend, threads=asked)
    assert model.loaded.threads == threads
    assert page.asked[0][1]["model"]["threads"] == threads
    assert page.asked[0][1]["model"]["key"].endswith(f"-{backend}-{threads}")


FEW = "4 of 8 cores were used; more by --threads."
ALONE = "the page was not cross-origin isolated, so WASM ran on one thread."
SLOW = "the WebGPU adapter is a software renderer: its speed is no GPU's."
CPU = "some operators have no WebGPU kernel and ran on the CPU."


@pytest.mark.parametrize(
    ("told", "backend", "threads", "notes"),
    [
        ({"cores": 8, "isolated": True}, "wasm", None, (FEW,)),
        ({"cores": 8, "isolated": True}, "wasm", 4, ()),
        ({"cores": 4, "isolated": True}, "wasm", None, ()),
        ({}, "wasm", None, (ALONE,)),
        ({"cores": 8}, "webgpu", None, ()),
        ({"gpu": {"software": True}}, "webgpu", None, (SLOW,)),
        ({"gpu": {"software": False}}, "webgpu", None, ()),
        ({"gpu": {"software": True}, "isolated": True}, "wasm", None, ()),
    ],
)
def test_notes(
    load: Callable[..., BrowserModel],
    told: dict[str, Any], backend: str, threads: int | None, notes: tuple[str, ...],
) -> None:  # fmt: skip
    page = Page(**told)
    assert load(page, backend, threads=threads).loaded.notes == notes
    page.answers["open"] = {"on_cpu_too": True}
    assert load(page, backend, threads=threads).loaded.notes == (CPU, *notes)


def test_a_page_that_tells_little(load: Callable[..., BrowserModel]) -> None:
    page = Page()
    for answer in ({}, {"load_ms": "soon", "version": ""}):
        page.answers["open"] = answer
        loaded = load(page).loaded
        assert (loaded.runtime_version, loaded.load_ms) == (VERSION, None)
    page.answers["prepare"] = {}
    assert load(page).prepare(X, runs=0, seconds=0) is None


def test_a_tensor_is_prepared_with_its_picture(
    server: Server, load: Callable[..., BrowserModel]
) -> None:
    page = Page()
    model = load(page, picture=(4, 6))
    opened = page.asked[0][1]
    first = model.prepare(X, runs=3, seconds=1.5)
    assert (first, type(first)) == (45.0, float)
    box, png = comparison(model.loaded.card, X, (4, 6))
    tensor, picture = X.astype("<f4").tobytes(), server.put(png)
    do, job = page.asked[1]
    assert do == "prepare"
    assert job == {
        **opened,
        "input": {"id": server.put(tensor), "bytes": 840, "dims": [2, 3, 5, 7]},
        "picture": {**box, "bicubic": picture},
        "warm": {"runs": 3, "seconds": 1.5},
    }
    assert server._blobs[job["input"]["id"]][0] == tensor
    turn = model.turn(2.5)
    assert (turn.samples_ms, turn.compute_ms) == ([4.0, 4.5], [])
    assert page.asked[2] == ("turn", {**job, "seconds": 2.5, "settle_below_ms": 100.0})
    model.close()
    assert server._blobs == {}


def test_a_picture_keeps_its_kind(server: Server, load: Callable[..., BrowserModel]) -> None:
    page = Page()
    load(page).prepare(X, runs=0, seconds=0)
    assert server._blobs[page.asked[1][1]["picture"]["bicubic"]][1] == "image/png"


@pytest.mark.parametrize("compute", [None, [], [3.0, 3.5]])
def test_times(load: Callable[..., BrowserModel], compute: list[float] | None) -> None:
    page = Page()
    page.answers["turn"] = {"samples_ms": [4.0, 4.5], "compute_ms": compute}
    turn = load(page).turn(1)
    assert (turn.samples_ms, turn.compute_ms) == ([4.0, 4.5], compute or [])


@pytest.mark.parametrize(
    "answer",
    [{}, {"samples_ms": []}, {"samples_ms": "4"}, {"samples_ms": [4, 4], "compute_ms": [3]},
     {"samples_ms": [4, 4], "compute_ms": [3, 3, 3]}, {"samples_ms": [], "compute_ms": []}],
)  # fmt: skip
def test_no_times(load: Callable[..., BrowserModel], answer: dict[str, Any]) -> None:
    page = Page()
    page.answers["turn"] = answer
    with pytest.raises(DeviceError, match=r"^pixel sent no times; reload the page\.$"):
        load(page).turn(1)


@pytest.mark.parametrize("scale", [2, 3])
def test_an_output_comes_float_by_float(
    server: Server, load: Callable[..., BrowserModel], scale: int
) -> None:
    page = Page()
    model = load(page, scale=scale)
    y = np.random.default_rng(0).random((2, 3, 5 * scale, 7 * scale), np.float32)
    page.body = y.astype("<f4").tobytes()
    before = dict(server._blobs)
    found = model.run(X)
    assert found.dtype == np.float32
    assert np.array_equal(found, y)
    do, job = page.asked[1]
    assert do == "run"
    tensor = job.pop("input")
    assert (tensor["bytes"], tensor["dims"]) == (840, [2, 3, 5, 7])
    assert job == {
        **WAITS, "expected_bytes": 840 * scale * scale, "title": "small.onnx",
        "model": page.asked[0][1]["model"],
    }  # fmt: skip
    assert server._blobs == before  # what was sent is not kept


def test_the_tensor_that_is_timed_stays(server: Server, load: Callable[..., BrowserModel]) -> None:
    page = Page()
    model = load(page)
    model.prepare(X, runs=0, seconds=0)
    before = dict(server._blobs)
    page.answers["run"] = DeviceError("no")
    for x in (X, X + 1):
        with pytest.raises(DeviceError):
            model.run(x)
        assert server._blobs == before


def test_no_output(load: Callable[..., BrowserModel]) -> None:
    with pytest.raises(DeviceError, match=r"^pixel sent no output; reload the page\.$"):
        load(Page()).run(X)


def test_it_is_freed_there_and_here(server: Server, load: Callable[..., BrowserModel]) -> None:
    page = Page()
    with load(page):
        assert server._blobs
    quick = {"timeout": 10.0, "patience": 0.0, "tell": tell}
    assert page.asked[1] == ("close", {**quick, "title": "", "model": page.asked[0][1]["model"]})
    assert server._blobs == {}
    page.answers["close"] = DeviceError("gone")
    load(page).close()
    assert server._blobs == {}
    model, page.alive, page.asked = load(page), False, []
    model.close()
    assert page.asked == []
    assert server._blobs == {}


def graph(*kinds: int) -> bytes:
    """A network of convolutions whose weights are of these types; of none, it passes its input."""
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Conv", [f"x{n}", f"w{n}"], [f"x{n + 1}"], name=f"conv{n}")
        for n in range(len(kinds))
    ] or [helper.make_node("Relu", ["x0"], ["x1"])]
    weights = [
        helper.make_tensor(f"w{n}", kind, [1, 1, 1, 1], [1.0]) for n, kind in enumerate(kinds)
    ]
    ends = [value(name, TensorProto.FLOAT, [1, 1, 2, 2]) for name in ("x0", nodes[-1].output[0])]
    made = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    return onnx.ModelProto.SerializeToString(helper.make_model(made))


@pytest.mark.parametrize(
    ("kinds", "precision"),
    [((TensorProto.FLOAT, TensorProto.FLOAT), "fp32"), ((TensorProto.FLOAT16,), None),
     ((TensorProto.FLOAT, TensorProto.FLOAT16), None), ((), "fp32")],
)  # fmt: skip
def test_precision_is_told_where_the_file_leaves_no_doubt(
    kinds: tuple[int, ...], precision: str | None
) -> None:
    assert _precision(graph(*kinds)) == precision
