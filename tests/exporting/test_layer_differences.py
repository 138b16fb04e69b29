"""Where two versions part, on layers that are numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from srdeploy.errors import UserError
from srdeploy.exporting import layer_differences
from srdeploy.exporting.layer_differences import compare_layer, find_layer_differences, parting

A = np.array([[[[3.0, -4.0], [0.0, 1.0]]]], np.float32)


def off(by: float) -> np.ndarray:
    """A tensor whose largest difference is so large a share of the largest value."""
    changed = A.copy()
    changed[0, 0, 1, 0] += 4 * by
    return changed


def test_one_layer() -> None:
    gap = compare_layer("x", A, off(0.01))
    assert gap.layer == "x"
    assert gap.factor == 1
    assert gap.relative == pytest.approx(0.01)
    assert gap.snr_db == pytest.approx(10 * math.log10(26 / 0.04**2), rel=1e-4)
    same = compare_layer("x", A, A)
    assert (same.relative, same.snr_db, same.factor) == (0, math.inf, 1)


@pytest.mark.parametrize(
    ("factor", "found"), [(1.019, 1), (1.03, 1.03), (0.97, 0.97), (0.985, 1), (255, 255), (-2, 1)]
)
def test_a_factor_is_folded_and_rounding_is_none(factor: float, found: float) -> None:
    gap = compare_layer("x", A, A / np.float32(factor))
    assert gap.factor == pytest.approx(found, rel=1e-6)
    assert gap.relative == pytest.approx(abs(1 - found / factor), abs=1e-6)


def test_layers_of_zeros_and_of_no_numbers() -> None:
    zero = np.zeros_like(A)
    assert compare_layer("x", zero, zero).relative == 0
    gap = compare_layer("x", zero, A)
    assert (gap.relative, gap.factor) == (1, 1)
    lost = compare_layer("x", A, zero)
    assert (lost.relative, lost.factor, lost.snr_db) == (1, 1, 0)
    for a, b in ((A, np.full_like(A, np.nan)), (np.full_like(A, np.inf), A)):
        gap = compare_layer("x", a, b)
        assert math.isnan(gap.relative)
        assert gap.snr_db == -math.inf


def layers(**by: float) -> dict[str, np.ndarray]:
    return {name: off(share) for name, share in by.items()}


def test_the_first_beyond_and_the_largest_step() -> None:
    a = layers(a=0, b=0, c=0, d=0)
    found = find_layer_differences(a, layers(a=1e-5, b=2e-4, c=1e-2, d=1.1e-2))
    assert found.first is not None
    assert found.worst is not None
    assert (found.first.layer, found.worst.layer) == ("b", "c")
    assert [gap.layer for gap in found.layers] == ["a", "b", "c", "d"]
    assert (found.unmatched, found.note) == (0, None)
    assert found.to_dict()["first"]["layer"] == "b"


def test_the_first_layer_can_be_the_worst() -> None:
    found = find_layer_differences(layers(a=0, b=0), layers(a=0.1, b=0.11))
    assert found.first is not None
    assert found.first == found.worst
    later = find_layer_differences(layers(a=0, b=0), layers(a=2e-4, b=0.1))
    assert later.worst is not None
    assert later.worst.layer == "b"


def test_the_tolerance_belongs_to_what_agrees() -> None:
    for share, apart in ((0.9e-4, False), (1.1e-4, True)):
        found = find_layer_differences(layers(a=0), layers(a=share))
        assert (found.first is not None) == (found.worst is not None) == apart
        assert len(found.layers) == 1
    assert find_layer_differences(layers(a=0), layers(a=0.1), tolerance=0.2).first is None
    broken = find_layer_differences(layers(a=0), {"a": A * np.nan})
    assert broken.first is not None


def test_layers_without_a_counterpart_are_counted() -> None:
    a = layers(a=0, b=0, c=0) | {"other": np.zeros((1, 1, 3, 3), np.float32)}
    b = layers(b=0, d=0) | {"other": A}
    found = find_layer_differences(a, b)
    assert [gap.layer for gap in found.layers] == ["b"]
    assert found.unmatched == 4
    none = find_layer_differences(layers(a=0), layers(b=0, c=0))
    assert none.note == "no layer can be matched by name and shape (1 against 2 layers)"
    assert (none.unmatched, none.layers) == (3, [])


@pytest.mark.parametrize(
    ("b", "said"),
    [
        (
            layers(a=0, b=0),
            "; all layers that can be matched agree, so it is what comes after them",
        ),
        (layers(a=0, b=0.1), "; they part at b"),
        (layers(a=2e-4, b=0.1), "; they part at a, most at b"),
    ],
)
def test_the_end_of_a_sentence(b: dict, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_differences, "torch_activations", lambda network, x: layers(a=0, b=0))
    monkeypatch.setattr(layer_differences, "activations_of", lambda path, x: b)
    assert parting("network", "net.onnx", A) == said  # type: ignore[arg-type]
    assert parting(None, "net.onnx", A) == ""

    def fails(path: str, x: np.ndarray) -> dict:
        raise UserError("unreadable")

    monkeypatch.setattr(layer_differences, "activations_of", fails)
    assert parting("network", "net.onnx", A) == ""  # type: ignore[arg-type]
