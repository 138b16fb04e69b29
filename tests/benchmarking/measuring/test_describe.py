"""Content and size of an artifact, known without running it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from srdeploy.benchmarking.measuring import describe
from srdeploy.benchmarking.measuring.describe import content_hash, counts
from srdeploy.models.count import count
from srdeploy.models.registry import create
from srdeploy.util.files import sha256
from srdeploy.util.shipped import shipped_networks


def test_content_of_files_and_shipped_networks(tmp_path: Path) -> None:
    file = tmp_path / "a.onnx"
    file.write_bytes(b"x")
    assert content_hash(str(file)) == hashlib.sha256(b"x").hexdigest()
    assert content_hash(f"{file}@onnxruntime") == content_hash(str(file))
    assert content_hash("edsr-s-x2") == sha256(shipped_networks()["edsr-s-x2"])
    assert content_hash("no-such-thing") is None


def test_counts_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRDEPLOY_CACHE", str(tmp_path))
    network = create("ledsr", n_blocks=1, n_feats=4)
    size = count(network)
    expected = {"params": size.params, "macs_720p": size.macs_720p}
    assert counts(network.card) == expected
    (kept,) = (tmp_path / "counts").glob("*.json")
    assert json.loads(kept.read_text()) == expected
    kept.write_text('{"params": 1, "macs_720p": 2}')
    assert counts(network.card) == {"params": 1, "macs_720p": 2}  # not counted again
    story = network.card.model_copy(update={"history": [{"step": "x"}], "quality": {"s": {}}})
    assert counts(story) == {"params": 1, "macs_720p": 2}  # nor for another story
    other = create("ledsr", n_blocks=1, n_feats=6)
    assert counts(other.card)["params"] == count(other).params
    kept.write_text("{half")
    assert counts(network.card) == expected
    monkeypatch.setattr(describe, "__version__", "other")
    kept.write_text('{"params": 1, "macs_720p": 2}')
    assert counts(network.card) == expected  # another version counts for itself


def test_somebody_elses_code_is_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SRDEPLOY_CACHE", str(tmp_path))
    card = create("ledsr", n_blocks=1, n_feats=4).card.model_copy(
        update={"arch": "nobody.knows:it"}
    )
    assert counts(card) == {}


def test_a_cache_that_cannot_be_written_to_costs_time_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SRDEPLOY_CACHE", str(tmp_path))
    network = create("ledsr", n_blocks=1, n_feats=4)
    counts(network.card)
    (kept,) = (tmp_path / "counts").glob("*.json")
    kept.unlink()
    kept.mkdir()
    (kept / "x").touch()
    assert counts(network.card)["params"] == count(network).params
