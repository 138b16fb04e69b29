"""Rows for people."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from srdeploy.bench.row import Row

_NONE = "-"


def latency_table(rows: Sequence[Row]) -> Table:
    """One line per artifact, for 80 columns; failures and protocols are listed underneath."""
    table = Table(
        title=Text(_title(rows[0])) if rows else None,
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        caption=Text("\n".join(_notes(rows))),
        caption_justify="left",
    )
    table.add_column("artifact", overflow="fold", min_width=11)
    for name in _COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        label = Text(row.artifact)
        if row.runtime:
            label.append(f"\n{row.runtime}", style="dim")
        table.add_row(label, *(Text(show(row)) for show in _COLUMNS.values()))
    return table


def _notes(rows: Sequence[Row]) -> list[str]:
    notes = [
        f"quality: {label}" for label in sorted({row.protocol for row in rows if row.protocol})
    ]
    if any(row.speedup is not None for row in rows):
        notes.append("times faster than the first, paired by round, with its 95 % interval")
    notes += sorted({row.note for row in rows if row.note})
    return notes + [row.error for row in rows if row.error]


def _title(row: Row) -> str:
    size = f"LR {row.lr_size[1]}x{row.lr_size[0]}" if row.lr_size else "no input"
    threads = f"{row.threads} thread{'s' if row.threads != 1 else ''}" if row.threads else ""
    parts = [f"x{row.scale}", size, threads, str(row.machine.get("cpu", ""))]
    return ", ".join(part for part in parts if part)


def _number(value: float | None, digits: int) -> str:
    return _NONE if value is None else f"{value:.{digits}f}"


def _milliseconds(value: float | None) -> str:
    """Four digits: more are noise."""
    return _NONE if value is None else f"{value:.{max(0, 4 - len(str(int(value))))}f}"


def _speedup(row: Row) -> str:
    if row.speedup is None:
        return _NONE
    if row.speedup_low is None or row.speedup_high is None:
        return f"{row.speedup:.2f}"
    return f"{row.speedup:.2f}\n{row.speedup_low:.2f}-{row.speedup_high:.2f}"


def _quality(luma: float | None, rgb: float | None, digits: int) -> str:
    return _number(luma if luma is not None else rgb, digits)


_COLUMNS: dict[str, Callable[[Row], str]] = {
    "p50\nms": lambda row: _milliseconds(row.p50_ms),
    "p90\nms": lambda row: _milliseconds(row.p90_ms),
    "times\nfaster": _speedup,
    "first\nms": lambda row: _milliseconds(row.first_ms),
    "peak\nMB": lambda row: _number(row.peak_mb, 0),
    "params": lambda row: _NONE if row.params is None else f"{row.params / 1e3:.0f}K",
    "MACs\n720p": lambda row: _NONE if row.macs_720p is None else f"{row.macs_720p / 1e9:.1f}G",
    "PSNR\ndB": lambda row: _quality(row.psnr_y, row.psnr_rgb, 2),
    "SSIM": lambda row: _quality(row.ssim_y, row.ssim_rgb, 4),
}
