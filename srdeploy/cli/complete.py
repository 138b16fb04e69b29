"""What the shell offers on TAB: names that come with srdeploy; files it finds by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from srdeploy.export.targets import ONNX_PRECISIONS, TARGETS
from srdeploy.line.shipped import LINES, shipped
from srdeploy.prune.methods import METHODS, names
from srdeploy.runtime.table import RUNTIMES

PROTOCOLS = ("standard", "vdsr", "srcnn", "rgb")
"""Of quality."""

CRITERIA = ("l1", "l2", "fpgm", "random")
"""Of `srdeploy prune --method l1`."""

Completion = Callable[[str], list[str]]


def _starting(names: Callable[[], Iterable[str]]) -> Completion:
    def complete(incomplete: str) -> list[str]:
        return [name for name in sorted(names()) if name.startswith(incomplete)]

    return complete


def _listed(names: Callable[[], Iterable[str]]) -> Completion:
    """The same for a list with commas: its last part is completed."""
    whole = _starting(names)

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        return [before + comma + name for name in whole(last)]

    return complete


networks = _starting(lambda: shipped("networks", ".safetensors"))
artifacts = _starting(lambda: (*shipped("networks", ".safetensors"), "bicubic"))
recipes = _starting(lambda: shipped(LINES))
scenarios = _listed(lambda: shipped("scenarios"))
scenario = _starting(lambda: shipped("scenarios"))
targets = _starting(lambda: TARGETS)
runtimes = _starting(lambda: RUNTIMES)
precisions = _starting(lambda: ONNX_PRECISIONS)
methods = _starting(lambda: METHODS)
criteria = _starting(lambda: CRITERIA)
protocols = _starting(lambda: PROTOCOLS)
sets = _starting(lambda: ("builtin",))


def _kinds() -> Iterable[str]:
    from srdeploy.devices.table import KINDS

    return (name if name == "local" else f"{name}://" for name in KINDS)


devices = _listed(_kinds)

IN_HELP: dict[str, Callable[[], str]] = {
    "targets": lambda: ", ".join(TARGETS),
    "runtimes": lambda: ", ".join(RUNTIMES),
    "methods-at-once": lambda: "; ".join(
        f"{row.name}: {row.summary}" for row in METHODS.values() if not row.trains
    ),
    "methods-that-train": lambda: ", ".join(names("trained")),
}
"""What stands in braces in options' help, and is filled in when it is shown: plug-ins add to it."""
