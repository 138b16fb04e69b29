"""Tables to which installed plug-ins add rows, through entry points.

A distribution with an entry point in the group ``srdeploy.targets`` adds rows to that table;
likewise the other :data:`TABLES`. An entry point names a row or a list of rows. They are read when
a table is first gone through, or asked for a name that is not built in: what needs built-in rows
only looks for no plug-in.

A plug-in is an installed package, and its code runs with all rights of the user who installed it.
One that is broken is left out, and a sentence says so; a built-in row is never replaced.
"""

from __future__ import annotations

import importlib
import re
import threading
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points, packages_distributions
from operator import attrgetter
from typing import Any, Protocol, TypeVar

from srdeploy.errors import SrdeployError, shown

TABLES = {
    "architectures": "srdeploy.models.registry:ARCHITECTURES",
    "methods": "srdeploy.pruning.methods.table:METHODS",
    "targets": "srdeploy.exporting.targets:TARGETS",
    "runtimes": "srdeploy.runtime.table:RUNTIMES",
    "devices": "srdeploy.devices.table:KINDS",
    "metrics": "srdeploy.quality.metrics:METRICS",
}
"""Names of the tables, and where each is."""

NAME = r"[a-z0-9][a-z0-9_-]{0,63}"
"""Names of rows, which are typed in commands and stand in cards, recipes and stores."""

_LOOKING = threading.RLock()


class Named(Protocol):
    """A row of a table."""

    @property
    def name(self) -> str:
        """What it is called everywhere."""


R = TypeVar("R", bound=Named)


@dataclass(frozen=True)
class Plugin:
    """What one entry point of an installed distribution adds to a table.

    Attributes:
        table: A name of :data:`TABLES`.
        distribution: The distribution's name.
        version: Its version.
        rows: Names of the rows that were added.
        problems: Why others were not, a sentence each.
    """

    table: str
    distribution: str
    version: str
    rows: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


class Table(MutableMapping[str, R]):
    """Rows by their names: the built-in ones in their order, then those of plug-ins.

    Args:
        name: A name of :data:`TABLES`.
        rows: The built-in ones.
        check: Called with each row of a plug-in; one for which it raises anything is left out.
    """

    def __init__(
        self, name: str, rows: Sequence[R], check: Callable[[R], object] | None = None
    ) -> None:
        self._name, self._check, self._class = name, check, type(rows[0])
        self._rows = {row.name: row for row in rows}
        self._plugins: list[Plugin] | None = None

    def __getitem__(self, name: str) -> R:
        if name not in self._rows:
            self.plugins()
        return self._rows[name]

    def __setitem__(self, name: str, row: R) -> None:
        self._rows[name] = row

    def __delitem__(self, name: str) -> None:
        del self._rows[name]

    def __iter__(self) -> Iterator[str]:
        self.plugins()
        return iter(self._rows)

    def __len__(self) -> int:
        self.plugins()
        return len(self._rows)

    def plugins(self) -> list[Plugin]:
        """The plug-ins of this table; they are imported the first time."""
        with _LOOKING:
            if self._plugins is None:
                self._plugins = []  # one that looks at the table while imported sees what is there
                found = entry_points(group=f"srdeploy.{self._name}")
                for entry in sorted(found, key=lambda entry: (*_origin(entry), entry.name)):
                    self._plugins.append(self._added(entry))
            return self._plugins

    def _added(self, entry: EntryPoint) -> Plugin:
        distribution, version = _origin(entry)
        added: list[str] = []
        problems: list[str] = []
        try:
            found = entry.load()
        except (Exception, SystemExit) as error:
            found = ()
            problems.append(f"{entry.value} cannot be imported ({_told(error)})")
        for row in found if isinstance(found, (list, tuple)) else (found,):
            if (problem := self._problem(row)) is not None:
                problems.append(problem)
            else:
                self._rows[row.name] = row
                added.append(row.name)
        sentences = (
            f"The plug-in {distribution} {version} is not used in full: {problem}; update it, or "
            f"remove it with `pip uninstall {distribution}`."
            for problem in problems
        )
        return Plugin(self._name, distribution, version, tuple(added), tuple(sentences))

    def _problem(self, row: Any) -> str | None:
        """Why a row of a plug-in cannot be added; None: it can."""
        kind = self._name.removesuffix("s")
        if not isinstance(row, self._class):
            return f"{type(row).__name__} is no row of {self._name}, which are {_name(self._class)}"
        if not isinstance(row.name, str) or not re.fullmatch(NAME, row.name):
            return (
                f"{shown(repr(row.name))} is no name of a {kind}, which has small letters, digits, "
                "- and _"
            )
        if row.name in self._rows:
            return f"there is a {kind} '{row.name}' already, which stays as it is"
        try:
            if self._check is not None:
                self._check(row)
        except Exception as error:
            return f"the {kind} '{row.name}' is not sound ({_told(error)})"
        return None


def code_of(place: str) -> Any:
    """What a row names as ``module:name``, imported.

    Raises:
        SrdeployError: code of a plug-in that cannot be imported.
    """
    module, _, name = place.partition(":")
    try:
        return attrgetter(name)(importlib.import_module(module))
    except Exception as error:
        if module.split(".")[0] == __name__.split(".")[0]:
            raise
        owners = packages_distributions().get(module.split(".")[0], [module])
        raise SrdeployError(
            f"{place} cannot be imported ({_told(error)}); update {owners[0]}, or remove it with "
            f"`pip uninstall {owners[0]}`."
        ) from error


def problems(*tables: object) -> list[str]:
    """What is wrong with the plug-ins of some tables, a sentence each."""
    found = (plugin for table in tables for plugin in getattr(table, "plugins", list)())
    return [sentence for plugin in found for sentence in plugin.problems]


def installed() -> list[Plugin]:
    """The plug-ins of all tables. A table that none adds to is not imported."""
    found = []
    for name, place in TABLES.items():
        if entry_points(group=f"srdeploy.{name}"):
            found += code_of(place).plugins()
    return found


def _origin(entry: EntryPoint) -> tuple[str, str]:
    return (entry.dist.name, entry.dist.version) if entry.dist else (entry.value, "")


def _told(error: BaseException) -> str:
    return shown(f"{type(error).__name__}: {error}", 200)


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
