"""What the measurements say: what to ship, fronts, versions, and the summary in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePath
from typing import Any

from srdeploy.benchmarking.measuring.row import Row
from srdeploy.benchmarking.showing.table import milliseconds
from srdeploy.quality.metrics import lost
from srdeploy.reporting.run_folder import NETWORKS, RunFolder
from srdeploy.reporting.sources import Evidence, SourceEntry


@dataclass(frozen=True)
class FigureGroup:
    """What can be held against each other: one device, scenario and input.

    Attributes:
        device: Its name.
        scenario: With the size of its input.
        entries: Finished measurements, fastest first; those without times last.
        front: Ids of the rows that no other beats in both latency and PSNR; none of them is below
            bicubic.
        shipped: What one would ship: the fastest that is not below bicubic; None where nothing
            was timed.
    """

    device: str
    scenario: str
    entries: list[SourceEntry]
    front: frozenset[int]
    shipped: Row | None

    @property
    def title(self) -> str:
        """Its heading on the page."""
        return f"{self.device} · {self.scenario}"

    def on_front(self, entry: SourceEntry) -> bool:
        """Whether a measurement is on the Pareto front."""
        return id(entry.row) in self.front


def groups_of(evidence: Evidence) -> list[FigureGroup]:
    """Finished measurements by device and scenario, in the order they were found."""
    found: dict[tuple[str, str], list[SourceEntry]] = {}
    for entry in evidence.finished:
        found.setdefault((entry.row.device, scenario_of(entry.row)), []).append(entry)
    groups = []
    for (device, scenario), entries in found.items():
        entries.sort(key=lambda e: (e.row.p50_ms is None, e.row.p50_ms or 0.0))
        rows = [entry.row for entry in entries]
        groups.append(FigureGroup(device, scenario, entries, front_of(rows), _shipped(rows)))
    return groups


def below_bicubic(row: Row) -> bool:
    """Whether bicubic upscaling, which costs nothing, is better: then nobody would ship it.

    Where a flat picture makes bicubic's mean infinite, nobody can tell.
    """
    psnr, bicubic = psnr_of(row), row.psnr_bicubic
    return psnr is not None and bicubic is not None and psnr < bicubic < math.inf


def _shipped(rows: Sequence[Row]) -> Row | None:
    timed = [row for row in rows if row.p50_ms is not None]
    useful = [row for row in timed if not below_bicubic(row)]
    return min(useful or timed, key=lambda r: r.p50_ms or 0.0, default=None)


def told_apart(row: Row) -> bool:
    """Whether its ratio to the baseline says anything: its 95 % interval does not hold 1."""
    if row.speedup is None:
        return False
    low, high = row.speedup_low, row.speedup_high
    return low is None or high is None or not low <= 1.0 <= high


def front_of(rows: Sequence[Row]) -> frozenset[int]:
    """Ids of the rows that no other beats: as fast and better, or faster and as good.

    Only figures that mean the same are compared: of one set under one protocol. The front is that
    of the set most rows were measured on. What is below bicubic is on no front.
    """
    known = [row for row in rows if row.p50_ms is not None and psnr_of(row) is not None]
    known = [row for row in known if not below_bicubic(row)]
    if not known:
        return frozenset()
    kind = usual_kind(known)
    points = [(row.p50_ms, psnr_of(row), id(row)) for row in known if kind_of(row) == kind]
    return frozenset(
        key
        for ms, psnr, key in points
        if not any(
            o_ms <= ms and o_psnr >= psnr and (o_ms, o_psnr) != (ms, psnr)  # type: ignore[operator]
            for o_ms, o_psnr, _ in points
        )
    )


def kind_of(row: Row) -> tuple[str | None, str | None]:
    """The set and the protocol of its quality: figures of one kind mean the same."""
    return row.data, row.protocol


def usual_kind(rows: Sequence[Row]) -> tuple[str | None, str | None]:
    """The kind that most rows have; there must be one row at least."""
    kinds = [kind_of(row) for row in rows]
    return max(kinds, key=kinds.count)


def psnr_of(row: Row) -> float | None:
    """PSNR, of whichever planes the protocol compares."""
    return row.figure("psnr")


def scenario_of(row: Row) -> str:
    """The scenario's name, and the size of its input where it is a fixed one."""
    sizes = [size for size in row.scenario.get("inputs", ()) if size != "median"]
    name = str(row.scenario.get("name", "default"))
    return " ".join([name, *(f"{size[1]}×{size[0]}" for size in sizes)])


def name_of(row: Row) -> str:
    """The artifact, without the folders it lay in."""
    return PurePath(row.artifact).name


