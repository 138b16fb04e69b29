from __future__ import annotations

from pathlib import Path

import pytest

from srdeploy.errors import UserError
from srdeploy.farm.settings import device_entry, read_farm, split_address


def test_paths_are_beside_the_file_and_defaults_are_there(tmp_path: Path) -> None:
    (tmp_path / "farm.yaml").write_text("scheduler: lab.local\nkey: other.key\n")
    farm = read_farm(tmp_path)
    assert farm.address == ("lab.local", 8786)
    assert farm.key == tmp_path / "other.key"
    assert farm.ca == tmp_path / "ca.pem"
    assert farm.quarantine_after == 3


@pytest.mark.parametrize(
    ("text", "parts"),
    [("lab", ("lab", 8786)), ("10.0.0.1:99", ("10.0.0.1", 99)), ("[::1]:99", ("::1", 99))],
)
def test_addresses(text: str, parts: tuple[str, int]) -> None:
    assert split_address(text) == parts


@pytest.mark.parametrize("text", ["", "a b", "lab:port", "lab:99999999", "tls://lab"])
def test_no_addresses(text: str) -> None:
    with pytest.raises(UserError, match="no address of a scheduler"):
        split_address(text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("schedular: x", "did you mean 'scheduler'"),
        ("scheduler: a b", "no address"),
        ("scheduler: a\ndevices: [{uri: 'fake://a'}, {uri: 'fake://a?ms=2'}]", "called 'a'"),
        ("scheduler: a\ndevices: [{uri: 'fake://a', tags: ['a,b']}]", "no name"),
        ("scheduler: a\nquarantine_after: 0", "quarantine_after"),
    ],
)
def test_bad_files_are_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "farm.yaml").write_text(text)
    with pytest.raises(UserError, match=sentence):
        read_farm(tmp_path / "farm.yaml")


@pytest.mark.parametrize(
    ("uri", "name"),
    [("ssh://me@orin-1:22", "orin-1"), ("fake://desk?ms=5", "desk"), ("adb://R58M.1", "R58M.1")],
)
def test_devices_are_called_by_their_host(uri: str, name: str) -> None:
    assert device_entry(uri=uri).called == name


def test_a_device_without_a_host_is_called_by_kind_and_machine() -> None:
    assert device_entry(uri="local").called.startswith("local-")
    assert device_entry(uri="local", name="desk").called == "desk"
