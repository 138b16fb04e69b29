"""For which sizes an engine is built, given what its ONNX file takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from srdeploy.errors import UserError
from srdeploy.exporting import fallback
from srdeploy.exporting.tensorrt.export import make_profile
from srdeploy.exporting.tensorrt.onnx import write_source
from tests.exporting.fickle import Branch, Plain, network


def test_a_file_of_any_size_leaves_the_choice(tmp_path: Path) -> None:
    for asked in (None, "40x32", "16..64"):
        _, _, sizes = write_source(network(Plain()), tmp_path / "a.onnx", sizes=asked)
        assert sizes == asked


def test_a_file_of_one_size_gives_an_engine_of_one_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fallback, "ONE_SIZE", (48, 56))
    net, path = network(Branch(-1, 100)), tmp_path / "a.onnx"
    card, _, sizes = write_source(net, path, exporter="trace")
    assert sizes == "56x48"
    assert make_profile(card, sizes).fixed
    _, _, sizes = write_source(net, path, exporter="trace", sizes="40x32")
    assert sizes == "40x32"  # which is what the file is written for
    _, _, sizes = write_source(path, tmp_path / "b.onnx", sizes="40x32")
    assert sizes == "40x32"
    for asked in ("16..64", "16x16..24x24..64x64"):
        with pytest.raises(UserError, match=f"takes 56x48 only, .* for '{asked}'"):
            write_source(net, path, exporter="trace", sizes=asked)
