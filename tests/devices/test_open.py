from __future__ import annotations

import pytest

from srdeploy.devices.open import open_device
from srdeploy.devices.table import KINDS, Kind
from srdeploy.devices.uri import DeviceUri
from srdeploy.errors import UserError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("local", DeviceUri("local", "local")),
        ("local?provider=cuda", DeviceUri("local?provider=cuda", "local",
                                          options={"provider": "cuda"})),
        ("ssh://me@orin:2222?dir=/mnt/x", DeviceUri("ssh://me@orin:2222?dir=/mnt/x", "ssh",
                                                    "orin", "me", 2222, {"dir": "/mnt/x"})),
        ("ssh://[fe80::1]", DeviceUri("ssh://[fe80::1]", "ssh", "fe80::1")),
        ("adb://R58M12ABCDE", DeviceUri("adb://R58M12ABCDE", "adb", "R58M12ABCDE")),
    ],
)  # fmt: skip
def test_uris_come_apart(text: str, expected: DeviceUri) -> None:
    assert DeviceUri.parse(text) == expected


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("sshh://me@orin", "did you mean 'ssh'"),
        ("ssh://orin:no", "no device"),
        ("ssh://orin/home", "nothing may stand"),
        ("local://here", "names a host"),
        ("local?provder=cuda", "did you mean 'provider'"),
        ("local?provider=cudaa", "did you mean 'cuda'"),
        ("fake://x?ms=fast", "ms must be a number"),
        ("fake://x?fail=lsot", "did you mean 'lost'"),
    ],
)
def test_bad_uris_in_one_sentence(uri: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        open_device(uri)


def test_a_missing_program_is_told_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        KINDS, "none", Kind("none", "t", "none://", "m:C", "no-such-program", "install it")
    )
    with pytest.raises(UserError, match="no-such-program is not on PATH: install it"):
        open_device("none://x")


def test_a_provider_that_is_not_built_in_names_its_package() -> None:
    import onnxruntime as ort

    if "DmlExecutionProvider" in ort.get_available_providers():
        pytest.skip("this onnxruntime has DirectML")
    with pytest.raises(UserError, match="onnxruntime-directml"):
        open_device("local?provider=directml")