def quantity(value: float | None) -> str:
    """A count with a unit: 4.6 G."""
    if value is None:
        return "–"
    for size, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {prefix}"
    return f"{value:g}"


def stages_of(run: RunFolder) -> list[tuple[str, float, str]]:
    """Versions of a run with their PSNR and the protocol; of one protocol and set."""
    found = []
    for version, figures in run.quality.items():
        psnr = figures.get("psnr_y", figures.get("psnr_rgb"))
        if isinstance(psnr, (int, float)):
            label = f"{figures.get('protocol', '')} on {figures.get('data', '')}"
            found.append((version, float(psnr), label))
    return found


def summarise(evidence: Evidence, groups: Sequence[FigureGroup]) -> list[str]:
    """The result in sentences: first what one would ship, then how it came to be."""
    sentences = []
    for group in groups:
        sentences += _of_group(group)
    for run in evidence.runs:
        sentences += _of_run(run)
    if failed := [entry.row for entry in evidence.entries if entry.row.error]:
        sentences.append(
            f"{len(failed)} measurement{'s' * (len(failed) > 1)} failed: "
            f"{name_of(failed[0])} on {failed[0].device}: {failed[0].error}"
        )
    return sentences


def _of_run(run: RunFolder) -> list[str]:
    sentences = []
    pruned = run.card(NETWORKS["pruned"])
    shares = [
        f"{_share(pruned, key):.0%} of its {word}"
        for key, word in (("macs_720p", "multiply-accumulates"), ("params", "parameters"))
        if _share(pruned, key) is not None
    ]
    if shares:
        sentences.append(f"Pruning left the network of '{run.root.name}' {' and '.join(shares)}.")
    stages = stages_of(run)
    if len(stages) > 1 and len({label for *_, label in stages}) == 1:
        names = {"pruned": "pruning", "tuned": "fine-tuning"}
        steps = [
            f"{psnr - before:+.2f}".replace("-", "−") + f" dB by {names.get(name, name)}"
            for (_, before, _), (name, psnr, _) in pairwise(stages)
        ]
        sentences.append(
            f"Mean PSNR went from {stages[0][1]:.2f} dB to {stages[-1][1]:.2f} dB: "
            f"{', '.join(steps)} ({stages[0][2]})."
        )
    return sentences


def _share(card: dict[str, Any], key: str) -> float | None:
    """What pruning left of a count, by its stage's card."""
    told = card.get("figures", {}).get(key)
    if isinstance(told, dict) and told.get("dense") and told.get("compact") is not None:
        return float(told["compact"]) / float(told["dense"])
    return None


def _of_group(group: FigureGroup) -> list[str]:
    row = group.shipped
    if row is None:
        return []
    base = base_of(row, group)
    told = f"On {group.device} ({group.scenario}), {name_of(row)} "
    told += f"takes {milliseconds(row.p50_ms)} ms"
    if base is not None and row.speedup is not None:
        if told_apart(row):
            told += f", {row.speedup:.2f} times as fast as {name_of(base)}"
        else:
            told += f", no measurable difference from {name_of(base)}"
        if row.speedup_low is not None:
            ratio = "" if told_apart(row) else f"ratio {row.speedup:.2f}, "
            told += f" ({ratio}95 % interval {row.speedup_low:.2f} to {row.speedup_high:.2f})"
    if (psnr := psnr_of(row)) is not None:
        told += f", at {psnr:.2f} dB"
        told += "" if (change := change_of(row, base)) is None else f" ({change} dB)"
    sentences = [told + "."]
    if below := [entry.row for entry in group.entries if below_bicubic(entry.row)]:
        sentences.append(
            f"Below bicubic ({below[0].psnr_bicubic:.2f} dB), so nothing to ship: "
            f"{', '.join(dict.fromkeys(name_of(one) for one in below))}."
        )
    return sentences


def change_of(row: Row, base: Row | None) -> str | None:
    """Its PSNR less that of the baseline, with a sign; None where they cannot be compared."""
    if base is None or kind_of(row) != kind_of(base):
        return None
    own, other = psnr_of(row), psnr_of(base)
    if own is None or other is None:
        return None
    return f"{lost(own, other):+.2f}".replace("-", "−")


def base_of(row: Row, group: FigureGroup) -> Row | None:
    """What a speed-up refers to: the one of the same session that has none itself."""
    rows = [entry.row for entry in group.entries]
    found = (r for r in rows if r.session == row.session and r.speedup is None)
    return next((r for r in found if r is not row), None)
