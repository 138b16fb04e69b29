"""What the shell offers on TAB: names that come with srdeploy; files it finds by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from srdeploy.data.builtin import BUILTIN
from srdeploy.exporting.targets import PRECISIONS, TARGETS
from srdeploy.pruning.methods.table import CRITERIA, METHODS, names
from srdeploy.quality.protocol import PROTOCOLS
from srdeploy.runtime.table import RUNTIMES
from srdeploy.util.shipped import LINES, shipped, shipped_networks, shipped_scenarios

Completion = Callable[[str], list[str]]


def starting(names: Callable[[], Iterable[str]]) -> Completion:
    """Completion with those of some names that begin with what is typed."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in sorted(names()) if name.startswith(incomplete)]

    return complete


def _listed(names: Callable[[], Iterable[str]]) -> Completion:
    """The same for a list with commas: its last part is completed."""
    whole = starting(names)

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        return [before + comma + name for name in whole(last)]

    return complete


networks = starting(shipped_networks)
artifacts = starting(lambda: (*shipped_networks(), "bicubic"))
recipes = starting(lambda: shipped(LINES))
scenarios = _listed(shipped_scenarios)
scenario = starting(shipped_scenarios)
targets = starting(lambda: TARGETS)
runtimes = starting(lambda: RUNTIMES)
precisions = starting(lambda: PRECISIONS)
methods = starting(lambda: METHODS)
criteria = starting(lambda: CRITERIA)
protocols = starting(lambda: PROTOCOLS)
sets = starting(lambda: (BUILTIN,))


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
