"""Help, start-up and errors of the command line."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMANDS = [
    "import",
    "inspect",
    "eval",
    "prune",
    "train",
    "finetune",
    "export",
    "rebuild",
    "targets",
    "bench",
    "compare",
    "explain",
    "doctor",
]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(process, name: str) -> None:
    done = process(name, "--help", env={"COLUMNS": "200", "PATH": ""})
    assert done.returncode == 0
    assert "Example" in done.stdout
    assert f"srdeploy {name}" in done.stdout


def test_help_lists_every_command(process) -> None:
    done = process("--help")
    assert done.returncode == 0
    assert all(f" {name} " in done.stdout for name in COMMANDS)


def test_starting_imports_nothing_heavy() -> None:
    code = "import sys, srdeploy.cli.main; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {module.split(".")[0] for module in done.stdout.split()}
    heavy = {"torch", "nni", "onnx", "onnxruntime", "coremltools", "numpy", "PIL", "pydantic"}
    assert not loaded & heavy


def test_help_works_where_nothing_heavy_is_installed(tmp_path: Path) -> None:
    block = tmp_path / "sitecustomize.py"
    block.write_text(
        "import sys\n"
        "for name in ('torch', 'nni', 'onnx', 'onnxruntime', 'coremltools', 'numpy', 'PIL'):\n"
        "    sys.modules[name] = None\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "srdeploy", "prune", "--help"],
        env={"PYTHONPATH": str(tmp_path), "PATH": ""}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_version(process) -> None:
    assert process("--version").stdout.startswith("srdeploy ")


@pytest.mark.parametrize("arguments", [["prun"], ["prune"], ["inspect", "--bogus", "x"]])
def test_misused_commands_are_the_users_fault(refused, arguments: list[str]) -> None:
    code, sentence = refused(*arguments)
    assert code == 2
    assert sentence.startswith("srdeploy: ")


def test_internal_errors_are_one_line_and_exit_1(refused, monkeypatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr("srdeploy.models.load.load_network", broken)
    code, sentence = refused("inspect", "anything")
    assert code == 1
    assert "first line second line" in sentence
    assert "SRDEPLOY_DEBUG" in sentence


def test_doctor_lists_targets_and_runtimes(command) -> None:
    found = {(row["kind"], row["name"]): row for row in command("doctor")["rows"]}
    assert found["runtime", "torch"]["available"]
    assert found["target", "onnx"]["available"]
    missing = found["target", "trt"]
    assert not missing["available"]
    assert missing["reason"]


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    """Of a command that has no sentence of its own."""
    command = [sys.executable, "-m", "srdeploy", "bench", "edsr-s-x2", "--device"]
    command += ["fake://slow?pace=0.1", "--seconds", "600", "--output", "turns.jsonl"]
    turns = tmp_path / "turns.jsonl"
    running = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    try:
        while not turns.exists() or '"event": "turn"' not in turns.read_text():  # then it works
            assert running.poll() is None
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        told = running.communicate(timeout=60)[1]
    finally:
        running.kill()
    assert running.returncode == 130
    assert "Traceback" not in told
    assert "repeat the command" in told.splitlines()[-1]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
def test_results_that_find_no_space_are_one_sentence() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "srdeploy", "scenarios"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("srdeploy: There is no space left on the disk of the results")
    assert len(done.stderr.splitlines()) == 1
