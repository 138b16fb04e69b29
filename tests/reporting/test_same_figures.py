"""A measurement reads the same in the terminal's table, in the report and on a phone's page."""

from __future__ import annotations

import io
import re
from pathlib import Path

from rich.console import Console

from srdeploy.benchmarking.measuring.row import row_of
from srdeploy.benchmarking.showing.table import group_tables, milliseconds
from srdeploy.devices.browser.device import verdict
from srdeploy.devices.protocol import Figures
from srdeploy.reporting.page import write_report
from tests.reporting.material import measurements

OURS = [one for one in measurements() if one.session == "one"]
ROWS = [row_of(one, OURS[0]) for one in OURS if one.error is None]


def terminal() -> str:
    console = Console(file=io.StringIO(), width=200, color_system=None)
    for table in group_tables(ROWS, width=200):
        console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_same_figures_everywhere(tmp_path: Path) -> None:
    write_report(ROWS, tmp_path / "page.html")
    page = re.sub(r"<[^>]+>", " ", (tmp_path / "page.html").read_text(encoding="utf-8"))
    table = terminal()
    for row in ROWS:
        figures = [milliseconds(row.p50_ms), milliseconds(row.p90_ms), f"{row.psnr_y:.2f}"]
        if row.speedup is not None:
            figures.append(f"{row.speedup:.2f}")
        for figure in figures:
            assert re.search(rf"(?<![\d.]){re.escape(figure)}(?!\d)", table), (row.artifact, figure)
            assert re.search(rf"(?<![\d.]){re.escape(figure)}(?!\d)", page), (row.artifact, figure)


def test_a_phone_tells_them_with_one_digit_less() -> None:
    figures = [
        Figures(
            row.artifact,
            row.p50_ms,
            row.speedup,
            (row.speedup_low, row.speedup_high) if row.speedup_low and row.speedup_high else None,
            row.psnr_y,
        )
        for row in ROWS
    ]
    told = {line["title"]: line["text"] for line in verdict(figures)["rows"]}
    assert len(told) == len(ROWS) > 2
    for row in ROWS:
        assert f"PSNR {row.psnr_y:.2f} dB" in told[row.artifact]
        if row.speedup is not None:
            assert f"{row.speedup:.1f} times as fast" in told[row.artifact]
