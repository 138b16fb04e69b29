"""To repeat it: the commands, each to be copied."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from srdeploy.reporting.data import ReportData


def commands(data: ReportData) -> str | None:
    """A block for each command."""
    return "".join(f"<pre><code>{escape(line)}</code></pre>" for line in data.commands) or None
