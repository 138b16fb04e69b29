"""How results reach people and programs: text on stdout, or one JSON document."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from srdeploy.figures_json import dumps
from srdeploy.progress import is_quiet

if TYPE_CHECKING:
    from rich.console import Console


def emit(document: Any) -> None:
    """Print one JSON document; see :mod:`srdeploy.figures_json` for infinite figures."""
    sys.stdout.write(dumps(document, indent=2) + "\n")


def say(text: str = "") -> None:
    """Print a line of a result for people."""
    print(text)


def note(text: str) -> None:
    """Print a remark that is not part of the result, on stderr; ``--quiet`` leaves it out."""
    if not is_quiet():
        print(text, file=sys.stderr)


def console() -> Console:
    """Where tables go: stdout, in plain text where ``NO_COLOR`` is set (https://no-color.org)."""
    from rich.console import Console

    # Rich drops colours for NO_COLOR and keeps bold and dim, which are escape codes too.
    return Console(color_system=None if os.environ.get("NO_COLOR") else "auto")


def quantity(value: float) -> str:
    """A count with a unit prefix: 664704 to ``664.7K``, 6.1e11 to ``612.6G``."""
    for size, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "K")):
        if abs(value) >= size:
            return f"{value / size:.1f}{prefix}" if size != 1e6 else f"{value / size:.2f}M"
    return f"{value:g}"
