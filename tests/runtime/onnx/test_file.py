"""What is asked of a graph before and after a run, whichever runtime makes the run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from srdeploy.errors import UserError
from srdeploy.models.card import Card
from srdeploy.runtime.onnx import file as onnx_file
from srdeploy.runtime.onnx.file import GraphPort, NotComputed, OnnxFileSession, as_text, last_clause
from srdeploy.runtime.sizes import InputSizes

FREE = ("n", 3, "h", "w")


def doubled(x: np.ndarray) -> np.ndarray:
    return x.repeat(2, 2).repeat(2, 3)


class File(OnnxFileSession):
    """A graph that is a function."""

    runtime: ClassVar[str] = "fake"

    def __init__(
        self,
        function: Callable[[np.ndarray], Any] = doubled,
        shape: tuple[int | str | None, ...] = FREE,
        dtype: str = "float32",
        card: str | None = None,
        ends: tuple[int, int] = (1, 1),
        threads: int | None = 1,
        value_range: float | None = 1.0,
        scale: int | None = None,
    ) -> None:
        self.function = function
        self.seen: list[np.ndarray] = []
        end = GraphPort("x", dtype, shape)
        super().__init__(
            Path("folder/net.onnx"), [end] * ends[0], [end] * ends[1], card,
            threads=threads, value_range=value_range, scale=scale,
        )  # fmt: skip

    def _infer(self, x: np.ndarray) -> Any:
        self.seen.append(x)
        return self.function(x)


def card(**fields: Any) -> str:
    known = {"arch": "t", "scale": 2, "scales": (2,), "channels": 3, "value_range": 255.0}
    return Card(**(known | fields)).to_json()


def image(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape, np.float32)


@pytest.mark.parametrize(
    ("shape", "probe"),
    [
        (FREE, (1, 3, 48, 48)),
        ((None, 1, None, None), (1, 1, 48, 48)),
        ((2, 3, 10, "w"), (2, 3, 10, 48)),
        ((1, 1, "h", 20), (1, 1, 48, 20)),
    ],
)
def test_a_file_without_a_card_is_tried_once(shape: tuple, probe: tuple) -> None:
    file = File(shape=shape, value_range=255.0, threads=3)
    (seen,) = file.seen
    assert seen.shape == probe
    assert seen.dtype == np.float32
    assert (seen == 127.5).all()  # mid grey
    found = file.card
    assert (found.arch, found.scale, found.scales) == ("onnx", 2, (2,))
    assert (found.channels, found.value_range) == (probe[1], 255.0)
    assert (found.luma_only, found.pre_upscaled) == (probe[1] == 1, False)
    assert (found.receptive_field, found.size_multiple) == (0, 1)
    assert file.threads == 3


def test_a_card_needs_no_try() -> None:
    file = File(card=card(), value_range=None)
    assert file.seen == []
    assert file.card.value_range == 255.0


def test_a_graph_that_changes_no_size_is_told_its_scale() -> None:
    file = File(lambda x: x, scale=4)
    assert (file.card.scale, file.card.scales, file.card.pre_upscaled) == (4, (4,), True)
    assert not file.card.luma_only
    assert File(scale=2).card.scale == 2  # what it does anyway


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"ends": (2, 1)}, "'folder/net.onnx' has 2 inputs and 1 outputs; a super-resolution"),
        ({"ends": (1, 0)}, "has 1 inputs and 0 outputs"),
        ({"dtype": "uint8"}, "takes uint8 of shape nx3xhxw; srdeploy feeds float tensors"),
        ({"shape": (1, 3, "h")}, "takes float32 of shape 1x3xh; srdeploy"),
        ({"shape": (1, 2, "h", "w")}, "takes 2 channels (shape 1x2xhxw)"),
        ({"shape": (1, "c", "h", "w")}, "takes c channels"),
        ({"value_range": None}, "tells whether pixels run to 1 or 255; give the value range."),
        ({"function": lambda x: x[:, :, ::2, ::2]}, "turns 48x48 pixels into shape [1, 3, 24, 24]"),
        ({"function": lambda x: doubled(x)[:, :, :-1]}, "that is no upscaling by a whole number"),
        ({"function": lambda x: x.repeat(2, 2)}, "into shape [1, 3, 96, 48]"),
        ({"function": lambda x: doubled(x)[:, :1]}, "into shape [1, 1, 96, 96]"),
        ({"function": lambda x: x}, "it wants them upscaled beforehand; give the scale."),
        ({"scale": 3}, "upscales by 2, not by 3."),
        ({"card": "{"}, "card in 'folder/net.onnx' is not valid"),
    ],
)  # fmt: skip
def test_graphs_that_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        File(**options)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [
        (FREE, None),
        ((1, 3, 8, 10), InputSizes(((8, 10),))),
        ((1, 3, 8, "w"), InputSizes(low=(8, 1), high=(8, 1 << 20))),
        ((1, 3, "h", 10), InputSizes(low=(1, 10), high=(1 << 20, 10))),
    ],
)
def test_sizes_are_those_of_the_graph(shape: tuple, sizes: InputSizes | None) -> None:
    assert File(shape=shape, card=card()).sizes == sizes


def test_half_a_float_goes_in_and_a_whole_one_comes_out() -> None:
    file = File(dtype="float16", card=card())
    x = image(1, 3, 4, 5)
    y = file.run(x)
    assert file.seen[0].dtype == np.float16
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, doubled(x.astype(np.float16)).astype(np.float32))
    plain = File(card=card())
    assert plain.run(x).dtype == plain.seen[0].dtype == np.float32


@pytest.mark.parametrize("shape", [(1, 3, 8, "w"), (1, "c", "h", 10), (1, 3, 8, 10)])
def test_other_shapes_than_the_graphs(shape: tuple) -> None:
    file = File(shape=shape, card=card())
    file.run(image(1, 3, 8, 10))
    for wrong in ((1, 3, 9, 11), (2, 3, 8, 10)):
        with pytest.raises(UserError) as caught:
            file.run(image(*wrong))
        assert str(caught.value) == (
            f"'net.onnx' takes {'x'.join(map(str, shape))} only, not {'x'.join(map(str, wrong))}; "
            "export it with dynamic sizes or give an image of that size."
        )
    assert len(file.seen) == 1


@pytest.mark.parametrize(
    ("given", "kind"), [([1], "list"), (np.zeros(1, np.int64), "int64"), (np.array("a"), "<U1")]
)
def test_results_that_are_no_image(given: Any, kind: str) -> None:
    with pytest.raises(UserError, match=f"'net.onnx' returns {kind}, which is no image; export"):
        File(lambda x: given, card=card()).run(image(1, 3, 4, 4))


def test_errors_of_a_runtime_become_one_sentence() -> None:
    def fails(x: np.ndarray) -> Any:
        raise RuntimeError("[ONNXRuntimeError] : 6 : Conv\n fails.")

    def refuses(x: np.ndarray) -> Any:
        raise NotComputed("no kernels")

    with pytest.raises(UserError) as caught:
        File(fails, card=card()).run(image(1, 3, 4, 6))
    assert str(caught.value) == "'net.onnx' failed on an input of shape [1, 3, 4, 6]: Conv fails"
    with pytest.raises(NotComputed, match=r"^no kernels$"):
        File(refuses, card=card()).run(image(1, 3, 4, 6))


def test_only_the_first_run_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets a millisecond per value of the input beside what opening gets."""
    limits: list[tuple[float, str]] = []

    def limited(seconds: float, work: Callable[[], Any], what: str, stop: Any) -> Any:
        limits.append((seconds, what))
        assert stop() is None
        return work()

    monkeypatch.setattr(onnx_file, "within", limited)
    monkeypatch.setattr(onnx_file, "patience", lambda: 100)
    file = File(card=card())
    for _ in range(3):
        file.run(image(2, 3, 10, 10))
    assert limits == [(pytest.approx(100.6), "'folder/net.onnx' ran, and gave no result")]
    assert len(file.seen) == 3


def test_a_first_run_that_fails_is_not_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "patience", lambda: 5)
    file = File(lambda x: 1 // 0, card=card())
    with pytest.raises(UserError):
        file.run(image(1, 3, 4, 4))
    assert not file._tried


def test_text_that_is_none_is_a_damaged_file() -> None:
    with (
        pytest.raises(UserError, match=r"'a\.onnx' has names or metadata that are not UTF-8"),
        as_text(Path("a.onnx")),
    ):
        b"\xff".decode()
    with pytest.raises(KeyError), as_text(Path("a.onnx")):
        raise KeyError


@pytest.mark.parametrize(
    ("told", "clause"),
    [
        ("[E] : 7 : a\n  b.", "a b"),
        ("nothing : to : cut", "cut"),
        ("a:b", "a:b"),
        ("", "RuntimeError"),
        ("x" * 300, "x" * 200),
    ],
)
def test_the_last_clause(told: str, clause: str) -> None:
    assert last_clause(RuntimeError(told)) == clause
