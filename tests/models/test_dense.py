"""The dense network of a pruned one: noted once, found by its weights alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from srdeploy.compacting.run import prune_oneshot
from srdeploy.models.card_file import read_header
from srdeploy.models.dense import find_dense, with_dense_noted
from srdeploy.models.digest import weights_sha256
from srdeploy.models.registry import create
from srdeploy.models.store import save_network
from srdeploy.pruning.options import PruneOptions
from srdeploy.util.shipped import shipped_networks


def test_it_is_noted_once_and_found_beside(tmp_path: Path) -> None:
    dense = create("edsr", n_blocks=1, n_feats=8)
    small, _ = prune_oneshot(dense, PruneOptions(ratio=0.5))
    smaller, _ = prune_oneshot(small, PruneOptions(ratio=0.5))
    digest = weights_sha256(dense.module.state_dict())
    assert small.card.dense_sha256 == smaller.card.dense_sha256 == digest
    assert dense.card.dense_sha256 is None
    assert "dense_sha256" not in dense.card.to_json()
    assert find_dense(small.card, tmp_path) is None
    save_network(small, tmp_path / "a.safetensors")
    (tmp_path / "b.safetensors").write_bytes(b"damaged")
    save_network(create("edsr", n_blocks=1, n_feats=8), tmp_path / "c.safetensors")
    save_network(dense, tmp_path / "d.safetensors")
    assert find_dense(small.card, tmp_path) == tmp_path / "d.safetensors"
    assert find_dense(dense.card, tmp_path) is None
    with torch.no_grad():
        next(dense.module.parameters()).add_(1)
    save_network(dense, tmp_path / "d.safetensors")
    assert find_dense(small.card, tmp_path) is None


@pytest.mark.parametrize("name", ["edsr-s-x2"])
def test_a_shipped_one_is_found_by_its_digest(name: str, tmp_path: Path) -> None:
    path = shipped_networks()[name]
    header = read_header(path)
    assert header is not None
    card = create("edsr").card.model_copy(update={"dense_sha256": header.weights_sha256})
    assert find_dense(card, tmp_path) == path
    assert with_dense_noted(create("edsr")).card.dense_sha256 != header.weights_sha256
