from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

PROGRAM = """
from srdeploy.util.progress import track
with track("regularise from 1200", 3000, 1200) as bar:
    for i in range(5):
        bar.update(1, psnr_y="33.21", loss="4.112", penalty="0.125", pruned="0.0091", kept="0.03")
    import time; time.sleep(0.3)
"""


def on_a_terminal(program: str, columns: int) -> str:
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    environment = os.environ | {"COLUMNS": str(columns), "TERM": "xterm"}
    child = subprocess.Popen([sys.executable, "-c", program], stderr=theirs, env=environment)
    os.close(theirs)
    output = b""
    try:
        while piece := os.read(ours, 65536):
            output += piece
    except OSError:  # how a closed terminal ends on Linux
        pass
    assert child.wait() == 0
    os.close(ours)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", output.decode())


def test_time_left_and_figures_fit_a_narrow_terminal() -> None:
    lines = re.split(r"[\r\n]+", on_a_terminal(PROGRAM, 80))
    assert all(len(line) <= 80 for line in lines)
    assert any("1205/3000" in line and " left" in line for line in lines)
    assert any(line.startswith("  psnr_y 33.21  loss 4.112  penalty 0.125") for line in lines)


def test_short_work_is_silent_elsewhere() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True)
    assert done.stderr == b""


LONG = """
from srdeploy.util import progress
progress.EVERY = 0.1
import time
with progress.track("finetune", 100) as bar:
    for i in range(20):
        time.sleep(0.03)
        bar.update(5, loss="0.012")
"""


def test_long_work_writes_a_line_at_times_elsewhere() -> None:
    done = subprocess.run([sys.executable, "-c", LONG], capture_output=True, check=True, text=True)
    lines = done.stderr.splitlines()
    assert 2 <= len(lines) <= 6
    for line in lines:
        assert re.fullmatch(r"finetune: \d+ of 100 \(\d+ %\), \d+ s left  loss 0.012", line), line
    assert done.stdout == ""
