"""What a runner has imported before it forks, and what it has not."""

from __future__ import annotations

import subprocess
import sys

LOOK = """
import gc, sys, threading
from srdeploy.devices.table import KINDS, Kind
from srdeploy.farm import runner
KINDS["broken"] = Kind("broken", "of a plug-in", "broken", "json:NoDevice")
runner._import_ahead()
for name in ("onnx", "numpy.ma", "srdeploy.farm.job", "srdeploy.devices.fake",
             "srdeploy.devices.ssh.device", "PIL.Image"):
    assert name in sys.modules, name
assert "torch" not in sys.modules
assert threading.active_count() == 1
assert gc.get_freeze_count() > 1000
"""


def test_what_most_jobs_need_is_there() -> None:
    ended = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
