"""Artifacts tell how they were made."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from srdeploy.compacting.run import prune_oneshot
from srdeploy.errors import UserError
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.exporting.provenance import changed_widths, fold_runs, tell
from srdeploy.models.card import Card
from srdeploy.models.digest import weights_sha256
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.models.store import save_network
from srdeploy.pruning.options import PruneOptions


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pruned and "fine-tuned" network with a recorded origin, as file and as ONNX."""
    dense = create("ledsr", n_blocks=1, n_feats=8)
    origin = {"step": "import", "file": "net.pt", "sha256": "ab" * 32, "recognised_as": "ledsr",
              "assumed": ["res_scale 1"], "ignored": []}  # fmt: skip
    dense = Network(dense.module, dense.card.step(**origin))
    small, _ = prune_oneshot(dense, PruneOptions(ratio=0.5, exclude=("tail.*",)))
    card = small.card.step(step="finetune", recipe="0123", data="4567", iterations=10, loss="l1")
    path = tmp_path_factory.mktemp("story") / "net.safetensors"
    save_network(Network(small.module, card), path)
    export_onnx(Network(small.module, card), path.with_suffix(".onnx"))
    return path


def test_the_whole_line_in_order(pruned: Path) -> None:
    story = tell(pruned.with_suffix(".onnx"))
    assert [chapter.step for chapter in story.chapters] == ["import", "prune", "finetune", "export"]
    imported, prune, tuned, export = (" / ".join(c.told) for c in story.chapters)
    assert "net.pt (sha256 abababababab), ledsr" in imported
    assert "assumed: res_scale 1" in imported
    assert "ratio 0.5" in prune
    assert "8 -> 4 channels" in prune
    assert "proof: " in prune
    assert tuned == "10 iterations of recipe 0123 on data 4567, loss l1"
    assert "onnx, fp32, opset 17, exporter trace, pixel shuffle crd" in export
    assert (
        "equal to PyTorch within 0.0001 of the value range (inputs 20x24, 29x17, 152x136)" in export
    )
    assert f"torch {torch.__version__.split('+')[0]}" in export
    assert story.gaps == []


def test_network_and_artifact_name_the_same_weights(pruned: Path) -> None:
    own, exported = tell(pruned), tell(pruned.with_suffix(".onnx"))
    assert own.weights_sha256 == exported.weights_sha256 is not None
    assert own.sha256 != exported.sha256


def test_widths_before_and_after(pruned: Path) -> None:
    widths = tell(pruned).widths
    assert widths == dict.fromkeys(("head.0", "body.0.body.0", "body.0.body.2", "body.1"), (8, 4))
    assert fold_runs(widths) == [("head.0", "body.1", 4, (8, 4))]
    assert changed_widths(create("ledsr", n_blocks=1, n_feats=8).card) == {}


def test_weights_have_an_identity_of_their_own() -> None:
    tensors = {"a": torch.zeros(2, 3), "b": torch.tensor(1.0)}
    digest = weights_sha256(tensors)
    assert weights_sha256(dict(reversed(tensors.items()))) == digest
    for other in ({"a": torch.zeros(3, 2)}, {"a": torch.zeros(2, 3).half()}, {"b": torch.ones(1)}):
        assert weights_sha256(tensors | other) != digest


def test_what_is_not_known_is_said(tmp_path: Path) -> None:
    path = tmp_path / "bare.onnx"
    export_onnx(create("vdsr", n_layers=3, n_feats=4), path, check=False)
    story = tell(path)
    assert ["where the first weights" in gap for gap in story.gaps] == [True]
    assert "parity" not in " ".join(story.chapters[-1].told)


def test_files_without_a_story(tmp_path: Path) -> None:
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(b"\x08\x09not onnx at all")
    with pytest.raises(UserError, match=r"no ONNX file|carries no srdeploy card"):
        tell(cut)
    checkpoint = tmp_path / "net.pth"
    torch.save({"w": torch.zeros(1)}, checkpoint)
    with pytest.raises(UserError, match="carries no srdeploy card"):
        tell(checkpoint)
    with pytest.raises(UserError, match="There is no file"):
        tell(tmp_path / "nothing.onnx")


ODD = [None, "x", [1], {"a": 1}, 1e300]


def _places(value: object, path: tuple = ()) -> Iterator[tuple]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from _places(inner, (*path, key))


def test_a_history_that_is_none_of_ours_is_told_as_it_stands(tmp_path: Path) -> None:
    """Cards come from strangers too: any field of a step may hold anything, or be missing."""
    network = create("edsr", n_blocks=1, n_feats=4)
    entries: list[dict] = [
        {"step": "import", "file": "a.pt", "sha256": "ab" * 32, "assumed": ["x"], "ignored": []},
        {"step": "train", "iterations": 9, "recipe": "r", "data": "d"},
        {"step": "prune", "ratio": 0.5, "exclude": ["tail"]},
        {"step": "export", "target": "onnx", "precision": "fp32", "tools": {"torch": "2"},
         "weights_sha256": "ab" * 32, "parent_sha256": "cd" * 32,
         "parity": {"max_difference": 1e-7, "tolerance": 1e-4, "sizes": [[3, 4]]}},
    ]  # fmt: skip
    for place in [*_places(entries)]:
        for odd in (*ODD, "missing"):
            history: list = copy.deepcopy(entries)
            owner: Any = history
            for key in place[:-1]:
                owner = owner[key]
            if odd == "missing":
                del owner[place[-1]]
            else:
                owner[place[-1]] = odd
            text = json.dumps(json.loads(network.card.to_json()) | {"history": history})
            try:
                card = Card.from_json(text)
            except UserError:
                assert place[-1] == "step" or len(place) == 1
                continue
            save_network(Network(network.module, card), tmp_path / "n.safetensors")
            chapters = tell(tmp_path / "n.safetensors").chapters
            assert len(chapters) == len(history)
            assert all(isinstance(line, str) for chapter in chapters for line in chapter.told)
