"""Help: every option, choice and command is whole at any width."""

from __future__ import annotations

import re
from typing import Any

import pytest

from srdeploy.cli.main import run
from tests.cli.test_every_command import COMMANDS, LEAVES


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: " ".join(path))
def test_nothing_is_cut(
    path: tuple[str, ...],
    width: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert run([*path, "--help"]) == 0
    told = capsys.readouterr().out
    assert max(map(len, told.splitlines())) <= width
    assert "…" not in told
    command = COMMANDS[path]
    if path == ("bench",):
        command = command.usual
    words = re.split(r"[\s,\[\]]+", told)
    for one in command.params:
        if one.param_type_name == "option" and not one.hidden:
            assert {*one.opts, *one.secondary_opts} <= set(words), one.opts
            assert not one.metavar or one.metavar in told


def test_an_explanation_stands_beside_what_it_explains(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["export", "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Usage: srdeploy export [OPTIONS] FILE"
    assert "  --opset <int>         ONNX operator set; default 17, which everything reads." in lines
    below = lines.index("  --sparse / --dense-masks")
    assert lines[below + 1].startswith(" " * 24 + "SMSR: skip pixels")


def test_groups_list_their_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["farm", "--help"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("Usage: srdeploy farm [OPTIONS] COMMAND ...")
    rows = re.findall(r"^  (\w+) ", told, re.MULTILINE)
    assert [name for name in rows if ("farm", name) in LEAVES] == [
        path[1] for path in LEAVES if path[0] == "farm"
    ]
    assert "List the farm's live devices" in " ".join(told.split())


@pytest.mark.parametrize(
    ("path", "usage"),
    [
        ("report", "[OPTIONS] [RESULTS...]"),
        ("bench sparse", "[OPTIONS] [FILE]"),
        ("scenarios", "[OPTIONS] [NAME]"),
        ("compare", "[OPTIONS] A B..."),
    ],
)
def test_arguments_that_may_be_left_out(
    path: str, usage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*path.split(), "--help"]) == 0
    first: Any = capsys.readouterr().out.splitlines()[0]
    assert first == f"Usage: srdeploy {path} {usage}"
