"""What failed, and why."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from srdeploy.reporting.figures import name_of

if TYPE_CHECKING:
    from srdeploy.reporting.data import ReportData


def failures(data: ReportData) -> str | None:
    """A line for each measurement that has an error instead of figures."""
    failed = [entry.row for entry in data.evidence.entries if entry.row.error]
    items = "".join(
        f"<li><strong>{escape(name_of(row))}</strong> on {escape(row.device)}: "
        f"{escape(row.error or '')}</li>"
        for row in failed
    )
    return f'<ul class="card plain">{items}</ul>' if items else None
