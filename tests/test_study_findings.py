"""What the page on the study says is what the committed data say."""

from __future__ import annotations

import itertools
import json
import re
import statistics
from pathlib import Path
from typing import Any

import pytest

from srdeploy.benchmarking.measuring.stats import t_quantile

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
PAGE = (RESULTS / "study-findings.md").read_text(encoding="utf-8")
Rows = dict[tuple[str, float, int], dict[str, Any]]


def rows_of(*names: str) -> Rows:
    return {
        (row["method"], row["ratio"], row["seed"]): row
        for name in names
        for row in json.loads((RESULTS / name).read_text(encoding="utf-8"))
    }


ROWS = rows_of("study.json", "study-controls.json")
STARTED = rows_of("study-reconstruct.json")
SEVEN = ("scratch", "l1", "srp-random", "srp-joint", "assl", "gassl", "ours")
RATIOS = (0.3, 0.5, 0.7, 0.9)


def values(
    method: str, what: str, ratio: float, seeds: tuple[int, ...], rows: Rows = ROWS
) -> list[float]:
    """dB, by seed: the PSNR on a set in the end, or what Set5 lost at the moment of removal."""
    found = []
    for seed in seeds:
        row = rows[method, ratio, seed]
        stages = row["stages"]
        if what == "removal":
            before = stages.get("regularised", stages.get("dense"))
            found.append(before["psnr_y"] - stages["compact"]["psnr_y"])
        else:
            found.append(row["final"][what]["psnr_y"])
    return found


def mean(
    method: str, what: str, ratio: float, seeds: tuple[int, ...] = (1, 2), rows: Rows = ROWS
) -> float:
    return sum(values(method, what, ratio, seeds, rows)) / len(seeds)


def spread(method: str, what: str, ratio: float) -> float:
    found = values(method, what, ratio, (1, 2))
    return (max(found) - min(found)) / 2


def tables() -> list[list[list[str]]]:
    found: list[list[list[str]]] = []
    for line in PAGE.splitlines():
        if not line.startswith("|"):
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0].startswith("seed"):
            found.append([])
        if not cells[0].startswith("---"):
            found[-1].append(cells)
    return found


@pytest.mark.parametrize("table", tables(), ids=lambda table: table[1][0].replace("`", ""))
def test_every_figure_is_in_the_data(table: list[list[str]]) -> None:
    seeds = tuple(int(number) for number in re.findall(r"\d", table[0][0]))
    rows = STARTED if "from reconstructed starts" in table[0][0] else ROWS
    for label, *cells in table[1:]:
        methods = re.findall(r"`([^`]+)`", label)
        assert 1 <= len(methods) <= 2
        for heading, cell in zip(table[0][1:], cells, strict=True):
            what, ratio = heading.split()
            wanted = [mean(method, what, float(ratio), seeds, rows) for method in methods]
            text = f"{wanted[0]:.2f}" if len(wanted) == 1 else f"{wanted[0] - wanted[1]:+.2f}"
            assert cell == text, (label, heading)


def test_figures_stand_in_tables_only_and_methods_exist() -> None:
    prose = "\n".join(line for line in PAGE.splitlines() if not line.startswith("|"))
    assert not re.findall(r"\d*\.\d\d|\d\s*dB", prose.replace(".05 or more", ""))
    known = {method for method, _, _ in [*ROWS, *STARTED]}
    named = set(re.findall(r"`([a-z0-9-]+)`", prose)) - {
        "code",
        "removal",
        "guided",
        "fade",
        "linear",
    }
    assert named - {"fast", "assl-"} <= known


def test_ours_against_the_other_six() -> None:
    for what in ("Set5", "B100"):
        leads = [
            min(mean("ours", what, r) - mean(m, what, r) for m in SEVEN if m != "ours")
            for r in RATIOS
        ]
        assert min(leads) > 0
        ahead = {"Set5": (0.3, 0.5, 0.7, 0.9), "B100": (0.3, 0.5)}[what]
        assert tuple(r for r, lead in zip(RATIOS, leads, strict=True) if lead >= 0.05) == ahead


def test_ours_against_the_controls() -> None:
    controls = ("l1-distilled", "srp-distilled", "decoupled-distilled", "decoupled-random",
                "decoupled")  # fmt: skip
    at_half = {m: mean(m, "Set5", 0.5, (1,)) - mean("ours", "Set5", 0.5, (1,)) for m in controls}
    assert {m for m, lead in at_half.items() if abs(lead) < 0.02} == set(controls[1:4])
    ours = mean("ours", "Set5", 0.9, (1,))
    above = {method for method in controls if mean(method, "Set5", 0.9, (1,)) > ours}
    assert above == {"srp-distilled", "decoupled-distilled", "decoupled"}
    for what in ("Set5", "B100"):
        everything = {method for method, ratio, _ in ROWS if ratio == 0.9}
        best = max(everything, key=lambda m: mean(m, what, 0.9, (1,)))
        assert best == "decoupled-distilled"


def test_penalties_against_l1() -> None:
    for what, method in itertools.product(("Set5", "B100"), SEVEN[2:6]):
        lead = {r: mean(method, what, r) - mean("l1", what, r) for r in RATIOS}
        assert lead[0.3] < 0 < min(lead[0.7], lead[0.9])
        assert abs(lead[0.5]) < 0.04


def test_both_sets_agree_where_seeds_do_and_leads_are_smaller_on_b100() -> None:
    for ratio, (a, b) in itertools.product(RATIOS, itertools.combinations(SEVEN, 2)):
        gaps = {w: mean(a, w, ratio) - mean(b, w, ratio) for w in ("Set5", "B100")}
        if all(abs(g) > spread(a, w, ratio) + spread(b, w, ratio) for w, g in gaps.items()):
            assert gaps["Set5"] * gaps["B100"] > 0, (ratio, a, b)
    for ratio, method in itertools.product((0.7, 0.9), SEVEN[2:]):
        lead = {w: mean(method, w, ratio) - mean("l1", w, ratio) for w in ("Set5", "B100")}
        assert 0 < lead["B100"] < lead["Set5"], (ratio, method)


def lead(method: str, rival: str, what: str, ratio: float) -> tuple[float, float]:
    """Mean over the seeds, and half its 95 % interval."""
    found = zip(
        values(method, what, ratio, (1, 2, 3), STARTED),
        values(rival, what, ratio, (1, 2, 3), STARTED),
        strict=True,
    )
    gaps = [a - b for a, b in found]
    return statistics.mean(gaps), t_quantile(2) * statistics.stdev(gaps) / 3**0.5


def test_from_reconstructed_starts() -> None:
    published = ("srp-joint", "assl")
    for what, rival in itertools.product(("Set5", "B100"), published):
        for ratio, method in itertools.product((0.5, 0.7), ("reconstruct", "fade-cost")):
            ahead, half = lead(method, rival, what, ratio)
            assert ahead - half > 0, (what, rival, ratio, method)
            assert ahead >= 0.05
        assert lead("reconstruct", rival, what, 0.9)[0] < 0
        assert lead("fade-cost", rival, what, 0.9)[0] >= 0.05
        ahead, half = lead("fade-cost", "assl", what, 0.9)
        assert ahead - half < 0
        level = [abs(lead("fade-cost", "reconstruct", what, r)[0]) for r in (0.5, 0.7)]
        assert max(level) < 0.03 < lead("fade-cost", "reconstruct", what, 0.9)[0]
    for (_, ratio, _), row in STARTED.items():
        assert row["rate"] == (2e-3 if ratio == 0.5 else 5e-3)
