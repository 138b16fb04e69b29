"""TFLite files in LiteRT's interpreter: cards, ends, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from srdeploy.errors import UserError
from srdeploy.models.card import Card
from srdeploy.runtime.card_of import read_card_of
from srdeploy.runtime.litert_file import End
from srdeploy.runtime.litert_session import LitertSession
from srdeploy.runtime.table import LITERT, Availability, Module

CARD = Card(arch="t", scale=2, scales=(2,), channels=3, value_range=1.0)


def test_ends_of_8_bits_with_channels_last() -> None:
    end = End("lr", (1, 2, 4, 3), np.dtype(np.int8), 0.5, -100, channels_last=True)
    assert end.image_shape == (1, 3, 2, 4)
    x = np.arange(24, dtype=np.float32).reshape(1, 3, 2, 4)
    given = end.from_image(x)
    assert (given.shape, given.dtype, given.flags.c_contiguous) == ((1, 2, 4, 3), np.int8, True)
    np.testing.assert_array_equal(given.transpose(0, 3, 1, 2), 2 * x - 100)
    np.testing.assert_array_equal(end.to_image(given), x)
    assert end.from_image(x + 1000).max() == 127


def test_ends_of_floats_with_channels_second() -> None:
    end = End("lr", (1, 3, 2, 4), np.dtype(np.float32), 1.0, 0, channels_last=False)
    x = np.random.default_rng(0).random((1, 3, 2, 4), np.float32)
    assert end.image_shape == (1, 3, 2, 4)
    np.testing.assert_array_equal(end.to_image(end.from_image(x)), x)


def test_where_litert_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.tflite").write_bytes(b"x")
    monkeypatch.setattr(Module, "availability", lambda self: Availability(False, "get it"))
    with pytest.raises(UserError, match=r"Running '.*net\.tflite' needs LiteRT: get it\."):
        LitertSession(tmp_path / "net.tflite")
    with pytest.raises(UserError, match=r"Reading '.*net\.tflite' needs LiteRT: get it\."):
        read_card_of(tmp_path / "net.tflite")


if LITERT.availability():
    from srdeploy.exporting.litert.flatbuffer import to_bytes
    from srdeploy.exporting.litert.graph import Op, Program, Tensor

    def write(path: Path, card: Card | None = CARD, layout: str | None = "NHWC") -> Path:
        """A file that doubles an image, both ways."""
        shape = (1, 4, 8, 3) if layout else (1, 3, 4, 8)
        x, two = Tensor("lr", shape), Tensor("two", (2,), "int32", np.array([8, 16], np.int32))
        if layout:
            y = Tensor("sr", (1, 8, 16, 3))
            op = Op("RESIZE_NEAREST_NEIGHBOR", [x, two], y,
                    {"alignCorners": False, "halfPixelCenters": False})  # fmt: skip
        else:
            times = Tensor("times", (4,), "int32", np.array([1, 1, 2, 2], np.int32))
            y = Tensor("sr", (1, 3, 8, 16))
            op = Op("TILE", [x, times], y)
        if card is not None:
            card = card.step(step="export", **({"layout": layout} if layout else {}))
        path.write_bytes(to_bytes(Program(x, y, [op]), card))
        return path

    @pytest.mark.parametrize("layout", ["NHWC", None])
    def test_a_batch_runs_one_by_one(layout: str | None, tmp_path: Path) -> None:
        with LitertSession(write(tmp_path / "net.tflite", layout=layout), threads=3) as session:
            assert (session.runtime, session.threads, str(session.sizes)) == ("litert", 3, "8x4")
            assert session.precision is None  # there is no convolution
            x = np.random.default_rng(0).random((3, 3, 4, 8), np.float32)
            expected = x.repeat(2, 2).repeat(2, 3) if layout else np.tile(x, (1, 1, 2, 2))
            np.testing.assert_array_equal(session.run(x), expected)
            with pytest.raises(UserError) as caught:
                session.run(x[:, :, :3].copy())
        assert str(caught.value) == (
            "'net.tflite' takes 1x3x4x8 only, not 3x3x3x8; export it with another --input."
        )
        assert session._interpreter is None

    def test_cards(tmp_path: Path) -> None:
        card = read_card_of(write(tmp_path / "net.tflite"))
        assert card.model_copy(update={"history": []}) == CARD
        with pytest.raises(UserError, match="has no srdeploy card; export it"):
            LitertSession(write(tmp_path / "a.tflite", card=None))
        for content in (b"TFL3\0\0\0\0", b"\0\0\0\0TFL2", b""):
            (tmp_path / "a.tflite").write_bytes(content)
            with pytest.raises(UserError, match="is no TFLite file"):
                LitertSession(tmp_path / "a.tflite")
        with pytest.raises(UserError, match="There is no file"):
            LitertSession(tmp_path / "absent.tflite")

    def test_files_cut_anywhere(tmp_path: Path) -> None:
        whole = write(tmp_path / "net.tflite").read_bytes()
        for length in range(8, len(whole), 37):
            (tmp_path / "cut.tflite").write_bytes(whole[:length])
            with pytest.raises(UserError, match=r"truncated|no srdeploy card|not valid"):
                LitertSession(tmp_path / "cut.tflite")
