"""The tools of contributors: targets of make, hooks of commits, settings of editors."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FAST = '/bin/pytest -q -n auto -m "not slow and not gpu and not emulated"'


def make(*words: str) -> subprocess.CompletedProcess[str]:
    """Run make in the checkout, as if no other make had started this."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    command = ["make", "--no-print-directory", "-C", str(ROOT), *words]
    return subprocess.run(command, env=kept, capture_output=True, text=True)


def planned(*words: str) -> list[str]:
    """The commands that make would run in an environment that is not there yet."""
    done = make("-n", "VENV=no-venv", *words)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.replace("\\\n", " ").splitlines()


def folders() -> set[str]:
    """Folders of tests/ with tests."""
    return {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}


@pytest.mark.parametrize("folder", ["pruning", "exporting", "devices", "contracts"])
def test_a_folder_of_tests_is_a_target(folder: str) -> None:
    commands = planned(f"test-{folder}")
    assert commands[0].endswith("-m venv no-venv")
    assert commands[-1] == f"OMP_NUM_THREADS=1 no-venv{FAST} tests/{folder}"


@pytest.mark.parametrize(
    ("target", "last"),
    [
        ("test", f"OMP_NUM_THREADS=1 no-venv{FAST}"),
        ("test-fast", f"OMP_NUM_THREADS=1 no-venv{FAST}"),
        ("test-slow", "no-venv/bin/pytest -m slow"),
        ("test-emulated", "no-venv/bin/pytest -m emulated tests/emulated"),
        ("test-hosted", "no-venv-hosted/bin/pytest tests/devices/hosted"),
        ("test-gpu", "no-venv/bin/pytest -m gpu"),
        ("test-browser", "no-venv/bin/pytest -m browser"),
    ],
)
def test_targets_with_names_of_their_own_come_first(target: str, last: str) -> None:
    assert planned(target)[-1] == last


def test_an_unknown_folder_is_told_with_the_known_ones() -> None:
    done = make("test-nothing")
    assert done.returncode == 2
    (sentence,) = done.stderr.splitlines()
    told = re.search(
        r"There is no folder of tests named 'nothing'; known: (.*)\.  Stop\.", sentence
    )
    assert told is not None, sentence
    assert told[1].split() == sorted(folders() - {"emulated"})


def test_another_python_has_an_environment_of_its_own() -> None:
    commands = planned("test-python", "PYTHON=/nowhere/python3.99")
    assert "/nowhere/python3.99 -m venv .venv-3.99" in commands
    assert commands[-1] == f"OMP_NUM_THREADS=1 .venv-3.99{FAST}"


def test_a_python_that_is_not_there_is_told() -> None:
    done = make("test-python", "PYTHON=/nowhere/python3.99")
    assert done.returncode == 2
    assert done.stderr.startswith("There is no /nowhere/python3.99 here; install it, or name")
    assert not (ROOT / ".venv-3.99").exists()


def test_a_release_is_looked_at_before_it_is_called_done() -> None:
    assert planned("release")[-4:] == [
        "rm -rf dist",
        "no-venv/bin/python -m build",
        "no-venv/bin/python benchmarks/check_release.py dist",
        "no-venv/bin/twine check --strict dist/*",
    ]


def test_help_names_every_target() -> None:
    listed = {line.split()[0] for line in make("help").stdout.splitlines()}
    rules = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert listed == {*rules, "test-FOLDER"}


def test_hooks_are_what_lint_runs() -> None:
    """The same tools, from the same environment; formatting is done, not only looked at."""
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    entries = [hook["entry"].removesuffix(" --force-exclude") for hook in hooks]
    lint = [line.replace(" --check", "").removesuffix(" .") for line in planned("lint")[-3:]]
    assert entries == [line.replace("no-venv/", ".venv/") for line in lint]
    assert {hook["language"] for hook in hooks} == {"system"}


def test_editors_know_the_length_of_lines() -> None:
    editor = re.search(r"^max_line_length = (\d+)$", (ROOT / ".editorconfig").read_text(), re.M)
    ruff = re.search(r"^line-length = (\d+)$", (ROOT / "pyproject.toml").read_text(), re.M)
    assert editor is not None
    assert ruff is not None
    assert editor[1] == ruff[1]
