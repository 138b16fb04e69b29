"""Device URIs, taken apart."""

from __future__ import annotations

from typing import Any

import pytest

from srdeploy.devices.uri import DeviceUri
from srdeploy.errors import UserError


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("ssh://Me%40x@Orin-A", {"user": "Me@x", "host": "Orin-A"}),
        ("ssh://me:secret@orin:22", {"user": "me", "host": "orin", "port": 22}),
        ("ssh://@orin", {"host": "orin"}),
        ("qai-hub://Samsung Galaxy S24", {"kind": "qai-hub", "host": "Samsung Galaxy S24"}),
        ("ssh://[fe80::1]:2222", {"host": "fe80::1", "port": 2222}),
        ("ssh://orin/", {"host": "orin"}),
        ("ssh://orin?a=&b=1%202", {"host": "orin", "options": {"a": "", "b": "1 2"}}),
        ("browser?ort=x", {"kind": "browser", "options": {"ort": "x"}}),
        ("fake://?ms=5", {"kind": "fake", "options": {"ms": "5"}}),
        ("adb?x=a://b", {"kind": "adb", "options": {"x": "a://b"}}),
        ("", {"kind": ""}),
    ],
)
def test_uris_come_apart(text: str, parts: dict[str, Any]) -> None:
    found = DeviceUri.parse(text)
    assert found == DeviceUri(text, **{"kind": "ssh", **parts})


@pytest.mark.parametrize("text", ["ssh://orin:65536", "ssh://orin:x", "ssh://[orin", "ssh://a/b"])
def test_no_device(text: str) -> None:
    with pytest.raises(UserError, match="is no device"):
        DeviceUri.parse(text)


def test_options_that_choose_code_are_told_apart() -> None:
    text = "ssh://a?dir=x&trtexec=y&config=z&python=p&ort=o&precision=fp16"
    assert DeviceUri.parse(text).code_options == ["trtexec", "config", "python", "ort"]
    assert DeviceUri.parse("ssh://a?dir=x").code_options == []


def test_unknown_options_offer_the_nearest() -> None:
    DeviceUri.parse("ssh://a?dir=x").check_options(iter(["port", "dir"]))
    with pytest.raises(UserError, match="option of ssh devices named 'dri'; did you mean 'dir'"):
        DeviceUri.parse("ssh://a?dri=x").check_options(["port", "dir"])
