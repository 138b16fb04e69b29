"""Checkpoint containers written byte by byte, so that tests can put anything inside."""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

Writer = Callable[[Path, bytes, "dict[str, bytes]"], Path]


def _write_zip(path: Path, root: bytes, storages: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", root)
        archive.writestr("archive/byteorder", "little")
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data)
    return path


def _write_legacy(path: Path, root: bytes, storages: dict[str, bytes]) -> Path:
    """Magic, protocol, system, root, keys; then each storage's length and float32 numbers."""
    header = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True, "protocol_version": 1001}]
    with open(path, "wb") as file:
        file.write(b"".join(pickle.dumps(value, 2) for value in header))
        file.write(root + pickle.dumps(list(storages), 2))
        for data in storages.values():
            file.write(struct.pack("<q", len(data) // 4) + data)
    return path


@pytest.fixture(params=["zip", "legacy"])
def write_container(request: pytest.FixtureRequest) -> Writer:
    """Writes a pickle and its storages into either container of ``torch.save``."""
    return _write_zip if request.param == "zip" else _write_legacy
