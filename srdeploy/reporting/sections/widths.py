"""Layer widths: how wide the layers were, and are."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from srdeploy.reporting import html

if TYPE_CHECKING:
    from srdeploy.reporting.data import ReportData


def widths(data: ReportData) -> str | None:
    """Bars for each network; layers of the same widths share one."""
    parts = []
    for one in data.widths:
        alike: dict[tuple[int, int], list[str]] = {}
        for name, width in one.layers.items():
            alike.setdefault(width, []).append(name)
        most = max(before for before, _ in alike)
        bars = "".join(
            f'<div class="bar"><span title="{escape(", ".join(names), quote=True)}">'
            f"{escape(_layers(names))}</span>"
            f'<i style="width:{100 * before / most:.1f}%"><b class="s0" '
            f'style="width:{100 * after / before:.1f}%"></b></i>'
            f"<span>{before} → {after}</span></div>"
            for (before, after), names in alike.items()
        )
        rest = f"{one.unchanged} other layers kept their width." if one.unchanged else ""
        caption = f"Output channels of convolutions, before and after pruning. {rest}"
        parts.append(html.figure(f'<div class="bars">{bars}</div>', caption, one.name))
    return "".join(parts) or None


def _layers(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} layers"
