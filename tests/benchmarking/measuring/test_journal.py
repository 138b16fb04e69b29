"""Each line is on the disk when the call returns."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from srdeploy.benchmarking.measuring.journal import open_journal
from srdeploy.errors import UserError


def test_lines_are_appended_and_on_the_disk_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"event": "before"}\n')
    with open_journal(path) as journal:
        journal.write("turn", number=1, name="größe")
        assert len(path.read_text(encoding="utf-8").splitlines()) == 2
        journal.write("row", psnr=math.inf)
        lines = path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [
        {"event": "before"},
        {"event": "turn", "number": 1, "name": "größe"},
        {"event": "row", "psnr": "Infinity"},
    ]


def test_no_file_no_lines() -> None:
    with open_journal(None) as journal:
        journal.write("turn", number=1)


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match=r"Cannot write .*Is a directory\); choose another file"),
        open_journal(tmp_path),
    ):
        raise AssertionError("not entered")


def test_errors_of_the_body_are_its_own(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="mine"), open_journal(tmp_path / "a") as journal:
        journal.write("x")
        raise OSError("mine")
    assert (tmp_path / "a").read_text() == '{"event": "x"}\n'
