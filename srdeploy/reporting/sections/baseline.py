"""Against the baseline: what is slower or worse than it was."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from srdeploy.benchmarking.deciding.verdict import Limits
from srdeploy.benchmarking.showing.table import milliseconds
from srdeploy.benchmarking.showing.verdict_table import WORDS, notes
from srdeploy.reporting import html

if TYPE_CHECKING:
    from srdeploy.reporting.data import ReportData


def baseline(data: ReportData) -> str | None:
    """One row per artifact, device and scenario, and what the rows do not say below them."""
    found = data.verdict
    if found is None:
        return None
    head = ["artifact", "device, scenario", "before ms", "now ms", "slower by", "PSNR lost"]
    head += ["verdict"]
    rows = []
    for line in found.lines:
        slower = "–"
        if line.slowdown is not None:
            slower = f"{line.slowdown:+.1%}"
            if line.slowdown_low is not None and line.slowdown_high is not None:
                spread = f"{line.slowdown_low:+.1%} to {line.slowdown_high:+.1%}"
                slower += f" {html.soft(spread)}"
        word = WORDS[line.verdict]
        rows.append([
            f"<strong>{escape(line.artifact)}</strong>",
            f"{escape(line.device)} {html.soft(line.scenario)}",
            "–" if line.base_ms is None else milliseconds(line.base_ms),
            "–" if line.new_ms is None else milliseconds(line.new_ms),
            slower,
            "–" if line.drop is None else f"{line.drop:+.2f} dB",
            f'<b class="verdict {line.verdict or "none"}">{escape(word)}</b>',
        ])  # fmt: skip
    told = "".join(f"<li>{escape(note)}</li>" for note in notes(found))
    listed = f'<ul class="notes">{told}</ul>' if told else ""
    card = f'<div class="card scroll">{html.table(head, rows, texts=2)}</div>'
    return html.lead(limits_told(data.limits)) + card + listed


def limits_told(limits: Limits) -> str:
    """What a regression is, as a sentence; empty without limits."""
    told = []
    if limits.max_slowdown is not None:
        told.append(f"more than {limits.max_slowdown:.0%} slower")
    if limits.max_drop is not None:
        told.append(f"more than {limits.max_drop:g} dB worse")
    return f"A regression is {' or '.join(told)}." if told else ""
