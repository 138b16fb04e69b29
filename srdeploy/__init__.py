"""srdeploy: from published super-resolution weights to a small, proven, fast network on devices.

``import srdeploy as sr`` is instant; the first name that needs something heavy loads it. The names
are those of :mod:`srdeploy.api`, and type checkers see them as they are there.

Libraries' telemetry is switched off here, before any of them can be imported, and with it in every
process that is started from here. It is no default that an environment can undo: what is measured
must not talk to anybody meanwhile.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

os.environ.update(ORT_DISABLE_TELEMETRY="1", DO_NOT_TRACK="1")
# OpenVINO knows no switch: it tells Google Analytics of every import, unless this is missing.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from srdeploy.api import *  # noqa: F403
else:  # a checker that saw this would take any name

    def __getattr__(name: str) -> Any:
        if not name.startswith("_"):
            api = import_module("srdeploy.api")
            if name in api.__all__:
                return getattr(api, name)
        raise AttributeError(f"module 'srdeploy' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *import_module("srdeploy.api").__all__})
