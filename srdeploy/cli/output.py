"""How results reach people and programs: text on stdout, or one JSON document.

Every way out is plain (:mod:`srdeploy.util.terminal`): what boards, cards and stores say is
shown, and no terminal obeys it.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from srdeploy.util.figures_json import dumps
from srdeploy.util.progress import is_quiet
from srdeploy.util.tables import fitted, wrapped
from srdeploy.util.terminal import plain, safe_console

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

T = TypeVar("T")


def emit(document: Any) -> None:
    """Print one JSON document; see :mod:`srdeploy.util.figures_json` for infinite figures."""
    text = dumps(document, indent=2)  # in ASCII, of which JSON leaves one control character
    sys.stdout.write(text.replace("\x7f", "\\u007f") + "\n")


def say(text: str = "") -> None:
    """Print a line of a result for people; in a pipe or file it stays one line, however long."""
    write(_in_lines(text) if _columns() is not None else text)


def write(text: str) -> None:
    """Print text whose lines are what they are: for files, and other programs."""
    print(plain(text))


def _in_lines(text: str) -> str:
    return wrapped(text, shutil.get_terminal_size().columns)


def _columns() -> int | None:
    """Those of the terminal that results go to, or that were asked for; None in a pipe."""
    asked = bool(os.environ.get("COLUMNS")) or sys.stdout.isatty()
    return shutil.get_terminal_size().columns if asked else None


def say_command(command: str) -> None:
    """Print a command to be copied: what is too long for a terminal's line goes on in the next."""
    parts: list[str] = []
    for word in map(shlex.quote, shlex.split(command)):
        if parts and parts[-1].startswith("-") and " " not in parts[-1]:
            parts[-1] += f" {word}"  # an option and its value stay together
        else:
            parts.append(word)
    columns = _columns()
    lines = [" "]

    def fits(text: str) -> bool:
        return columns is None or len(text) + 2 < columns

    for part in parts:
        for word in [part] if fits(f"    {part}") else part.split(" ", 1):
            if not fits(f"{lines[-1]} {word}") and lines[-1].strip():
                lines.append("   ")
            lines[-1] += f" {word}"
    write(" \\\n".join(lines))


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
    from srdeploy.util.quiet import is_verbose

    if is_verbose() or len(rows) <= most:
        return list(rows)
    dearest = sorted(range(len(rows)), key=lambda n: dear(rows[n]), reverse=True)[:most]
    note(f"{len(rows) - most} of {len(rows)} {what} are not shown; --verbose lists them")
    return [rows[n] for n in sorted(dearest)]
