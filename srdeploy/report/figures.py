"""What the measurements say: fronts, versions, and the summary in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePath
from typing import Any

from srdeploy.bench.row import Row
from srdeploy.bench.table import milliseconds
from srdeploy.report.sources import Entry, Evidence, RunFolder


@dataclass(frozen=True)
class Group:
    """What can be held against each other: one device, scenario and input.

    Attributes:
        device: Its name.
        scenario: With the size of its input.
        entries: Finished measurements, fastest first; those without times last.
        front: Ids of the rows that no other beats in both latency and PSNR.
    """

    device: str
    scenario: str
    entries: list[Entry]
    front: frozenset[int]

    def on_front(self, entry: Entry) -> bool:
        """Whether a measurement is on the Pareto front."""
        return id(entry.row) in self.front


def groups_of(evidence: Evidence) -> list[Group]:
    """Finished measurements by device and scenario, in the order they were found."""
    found: dict[tuple[str, str], list[Entry]] = {}
    for entry in evidence.finished:
        found.setdefault((entry.row.device, scenario_of(entry.row)), []).append(entry)
    groups = []
    for (device, scenario), entries in found.items():
        entries.sort(key=lambda e: (e.row.p50_ms is None, e.row.p50_ms or 0.0))
        front = front_of([e.row for e in entries])
        groups.append(Group(device, scenario, entries, front))
    return groups


def front_of(rows: Sequence[Row]) -> frozenset[int]:
    """Ids of the rows that no other beats: as fast and better, or faster and as good.

    Only figures that mean the same are compared: of one set under one protocol. The front is that
    of the set most rows were measured on.
    """
    known = [row for row in rows if row.p50_ms is not None and psnr_of(row) is not None]
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
    return row.psnr_y if row.psnr_y is not None else row.psnr_rgb


def ssim_of(row: Row) -> float | None:
    """SSIM likewise."""
    return row.ssim_y if row.ssim_y is not None else row.ssim_rgb


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


def summarise(evidence: Evidence, groups: Sequence[Group]) -> list[str]:
    """The result in sentences."""
    sentences = []
    for run in evidence.runs:
        sentences += _of_run(run)
    for group in groups:
        sentences += _of_group(group)
    if failed := [entry.row for entry in evidence.entries if entry.row.error]:
        sentences.append(
            f"{len(failed)} measurement{'s' * (len(failed) > 1)} failed: "
            f"{name_of(failed[0])} on {failed[0].device}: {failed[0].error}"
        )
    return sentences


def _of_run(run: RunFolder) -> list[str]:
    sentences = []
    pruned: dict[str, Any] = next((c for c in run.cards if c["stage"] == "20_pruned"), {})
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


def _of_group(group: Group) -> list[str]:
    rows = [entry.row for entry in group.entries if entry.row.p50_ms is not None]
    if not rows:
        return []
    fastest = rows[0]
    told = f"On {group.device} ({group.scenario}), {name_of(fastest)} "
    told += f"takes {milliseconds(fastest.p50_ms)} ms"
    if fastest.speedup is not None and fastest.speedup_low is not None:
        base = _base_of(fastest, rows)
        than = f" as {name_of(base)}" if base else ""
        told += (
            f", {fastest.speedup:.2f} times as fast{than} "
            f"(95 % interval {fastest.speedup_low:.2f} to {fastest.speedup_high:.2f})"
        )
    best = max(
        (r for r in rows if psnr_of(r) is not None and kind_of(r) == kind_of(fastest)),
        key=lambda r: psnr_of(r) or 0.0,
        default=None,
    )
    own = psnr_of(fastest)
    if best is not None and own is not None:
        lost = (psnr_of(best) or 0.0) - own
        told += f", at {own:.2f} dB"
        if best is not fastest:
            told += f", {lost:.2f} dB below {name_of(best)}"
    return [told + "."]


def _base_of(row: Row, rows: Sequence[Row]) -> Row | None:
    """What a speed-up refers to: the one of the same session that has none itself."""
    return next((r for r in rows if r.session == row.session and r.speedup is None), None)
