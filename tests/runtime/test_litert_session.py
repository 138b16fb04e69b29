"""TFLite files in a stand-in of LiteRT: what it is asked for, and its errors."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from srdeploy.errors import UserError
from srdeploy.models.card import CARD_KEY, Card
from srdeploy.runtime.card_of import read_card_of
from srdeploy.runtime.litert_session import LitertSession
from srdeploy.runtime.table import Availability, Module

CARD = Card(arch="t", scale=2, scales=(2,), channels=3, value_range=1.0)


class LiteRT:
    """The package ``ai_edge_litert``: files are magic, then entries of metadata, one a line."""

    def __init__(self) -> None:
        self.shape = np.array([1, 3, 4, 8], np.int32)
        self.loaded: list[Any] = []
        self.ends = (1, 1)
        self.fails: Exception | None = None

    def Interpreter(self, path: str, num_threads: int) -> LiteRT:
        self.loaded.append((path, num_threads))
        self.ready = False
        return self

    def allocate_tensors(self) -> None:
        self.ready = True

    def get_input_details(self) -> list[dict[str, Any]]:
        return [{"index": 5, "shape": self.shape}] * self.ends[0]

    def get_output_details(self) -> list[dict[str, Any]]:
        return [{"index": 7}] * self.ends[1]

    def set_tensor(self, index: int, x: np.ndarray) -> None:
        assert (index, self.ready) == (5, True)
        assert x.shape == tuple(self.shape)
        self.x = x

    def invoke(self) -> None:
        if self.fails is not None:
            raise self.fails
        self.y = self.x.repeat(2, 2).repeat(2, 3).astype(np.float64)

    def get_tensor(self, index: int) -> np.ndarray:
        assert index == 7
        return self.y

    def GetRootAs(self, data: bytes, offset: int) -> Any:
        assert offset == 0
        lines = data[8:].splitlines()
        if b"cut" in lines:
            raise IndexError("outside")
        pairs = [line.partition(b"=")[::2] for line in lines]
        return SimpleNamespace(
            MetadataLength=lambda: len(pairs),
            Metadata=lambda n: SimpleNamespace(Name=lambda: pairs[n][0], Buffer=lambda: n + 10),
            Buffers=lambda n: SimpleNamespace(
                DataAsNumpy=lambda: np.frombuffer(pairs[n - 10][1], np.uint8)
            ),
        )


@pytest.fixture
def litert(monkeypatch: pytest.MonkeyPatch) -> LiteRT:
    found = LiteRT()
    package, schema = ModuleType("ai_edge_litert"), ModuleType("schema_py_generated")
    interpreter = ModuleType("ai_edge_litert.interpreter")
    interpreter.Interpreter = found.Interpreter  # type: ignore[attr-defined]
    schema.Model = found  # type: ignore[attr-defined]
    package.schema_py_generated = schema  # type: ignore[attr-defined]
    for name, module in {
        "": package,
        ".interpreter": interpreter,
        ".schema_py_generated": schema,
    }.items():
        monkeypatch.setitem(sys.modules, f"ai_edge_litert{name}", module)
    monkeypatch.setattr(Module, "availability", lambda self: Availability(True, ""))
    return found


def write(path: Path, *entries: str, magic: bytes = b"\x1c\0\0\0TFL3") -> Path:
    path.write_bytes(magic + "\n".join(entries).encode())
    return path


@pytest.fixture
def net(tmp_path: Path) -> Path:
    card = CARD.model_dump_json()
    return write(tmp_path / "net.tflite", "min_runtime_version=1", f"{CARD_KEY}={card}", "b=2")


def image(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape, np.float32)


def test_a_batch_runs_one_by_one(litert: LiteRT, net: Path) -> None:
    with LitertSession(net, threads=3) as session:
        assert litert.loaded == [(str(net), 3)]
        assert (session.runtime, session.card, session.threads) == ("litert", CARD, 3)
        assert str(session.sizes) == "8x4"
        assert session.sizes.fixed
        x = image(3, 3, 4, 8)
        y = session.run(x)
        assert y.dtype == np.float32
        np.testing.assert_array_equal(y, x.repeat(2, 2).repeat(2, 3))
    assert session._interpreter is None


@pytest.mark.parametrize("shape", [(1, 3, 5, 8), (1, 3, 4, 9), (2, 3, 8, 4)])
def test_other_sizes(litert: LiteRT, net: Path, shape: tuple[int, ...]) -> None:
    with LitertSession(net) as session, pytest.raises(UserError) as caught:
        session.run(image(*shape))
    wrong = "x".join(map(str, shape))
    assert str(caught.value) == (
        f"'net.tflite' takes 1x3x4x8 only, not {wrong}; export it with another --input."
    )


@pytest.mark.parametrize("error", [ValueError, RuntimeError, TypeError])
def test_a_run_that_fails(litert: LiteRT, net: Path, error: type[Exception]) -> None:
    litert.fails = error("out\n of " + "x" * 300)
    with LitertSession(net) as session, pytest.raises(UserError) as caught:
        session.run(image(1, 3, 4, 8))
    assert f"failed on an input of shape [1, 3, 4, 8] (out of {'x' * 193}); exp" in str(
        caught.value
    )


@pytest.mark.parametrize("ends", [(2, 1), (1, 0)])
def test_files_that_do_not_load(litert: LiteRT, net: Path, ends: tuple[int, int]) -> None:
    litert.ends = ends
    with pytest.raises(UserError, match=r"LiteRT cannot load '.*net\.tflite' .* may be truncated"):
        LitertSession(net)


def test_cards(litert: LiteRT, net: Path, tmp_path: Path) -> None:
    assert read_card_of(net) == CARD
    for entries, sentence in (
        (["a=1"], "has no srdeploy card; export it with `srdeploy export`"),
        (["cut"], "is truncated or damaged; export it again"),
        ([f"{CARD_KEY}={{"], "card in '.*' is not valid"),
    ):
        with pytest.raises(UserError, match=sentence):
            LitertSession(write(tmp_path / "a.tflite", *entries))
    for magic in (b"TFL3\0\0\0\0", b"\0\0\0\0TFL2", b""):
        with pytest.raises(UserError, match="is no TFLite file"):
            LitertSession(write(tmp_path / "a.tflite", magic=magic))
    with pytest.raises(UserError, match="There is no file"):
        LitertSession(tmp_path / "absent.tflite")


def test_where_litert_is_missing(
    litert: LiteRT, net: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Module, "availability", lambda self: Availability(False, "get it"))
    with pytest.raises(UserError, match=r"Running '.*net\.tflite' needs LiteRT: get it\."):
        LitertSession(net)
    with pytest.raises(UserError, match=r"Reading '.*net\.tflite' needs LiteRT: get it\."):
        read_card_of(net)
