"""Rows for people."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.table import Table
from rich.text import Text

from srdeploy.bench.row import Row

_NONE = "-"


def latency_table(rows: Sequence[Row]) -> Table:
    """One line per artifact; what failed is listed with its reason in the caption."""
    caption = Text()
    table = Table(title=_title(rows[0]) if rows else None, title_justify="left")
    table.add_column("artifact", overflow="fold")
    for name in _COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(Text(row.artifact), *(show(row) for show in _COLUMNS.values()))
        if row.error:
            caption.append(f"{row.error}\n", style="red")
    protocols = sorted({row.protocol for row in rows if row.protocol})
    caption.append("\n".join(protocols))
    table.caption, table.caption_justify = caption, "left"
    return table


def _title(row: Row) -> str:
    size = f"LR {row.lr_size[1]}x{row.lr_size[0]}" if row.lr_size else "no input"
    threads = f"{row.threads} thread{'s' if row.threads != 1 else ''}" if row.threads else ""
    parts = [f"x{row.scale}", size, threads, str(row.machine.get("cpu", ""))]
    return ", ".join(part for part in parts if part)


def _number(value: float | None, digits: int = 2, suffix: str = "") -> str:
    return _NONE if value is None else f"{value:,.{digits}f}{suffix}"


def _speedup(row: Row) -> str:
    if row.speedup is None:
        return _NONE
    return f"{row.speedup:.2f} [{row.speedup_low:.2f}, {row.speedup_high:.2f}]"


def _quality(luma: float | None, rgb: float | None, digits: int) -> str:
    return _number(luma if luma is not None else rgb, digits)


_COLUMNS: dict[str, Callable[[Row], str]] = {
    "runtime": lambda row: row.runtime or _NONE,
    "p50 ms": lambda row: _number(row.p50_ms),
    "p90 ms": lambda row: _number(row.p90_ms),
    "times faster": _speedup,
    "first ms": lambda row: _number(row.first_ms, 1),
    "peak MB": lambda row: _number(row.peak_mb, 0),
    "params": lambda row: _NONE if row.params is None else f"{row.params / 1e3:,.1f}K",
    "MACs 720p": lambda row: _NONE if row.macs_720p is None else f"{row.macs_720p / 1e9:,.1f}G",
    "PSNR dB": lambda row: _quality(row.psnr_y, row.psnr_rgb, 2),
    "SSIM": lambda row: _quality(row.ssim_y, row.ssim_rgb, 4),
}
