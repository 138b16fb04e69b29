"""A walk over all commands: help anywhere, JSON that parses, no colour where none is wanted."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from srdeploy.cli import complete
from srdeploy.cli.main import app, run

ESCAPE = "\x1b["


def _walk(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, found in getattr(command, "commands", {}).items():
        if not found.hidden:
            yield (*path, name), found
            yield from _walk(found, (*path, name))


COMMANDS = dict(_walk(typer.main.get_command(app)))
LEAVES = {path: c for path, c in COMMANDS.items() if not hasattr(c, "commands")}
# These run until they are stopped, or write what has a format of its own.
WITHOUT_JSON = {
    ("farm", "scheduler"),
    ("farm", "worker"),
    ("farm", "events"),
    ("results", "export"),
}


def _ids(paths: Any) -> list[str]:
    return [" ".join(path) for path in paths]


@pytest.mark.parametrize("path", COMMANDS, ids=_ids(COMMANDS))
def test_help_in_an_empty_environment(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(os.environ):
        monkeypatch.delenv(name)
    assert run([*path, "--help"]) == 0
    told = capsys.readouterr().out
    assert "Usage" in told
    assert ESCAPE not in told


@pytest.mark.parametrize("path", LEAVES, ids=_ids(LEAVES))
def test_every_command_has_json(path: tuple[str, ...]) -> None:
    flags = {flag for option in LEAVES[path].params for flag in option.opts}
    assert ("--json" in flags) != (path in WITHOUT_JSON), f"{' '.join(path)} --json"


REPORTS = [
    ["zoo"],
    ["doctor"],
    ["targets"],
    ["devices"],
    ["scenarios"],
    ["scenarios", "quick"],
    ["run"],
    ["run", "demo", "--dry-run"],
    ["inspect", "edsr-s-x2"],
    ["explain", "edsr-s-x2"],
]


@pytest.mark.parametrize("arguments", REPORTS, ids=_ids(REPORTS))
def test_json_parses(
    arguments: list[str],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["--verbose", *arguments, "--json"]) == 0
    json.loads(capsys.readouterr().out)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("arguments", [["--help"], ["targets"], ["run", "--help"]], ids=_ids)
def test_no_color_on_a_terminal(arguments: list[str]) -> None:
    plain, coloured = (_on_terminal(arguments, value) for value in ("1", ""))
    assert ESCAPE not in plain
    assert ESCAPE in coloured  # or the test would prove nothing


def _on_terminal(arguments: list[str], no_color: str) -> str:
    import pty

    parent, child = pty.openpty()
    environment = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "NO_COLOR": no_color}
    process = subprocess.Popen(
        [sys.executable, "-m", "srdeploy", *arguments],
        stdout=child, stderr=child, env=environment, close_fds=True,
    )  # fmt: skip
    os.close(child)
    told = b""
    while True:
        try:
            part = os.read(parent, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        told += part
    os.close(parent)
    assert process.wait(timeout=60) == 0
    return told.decode()


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("srdeploy inspect edsr-", "edsr-s-x2"),
        ("srdeploy bench --scenario quick,mob", "quick,mobile-540p"),
        ("srdeploy export x --target trt", "trt-rtx"),
        ("srdeploy prune x --method s", "srp"),
        ("srdeploy prune x --method g", "guided"),
        ("srdeploy run de", "demo"),
        ("srdeploy eval x --runtime onnx", "onnxruntime"),
    ],
)
def test_names_complete_in_the_shell(typed: str, offered: str) -> None:
    words = typed.split()
    environment = {
        **{"PATH": os.environ["PATH"], "_SRDEPLOY_COMPLETE": "complete_bash"},
        **{"COMP_WORDS": typed, "COMP_CWORD": str(len(words) - 1)},
    }
    done = subprocess.run(
        [sys.executable, "-c", "from srdeploy.cli.main import main; main()"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert offered in done.stdout.split(), done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script(shell: str) -> None:
    environment = {"PATH": os.environ["PATH"], "_SRDEPLOY_COMPLETE": f"source_{shell}"}
    done = subprocess.run(
        [sys.executable, "-c", "from srdeploy.cli.main import main; main()"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "_SRDEPLOY_COMPLETE" in done.stdout, done.stderr


def test_what_completes_exists() -> None:
    from srdeploy.data.benchmark import BUILTIN
    from srdeploy.pruning.methods.table import CRITERIA, METHODS
    from srdeploy.quality.protocol import PROTOCOLS
    from srdeploy.util.shipped import shipped_networks, shipped_scenarios

    assert complete.networks("") == sorted(shipped_networks())
    assert complete.scenarios("") == sorted(shipped_scenarios())
    assert complete.methods("") == sorted(METHODS)
    assert complete.criteria("") == sorted(CRITERIA)
    assert complete.protocols("") == sorted(PROTOCOLS)
    assert complete.sets("") == [BUILTIN]
    assert complete.devices("local,ss") == ["local,ssh://"]


def test_verbose_tells_what_is_read_and_written(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    output = tmp_path / "x.onnx"
    assert run(["--verbose", "export", "edsr-s-x2", "-o", str(output)]) == 0
    told = capfd.readouterr()
    assert "reading the network" in told.err
    assert f"wrote {output}" in told.err
    assert "reading the network" not in told.out


def test_quiet_leaves_results_and_errors(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    small = str(tmp_path / "s.safetensors")
    assert run(["--quiet", "prune", "edsr-s-x2", "--method", "l1", "-o", small]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    assert "written to" in told.out
    assert run(["--quiet", "inspect", "edsr-s-x"]) == 2
    assert "did you mean" in capsys.readouterr().err


def test_every_option_of_every_command_is_followed() -> None:
    """See tests/cli/reach.py; what is left takes no options, or is read from a table."""
    followed = set()
    for path in Path(__file__).parent.glob("test_*_calls.py"):
        for case in importlib.import_module(f"tests.cli.{path.stem}").CASES:
            words = case.line.split()
            followed |= {tuple(words[:n]) for n in (1, 2)}
    assert set(LEAVES) - followed == {("targets",), ("devices",), ("results",), ("doctor",)}
