"""The client's answers: devices that come and go, and what ends without its end."""

from __future__ import annotations

import re
import subprocess
from types import SimpleNamespace
from typing import Any

import pytest

from srdeploy.devices.adb import connection as module
from srdeploy.devices.adb.connection import AdbConnection, Attached, choose, parse_devices
from srdeploy.devices.errors import DeviceLost, DeviceRefused
from tests.devices.adb.stand import SERIAL, Stand
from tests.frozen import assert_frozen


def ended(stdout: bytes = b"", code: int = 0, stderr: bytes = b"") -> Any:
    return subprocess.CompletedProcess(["adb"], code, stdout, stderr)


class Client:
    """The client's answers by its first word, and what it was asked with which limit."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **answers: Any) -> None:
        self.asked: list[tuple[str, float]] = []
        self.answers = {"devices": ended(b"List of devices attached\n"), **answers}
        monkeypatch.setattr(module, "capture", self)

    def __call__(self, command: list[str], *, timeout: float, most: int) -> Any:
        assert command[0] == "adb"
        assert most == 32 << 20
        self.asked.append((" ".join(command[1:]), timeout))
        answer = self.answers.get(command[3] if command[1] == "-s" else command[1], ended())
        answer = answer.pop(0) if isinstance(answer, list) else answer
        if isinstance(answer, Exception):
            raise answer
        return answer

    def words(self) -> list[str]:
        return [words for words, _ in self.asked]


def attached(*lines: str) -> Any:
    return ended(("List of devices attached\n" + "".join(f"{one}\n" for one in lines)).encode())


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long it slept; time is that."""
    slept: list[float] = []
    time = SimpleNamespace(monotonic=lambda: 50.0 + sum(slept), sleep=slept.append)
    monkeypatch.setattr(module, "time", time)
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)
    return slept


def test_lines_of_the_list() -> None:
    text = "List of devices attached\na\tdevice\nb\n\tdevice\nc\t\n\nd\tno permissions (x)\te\n"
    assert parse_devices(text) == [Attached("a", "device"), Attached("d", "no permissions")]
    assert parse_devices("a\tdevice\n") == []


@pytest.mark.parametrize(
    ("states", "serial", "chosen"),
    [
        (["offline", "device", "offline"], None, "b"),
        (["device"], None, "a"),
        (["device", "device", "device"], "b", "b"),
        (["device", "device", "device"], None, "Several Android devices are attached ('a', 'b', "
         "'c'); name one: adb://a."),
        (["offline", "device", "device"], None, "name one: adb://b."),
        (["offline", "offline"], None, "Several Android devices are attached ('a', 'b'); name"),
        (["offline"], None, "Android device 'a' cannot be used: it is offline; reconnect its"),
        (["device", "sideload"], "b", "'b' cannot be used: it is in sideload mode; start Android."),
        (["device", "device"], "x", "No Android device 'x' is attached; there is 'a', 'b'."),
        ([], "x", "No Android device 'x' is attached; `adb devices` lists none."),
        ([], None, "No Android device is attached; switch on 'USB debugging'"),
    ],
)  # fmt: skip
def test_which_device(states: list[str], serial: str | None, chosen: str) -> None:
    there = [Attached(name, state) for name, state in zip("abc", states, strict=False)]
    if len(chosen) == 1:
        assert choose(there, serial) == chosen
    else:
        with pytest.raises(DeviceRefused, match=re.escape(chosen)):
            choose(there, serial)


def test_of_two_of_one_serial_the_first_counts() -> None:
    assert choose([Attached("a", "device"), Attached("a", "offline")], "a") == "a"
    with pytest.raises(DeviceRefused, match="offline"):
        choose([Attached("a", "offline"), Attached("a", "device")], "a")


def test_the_serial_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(monkeypatch, devices=attached("a\tdevice", "b\tdevice"))
    monkeypatch.setenv("ANDROID_SERIAL", "b")
    with AdbConnection(None) as connection:
        assert (connection.serial, connection.name, connection.alive) == ("b", "b", True)
    assert AdbConnection("a").serial == "a"
    monkeypatch.setenv("ANDROID_SERIAL", "")
    assert AdbConnection(None).name == "adb"
    assert client.asked == [("devices", 20.0)]  # an address is connected, a serial is not


def test_a_device_on_the_network_is_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    where = "10.0.0.7:5555"
    client = Client(monkeypatch, devices=[attached(), attached(f"{where}\tdevice")])
    with AdbConnection(where) as connection:
        assert connection.serial == where
    assert client.words() == ["devices", f"disconnect {where}", f"connect {where}", "devices"]
    client = Client(monkeypatch, devices=attached(f"{where}\tdevice"))
    with AdbConnection(where):
        assert client.words() == ["devices"]


