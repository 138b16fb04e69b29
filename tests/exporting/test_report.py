from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from srdeploy import __version__
from srdeploy.data.benchmark import open_benchmark
from srdeploy.data.builtin import TRAINING_IMAGES
from srdeploy.exporting.probe import Gap
from srdeploy.exporting.report import (
    ExportReport,
    Parity,
    artifact_facts,
    parity_of,
    parity_told,
    tool_versions,
)
from srdeploy.models.card import Card
from srdeploy.runtime.inputs import MOST_PATCHES, PATCH, _patches, network_inputs
from srdeploy.util.files import sha256


def test_the_worst_of_what_was_met() -> None:
    gaps = [Gap(0.5, 0.01, 0.1, 1.0), Gap(0.25, 0.02, 0.1, 1.0)]
    found = parity_of(gaps, [(4, 6), (8, 9)], 0.5)
    assert found == Parity(0.5, 0.02, [(4, 6), (8, 9)], 0.5)
    assert parity_of(gaps, []).light == 1.0


def test_facts_of_files_and_packages(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert artifact_facts(tmp_path / "a") == {"sha256": sha256(tmp_path / "a"), "bytes": 5}
    (tmp_path / "p" / "deep").mkdir(parents=True)
    (tmp_path / "p" / "deep" / "b").write_bytes(b"123")
    (tmp_path / "p" / "c").write_bytes(b"1")
    facts = artifact_facts(tmp_path / "p")
    assert facts == {"sha256": sha256(tmp_path / "p"), "bytes": 4}


def test_versions() -> None:
    found = tool_versions(["numpy", "no-such-distribution"])
    assert found == {"srdeploy": __version__, "numpy": np.__version__,
                     "no-such-distribution": "missing"}  # fmt: skip


def test_plain_data() -> None:
    report = ExportReport("onnx", "a", "b", 1, "fp32", 17, Parity(0, 0, [(1, 2)]), {}, {}, 0.5)
    told = report.to_dict()
    assert told["parity"] == {"max_abs_diff": 0, "relative": 0, "sizes": [(1, 2)], "light": 1.0,
                              "tolerance": 0.0, "in_float64": False}  # fmt: skip
    assert (told["notes"], told["layers"], told["quality"]) == ([], [], None)


# Inputs made from images


@pytest.mark.parametrize(
    ("size", "corners"),
    [
        ((64, 64), [(0, 0)]),
        ((10, 20), [(0, 0)]),
        ((127, 63), [(0, 0)]),
        ((128, 64), [(0, 0), (64, 0)]),
        ((64, 200), [(0, 0), (0, 64), (0, 128)]),
        ((130, 130), [(0, 0), (0, 64), (64, 0), (64, 64)]),
    ],
)
def test_patches_lie_side_by_side(size: tuple[int, int], corners: list[tuple[int, int]]) -> None:
    assert PATCH == 64
    image = np.zeros((*size, 3), np.uint8)
    rows, columns = np.indices(size)
    image[..., 0], image[..., 1] = rows, columns
    found = _patches(image)
    assert [(int(p[0, 0, 0]), int(p[0, 0, 1])) for p in found] == corners
    assert {p.shape[:2] for p in found} == {tuple(min(64, n) for n in size)}


@pytest.mark.parametrize("most", [1, 3, 7, MOST_PATCHES])
@pytest.mark.parametrize(("pre_upscaled", "channels"), [(False, 3), (True, 1)])
def test_inputs_are_spread_over_all_images(most: int, pre_upscaled: bool, channels: int) -> None:
    card = Card(arch="t", scale=4, scales=(4,), channels=channels, value_range=1.0,
                luma_only=channels == 1, pre_upscaled=pre_upscaled)  # fmt: skip
    found = network_inputs("builtin", card, patches=most)
    every = network_inputs("builtin", card, patches=10**6)
    pairs = open_benchmark(TRAINING_IMAGES, 4)
    assert len(every) == sum(len(_patches(pair.lr())) for pair in pairs)
    step = -(-len(every) // most)
    assert len(found) == -(-len(every) // step) <= most
    for x, same in zip(found, every[::step], strict=True):
        np.testing.assert_array_equal(x, same)
        assert x.dtype == np.float32
        assert x.shape[:2] == (1, channels)
        assert 0.3 < x.max() < 1.5
    assert every[0].shape[2] <= 64 * (4 if pre_upscaled else 1)
    if pre_upscaled:
        assert every[0].shape[2] > 64 or pairs[0].lr().shape[0] < 17


@pytest.mark.parametrize(
    ("tolerance", "told"),
    [(1e-4, "equal to X within 0.0001 of the value range"),
     (0.004, "equal to X within 0.004 of the value range"),
     (0.5, "the picture that X makes, but for rounding to int8"),
     (None, "the picture that X makes, but for rounding to int8")],
)  # fmt: skip
def test_a_comparison_in_words(tolerance: float | None, told: str) -> None:
    assert parity_told("int8", tolerance, [(20, 30), [4, 5]], "X") == f"{told} (inputs 30x20, 5x4)"
    assert parity_told("int8", tolerance, [], "X") == told
