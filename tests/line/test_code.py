"""A recipe's own code runs if whoever starts the run says so, and never on a dry run."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from srdeploy.cli.main import run
from srdeploy.devices.table import KINDS
from srdeploy.devices.uri import DeviceUri
from srdeploy.errors import UserError
from srdeploy.line.recipe import read_line
from srdeploy.line.run import plan_line, run_line

CODE = """
from pathlib import Path
from torch import nn
Path("imported").touch()
def make():
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(),
                         nn.Conv2d(8, 12, 3, padding=1), nn.PixelShuffle(2))
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "strangers", raising=False)
    (tmp_path / "strangers.py").write_text(CODE)
    layers = (nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 12, 3, padding=1))
    torch.save(nn.Sequential(*layers).state_dict(), "net.pt")
    path = tmp_path / "mine.yaml"
    path.write_text(
        "model: {file: net.pt, arch: 'strangers:make'}\nprune: l1\ntargets: [onnx]\nscenarios: []\n"
    )
    return path


def test_code_is_imported_only_when_allowed(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["run", str(recipe)]) == 2
    said = capsys.readouterr().err
    assert "model.arch has 'strangers:make' imported" in said
    assert "--allow-code" in said
    assert not (tmp_path / "imported").exists()
    assert not (tmp_path / "runs").exists()
    assert run(["run", str(recipe), "--allow-code"]) == 0
    assert (tmp_path / "imported").exists()
    assert (tmp_path / "runs" / "mine" / "50_onnx" / "pruned.onnx").exists()


@pytest.mark.parametrize(
    ("flag", "kind", "code"), [([], "blocked", 2), (["--allow-code"], "run", 0)]
)
def test_a_dry_run_imports_nothing(
    recipe: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flag: list[str],
    kind: str,
    code: int,
) -> None:
    assert run(["run", str(recipe), "--dry-run", "--json", *flag]) == code
    stages = json.loads(capsys.readouterr().out)["stages"]
    assert [stage["stage"] for stage in stages] == ["10_model", "20_pruned", "50_onnx"]
    assert stages[0]["state"] == kind
    assert "strangers:make" in stages[0]["why"]
    assert not (tmp_path / "imported").exists()
    assert "strangers" not in sys.modules
    assert run(["run", str(recipe), "--dry-run", *flag]) == code
    assert "strangers:make" in capsys.readouterr().out.replace("\n", "")


def test_how_to_go_on_keeps_the_flag(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from srdeploy.cli.run import _again

    assert _again("a.yaml", [], None, True) == "srdeploy run a.yaml --allow-code"
    assert _again("a.yaml", [], None, False) == "srdeploy run a.yaml"


DEVICES = [
    "ssh://me@board?config=stranger.conf",
    "ssh://me@board?dir=x&trtexec=/tmp/evil",
    "apple://me@mac?python=evil",
    "webdriver?config=stranger.yaml",
    "browser?ort=stranger",
    "$BOARD",
]


@pytest.mark.parametrize("uri", DEVICES)
def test_devices_choose_no_programs_unless_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    monkeypatch.setenv("BOARD", DEVICES[0])
    (tmp_path / "mine.yaml").write_text(
        f"model: edsr-s-x2\ntargets: [onnx]\nscenarios: quick\n"
        f"devices: [{{name: board, uri: '{uri}'}}]\n"
    )
    line, root = read_line(tmp_path / "mine.yaml"), tmp_path / "run"
    opened: list[str] = []
    monkeypatch.setattr("srdeploy.line.artifacts.open_device", opened.append)
    (bench,) = [one for one in plan_line(line, root) if one.stage.name == "70_bench"]
    assert bench.state.kind == "blocked"
    assert "the device 'board'" in bench.state.why
    with pytest.raises(UserError, match="--allow-code"):
        run_line(line, root, again="")
    assert not root.exists()
    assert opened == []
    allowed = plan_line(line, root, allow_code=True)
    assert all(one.state.kind == "run" for one in allowed)
    assert len(opened) == 1


def test_options_that_choose_programs_exist() -> None:
    """Were one of them renamed, its new name would be missed."""
    import importlib

    known: set[str] = set()
    for kind in KINDS.values():
        module, name = kind.opens.split(":")
        found = importlib.import_module(module)
        known |= set(getattr(found, "_OPTIONS", ()) or getattr(found, "OPTIONS", ()))
        known |= set(getattr(getattr(found, name), "known_options", ()))
    query = "&".join(f"{option}=x" for option in sorted(known))
    chosen = DeviceUri.parse(f"ssh://host?{query}").code_options
    assert chosen == ["config", "ort", "python", "trtexec"]
