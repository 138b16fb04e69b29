"""Files of ours, told by their first bytes and their header."""

from __future__ import annotations

from pathlib import Path

import pytest

from srdeploy.errors import UserError
from srdeploy.models import (
    card_file,
    digest,
    store,
)
from srdeploy.models.card_file import find_file
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.util.shipped import shipped_networks


@pytest.fixture
def edsr() -> Network:
    return create("edsr", n_blocks=1, n_feats=4)


@pytest.mark.parametrize(
    ("head", "ours"),
    [
        ((5).to_bytes(8, "little") + b"{", True),
        ((2**32 - 1).to_bytes(8, "little") + b"{", True),
        ((2**32).to_bytes(8, "little") + b"{", False),
        ((5).to_bytes(8, "little") + b"[", False),
        ((5).to_bytes(8, "little"), False),
        (b"", False),
    ],
)
def test_safetensors_by_their_first_bytes(head: bytes, ours: bool, tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(head)
    assert card_file.is_safetensors(tmp_path / "a.pt") == ours
    assert card_file.is_safetensors(tmp_path / "absent.safetensors")
    with pytest.raises(UserError, match="Cannot read"):
        card_file.is_safetensors(tmp_path / "absent.pt")


def test_whether_a_file_has_a_digest(edsr: Network, tmp_path: Path) -> None:
    store.save_network(edsr, tmp_path / "a.safetensors")
    assert card_file.has_digest(tmp_path / "a.safetensors") is True
    (tmp_path / "a.pt").write_bytes(b"x" * 20)
    assert card_file.has_digest(tmp_path / "a.pt") is None
    header = card_file.read_header(tmp_path / "a.safetensors")
    assert header is not None
    assert header.weights_sha256 == digest.weights_sha256(edsr.module.state_dict())
    assert header.shapes["head.0.weight"] == (4, 3, 3, 3)


def test_a_file_or_a_shipped_network(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_file("edsr-s-x2") == shipped_networks()["edsr-s-x2"]
    (tmp_path / "edsr-s-x2").mkdir()  # what lies here comes first
    assert find_file("edsr-s-x2") == Path("edsr-s-x2")
    assert find_file(tmp_path) == tmp_path
    for name in ("a.onnx", "a/b"):
        with pytest.raises(UserError, match=f"There is no file '{name}'"):
            find_file(name)
    with pytest.raises(UserError, match="did you mean 'edsr-s-x3'"):
        find_file("edsr-x3")
