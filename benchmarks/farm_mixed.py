"""One farm, four real kinds of device, one command: this machine, sshd, adbd and a browser.

``python -m benchmarks.farm_mixed`` runs the test that sets all of it up on loopback (it needs what
``make test-emulated`` needs, and Chromium with its chromedriver) and writes what came back to
``benchmarks/results/``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.results_io import quiet, table, write

TEST = "tests/emulated/test_mixed_farm.py"
COLUMNS = ("device", "artifact", "runtime", "threads", "p50_ms", "speedup", "psnr_y", "n_samples")


def main() -> None:
    """Run it and write the page."""
    with tempfile.TemporaryDirectory() as folder:
        rows_file = Path(folder) / "rows.json"
        command = [sys.executable, "-m", "pytest", "-q", "-rs", "-m", "emulated", TEST]
        subprocess.run(
            command, env={**os.environ, "SRDEPLOY_TEST_ROWS": str(rows_file)}, check=True
        )
        if not rows_file.exists():
            sys.exit("The test was skipped, for the reason above.")
        rows = json.loads(rows_file.read_text())
    shown = [[_shown(row[name]) for name in COLUMNS] for row in rows]
    kinds = {row["device"]: row["machine"]["kind"] for row in rows}
    text = TEXT + "\n\n" + table(COLUMNS, shown)
    text += f"\n\nKinds: {', '.join(f'{name} is {kind}' for name, kind in kinds.items())}."
    write(
        "farm-mixed-kinds-edsr-s-x2-128x96-loopback-2cpu",
        "Farm: four kinds of device in one command",
        text,
        rows,
        "python -m benchmarks.farm_mixed",
    )


def _shown(value: object) -> object:
    return "" if value is None else round(value, 4) if isinstance(value, float) else value


TEXT = """`srdeploy bench dense.onnx pruned.onnx --farm client --devices local,ssh,adb,browser
--data crops --scale 2 --seconds 0.5 --threads 1`: the shipped EDSR-S x2 and the same with half its
channels removed (not fine-tuned), on a farm with mutual TLS on loopback. `desk` is this machine;
`board` a real sshd that has the static native runner sent to it; `pixel` Debian's real adbd with
Android's shell and a real adb client; `tablet` a real headless Chromium whose page was opened once.
All four measured at the same time on the same two CPUs, so they disturbed one another and the times
compare neither devices nor runtimes; the PSNR must agree, and does."""


if __name__ == "__main__":
    quiet()
    main()
