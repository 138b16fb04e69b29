"""Sweeps over networks: what was made is kept, and what kills a process costs one form."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import deploy_sweep  # type: ignore[import-not-found]  # noqa: E402
import ncnn_sweep  # type: ignore[import-not-found]  # noqa: E402
import swept  # type: ignore[import-not-found]  # noqa: E402

from srdeploy.models.registry import ARCHITECTURES  # noqa: E402

SCRIPT = """
import os, sys, json
from pathlib import Path
sys.path.insert(0, {benchmarks!r})
import swept
from srdeploy.errors import UserError
swept.RUNS = Path({runs!r})

def make(source, form):
    with open({log!r}, "a") as log:
        print(form, file=log)
    if form == "deadly":
        os.kill(os.getpid(), 11)
    if form == "refused":
        raise UserError("It is refused.")
    return {{"scale": source.network.card.scale, "trained": source.trained}}

forms = ["good", "deadly", "refused"]
print(json.dumps(swept.sweep("test", "A test.", ["edsr-s-x2-p70"], forms, make)))
"""


@pytest.mark.slow
def test_each_form_is_made_once(tmp_path: Path) -> None:
    script, log = tmp_path / "script.py", tmp_path / "log"
    places = {"benchmarks": str(BENCHMARKS), "runs": str(tmp_path / "runs"), "log": str(log)}
    script.write_text(SCRIPT.format(**places))
    for _ in range(2):
        command = [sys.executable, str(script), str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        (made,) = json.loads(done.stdout).values()
        assert {form: told.get("error") for form, told in made.items()} == {
            "good": None,
            "deadly": "its process ended by signal 11",
            "refused": "It is refused.",
        }
        assert (made["good"]["scale"], made["good"]["trained"]) == (2, True)
        assert log.read_text().split() == ["good", "deadly", "refused"]


@pytest.mark.parametrize("networks", [ncnn_sweep.NETWORKS, deploy_sweep.NETWORKS])
def test_every_architecture_is_swept(networks: list[str]) -> None:
    trained = {*deploy_sweep.TRAINED}
    assert {name for name in ARCHITECTURES if swept.RANDOM[name] in networks} >= {
        *ARCHITECTURES
    } - trained
    assert {*swept.PUBLISHED} <= {*networks}
