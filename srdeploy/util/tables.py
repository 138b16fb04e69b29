"""Output of a width: no name, header or figure is ever cut; what does not fit stands below."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Column, Table
    from rich.text import Text

WIDTH = 80
_PROSE = 11
"""Characters that a column of words is folded to at most, if none of them is longer."""

_WHOLE = re.compile(r"`[^`\n]+`|(?<!\w)'[^'\n]+'(?!\w)|pip install '?[^\s;,]+")
"""What is copied: commands and quoted names."""


def wrapped(text: str, width: int = WIDTH) -> str:
    """Text in lines of a width: broken between words only, and not within what is copied.

    A line that goes on is indented by two more. Words that are longer than a line stay whole.

    Args:
        text: Of any number of lines, whose indents are kept.
        width: Characters of a line.
    """
    return "\n".join(_wrapped(line, width) for line in text.split("\n"))


def _wrapped(line: str, width: int) -> str:
    if len(line) <= width:
        return line
    indent = line[: len(line) - len(line.lstrip())]
    room = width - len(indent) - 2
    kept = _WHOLE.sub(lambda m: m[0].replace(" ", "\0") if len(m[0]) <= room else m[0], line)
    lines = textwrap.wrap(
        kept,
        width,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines).replace("\0", " ")


def fitted(table: Table, width: int = WIDTH, together: int = 1) -> list[Table | Text]:
    """The table, or as many as its columns take; each begins with the first column.

    The first column names its row and is one line; columns that are aligned to the right hold
    figures and keep their width; the others hold words and are folded between these. Where a name
    leaves no room for another column, rows are numbered and the names stand above, a line each.

    Args:
        table: Of any width.
        width: Characters of a line.
        together: So many columns must stand beside the name.
    """
    first, *others = table.columns
    above: list[Table | Text] = []
    beside = [*map(_least, others)]
    needed = (beside[:together], [max(beside, default=0)])
    if any(_total([_longest(first), *some], table) > width for some in needed):
        numbers = _numbers(first)
        if others and _longest(numbers) < _longest(first):
            above, first = [_legend(first)], numbers
    parts: list[list[Column]] = [[first]]
    for column in others:
        widths = [_longest(first), *map(_least, parts[-1][1:]), _least(column)]
        if len(parts[-1]) > 1 and _total(widths, table) > width:
            parts.append([first])
        parts[-1].append(column)
    last = len(parts) - 1
    return [
        *above,
        *(_part(table, part, n == 0, n == last, width) for n, part in enumerate(parts)),
    ]


def _total(widths: Sequence[int], table: Table) -> int:
    """Characters of a line with columns of these widths."""
    left, right = table.padding[3], table.padding[1]
    between = left + right + 1  # and a divider
    edges = 1 if table.pad_edge else 1 - left - right
    return sum(widths) + between * len(widths) + edges


def _texts(column: Column) -> list[str]:
    return [str(one) for one in (column.header, *column.cells)]


def _longest(column: Column) -> int:
    """The longest line."""
    return max(len(line) for text in _texts(column) for line in text.split("\n"))


def _least(column: Column) -> int:
    """Characters that a column takes when its words are folded."""
    longest = _longest(column)
    if _holds_figures(column):
        return longest
    word = max((len(word) for text in _texts(column) for word in text.split()), default=0)
    return min(longest, max(word, _PROSE, column.min_width or 0))


def _holds_figures(column: Column) -> bool:
    return column.justify == "right"


def _legend(names: Column) -> Text:
    from rich.text import Text

    lines = (f"{number}  {name}" for number, name in enumerate(names.cells, start=1))
    return Text("\n".join(lines))


def _numbers(names: Column) -> Column:
    cells: list[Any] = [str(number) for number, _ in enumerate(names.cells, start=1)]
    return replace(names, min_width=None, _cells=cells)


def _part(table: Table, columns: list[Column], first: bool, last: bool, width: int) -> Table:
    from rich.table import Table

    part = Table(
        title=table.title if first else None,
        title_justify=table.title_justify,
        box=table.box,
        padding=table.padding,
        pad_edge=table.pad_edge,
        caption=table.caption if last else None,
        caption_justify=table.caption_justify,
    )
    for index, (column, share) in enumerate(
        zip(columns, _shares(table, columns, width), strict=True)
    ):
        part.columns.append(
            replace(
                column,
                _index=index,
                no_wrap=index == 0 or _holds_figures(column),
                overflow="fold",
                width=share,
                min_width=None,
                _cells=list(column._cells),
            )
        )
    part.rows.extend(table.rows)
    return part


def _shares(table: Table, columns: list[Column], width: int) -> list[int]:
    """A width for each column: what it takes at least, and a share of what is left."""
    name, *others = columns
    shares = [_longest(name), *map(_least, others)]
    spare = width - _total(shares, table)
    wants = sorted((_longest(one) - shares[n], n) for n, one in enumerate(columns))
    for done, (want, n) in enumerate(wants):
        more = max(0, min(want, spare // (len(wants) - done)))
        shares[n] += more
        spare -= more
    return shares
