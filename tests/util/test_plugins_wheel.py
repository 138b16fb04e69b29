"""A plug-in in a wheel of its own, installed into a fresh environment, is part of everything."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "tests" / "plugin_example"

SESSION = """
import contextlib, io, json, sys
import torch
from srdeploy.cli import complete
from srdeploy.cli.main import run
from srdeploy_example.pixelnet import PixelNet

def do(line):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert run(["--quiet", *line.split()]) == 0, line
    return json.loads(out.getvalue()) if "--json" in line else out.getvalue()

torch.manual_seed(0)
torch.save(PixelNet(scale=3, n_feats=8).state_dict(), "pixelnet.pt")
json.dump({
    "import": do("import pixelnet.pt -o pixelnet.safetensors --json"),
    "prune": do("prune pixelnet.safetensors --ratio 0.5 -o small.safetensors --no-quality --json"),
    "export": do("export small.safetensors -o small.npz --json"),
    "explain": do("explain small.npz"),
    "bench": do("bench small.npz --device one-thread --runs 2 --seconds 0 --input 32x24 --json"),
    "eval": do("eval small.npz --eval-data set --json"),
    "plan": do("run recipe.yaml --dry-run"),
    "help": do("export --help"),
    "schema": json.loads(do("run --schema"))["$defs"],
    "complete": [complete.targets("np"), complete.devices("one"), complete.runtimes("np")],
    "targets": do("targets --json"),
    "devices": do("devices --json"),
    "doctor": do("doctor"),
}, sys.__stdout__)
"""

RECIPE = """
model: edsr-s-x2
targets: npz
devices: {uri: one-thread, targets: [npz]}
scenarios: quick
"""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the environment ``own``: it has the plug-in, and all that is installed here."""
    pytest.importorskip("setuptools", "77", reason="building a wheel offline needs setuptools 77")
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(EXAMPLE, folder / "source")
    venv.create(folder / "own", with_pip=False)
    site = Path(
        python(folder, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    )
    here = [str(ROOT), *(path for path in sys.path if path.endswith("-packages"))]
    (site / "here.pth").write_text("\n".join(here), encoding="utf-8")
    pip("wheel", "--no-build-isolation", "--wheel-dir", str(folder), str(folder / "source"))
    (wheel,) = folder.glob("*.whl")
    pip("install", "--target", str(site), str(wheel))
    return folder


def pip(command: str, *words: str) -> None:
    """Run pip without a network."""
    options = ["--quiet", "--disable-pip-version-check", "--no-index", "--no-deps"]
    subprocess.run([sys.executable, "-m", "pip", command, *options, *words], check=True)


def python(desk: Path, *words: str) -> str:
    """What the environment's python prints in this folder."""
    own = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [str(desk / "own" / ("Scripts" if os.name == "nt" else "bin") / "python"), *words]
    done = subprocess.run(command, cwd=desk, env=own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def told(desk: Path) -> dict[str, Any]:
    """What the commands answer."""
    from srdeploy.testing.pictures import write_middles

    (desk / "set").mkdir()
    write_middles(desk / "set")
    (desk / "recipe.yaml").write_text(RECIPE)
    return json.loads(python(desk, "-c", SESSION))


@pytest.mark.slow
def test_its_rows_are_listed(told: dict[str, Any]) -> None:
    assert "npz" in {row["name"] for row in told["targets"]}
    assert "one-thread" in {row["kind"] for row in told["devices"]}
    added = "architecture pixelnet, target npz, runtime npz, device one-thread, metric mae"
    (line,) = re.findall(r"plug-in srdeploy-example 0\.1: (.*)", told["doctor"])
    assert sorted(line.split(", ")) == sorted(added.split(", "))
    assert "npz;" in " ".join(told["help"].split())
    assert told["complete"] == [["npz"], ["one-thread://"], ["npz"]]


@pytest.mark.slow
def test_weights_of_its_architecture_are_imported_and_pruned(told: dict[str, Any]) -> None:
    assert told["import"]["arch"] == "pixelnet"
    assert told["import"]["scale"] == 3
    assert told["prune"]["params"]["compact"] < told["prune"]["params"]["dense"]


@pytest.mark.slow
def test_its_target_is_exported_to_and_told(told: dict[str, Any]) -> None:
    assert told["export"]["target"] == "npz"
    assert told["export"]["parity"]["relative"] < 1e-5
    assert "npz" in told["explain"]


@pytest.mark.slow
def test_its_device_measures_what_its_runtime_runs(told: dict[str, Any]) -> None:
    (row,) = told["bench"]
    assert row["device"] == "one-thread"
    assert row["runtime"] == "npz"
    assert row["threads"] == 1
    assert row["p50_ms"] > 0


@pytest.mark.slow
def test_its_metric_is_measured(told: dict[str, Any]) -> None:
    assert 0 < told["eval"]["mae_y"] < 255


@pytest.mark.slow
def test_recipes_name_its_rows(told: dict[str, Any]) -> None:
    schema = {name: told["schema"][name]["properties"] for name in ("TargetSpec", "DeviceSpec")}
    assert "npz" in schema["TargetSpec"]["target"]["examples"]
    assert "one-thread" in schema["DeviceSpec"]["uri"]["examples"]
    assert "npz" in told["plan"]
    assert "one-thread" in told["plan"]


@pytest.mark.slow
def test_its_rows_keep_the_contracts(desk: Path) -> None:
    shutil.copy(EXAMPLE / "contracts.py", desk)
    said = python(desk, "-m", "pytest", "-q", "-p", "no:cacheprovider", "contracts.py")
    assert re.search(r"\b2\d passed", said), said
    assert "failed" not in said


def test_the_page_shows_these_files() -> None:
    page = (ROOT / "docs" / "writing-a-plugin.md").read_text(encoding="utf-8")
    shown = re.findall(r"<!-- docs: file (\S+) -->\n```\w+\n(.*?)```\n", page, re.DOTALL)
    assert len(shown) == 3
    for name, text in shown:
        assert text == (EXAMPLE / name).read_text(encoding="utf-8"), name
