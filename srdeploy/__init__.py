"""srdeploy: from published super-resolution weights to a small, proven, fast network on devices.

``import srdeploy as sr`` is instant; the first name that needs something heavy loads it. The names
are those of :mod:`srdeploy.api`. Some are also stages with a folder of their own: ``sr.prune`` is
the function :func:`srdeploy.api.prune`, with its signature and its ``help``, and has the attributes
of the package ``srdeploy.prune``.

Libraries' telemetry is switched off here, before any of them can be imported, and with it in every
process that is started from here. It is no default that an environment can undo: what is measured
must not talk to anybody meanwhile.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from srdeploy.api import *  # noqa: F403

__version__ = "0.2.0"

os.environ.update(ORT_DISABLE_TELEMETRY="1", DO_NOT_TRACK="1")
# OpenVINO knows no switch: it tells Google Analytics of every import, unless this is missing.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

_STAGES = ("bench", "compact", "export", "prune", "report")


class _Package(ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        # The import of a sub-package ends here: Python would set it on its parent, and the name
        # would be the package's from then on.
        if name not in _STAGES or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if not name.startswith("_"):
        api = import_module("srdeploy.api")
        if name in api.__all__:
            found = getattr(api, name)
            if name in _STAGES:
                found.__dict__ = vars(import_module(f"srdeploy.{name}"))
            return found
    raise AttributeError(f"module 'srdeploy' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *import_module("srdeploy.api").__all__})
