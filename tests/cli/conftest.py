"""Running the command line as a user does."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from srdeploy.cli.main import run
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.models.store import save_network

Command = Callable[..., Any]


@pytest.fixture(autouse=True)
def _quick_measurements(request: pytest.FixtureRequest) -> None:
    """Most commands measure on ``builtin`` unless told otherwise; slow tests take their time."""
    if request.node.get_closest_marker("slow") is None:
        request.getfixturevalue("small_builtin")


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command in this process; returns its JSON (``--json`` is added) and checks exit 0."""

    def call(*arguments: object) -> Any:
        capsys.readouterr()
        code = run([*map(str, arguments), "--json"])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        return json.loads(captured.out)

    return call


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command that must fail; returns its exit code and its one sentence."""

    def call(*arguments: object) -> tuple[int, str]:
        capsys.readouterr()
        code = run(list(map(str, arguments)))
        captured = capsys.readouterr()
        assert captured.out == ""
        lines = captured.err.strip().splitlines()
        assert len(lines) == 1, captured.err
        return code, lines[0]

    return call


@pytest.fixture
def process() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command in a process of its own."""

    def call(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "srdeploy", *map(str, arguments)]
        return subprocess.run(line, capture_output=True, text=True, check=False, **options)

    return call


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A small LEDSR x2 on disk."""
    path = tmp_path / "tiny.safetensors"
    save_network(tiny_network(), path)
    return path


def tiny_network() -> Network:
    return create("ledsr", n_blocks=1, n_feats=8)
