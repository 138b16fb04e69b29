"""Nothing phones home: watched by strace, in a namespace without network.

What the libraries do natively no patch in Python would see, so the kernel is asked.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# What a person does with a network, in one process that starts others: NNI's pruner, coremltools
# and its interpreter, onnx, and a bench of onnxruntime and OpenVINO in workers.
USE = """
import sys
from importlib.util import find_spec
import numpy
from srdeploy.cli.main import run
from srdeploy.data.images import write_png
from srdeploy.models.registry import create
from srdeploy.models.store import save_network
def do(*line):
    assert run(list(line)) == 0, line
write_png("set/a.png", numpy.full((48, 48, 3), 99, "uint8"))
save_network(create("ledsr", n_blocks=1, n_feats=8), "dense.safetensors")
do("prune", "dense.safetensors", "--method", "l1", "--data", "set", "-o", "net.safetensors")
do("export", "net.safetensors", "-o", "net.onnx")
if find_spec("coremltools"):
    do("export", "net.safetensors", "--target", "coreml", "--input", "16x16", "-o", "n.mlpackage")
    assert "coremltools" in sys.modules
more = ["net.onnx@openvino"] if find_spec("openvino") else []
do("bench", "net.onnx", *more, "--input", "16x16", "--runs", "2", "--seconds", "0.01")
assert "nni" in sys.modules
"""


class Trace:
    """What one process and its children did.

    Attributes:
        calls: To other machines, DNS included.
        files: Paths that were opened for writing or made, outside of where it was sent.
    """

    def __init__(self, lines: list[str], allowed: list[Path]) -> None:
        self.calls = [
            line
            for line in lines
            if re.search(r"\b(connect|send\w*)\(.*(AF_INET6?|sin6?_addr)", line)
            or "/etc/resolv.conf" in line
        ]
        found = set()
        for line in lines:
            # A folder that could be made, or a file opened for writing; a failed attempt counts.
            made = re.search(r'\bmkdir(?:at)?\((?:AT_FDCWD, )?"([^"]+)"', line)
            wrote = re.search(r'\bopenat\(AT_FDCWD, "([^"]+)", [^)]*O_(?:WRONLY|RDWR|CREAT)', line)
            if match := made or wrote:
                found.add(match[1])
        tolerated = [str(path) for path in (*allowed, "/dev", "/proc", "/sys")]
        self.files = sorted(
            path
            for path in found
            if path.startswith("/")
            and not any(path == root or path.startswith(f"{root}/") for root in tolerated)
        )


@pytest.fixture(scope="module")
def tracer() -> list[str]:
    """The command that watches another, cut off from every network."""
    missing = [tool for tool in ("strace", "unshare") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"needs {' and '.join(missing)}")
    cut = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-rn"]
    watch = [*cut, "strace", "-f", "-qq", "-s", "256"]
    for speed in (["--seccomp-bpf"], []):  # strace 5.3 and later
        trial = [*watch, *speed, "-e", "trace=connect", "-o", os.devnull, "true"]
        if subprocess.run(trial, capture_output=True).returncode == 0:
            return [*watch, *speed, "-e", "trace=network,openat,mkdir,mkdirat"]
    pytest.skip("processes may not be traced, or network namespaces not made here")


OWN = ("XDG_", "ORT_", "SRDEPLOY_", "TORCHINDUCTOR_")
"""Variables that a process of its own does not take over; torch sets the last kind itself."""


def _watched(
    tracer: list[str], folder: Path, command: list[str], **environment: str | None
) -> Trace:
    home, work, log = folder / "home", folder / "work", folder / "log"
    home.mkdir()
    work.mkdir()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(OWN)}
    kept |= {"HOME": str(home), "TMPDIR": str(work), "PYTHONDONTWRITEBYTECODE": "1"}
    kept |= {"SRDEPLOY_CACHE": str(work / "cache"), "PYTHONPATH": str(ROOT)}
    kept |= {key: value for key, value in environment.items() if value is not None}
    kept = {key: value for key, value in kept.items() if environment.get(key, "") is not None}
    ended = subprocess.run(
        [*tracer, "-o", str(log), sys.executable, *command],
        cwd=work, env=kept, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-3000:]
    lines = log.read_text(errors="replace").splitlines()
    assert any("openat(" in line for line in lines), "strace saw nothing"
    return Trace(lines, [work])


def test_the_watch_sees_telemetry(tracer: list[str], tmp_path: Path) -> None:
    """Without the switch onnxruntime writes a device id, so the tests below can fail."""
    seen = _watched(tracer, tmp_path, ["-c", "import onnxruntime"])
    if not seen.files and not seen.calls:
        pytest.skip("this build of onnxruntime has no telemetry on this system")
    assert any("deviceid" in path or "onnxruntime.db" in path for path in seen.files)


def test_the_watch_sees_a_library_call_its_maker(tracer: list[str], tmp_path: Path) -> None:
    """OpenVINO reports its import to Google Analytics, from a process of its own."""
    if not any((Path(root) / "openvino_telemetry").is_dir() for root in sys.path):
        pytest.skip("openvino_telemetry is not installed: pip install 'srdeploy[openvino]'")
    wait = "import openvino, time\ntime.sleep(1)"
    assert _watched(tracer, tmp_path, ["-c", wait], CI=None, TF_BUILD=None, JENKINS_URL=None).calls


def test_the_watch_sees_a_call(tracer: list[str], tmp_path: Path) -> None:
    call = "import socket; socket.socket(type=socket.SOCK_DGRAM).connect_ex(('192.0.2.1', 443))"
    assert _watched(tracer, tmp_path, ["-c", call]).calls


@pytest.mark.slow
def test_import_export_prune_and_bench_call_nobody(tracer: list[str], tmp_path: Path) -> None:
    """And leave nothing in the home folder; an environment that asks for telemetry gets none."""
    seen = _watched(tracer, tmp_path, ["-c", USE], ORT_DISABLE_TELEMETRY="0")
    assert seen.calls == []
    assert seen.files == []
    assert list((tmp_path / "home").rglob("*")) == []


def test_the_script_for_devices_calls_nobody(tracer: list[str], tmp_path: Path) -> None:
    """It runs without srdeploy, so it has a switch of its own."""
    script = str(ROOT / "export" / "onnx" / "run_onnx.py")
    seen = _watched(tracer, tmp_path, [script, "--help"])
    assert (seen.calls, seen.files) == ([], [])


def test_no_script_imports_a_runtime_before_the_switch() -> None:
    """Outside the package: they set the switch, or import srdeploy first."""
    runtimes = re.compile(r"^(import|from) (onnxruntime|openvino)\b", re.M)
    for folder in ("export", "benchmarks", "examples", ".ci", "srdeploy/assets"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            if (use := runtimes.search(text)) is not None:
                before = text[: use.start()]
                assert re.search(r"ORT_DISABLE_TELEMETRY|^import srdeploy", before, re.M), path
