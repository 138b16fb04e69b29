"""The tests of LiteRT in the environment that has it, and a page of what they found.

    python benchmarks/litert_check.py

`make test-litert` runs it, and `make release` that. Its exit code is pytest's.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from importlib.metadata import version
from pathlib import Path

from results_io import table, write

ROOT = Path(__file__).parents[1]
TESTS = (
    "tests/exporting/litert",
    "tests/runtime/test_litert_session.py",
    "tests/contracts/test_targets.py::TestLitert",
    "tests/devices/shell/test_tflite_model.py",
)
TOOLS = ("ai-edge-litert", "flatbuffers", "torch", "onnx", "onnxruntime")


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.xml"
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={result}", *TESTS]
        code = subprocess.run(command, cwd=ROOT, check=False).returncode
        cases = list(ElementTree.parse(result).iter("testcase"))
    counted: dict[str, Counter[str]] = {}
    for case in cases:
        ended = {child.tag for child in case} & {"failure", "error", "skipped"}
        file = str(case.get("classname")).partition(".Test")[0].replace(".", "/") + ".py"
        counted.setdefault(file, Counter())[min(ended, default="passed")] += 1
    kinds = ("passed", "skipped", "failure", "error")
    total = Counter(kind for row in counted.values() for kind in row.elements())
    rows = [[file, *(row[kind] for kind in kinds)] for file, row in sorted(counted.items())]
    versions = ", ".join(f"{name} {version(name)}" for name in TOOLS)
    text = f"**{total['passed']} of {len(cases)} tests passed**, with {versions}.\n\n" + table(
        ["tests", *kinds], rows
    )
    raw = {file: dict(row) for file, row in counted.items()}
    write("litert-check", "Tests of LiteRT", text, raw, "make test-litert")
    return code


if __name__ == "__main__":
    sys.exit(main())
