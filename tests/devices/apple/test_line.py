"""An agent that answers what it should not."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest

from srdeploy.devices.apple import line as module
from srdeploy.devices.apple.agent import unpacked
from srdeploy.devices.apple.line import AgentLine
from srdeploy.devices.apple.model import zipped
from srdeploy.devices.errors import DeviceError, DeviceUnfit


class Mac:
    """This machine in place of a Mac."""

    name, alive = "me@mac", True

    def remote(self, text: str) -> list[str]:
        return ["sh", "-c", text]


def told(answer: str, tmp_path: Path) -> object:
    (tmp_path / "answer").write_text(answer)
    agent = tmp_path / "agent.py"
    agent.write_text(f"print(open({str(tmp_path / 'answer')!r}).read(), flush=True)\ninput()\n")
    line = AgentLine(Mac(), str(agent), shlex.quote(sys.executable))  # type: ignore[arg-type]
    try:
        return line.ask("turn", 30)
    finally:
        line.close()


@pytest.mark.parametrize(
    "answer",
    [
        "{}",
        "[]",
        "7",
        "null",
        "no JSON",
        '{"ok": 7}',
        '{"ok": {"samples_ms": [Infinity]}}',
        '{"error": "x"}',
        '{"error": "x", "kind": ["a"]}',
        pytest.param('{"ok": ' + "[" * 100_000, id="deep"),
        pytest.param("x" * 5000, id="long"),
    ],
)
def test_what_is_no_answer_is_the_macs_error(
    answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_LINE", 200_000 if "[[" in answer else 1000)
    with pytest.raises(DeviceError, match=r"me@mac.* cannot be read") as caught:
        told(answer, tmp_path)
    assert "\n" not in str(caught.value)


def test_answers_and_refusals(tmp_path: Path) -> None:
    assert told('{"ok": {"a": 1}}', tmp_path) == {"a": 1}
    with pytest.raises(DeviceUnfit, match="'me@mac': no Xcode"):
        told(json.dumps({"error": "no Xcode", "kind": "unfit"}), tmp_path)


def test_a_damaged_package_there_is_unpacked_again(tmp_path: Path) -> None:
    package = tmp_path / "x.mlpackage" / "Data"
    package.mkdir(parents=True)
    (package / "weights.bin").write_bytes(b"weights" * 100)
    archive = zipped(package.parent, tmp_path)
    there = unpacked(archive, tmp_path / "files")
    weights = there / "Data" / "weights.bin"
    before = weights.stat().st_ino
    assert unpacked(archive, tmp_path / "files") == there
    assert weights.stat().st_ino == before
    weights.write_bytes(b"w0ights" * 100)
    assert unpacked(archive, tmp_path / "files") == there
    assert weights.read_bytes() == b"weights" * 100
    assert len(list((tmp_path / "files").iterdir())) == 1
