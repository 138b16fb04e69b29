"""A Mac before it is reached, and what it tells once it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from srdeploy.devices.answers import Implausible
from srdeploy.devices.apple import device as module
from srdeploy.devices.apple.device import AppleDevice
from srdeploy.devices.apple.line import AGENT
from srdeploy.devices.errors import DeviceLost
from srdeploy.devices.protocol import Job
from srdeploy.devices.uri import DeviceUri
from srdeploy.errors import UserError
from tests.devices.shell.local_link import LocalLink

MAC = {
    "coremltools": "9.0", "python": "3.12", "os": "macOS 15.1", "arch": "arm64",
    "model": "Mac15,3", "cpu": "Apple M3", "cpus": 8, "memory": "17179869184",
}  # fmt: skip
PHONE = {"name": "My iPhone", "type": "iphone", "os": "26.1 (23B85)"}


class Connection(LocalLink):
    """This machine, entered and left."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = 0
        self.limits: list[Any] = []

    def __enter__(self) -> Connection:
        self.entered += 1
        return self

    def __exit__(self, *details: object) -> None:
        self.entered -= 1

    def script(self, text: str, **more: Any) -> Any:
        self.limits.append(more.get("timeout"))
        return super().script(text, **more)


class Line:
    """The line to an agent; ``asked`` holds the questions of all, oldest first."""

    asked: list[Any] = []
    refusal: Exception | None = None

    def __init__(self, link: Any, program: str, python: str) -> None:
        self.asked.append((program, python))
        self.closed = False

    def ask(self, do: str, timeout: float, **fields: Any) -> Any:
        self.asked.append((do, timeout, fields))
        if do == "connect" and self.refusal:
            raise self.refusal
        return MAC if do == "hello" else PHONE if fields["device"] else {}

    def close(self) -> None:
        self.asked.append("closed")


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    monkeypatch.setattr(module, "AgentLine", Line)
    monkeypatch.setattr(Line, "asked", [])
    monkeypatch.setattr(Line, "refusal", None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Line.asked


def device(options: str = "") -> AppleDevice:
    found = AppleDevice(DeviceUri.parse(f"apple://me@mac{options}"))
    found._connection = Connection()  # type: ignore[assignment]
    return found


@contextmanager
def entered(options: str = "") -> Iterator[AppleDevice]:
    with device(options) as one:
        yield one


def test_the_agent_is_brought_there_and_asked(asked: list[Any], tmp_path: Path) -> None:
    with entered() as one:
        folder = tmp_path / "cache" / "srdeploy"
        (program, python), hello, connect = asked
        assert Path(program).parent == folder / "files"
        assert Path(program).read_bytes() == AGENT.read_bytes()
        assert python == "python3"
        assert hello == ("hello", 120, {})
        assert connect == (
            "connect", 1800,
            {"folder": f"{folder}/modelrunner", "device": None, "team": None, "profile": None,
             "bundle": None},
        )  # fmt: skip
        assert one._connection.entered == 1  # type: ignore[attr-defined]
        assert one._connection.limits[0] == 60  # type: ignore[attr-defined]
        assert one.files.folder == str(folder)
        assert one.commands.run(["echo", "a"]).stdout == "a\n"
    assert asked[3:] == ["closed"]
    assert one._connection.entered == 0  # type: ignore[attr-defined]


def test_options_reach_the_agent(asked: list[Any], tmp_path: Path) -> None:
    signing = "team=T&profile=P&bundle=B"
    with entered(f"?dir={tmp_path}/own/&python=/py&device=My iPhone&{signing}") as one:
        assert one.files.folder == f"{tmp_path}/own"
        assert asked[0][1] == "/py"
        assert asked[2][2] == {
            "folder": f"{tmp_path}/own/modelrunner", "device": "My iPhone", "team": "T",
            "profile": "P", "bundle": "B",
        }  # fmt: skip


def test_a_refusal_leaves_nothing_open(asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Line, "refusal", DeviceLost("gone"))
    one = device()
    with pytest.raises(DeviceLost):
        one.__enter__()
    assert asked[-1] == "closed"
    assert one._connection.entered == 0  # type: ignore[attr-defined]


def test_a_line_that_breaks_while_it_is_left_is_no_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Line) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(Line, "close", broken)
    with device():
        pass


def test_facts_of_a_mac() -> None:
    with entered() as one:
        assert one.facts.model_dump(exclude_defaults=True) == {
            "kind": "apple", "model": "Mac15,3", "arch": "arm64", "os": "macOS 15.1",
            "cpu": "Apple M3", "cpus": 8, "memory_gb": 17.2, "versions": {"coremltools": "9.0"},
        }  # fmt: skip
        one._mac = {"coremltools": "9.0", "cpu": "", "memory": "much"}
        facts = one.facts
        assert (facts.model, facts.arch, facts.os) == ("Mac", "unknown", "unknown")
        assert (facts.cpu, facts.cpus, facts.memory_gb) == (None, None, None)


def test_facts_of_a_phone() -> None:
    with entered("?device=My iPhone") as one:
        assert one.facts.model_dump(exclude_defaults=True) == {
            "kind": "apple", "model": "My iPhone", "arch": "arm64", "os": "iphone 26.1 (23B85)",
            "versions": {"coremltools": "9.0"}, "extra": {"mac": "Mac15,3, macOS 15.1"},
        }  # fmt: skip
        one._phone = {"name": "My iPhone"}
        with pytest.raises(Implausible, match="'board' answered what cannot be read"):
            one.facts  # noqa: B018
    assert device().facts.versions == {}


@pytest.mark.parametrize(
    ("options", "units", "precision"),
    [("", "all", "fp32"), ("?units=cpu_and_ne&precision=fp16", "cpu_and_ne", "fp16")],
)
def test_a_job_is_loaded(
    monkeypatch: pytest.MonkeyPatch, options: str, units: str, precision: str
) -> None:
    made: list[Any] = []
    monkeypatch.setattr(module, "AppleModel", lambda *words, **named: made.append((words, named)))
    with entered(options) as one:
        for job in (Job("net"), Job("net", runtime="coreml")):
            one.load(job)
            (line, files, given), named = made.pop()
            assert (line, files.folder, given) == (one._line, one.files.folder, job)
            assert named == {"units": units, "precision": precision, "version": "9.0"}
        with pytest.raises(UserError, match="no runtime of apple devices named 'ncnn'"):
            one.load(Job("net", runtime="ncnn"))


def test_it_is_entered_before_it_is_used() -> None:
    with pytest.raises(AssertionError, match="entered"):
        device().load(Job("net"))


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        ("apple", "'apple' names no Mac; write 'apple://user@mac"),
        ("apple://-oProxyCommand=x", "names no Mac"),
        ("apple://mac?units=ane", "no units of Core ML named 'ane'"),
        ("apple://mac?precision=int8", "no precision of Core ML named 'int8'"),
        ("apple://mac?unit=all", "no option of apple devices named 'unit'; did you mean 'units'"),
    ],
)
def test_bad_uris(uri: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        AppleDevice(DeviceUri.parse(uri))


def test_good_uris() -> None:
    for options in ("units=all", "units=cpu_only", "units=cpu_and_gpu", "precision=fp16"):
        one = AppleDevice(DeviceUri.parse(f"apple://me@mac:22?{options}&config=/c"))
        assert one.uri == f"apple://me@mac:22?{options}&config=/c"
        assert one._connection._where == ["-F", "/c", "-p", "22", "-l", "me"]
        assert (one._connection.name, one.sensors) == ("me@mac", None)
