"""From the study's results to files: JSON, CSV, Markdown tables and two plots."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from results_io import page

from srdeploy.benchmarking.measuring.stats import t_quantile
from srdeploy.util.files import atomic_path
from srdeploy.util.svg_plot import PlotSeries, line_plot

Result = dict[str, Any]
TARGETS = ("study", "study-controls", "study-reconstruct")
REPEAT = {name: f"make {name} SRDEPLOY_DATA=DATA" for name in TARGETS}


def write_report(
    results: list[Result],
    study: Any,
    settings: str,
    folder: Path,
    name: str = "study",
    tried: Sequence[Result] = (),
) -> None:
    """Write ``study*`` files into a folder; an unfinished study gives what it has.

    ``tried`` are the cells that decided about learning rates, those among ``results`` too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    others = [one for one in tried if one not in results]
    write(folder / f"{name}.json", json.dumps(results, indent=1) + "\n")
    if others:
        write(folder / f"{name}-rates.json", json.dumps(others, indent=1) + "\n")
    write(folder / f"{name}.csv", table_csv(results))
    repeat = REPEAT.get(name, f"python benchmarks/study.py --data DATA --name {name}")
    body = markdown(results, study, settings) + rate_rows(tried, study)
    text = page("The pruning study", body, repeat)
    write(folder / f"{name}.md", text)
    for bench in study.benchmarks:
        write(folder / f"{name}-macs-{bench.lower()}.svg", macs_plot(results, study, bench))
    for ratio in sorted({r["ratio"] for r in results}):
        write(folder / f"{name}-recovery-{ratio:g}.svg", recovery_plot(results, study, ratio))


def write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def table_csv(results: list[Result]) -> str:
    """One row per cell."""
    stream = io.StringIO()
    sets = list(results[0]["final"]) if results else []
    columns = ["method", "ratio", "seed", "steps", "params", "macs_720p"]
    writer = csv.writer(stream, lineterminator="\n")
    drops = ["psnr_before_removal", "psnr_after_removal"]
    writer.writerow([*columns, *drops, *(f"psnr_y_{s}" for s in sets), "seconds"])
    for r in results:
        before, after = removal(r)
        shown = ["" if v is None else f"{v:.3f}" for v in (before, after)]
        final = [f"{r['final'][s]['psnr_y']:.3f}" for s in sets]
        writer.writerow([*(r[c] for c in columns), *shown, *final, r["seconds"]])
    return stream.getvalue()


def removal(result: Result) -> tuple[float | None, float | None]:
    """PSNR right before and right after the channels were removed, on the watched set."""
    stages = result["stages"]
    if "compact" not in stages:
        return None, None
    before = stages.get("regularised") or stages["dense"]
    return before["psnr_y"], stages["compact"]["psnr_y"]


def markdown(results: list[Result], study: Any, settings: str) -> str:
    """Final PSNR by method and ratio, the loss at removal, and what was done."""
    ratios = sorted({r["ratio"] for r in results})
    lines = [
        f"Network `{study.network}`, {study.steps} optimiser steps for every cell (penalised "
        f"stages included), seeds {list(study.seeds)}; settings: {settings}. Mean and, after ±, "
        f"{INTERVAL if len(study.seeds) > 2 else SPREAD}, dB. Every number is `"
        + (next(iter(results[0]["final"].values()))["protocol"] if results else "")
        + "`.",
        "",
    ]
    for bench in study.benchmarks:
        lines += [f"## {bench}: PSNR after recovery", ""]
        lines += grid(results, study, ratios, lambda r, b=bench: r["final"][b]["psnr_y"])
    for bench in study.benchmarks if study.against else ():
        lines += [f"## {bench}: difference to the best of {', '.join(study.against)}", ""]
        lines += differences(results, study, ratios, bench)
    lines += ["## Size", "", *size_rows(results, ratios)]
    lines += [f"## {study.watch}: PSNR lost at the moment of removal", ""]
    lines += grid(results, study, ratios, lost)
    return "\n".join(lines)


def lost(result: Result) -> float | None:
    before, after = removal(result)
    return None if before is None or after is None else before - after


def grid(
    results: list[Result], study: Any, ratios: list[float], value: Callable[[Result], Any]
) -> list[str]:
    rows = [
        "| method | " + " | ".join(f"{r:g}" for r in ratios) + " |",
        "|---" * (len(ratios) + 1) + "|",
    ]
    for method in study.methods:
        cells = []
        for ratio in ratios:
            chosen = [r for r in results if r["method"] == method and r["ratio"] == ratio]
            cells.append(spread([v for r in chosen if (v := value(r)) is not None]))
        if any(cell != "" for cell in cells):
            rows.append(f"| {method} | " + " | ".join(cells) + " |")
    return [*rows, ""]


