"""How results reach people and programs: text on stdout, or one JSON document.

Every way out is plain (:mod:`srdeploy.terminal`): what boards, cards and stores say is shown, and
no terminal obeys it.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from srdeploy.figures_json import dumps
from srdeploy.progress import is_quiet
from srdeploy.tables import fitted, wrapped
from srdeploy.terminal import plain, safe_console

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

T = TypeVar("T")


def emit(document: Any) -> None:
    """Print one JSON document; see :mod:`srdeploy.figures_json` for infinite figures."""
    text = dumps(document, indent=2)  # in ASCII, of which JSON leaves one control character
    sys.stdout.write(text.replace("\x7f", "\\u007f") + "\n")


def say(text: str = "") -> None:
    """Print a line of a result for people; in a pipe or file it stays one line, however long."""
    asked = bool(os.environ.get("COLUMNS"))
    write(_in_lines(text) if asked or sys.stdout.isatty() else text)


def write(text: str) -> None:
    """Print text whose lines are what they are: for files, and other programs."""
    print(plain(text))


def _in_lines(text: str) -> str:
    return wrapped(text, shutil.get_terminal_size().columns)


def note(text: str) -> None:
    """Print a remark that is not part of the result, on stderr; ``--quiet`` leaves it out."""
    if not is_quiet():
        complain(text)


def complain(text: str) -> None:
    """Print an error on stderr, whatever was asked: one line, but on a terminal."""
    print(plain(_in_lines(text) if sys.stderr.isatty() else text), file=sys.stderr)


def console() -> Console:
    """Where tables go: stdout, in plain text where ``NO_COLOR`` is set (https://no-color.org)."""
    # Rich drops colours for NO_COLOR and keeps bold and dim, which are escape codes too.
    return safe_console(colours=not os.environ.get("NO_COLOR"))


def mark(yes: object) -> Text:
    """A word in a table: green yes, yellow no."""
    from rich.text import Text

    return Text("yes", style="green") if yes else Text("no", style="yellow")


def show(table: Table, together: int = 1) -> None:
    """Print a table, as several where the terminal is too narrow for its figures.

    Args:
        table: Of any width.
        together: So many columns must stand beside the name of a row.
    """
    screen = console()
    for part in fitted(table, screen.width, together):
        screen.print(part)


def quantity(value: float) -> str:
    """A count with a unit prefix: 664704 to ``664.7K``, 6.1e11 to ``612.6G``."""
    for size, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "K")):
        if abs(value) >= size:
            return f"{value / size:.1f}{prefix}" if size != 1e6 else f"{value / size:.2f}M"
    return f"{value:g}"


def essential(rows: Sequence[T], dear: Callable[[T], Any], what: str, most: int = 12) -> list[T]:
    """The rows of a long list that are worth showing, and a remark on the others.

    Args:
        rows: All of them.
        dear: How dear a row is.
        what: What they are, in the plural.
        most: So many are shown, the dearest, in the order of ``rows``; ``--verbose`` shows all.
    """
    from srdeploy.quiet import is_verbose

    if is_verbose() or len(rows) <= most:
        return list(rows)
    dearest = sorted(range(len(rows)), key=lambda n: dear(rows[n]), reverse=True)[:most]
    note(f"{len(rows) - most} of {len(rows)} {what} are not shown; --verbose lists them")
    return [rows[n] for n in sorted(dearest)]