def test_one_that_dropped_out_may_come_back(
    monkeypatch: pytest.MonkeyPatch, clock: list[float]
) -> None:
    where = "10.0.0.7:5555"
    off, on = attached(f"{where}\toffline"), attached(f"{where}\tdevice")
    client = Client(monkeypatch, devices=[off, off, on])
    with AdbConnection(where):
        assert client.words() == ["devices"] * 3
    assert clock == [0.2, 0.2]
    clock.clear()
    client = Client(monkeypatch, devices=off)
    with pytest.raises(DeviceRefused, match="offline"), AdbConnection(where):
        pass
    assert client.words()[-3:] == [f"disconnect {where}", f"connect {where}", "devices"]
    assert 24 <= len(clock) <= 26  # for five seconds


@pytest.mark.parametrize(
    ("said", "reason"), [(b"a\nno daemon \n", "no daemon"), (b"\n", "it gave no reason")]
)
def test_a_server_that_does_not_start(
    monkeypatch: pytest.MonkeyPatch, said: bytes, reason: str
) -> None:
    Client(monkeypatch, devices=ended(code=1, stderr=said))
    with pytest.raises(DeviceRefused, match=rf"adb's server does not start \({reason}\); try"):
        AdbConnection(None).__enter__()


def test_a_client_that_hangs_or_raves(monkeypatch: pytest.MonkeyPatch) -> None:
    Client(monkeypatch, devices=subprocess.TimeoutExpired("adb", 20), reboot=module.TooMuch())
    with pytest.raises(DeviceRefused, match="`adb devices` does not answer; try `adb kill-server`"):
        AdbConnection("a").client("devices", "-l", timeout=3)
    with pytest.raises(DeviceRefused, match="`adb reboot` answers without end; is that adb"):
        AdbConnection("a").client("reboot", "x")


def test_how_long_a_copy_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(monkeypatch, push=[ended(b"ok"), ended(code=1), ended(code=1)],
                    **{"get-state": [ended(b"device\n"), ended(b"offline\n")]})  # fmt: skip
    connection = AdbConnection("a")
    told = connection.transfer("push", "x", "y", what="copying", megabytes=12.5)
    assert told.stdout == b"ok"
    assert client.asked == [("-s a push x y", 85.0)]
    assert connection.transfer("push", "x", "y", what="copying", megabytes=0).returncode == 1
    assert client.asked[1:] == [("-s a push x y", 60.0), ("-s a get-state", 20.0)]
    assert connection.alive
    with pytest.raises(DeviceLost, match="'a' went away during 'copying': it was unplugged"):
        connection.transfer("push", "x", "y", what="copying", megabytes=0)
    assert not connection.alive
    client.answers["push"] = subprocess.TimeoutExpired("adb", 1)
    with pytest.raises(DeviceLost):
        connection.transfer("push", "x", "y", what="copying", megabytes=0)


def test_a_device_that_was_lost_may_be_entered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    Client(monkeypatch, devices=attached("a\tdevice"))
    connection = AdbConnection("a")
    connection.lost("x")
    assert not connection.alive
    with connection:
        assert connection.alive


@pytest.mark.parametrize(
    ("stdout", "told"),
    [
        (b"text\n\nsrdeploy-end 0\n", (0, b"text\n")),
        (b"\nsrdeploy-end 3\nmore\nsrdeploy-end 127\r\n", (127, b"\nsrdeploy-end 3\nmore")),
        (b"a\r\nb\r\n\r\nsrdeploy-end 0\r\n", (0, b"a\nb\n")),
        (b"text\n", None),
        (b"", None),
        (b"\nsrdeploy-end \n", None),
        (b"\nsrdeploy-end 1234\n", None),
        (b"\nsrdeploy-end 1 2\n", None),
    ],
)
def test_what_ends_without_its_end_was_lost(stdout: bytes, told: tuple[int, bytes] | None) -> None:
    connection, answer = AdbConnection("a"), ended(stdout, stderr=b"said")
    if told is None:
        with pytest.raises(DeviceLost, match="during 'asking'"):
            connection._told(answer, "asking")
        assert not connection.alive
    else:
        found = connection._told(answer, "asking")
        assert (found.returncode, found.stdout, found.stderr) == (*told, b"said")


def test_every_script_says_how_it_ended(stand: Stand) -> None:
    with AdbConnection(SERIAL) as connection:
        assert connection.remote("x")[:5] == ["adb", "-s", SERIAL, "shell", "-T"]
        assert connection.script("echo a; exit 3").returncode == 3
        assert connection.script("printf 'no newline'").stdout == b"no newline"
        stand.trouble("lost")
        assert not connection._answers()
        stand.trouble("")
        assert connection._answers()
        stand.attach()
        assert not connection._answers()


def test_a_client_that_refuses_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    Client(monkeypatch, **{"get-state": subprocess.TimeoutExpired("adb", 1)})
    assert not AdbConnection("a")._answers()


def test_a_listed_device_does_not_change() -> None:
    assert_frozen("srdeploy.devices.adb.connection:Attached")
