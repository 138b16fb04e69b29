"""Bounds and defaults of the farm's file, names and addresses at their edges."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from srdeploy.errors import UserError
from srdeploy.farm.settings import (
    DeviceEntry,
    FarmFile,
    check_devices,
    device_entry,
    read_farm,
    split_address,
)


def test_defaults() -> None:
    farm = FarmFile(scheduler="lab")
    assert (farm.ca, farm.certificate, farm.key) == (
        Path("ca.pem"), Path("host.pem"), Path("host.key"),
    )  # fmt: skip
    assert (farm.quarantine_after, farm.patience_seconds) == (3, 60)
    assert (farm.devices, farm.labgrid) == ((), None)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [("quarantine_after", 1, 0), ("patience_seconds", 0, -0.1)],
)
def test_limits(name: str, good: Any, bad: Any) -> None:
    FarmFile.model_validate({"scheduler": "lab", name: good})
    with pytest.raises(ValidationError):
        FarmFile.model_validate({"scheduler": "lab", name: bad})


@pytest.mark.parametrize(
    ("text", "parts"),
    [("a:1", ("a", 1)), ("a:65535", ("a", 65535)), ("[::1]", ("::1", 8786)), ("a:0", ("a", 0)),
     ("[fe80::1%eth0]:7", ("fe80::1%eth0", 7)), ("a-b.c_d", ("a-b.c_d", 8786))],
)  # fmt: skip
def test_addresses(text: str, parts: tuple[str, int]) -> None:
    assert split_address(text) == parts


@pytest.mark.parametrize("text", ["a:65536", "a:123456", "::1", "a:", ":1", "[a", "[]:1", "a/b"])
def test_no_addresses(text: str) -> None:
    with pytest.raises(UserError, match="is no address of a scheduler; write HOST or HOST:PORT"):
        split_address(text)


@pytest.mark.parametrize("word", ["a", "A9._-", "9"])
def test_words(word: str) -> None:
    assert device_entry(uri="local", name=word, tags=(word,)).called == word


@pytest.mark.parametrize("word", ["", "-a", ".a", "_a", "a b", "a/b", "ä", "a\n"])
def test_no_words(word: str) -> None:
    for values in ({"name": word}, {"tags": (word,)}):
        with pytest.raises(UserError, match=r"(?s)This device: .*is no name"):
            device_entry(uri="local", **values)


def test_a_device_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "desk.lab.example")
    assert DeviceEntry(uri="local").called == "local-desk"
    assert DeviceEntry(uri="ssh://me@.a b.").called == "a-b"
    entry = DeviceEntry(uri="ssh://me@orin", tags=("x",), labgrid="place")
    assert (entry.kind, entry.called, entry.labgrid) == ("ssh", "orin", "place")


def test_names_differ_on_a_host() -> None:
    check_devices([DeviceEntry(uri="fake://a"), DeviceEntry(uri="fake://b")])
    with pytest.raises(UserError, match="Two devices of this host are called 'a'; give them names"):
        check_devices([DeviceEntry(uri="fake://a"), DeviceEntry(uri="fake://b", name="a")])


def test_paths_are_beside_the_file_unless_they_are_whole(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("{scheduler: lab, ca: /etc/ca.pem, key: k/x.key}")
    farm = read_farm(tmp_path / "other.yaml")
    assert (farm.ca, farm.certificate, farm.key) == (
        Path("/etc/ca.pem"), tmp_path / "host.pem", tmp_path / "k" / "x.key",
    )  # fmt: skip
    with pytest.raises(UserError, match=r"farm\.yaml"):
        read_farm(tmp_path)  # a folder stands for the file in it
