"""The machinery of the robustness page tells apart what it claims: else its zeros prove nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from srdeploy.errors import UserError

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import fuzz_formats  # type: ignore[import-not-found]  # noqa: E402
import hostile_cases  # type: ignore[import-not-found]  # noqa: E402
import robustness  # type: ignore[import-not-found]  # noqa: E402
import sandbox  # type: ignore[import-not-found]  # noqa: E402


def test_each_kind_of_fault_is_seen_and_the_next_item_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()  # wherever the tests run, there is a place outside it
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    outside = tmp_path / "written"

    def item(number: int, folder: Path) -> str:
        if number == 1:
            raise UserError("no")
        if number == 2:
            raise KeyError("oops")
        if number == 3:
            return str(len(bytearray(3 << 30)))
        if number == 4:
            os.kill(os.getpid(), 9)
        if number == 5:
            time.sleep(60)
        if number == 6:
            os.system("true")
        if number == 7:
            subprocess.run(["/bin/true"], check=True)
        if number == 8:
            outside.write_text("")
            outside.unlink()
        if number == 9:
            (folder / "own").write_text("")
        return "read"

    found = sandbox.outcomes(10, item, seconds=4, batch=5)
    assert [one.partition(":")[0] for one in found] == [
        "read", "refused", "internal error", "over 2 GB", "crashed", "hangs",
        "executed", "executed", "executed", "read",
    ]  # fmt: skip
    assert "KeyError: 'oops'" in found[2]
    assert "SIGKILL" in found[4]


def _number(path: Path) -> int:
    value = int(path.read_bytes() or b"0", 16)
    if value % 7 == 0:
        raise UserError("no number of ours")
    return value


def test_mutations_that_change_what_is_read_are_silent_alterations() -> None:
    def make(folder: Path) -> Path:
        (folder / "n.txt").write_bytes(b"1234567890abcdef")
        return folder / "n.txt"

    own = fuzz_formats.Format("ours", make, _number, str)
    found = robustness.fuzzed(own, 120, 0, 20)
    kinds = {robustness._kind(one["outcome"]) for one in found}
    assert {"altered silently", "refused", "internal error"} <= kinds
    faults = robustness._faults(found)
    assert all(not one["outcome"].startswith(("read", "refused")) for one in faults)
    again = robustness.fuzzed(own, 120, 0, 20)
    assert again == found
    foreign = fuzz_formats.Format("theirs", make, _number)
    assert "altered silently" not in {
        robustness._kind(one["outcome"]) for one in robustness.fuzzed(foreign, 60, 0, 20)
    }


@pytest.mark.parametrize("name", ["farm file", "recipe of a training", "picture, PNG", "scenario"])
def test_good_files_are_read(name: str, tmp_path: Path) -> None:
    one = next(f for f in fuzz_formats.FORMATS if f.name == name)
    one.read(one.make(tmp_path))


def test_a_format_that_cannot_be_tried_is_told() -> None:
    one = fuzz_formats.Format("x", lambda folder: folder, str, missing=lambda: "no library")
    assert robustness.fuzzed(one, 5, 0, 1) == [{"number": -1, "outcome": "not tried: no library"}]
    broken = fuzz_formats.Format("x", _number, str)
    assert robustness.fuzzed(broken, 5, 0, 5)[0]["outcome"].startswith("not tried: internal error")


def test_what_a_command_said_and_left_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "no.pth").write_text("no weights")
    assert hostile_cases.command(tmp_path, "inspect", "no.pth") == "refused"
    assert hostile_cases.command(tmp_path, "inspect", "edsr-s-x2").startswith("accepted: inspect")
    assert hostile_cases.command(tmp_path, "inspect", "edsr-s-x2", may_work=True) == "read"


@pytest.mark.parametrize(
    ("prints", "outcome"),
    [
        ("Internal error (KeyError: 1); please report it", "internal error"),
        ("\x1b[2J is no name", "control characters reach the terminal"),
        ("one\ntwo", "no one sentence"),
        ("", "no one sentence"),
    ],
)
def test_a_refusal_that_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prints: str, outcome: str
) -> None:
    def run(words: list[str]) -> int:
        print(prints, file=sys.stderr)
        return 2

    monkeypatch.setattr("srdeploy.cli.main.run", run)
    monkeypatch.chdir(tmp_path)
    assert hostile_cases.command(tmp_path, "x").partition(":")[0] == outcome


def test_what_a_failed_command_leaves_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(words: list[str]) -> int:
        (tmp_path / "half.onnx").write_text("")
        print("no", file=sys.stderr)
        return 2

    monkeypatch.setattr("srdeploy.cli.main.run", run)
    monkeypatch.chdir(tmp_path)
    assert hostile_cases.command(tmp_path, "x") == "left behind: half.onnx"
    (tmp_path / "half.onnx").unlink()
    assert hostile_cases.command(tmp_path, "x", keeps="half.onnx") == "refused"
