"""How the line to an agent ends: late, dead, refused, or too long an answer."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from srdeploy.devices.apple import line as module
from srdeploy.devices.apple.line import AgentLine
from srdeploy.devices.errors import DeviceError, DeviceLost, DeviceRefused, DeviceUnfit
from srdeploy.errors import SrdeployError
from tests.devices.shell.local_link import LocalLink


@pytest.fixture
def link() -> LocalLink:
    return LocalLink()


@pytest.fixture
def begin(link: LocalLink, tmp_path: Path) -> Iterator[Callable[..., AgentLine]]:
    """Starts an agent that is this text."""
    lines: list[AgentLine] = []

    def begin(text: str, python: str = sys.executable) -> AgentLine:
        (tmp_path / "it's.py").write_text(text)
        lines.append(AgentLine(link, str(tmp_path / "it's.py"), python))
        return lines[-1]

    yield begin
    for line in lines:
        line.close()


ECHO = "import json, sys\nfor line in sys.stdin: print(json.dumps({'ok': json.loads(line)}))"


def test_questions_and_answers(
    begin: Callable[..., AgentLine], link: LocalLink, tmp_path: Path
) -> None:
    line = begin(ECHO)
    assert line.ask("hello", 30, id="a", sizes=[1, 2]) == {
        "do": "hello", "id": "a", "sizes": [1, 2],
    }  # fmt: skip
    assert line.ask("close", timeout=30) == {"do": "close"}
    python, program = shlex.quote(sys.executable), shlex.quote(str(tmp_path / "it's.py"))
    assert link.said == [f"exec {python} -u {program}"]
    assert line.device == "board"
    line.close()
    assert line._process.returncode == 0


def test_an_agent_that_is_late(begin: Callable[..., AgentLine]) -> None:
    line = begin("import time; time.sleep(60)")
    begun = time.monotonic()
    with pytest.raises(DeviceError, match=r"^'turn' did not end on 'board' within 0\.3 s\.$"):
        line.ask("turn", timeout=0.3)
    assert 0.3 <= time.monotonic() - begun < 20
    line._process.kill()


@pytest.mark.parametrize(
    ("kind", "error"),
    [("refused", DeviceRefused), ("unfit", DeviceUnfit), ("lost", DeviceLost),
     ("job", SrdeployError)],
)  # fmt: skip
def test_refusals_have_their_kinds(
    begin: Callable[..., AgentLine], kind: str, error: type[Exception]
) -> None:
    said = json.dumps({"error": "x" * 3000, "kind": kind})
    line = begin(f"input(); print({said!r})")
    with pytest.raises(error) as caught:
        line.ask("open", 30)
    assert type(caught.value) is error
    assert str(caught.value) == f"'board': {'x' * 2000}"


DIE = "import sys; input(); sys.stderr.write({said!r}); sys.exit({code})"


@pytest.mark.parametrize(
    ("said", "code", "reason"),
    [
        ("warning\nlast word\n", 1, r"died during 'turn' \(last word\)\.$"),
        ("", 3, r"The agent on 'board' died during 'turn' \(exit code 3\)\.$"),
        ("y" * 50 + "\n" + "x" * 300, 1, r"\(x{200}\)\.$"),
        ("\n" + "x" * 2000, 1, r"\(x{200}\)\.$"),
        ("za" + "x" * 1999, 1, r"\(ax{199}\)\.$"),  # of the last 2000 bytes
        ("sh: not found", 125, "died during"),
        ("sh: not found", 128, "died during"),
        ("sh: not found", 126, r"no such Python on 'board' \(sh: not found\); name one that has"),
        ("sh: not found", 127, "no such Python on 'board'"),
    ],
)
def test_an_agent_that_dies(
    begin: Callable[..., AgentLine], said: str, code: int, reason: str
) -> None:
    line = begin(DIE.format(said=said, code=code))
    with pytest.raises(DeviceError, match=reason) as caught:
        line.ask("turn", 30)
    assert isinstance(caught.value, DeviceUnfit) == (code in (126, 127))
    with pytest.raises(DeviceError, match="did not end"):
        line.ask("turn", 0.1)  # nobody is there any more, and it is no crash


def test_a_mac_that_went_away(begin: Callable[..., AgentLine], link: LocalLink) -> None:
    line = begin(DIE.format(said="", code=255))
    link.there = False
    with pytest.raises(DeviceLost, match="went away during 'turn'"):
        line.ask("turn", 30)


@pytest.mark.parametrize(("size", "fits"), [(64 << 20, True), ((64 << 20) + 2, False)])
def test_an_answer_is_64_mebibytes_at_most(
    begin: Callable[..., AgentLine], size: int, fits: bool
) -> None:
    around = len('{"ok": {"a": ""}}') + 1
    text = f"""input(); print('{{"ok": {{"a": "' + 'x' * {size - around} + '"}}}}')"""
    line = begin(text)
    if fits:
        assert len(line.ask("turn", 60)["a"]) == size - around
    else:
        with pytest.raises(DeviceError, match="The answer to 'turn' of 'board' cannot be read"):
            line.ask("turn", 60)


def test_an_agent_has_ten_seconds_to_end(
    begin: Callable[..., AgentLine], monkeypatch: pytest.MonkeyPatch
) -> None:
    graces: list[float] = []
    real = module.end_process

    def end(process: Any, grace: float) -> int:
        graces.append(grace)
        return real(process, grace)

    monkeypatch.setattr(module, "end_process", end)
    begin(ECHO).close()
    assert graces == [10.0]
