"""What a user sees for bad input: run each, show the sentence and the exit code.

python benchmarks/bad_input.py
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from results_io import table, write

from srdeploy.models.registry import create
from srdeploy.models.store import save_network


def _files(folder: Path) -> None:
    """The broken things that the cases name."""
    network = create("ledsr", n_blocks=1, n_feats=8)
    save_network(network, folder / "net.safetensors")
    whole = (folder / "net.safetensors").read_bytes()
    (folder / "truncated.safetensors").write_bytes(whole[: len(whole) // 2])
    (folder / "notes.pth").write_text("these are no weights")
    torch.save({"state_dict": {"conv.weight": torch.zeros(3, 3, 3, 3)}}, folder / "unknown.pth")
    (folder / "broken.onnx").write_bytes(whole[:2000])
    (folder / "empty").mkdir()
    (folder / "file").write_text("a file where a folder should be")
    (folder / "recipe.yaml").write_text("data: {folders: [builtin]}\nscales: [2]\niteratons: 9\n")


CASES: list[tuple[str, str]] = [
    ("a file that is not there", "inspect missing.pth"),
    ("a misspelt shipped network", "inspect edsr-s-x5"),
    ("text named .pth", "eval notes.pth"),
    ("a truncated network", "inspect truncated.safetensors"),
    ("a broken ONNX file", "eval broken.onnx"),
    ("weights of an unknown architecture", "import unknown.pth -o out.safetensors"),
    ("an impossible ratio", "prune net.safetensors --ratio 1.5 -o out.safetensors"),
    ("a pattern that matches nothing", "prune net.safetensors --exclude 'bdy.*' -o o.safetensors"),
    ("an empty benchmark folder", "eval net.safetensors --data empty"),
    ("a scale the network has not", "eval net.safetensors --scale 3"),
    ("an unknown protocol", "eval net.safetensors --protocol standart"),
    ("an unknown target", "export net.safetensors --target onx -o out.onnx"),
    ("a target without its toolchain", "export net.safetensors --target trt -o out.engine"),
    ("an ending of another target", "export net.safetensors --target onnx -o out.mlpackage"),
    ("a network under an artifact's name", "prune net.safetensors -o out.onnx"),
    ("an artifact that is not there", "bench net.safetensors gone.onnx"),
    ("an output inside a file", "export net.safetensors -o file/out.onnx"),
    ("an output that is a folder", "prune net.safetensors -o empty"),
    ("a misspelt key", "finetune net.safetensors --recipe recipe.yaml -o o.safetensors"),
    ("code that cannot be imported", "inspect unknown.pth --arch nothing.here:net"),
    ("a size that is none", "bench net.safetensors --input 480"),
]  # fmt: skip


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """One command in the folder of broken things."""
    return subprocess.run(
        [sys.executable, "-m", "srdeploy", *shlex.split(command)],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip


def collect(run: Callable[[str, Path], subprocess.CompletedProcess[str]]) -> list[list[str]]:
    """Rows: what is wrong, the command, the exit code, the sentence."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _files(folder)
        before = sorted(p.name for p in folder.rglob("*"))
        for what, command in CASES:
            done = run(command, folder)
            left = sorted(p.name for p in folder.rglob("*"))
            assert left == before, f"{command} left {set(left) - set(before)}"
            rows.append([what, f"`srdeploy {command}`", str(done.returncode), done.stderr.strip()])
    return rows


def main() -> None:
    rows = collect(run)
    text = "Nothing is written in any of these cases.\n\n" + table(
        ["what is wrong", "command", "exit code", "what is said"], rows
    )
    write("bad-input", "Bad input", text, rows, "python benchmarks/bad_input.py")


if __name__ == "__main__":
    main()
