"""One page that holds a result: what was won, what it cost, and how each number was measured.

The page is one HTML file: pictures and plots lie inside it, and it asks for nothing from elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from srdeploy import __version__
from srdeploy.benchmarking.deciding.verdict import Limits, Verdict, judge
from srdeploy.benchmarking.measuring.row import Row
from srdeploy.benchmarking.showing.table import milliseconds
from srdeploy.errors import UserError
from srdeploy.reporting import html
from srdeploy.reporting.commands import commands_of, own_command
from srdeploy.reporting.crops import try_crops
from srdeploy.reporting.data import LIMITS, ReportData
from srdeploy.reporting.figures import (
    FigureGroup,
    base_of,
    change_of,
    name_of,
    psnr_of,
    quantity,
    stages_of,
    summarise,
    told_apart,
)
from srdeploy.reporting.sections.table import SECTIONS
from srdeploy.reporting.sources import Evidence, read_sources
from srdeploy.reporting.widths import find_widths
from srdeploy.util.files import atomic_path, check_output
from srdeploy.util.shipped import ASSETS
from srdeploy.util.terminal import plain


@dataclass(frozen=True)
class ReportSummary:
    """What a page holds.

    Attributes:
        output: The file.
        title: Its title.
        sections: Keys of the sections, in their order.
        sentences: The summary.
        figures: Every measurement's main figures.
        stages: PSNR of the networks of each run, by version.
        widths: Layers before and after, by network.
        crops: Images and versions shown.
        verdict: Against the baseline; None without one.
        commands: That repeat it.
        remarks: What could not be shown, and why.
    """

    output: Path
    title: str
    sections: list[str]
    sentences: list[str]
    figures: list[dict[str, Any]]
    stages: dict[str, dict[str, float]]
    widths: dict[str, dict[str, tuple[int, int]]]
    crops: list[dict[str, Any]]
    verdict: dict[str, Any] | None
    commands: list[str]
    remarks: list[str]

    def __repr__(self) -> str:
        """One line, and the first sentence of the page."""
        first = self.sentences[0] if self.sentences else ""
        count = f"{len(self.figures)} measurements"
        return f"ReportSummary({self.output}, {count}{first and f': {first}'})"

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {**vars(self), "output": str(self.output)}


def write_report(
    sources: Sequence[str | Path | Row],
    output: str | Path,
    baseline: Sequence[str | Path] | str | Path | None = None,
    *,
    images: str | Path = "builtin",
    limits: Limits = LIMITS,
    title: str | None = None,
) -> ReportSummary:
    """Write the page.

    Args:
        sources: Stores, JSON of results, folders of runs, rows that ``bench`` returned.
        output: The HTML file.
        baseline: Results of the same kinds, to hold these against.
        images: Benchmark set for the pictures, or ``builtin``.
        limits: What a regression is.
        title: Of the page; default: after the sources.

    Returns:
        What the page holds.

    Raises:
        UserError: no results, something else in a file, or a place that cannot be written to.
    """
    output = Path(output)
    if output.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"'{output}' is no page; choose a name that ends in .html.")
    check_output(output)
    evidence = read_sources(sources)
    before = [baseline] if isinstance(baseline, (str, Path)) else list(baseline or ())
    verdict = _judged(before, evidence, limits) if before else None
    crops, remarks = try_crops(evidence.runs, evidence, images)
    data = ReportData(
        evidence,
        verdict=verdict,
        limits=limits,
        crops=crops,
        widths=find_widths(evidence),
        commands=commands_of(evidence, own_command(sources, output, before)),
    )
    title = title or _title(evidence)
    sentences = summarise(evidence, data.groups) + _verdict_sentence(verdict)
    parts = [
        (row.key, row.title, body)
        for row in SECTIONS.values()
        if (body := row.body(data)) is not None
    ]
    page = _page(title, sentences, *_tiles(data.groups), parts)
    with atomic_path(output) as temporary:
        temporary.write_text(plain(page), encoding="utf-8")
    return ReportSummary(
        output=output,
        title=title,
        sections=[key for key, *_ in parts],
        sentences=sentences,
        figures=[_figures(entry.row) for entry in evidence.entries],
        stages={run.root.name: {n: p for n, p, _ in stages_of(run)} for run in evidence.runs},
        widths={one.name: one.layers for one in data.widths},
        crops=[{"image": c.image, "versions": [v.label for v in c.versions]} for c in crops],
        verdict=None if verdict is None else verdict.to_dict(),
        commands=list(data.commands),
        remarks=remarks,
    )


def _judged(baseline: Sequence[str | Path], evidence: Evidence, limits: Limits) -> Verdict:
    before = read_sources(baseline)
    return judge(
        [entry.measurement for entry in before.entries],
        [entry.measurement for entry in evidence.entries],
        _decidable(limits, before, evidence),
    )


def _decidable(limits: Limits, before: Evidence, evidence: Evidence) -> Limits:
    """Without the limits that neither side has figures for."""
    rows = [entry.row for entry in (*before.entries, *evidence.entries)]
    return Limits(
        limits.max_slowdown if any(row.p50_ms is not None for row in rows) else None,
        limits.max_drop if any(psnr_of(row) is not None for row in rows) else None,
    )


def _verdict_sentence(verdict: Verdict | None) -> list[str]:
    if verdict is None:
        return []
    words: list[str | None] = [line.verdict for line in verdict.lines]
    told = {"pass": "pass", "fail": "fail", "noisy": "too noisy to tell", None: "not there before"}
    counted = [f"{words.count(w)} {text}" for w, text in told.items() if words.count(w)]
    return [f"Against the baseline, of {len(words)} comparisons {', '.join(counted)}."]


def _title(evidence: Evidence) -> str:
    names = [run.root.resolve().name for run in evidence.runs]
    names += [f"{one.network} within {one.budget_ms:.4g} ms" for one in evidence.fits]
    names += [Path(name).name for name in evidence.names if not Path(name).is_dir()]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")


def _tiles(groups: Sequence[FigureGroup]) -> tuple[str, list[tuple[str, str]]]:
    """The few figures at the top, all of one artifact: what one would ship, and what it won.

    Returns:
        The artifact and where it ran; figures with what they are.
    """
    chosen = _headline(groups)
    if chosen is None:
        return "", []
    group, row = chosen
    base = base_of(row, group)
    tiles = []
    if base is not None and told_apart(row):
        tiles.append((f"{row.speedup:.2f}×", f"as fast as {name_of(base)}"))
    tiles.append((f"{milliseconds(row.p50_ms)} ms", "median latency"))
    if (psnr := psnr_of(row)) is not None:
        change = change_of(row, base)
        than = f", {change} dB against {name_of(base)}" if base is not None and change else ""
        tiles.append((f"{psnr:.2f} dB", f"PSNR on {row.data}{than}"))
    if row.macs_720p:
        share = ""
        if base is not None and base is not row and base.macs_720p:
            share = f", {row.macs_720p / base.macs_720p:.0%} of {name_of(base)}"
        tiles.append((quantity(row.macs_720p), f"MACs for 1280×720{share}"))
    return f"{name_of(row)}, {row.runtime or 'unknown runtime'}, on {group.device}", tiles


def _headline(groups: Sequence[FigureGroup]) -> tuple[FigureGroup, Row] | None:
    """Of what one would ship on each device, the one that won most against its baseline."""
    shipped = [(group, group.shipped) for group in groups if group.shipped is not None]
    return max(shipped, key=lambda one: (one[1].speedup if told_apart(one[1]) else 0) or 0,
               default=None)  # fmt: skip


def _figures(row: Any) -> dict[str, Any]:
    return {
        "artifact": name_of(row),
        "device": row.device,
        "scenario": row.scenario.get("name"),
        "runtime": row.runtime,
        "precision": row.precision,
        "p50_ms": row.p50_ms,
        "speedup": row.speedup,
        "psnr": psnr_of(row),
        "psnr_bicubic": row.psnr_bicubic,
        "protocol": row.protocol,
        "macs_720p": row.macs_720p,
        "energy_mj": row.energy_mj,
        "drift": row.drift,
        "error": row.error,
    }


def _page(
    title: str,
    sentences: Sequence[str],
    headline: str,
    tiles: Sequence[tuple[str, str]],
    parts: Sequence[tuple[str, str, str]],
) -> str:
    template = ASSETS / "pages" / "report.html"
    made = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    return Template(template.read_text(encoding="utf-8")).substitute(
        title=escape(title),
        summary="".join(f"<li>{escape(sentence)}</li>" for sentence in sentences),
        headline=escape(headline),
        tiles="".join(
            f"<div><strong>{escape(figure)}</strong><span>{escape(told)}</span></div>"
            for figure, told in tiles
        ),
        contents="".join(f'<a href="#{key}">{escape(name)}</a>' for key, name, _ in parts),
        sections="".join(html.section(*part) for part in parts),
        made=escape(f"srdeploy {__version__}, {made}"),
    )
