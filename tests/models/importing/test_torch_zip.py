"""Archives that tell two readers two things, or ask for more than they hold, are refused."""

from __future__ import annotations

import struct
import warnings
import zipfile
from pathlib import Path

import pytest
import torch

from srdeploy.errors import UserError
from srdeploy.models.importing import safe_pickle, torch_zip
from srdeploy.models.importing.state_dict import read_state_dict


@pytest.fixture
def path(tmp_path: Path) -> Path:
    torch.save({"conv.weight": torch.ones(2, 1, 3, 3)}, tmp_path / "net.pt")
    return tmp_path / "net.pt"


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def add(path: Path, name: str, data: bytes = b"", compression: int = zipfile.ZIP_STORED) -> None:
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a", compression) as archive:
        warnings.simplefilter("ignore")
        archive.writestr(name, data)


@pytest.mark.parametrize("name", ["net/data/0", "net/data.pkl", "NET/data/0", "net/Data.pkl"])
def test_two_members_of_one_name(path: Path, name: str) -> None:
    """torch takes one of them, by a comparison without case, and other readers the other."""
    content = members(path).get(name, b"")
    add(path, name, bytes(len(content)))
    with pytest.raises(UserError, match="two members of one name"):
        read_state_dict(path)


@pytest.mark.parametrize("name", ["../evil", "net/../../evil", "/etc/evil", "net\\..\\..\\evil"])
def test_names_that_lead_out_of_the_archive(path: Path, name: str) -> None:
    add(path, name)
    with pytest.raises(UserError, match="leads elsewhere"):
        read_state_dict(path)


def test_a_name_that_ends_early(path: Path) -> None:
    add(path, "net/other_0")
    path.write_bytes(path.read_bytes().replace(b"net/other_0", b"net/other\0\0"))
    with pytest.raises(UserError, match="leads elsewhere"):
        read_state_dict(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("which", ["net/data.pkl", "net/data/0", "net/byteorder"])
def test_compressed_numbers(path: Path, method: int, which: str) -> None:
    """Some methods expand whatever they are told to, before anybody can count."""
    parts = members(path)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            packed = method if name == which else zipfile.ZIP_STORED
            archive.writestr(zipfile.ZipInfo(name), data, packed)
    with pytest.raises(UserError, match=r"compressed|claims more bytes"):
        read_state_dict(path)


def test_a_structure_that_is_too_large(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_pickle, "_MAX_PICKLE", 50)
    with pytest.raises(UserError, match="far too large"):
        read_state_dict(path)


def test_a_list_of_members_that_is_too_long(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(100):
        add(path, f"net/.data/{i}")
    monkeypatch.setattr(torch_zip, "_MAX_DIRECTORY", 5000)
    with pytest.raises(UserError, match="far more members"):
        read_state_dict(path)


def test_the_list_of_a_large_archive_is_measured_where_readers_look(path: Path) -> None:
    """torch states its length in two records, and the first is the one that counts."""
    data = path.read_bytes()
    assert data[-98:-94] == b"PK\6\6"
    path.write_bytes(data[:-58] + struct.pack("<Q", 1 << 40) + data[-50:])
    with pytest.raises(UserError, match="far more members"):
        read_state_dict(path)


@pytest.mark.parametrize("order", [b"big", b"middle", b""])
def test_another_byte_order(path: Path, order: bytes) -> None:
    parts = members(path) | {"net/byteorder": order}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    with pytest.raises(UserError, match="byte order"):
        read_state_dict(path)


def test_a_list_of_members_may_be_as_long_as_the_bound(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (length,) = struct.unpack("<Q", path.read_bytes()[-58:-50])  # in the record of large archives
    monkeypatch.setattr(torch_zip, "_MAX_DIRECTORY", length)
    assert list(read_state_dict(path).tensors) == ["conv.weight"]
    monkeypatch.setattr(torch_zip, "_MAX_DIRECTORY", length - 1)
    with pytest.raises(UserError, match="far more members"):
        read_state_dict(path)
