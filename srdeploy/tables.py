"""Tables of a width: no header and no figure is ever cut; what does not fit stands below."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Column, Table

WIDTH = 80
_LEAST = 11
"""Characters that a column of words is folded to at most."""


def fitted(table: Table, width: int = WIDTH) -> list[Table]:
    """The table, or as many as its columns take; each begins with the first column.

    Columns that are aligned to the right hold figures and keep their width; the others hold words
    and are folded.

    Args:
        table: Of any width.
        width: Characters of a line.
    """
    first, *others = table.columns
    parts: list[list[Column]] = [[first]]
    for column in others:
        if len(parts[-1]) > 1 and _least([*parts[-1], column], table) > width:
            parts.append([first])
        parts[-1].append(column)
    return [_part(table, columns, number) for number, columns in enumerate(parts)]


def _least(columns: list[Column], table: Table) -> int:
    """Characters that columns take when their words are folded."""
    left, right = table.padding[3], table.padding[1]
    between = left + right + 1  # and a divider
    edges = 1 if table.pad_edge else 1 - left - right
    return sum(_width(column) + between for column in columns) + edges


def _width(column: Column) -> int:
    texts = [str(one) for one in (column.header, *column.cells)]
    longest = max(len(line) for text in texts for line in text.split("\n"))
    return longest if _holds_figures(column) else min(longest, max(_LEAST, column.min_width or 0))


def _holds_figures(column: Column) -> bool:
    return column.justify == "right"


def _part(table: Table, columns: list[Column], number: int) -> Table:
    from rich.table import Table

    part = Table(
        title=table.title if number == 0 else None,
        title_justify=table.title_justify,
        box=table.box,
        padding=table.padding,
        pad_edge=table.pad_edge,
        caption=table.caption if columns[-1] is table.columns[-1] else None,
        caption_justify=table.caption_justify,
    )
    for index, column in enumerate(columns):
        figures = _holds_figures(column)
        part.columns.append(
            replace(
                column,
                _index=index,
                no_wrap=figures,
                overflow="fold",
                min_width=column.min_width if figures else _width(column),
                _cells=list(column._cells),
            )
        )
    part.rows.extend(table.rows)
    return part
