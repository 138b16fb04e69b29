from __future__ import annotations

import pytest

from srdeploy.devices.adb.connection import Attached, choose, parse_devices
from srdeploy.devices.errors import DeviceRefused

LIST = """* daemon not running; starting now at tcp:5037
* daemon started successfully
List of devices attached
emulator-5554\tdevice
8A1X\tunauthorized
192.168.0.7:5555\toffline
0123\tno permissions (missing udev rules? user is in the plugdev group); see [http://x]

"""


def test_the_clients_list() -> None:
    assert parse_devices(LIST.replace("\n", "\r\n")) == [
        Attached("emulator-5554", "device"),
        Attached("8A1X", "unauthorized"),
        Attached("192.168.0.7:5555", "offline"),
        Attached("0123", "no permissions"),
    ]
    assert parse_devices("List of devices attached\n\n") == []


def test_the_only_usable_one_needs_no_name() -> None:
    assert choose(parse_devices(LIST), None) == "emulator-5554"
    assert choose([Attached("a", "device"), Attached("b", "device")], "b") == "b"


@pytest.mark.parametrize(
    ("attached", "serial", "sentence"),
    [
        ([], None, "No Android device is attached; switch on 'USB debugging'"),
        ([], "8A1X", "No Android device '8A1X' is attached; `adb devices` lists none"),
        ([("b", "device")], "8A1X", "No Android device '8A1X' is attached; there is 'b'"),
        ([("a", "device"), ("b", "device")], None, "Several .*'a', 'b'.* adb://a"),
        ([("a", "unauthorized"), ("b", "offline")], None, "Several"),
        ([("a", "unauthorized")], None, "accept 'Allow USB debugging'"),
        ([("a", "offline")], "a", "`adb reconnect offline`"),
        ([("a", "no permissions")], "a", "udev rules"),
        ([("a", "recovery")], "a", "start Android"),
        ([("a", "host")], "a", "adb calls it 'host'"),
    ],
)
def test_refusals(attached: list[tuple[str, str]], serial: str | None, sentence: str) -> None:
    with pytest.raises(DeviceRefused, match=sentence) as caught:
        choose([Attached(*one) for one in attached], serial)
    assert str(caught.value).count(".") >= 1
    assert "\n" not in str(caught.value)