def differences(results: list[Result], study: Any, ratios: list[float], bench: str) -> list[str]:
    """Every other method less the best of ``study.against`` at that ratio, seed by seed."""
    found = {(r["method"], r["ratio"], r["seed"]): r["final"][bench]["psnr_y"] for r in results}

    def of(method: str, ratio: float) -> dict[int, float]:
        return {s: v for (m, r, s), v in found.items() if (m, r) == (method, ratio)}

    best = {}
    for ratio in ratios:
        means = {m: statistics.mean(v.values()) for m in study.against if (v := of(m, ratio))}
        if means:
            best[ratio] = max(means, key=means.__getitem__)
    rows = [
        "| method | " + " | ".join(f"{r:g}: - {best[r]}" for r in best) + " |",
        "|---" * (len(best) + 1) + "|",
    ]
    for method in study.methods:
        if method in study.against:
            continue
        cells = []
        for ratio, rival in best.items():
            mine, theirs = of(method, ratio), of(rival, ratio)
            cells.append(spread([v - theirs[s] for s, v in mine.items() if s in theirs], "+"))
        if any(cells):
            rows.append(f"| {method} | " + " | ".join(cells) + " |")
    return [*rows, ""]


INTERVAL = "half the 95 % interval over the seeds (Student's t)"
SPREAD = "half the spread between the seeds"


def spread(values: list[float], sign: str = "") -> str:
    if not values:
        return ""
    text = f"{statistics.mean(values):{sign}.2f}"
    if len(values) < 2:
        return text
    half = (max(values) - min(values)) / 2
    if len(values) > 2:
        half = t_quantile(len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    return f"{text} ± {half:.2f}"


def rate_rows(tried: Sequence[Result], study: Any) -> str:
    """The learning rates that were tried, and which one each method kept."""
    if not tried:
        return ""
    ratios = sorted({r["ratio"] for r in tried})
    rows = [
        "",
        "## Learning rates of the recovery",
        "",
        f"Tried with seed {study.seeds[0]}: {', '.join(map(str, study.search.rates))}. Each "
        "method keeps, at each ratio, the one that ends best on images that are neither trained on "
        "nor reported (below: which, and how many dB it is ahead of the worst there).",
        "",
        "| method | " + " | ".join(f"{r:g}" for r in ratios) + " |",
        "|---" * (len(ratios) + 1) + "|",
    ]
    for method in study.methods:
        cells = []
        for ratio in ratios:
            here = [r for r in tried if (r["method"], r["ratio"]) == (method, ratio)]
            best = max(here, key=lambda r: r["validation"], default=None)
            lead = best["validation"] - min(r["validation"] for r in here) if best else 0.0
            cells.append(f"{best['rate']:g} (+{lead:.2f})" if best else "")
        if any(cells):
            rows.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join([*rows, ""])


def size_rows(results: list[Result], ratios: list[float]) -> list[str]:
    rows = ["| ratio | parameters | MACs for 1280x720 |", "|---|---|---|"]
    for ratio in ratios:
        sizes = sorted({(r["params"], r["macs_720p"]) for r in results if r["ratio"] == ratio})
        low, high = sizes[0], sizes[-1]
        rows.append(f"| {ratio:g} | {between(low[0], high[0], 1e3, 'K')} "
                    f"| {between(low[1], high[1], 1e9, 'G')} |")  # fmt: skip
    return [*rows, ""]


def between(low: float, high: float, unit: float, name: str) -> str:
    if low == high:
        return f"{low / unit:.1f}{name}"
    return f"{low / unit:.1f} to {high / unit:.1f}{name}"


def macs_plot(results: list[Result], study: Any, bench: str) -> str:
    """PSNR against MACs, one line per method, seeds averaged."""
    series = []
    for method in study.methods:
        points = []
        for ratio in sorted({r["ratio"] for r in results}):
            chosen = [r for r in results if r["method"] == method and r["ratio"] == ratio]
            if chosen:
                macs = statistics.mean(r["macs_720p"] for r in chosen) / 1e9
                points.append((macs, statistics.mean(psnrs(chosen, bench))))
        series.append(PlotSeries(method, sorted(points)))
    return line_plot(
        series,
        title=f"{study.network}: PSNR against MACs after {study.steps} steps",
        x_label="MACs for a 1280x720 output, G (logarithmic)",
        y_label=f"{bench} PSNR (Y), dB",
        log_x=True,
    )


def psnrs(results: Iterable[Result], bench: str) -> list[float]:
    return [r["final"][bench]["psnr_y"] for r in results]


def recovery_plot(results: list[Result], study: Any, ratio: float) -> str:
    """PSNR on the watched set against optimiser steps, seeds averaged.

    Dashed: the dense network under penalty, before removal.
    """
    series = []
    for number, method in enumerate(study.methods):
        chosen = [r for r in results if r["method"] == method and r["ratio"] == ratio]
        for dense in (True, False):
            found: dict[int, list[float]] = {}
            for result in chosen:
                _, after = removal(result)
                spent = result["steps"] - last_stage_steps(result)
                if not dense and after is not None:
                    found.setdefault(spent, []).append(after)
                for stage, step, psnr in result["curve"]:
                    if (stage != "finetune") == dense:
                        found.setdefault(step, []).append(psnr)
            points = [(step, statistics.mean(v)) for step, v in sorted(found.items())]
            name = method if not dense else ""
            series.append(PlotSeries(name, points, colour=number, dashed=dense))
    tops = [p for s in series for _, p in s.points]
    return line_plot(
        series,
        title=f"{study.network}, ratio {ratio:g}: recovery against steps",
        x_label="optimiser steps, penalised stages included",
        y_label=f"{study.watch} PSNR (Y), dB",
        y_min=max(tops) - 3 if tops else None,
    )


def last_stage_steps(result: Result) -> int:
    steps = [step for stage, step, _ in result["curve"] if stage != "finetune"]
    return result["steps"] - (max(steps) if steps else 0)
