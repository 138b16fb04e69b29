"""Widths are read from every pruned network that is still there, once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from srdeploy.benchmarking.measuring.row import row_of
from srdeploy.errors import SrdeployError
from srdeploy.reporting import widths
from srdeploy.reporting.run_folder import RunFolder
from srdeploy.reporting.sources import Evidence, SourceEntry
from srdeploy.reporting.widths import Widths, find_widths
from tests.reporting.material import measurement


def test_widths_of_every_pruned_network_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "run"
    for folder, name in (("20_pruned", "pruned"), ("40_tuned", "tuned")):
        (root / folder).mkdir(parents=True)
        (root / folder / f"{name}.safetensors").touch()
    cards = {
        "pruned.safetensors": {"a": (8, 4)},
        "same.onnx": {"a": (8, 4)},
        "other.onnx": {"a": (8, 2), "b": (8, 1)},
        "dense.onnx": {},
    }
    asked = []

    def read_card_of(path: Path) -> SimpleNamespace:
        asked.append(path)
        if path.name not in cards:
            raise SrdeployError("gone")
        return SimpleNamespace(changed=cards[path.name], widths=dict.fromkeys("abcde", 8))

    monkeypatch.setattr(widths, "read_card_of", read_card_of)
    monkeypatch.setattr(widths, "changed_widths", lambda card: card.changed)
    entries = []
    for artifact, folder in (
        ("same.onnx", tmp_path), ("gone.onnx", tmp_path), ("dense.onnx", tmp_path),
        ("other.onnx", tmp_path), ("other.onnx", tmp_path), ("of_run.onnx", root),
    ):  # fmt: skip
        one = measurement(artifact, 5, None, 1e9)
        entries.append(SourceEntry(row_of(one, one), one, folder))
    broken = measurement("broken.onnx", 5, None, 1e9, error="It broke.")
    entries.append(SourceEntry(row_of(broken, broken), broken, tmp_path))
    evidence = Evidence(entries, [RunFolder(root, [], {})])
    assert find_widths(evidence) == [
        Widths("run/pruned.safetensors", {"a": (8, 4)}, 4),
        Widths("other.onnx", {"a": (8, 2), "b": (8, 1)}, 3),
    ]
    assert [path.name for path in asked] == [
        "pruned.safetensors", "same.onnx", "gone.onnx", "dense.onnx", "other.onnx",
    ]  # fmt: skip
    (root / "20_pruned" / "pruned.safetensors").unlink()
    cards["tuned.safetensors"] = {"a": (8, 3)}
    assert find_widths(evidence)[0].name == "run/tuned.safetensors"
