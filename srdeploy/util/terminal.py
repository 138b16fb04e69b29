"""What may reach a terminal: text that others wrote is shown, never obeyed.

A board's name, a card's field or a store's row may hold the characters by which terminals are told
to do things: move the cursor, set the clipboard, show text backwards. They are written out.
"""

from __future__ import annotations

import unicodedata
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

_OBEYED = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode categories: controls, formats (among them the bidirectional ones), halves of surrogate
pairs, and separators that are no newline."""


def plain(text: str) -> str:
    r"""Text with each character that a terminal would obey as its escape: ``\x1b``, ``\u202e``.

    Newlines and tabs stay.
    """
    if text.isprintable():
        return text
    return "".join(
        c.encode("unicode_escape").decode()
        if unicodedata.category(c) in _OBEYED and c not in "\n\t"
        else c
        for c in text
    )


def safe_console(
    *,
    stderr: bool = False,
    file: IO[str] | None = None,
    width: int | None = None,
    colours: bool = True,
) -> Console:
    """Rich's console for text that others wrote: all of it plain, brackets no markup.

    Args:
        stderr: Write to stderr in place of stdout.
        file: Write to this instead.
        width: Columns; None for the terminal's.
        colours: Use those that the terminal has.
    """
    from rich.console import Console, ConsoleOptions
    from rich.segment import Segment

    class _Plain(Console):
        def render(self, renderable: Any, options: ConsoleOptions | None = None) -> Any:
            for text, style, control in super().render(renderable, options):
                yield Segment(text if control else plain(text), style, control)

    return _Plain(
        stderr=stderr,
        file=file,
        width=width,
        color_system="auto" if colours else None,
        markup=False,
        emoji=False,
    )
