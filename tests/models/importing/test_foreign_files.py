"""Files that are no checkpoints are told by their first bytes, wherever those stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from srdeploy.errors import UserError
from srdeploy.models.load import load_network


@pytest.mark.parametrize(
    ("offset", "magic", "told"),
    [
        (4, b"TFL3", "is a TensorFlow Lite model"),
        (0, b"\x89HDF", "is an HDF5 file"),
        (257, b"ustar", r"is a checkpoint of torch 0\.1 \(tar\)"),
    ],
)
def test_a_foreign_file_is_named(offset: int, magic: bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    for shift in (0, 1):
        path.write_bytes(bytes(offset + shift) + magic + bytes(600))
        with pytest.raises(UserError) as caught:
            load_network(path)
        assert bool(re.search(told, str(caught.value))) == (shift == 0)
