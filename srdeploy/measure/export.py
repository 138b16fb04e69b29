"""Measurements as files for other programs: JSON with everything, CSV for spreadsheets."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from srdeploy.errors import UserError
from srdeploy.measure.measurement import Measurement
from srdeploy.quality.metrics import METRICS
from srdeploy.util.figures_json import dumps
from srdeploy.util.files import atomic_path, check_output

SUFFIXES = (".json", ".csv")


def check_export(path: Path | None, samples: bool) -> None:
    """See that an export is possible before anything is read.

    Raises:
        UserError: another suffix than .json or .csv, raw samples without a CSV, or a place that
            cannot be written to.
    """
    if samples and (path is None or path.suffix.lower() != ".csv"):
        raise UserError("--samples is for a .csv; a .json holds the raw samples anyway.")
    if path is None:
        return
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"'{path}' is neither .json nor .csv; choose one of these endings.")
    check_output(path)


def export_measurements(found: Iterable[Measurement], path: Path, *, samples: bool = False) -> None:
    """Write measurements to a file, whole or not at all.

    Args:
        found: What to write.
        path: ``.json``: a list of all fields; ``.csv``: :func:`summary`, a line each.
        samples: In a CSV, a line per raw sample instead.
    """
    check_export(path, samples)
    with atomic_path(path) as temporary:
        temporary.write_text(_text(found, path.suffix.lower(), samples), encoding="utf-8")


def read_json(path: Path) -> list[Measurement]:
    """Read an exported ``.json``.

    Raises:
        UserError: no such file, or something else in it.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        texts = [dumps(entry) for entry in entries if isinstance(entry, dict)]
    except OSError as error:
        raise UserError(f"'{path}' cannot be read ({error.strerror}).") from error
    except (ValueError, TypeError) as error:
        raise UserError(f"'{path}' is no JSON list of measurements.") from error
    if len(texts) != len(entries) or not isinstance(entries, list):
        raise UserError(f"'{path}' is no JSON list of measurements.")
    return [Measurement.from_json(text, f"'{path}'") for text in texts]


def summary(one: Measurement) -> dict[str, Any]:
    """The figures of a measurement that fit into one line; None for what it has not."""
    height, width = one.lr_size or (None, None)
    quality, power = one.quality, one.power
    p50, p90, p99 = (
        np.percentile(one.samples_ms, [50, 90, 99]).round(4).tolist()
        if one.samples_ms
        else (None, None, None)
    )
    return {
        "artifact": one.artifact,
        "sha256": one.sha256,
        "device": one.device,
        "model": one.facts.model,
        "scenario": one.scenario.name,
        "lr_width": width,
        "lr_height": height,
        "scale": one.scale,
        "batch": one.scenario.batch,
        "repeat": one.repeat,
        "session": one.session,
        "started": one.started,
        "runtime": one.runtime,
        "runtime_version": one.runtime_version,
        "provider": one.provider,
        "precision": one.precision,
        "threads": one.threads,
        "build_ms": one.build_ms,
        "load_ms": one.load_ms,
        "first_ms": one.first_ms,
        "runs": len(one.samples_ms),
        "p50_ms": p50,
        "p90_ms": p90,
        "p99_ms": p99,
        "compute_p50_ms": one.compute_p50_ms,
        "peak_mb": one.peak_mb,
        "mean_w": power.mean_w if power else None,
        "energy_j_per_frame": power.energy_j_per_frame if power else None,
        "load_before": one.before.load_1min,
        "hottest_before_c": max(one.before.temperatures_c.values(), default=None),
        "hottest_after_c": max(one.after.temperatures_c.values(), default=None),
        **dict.fromkeys(METRICS),
        **(quality.figures if quality else {}),
        "protocol": quality.protocol if quality else None,
        "data": quality.data if quality else None,
        "params": one.params,
        "macs_720p": one.macs_720p,
        "error": one.error,
    }


def _text(found: Iterable[Measurement], suffix: str, samples: bool) -> str:
    if suffix == ".json":
        return dumps([one.model_dump() for one in found], indent=1) + "\n"
    stream = io.StringIO()
    rows = [line for one in found for line in (_samples(one) if samples else [summary(one)])]
    if rows:
        columns = dict.fromkeys(name for row in rows for name in row)  # some have more metrics
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return stream.getvalue()


def _samples(one: Measurement) -> list[dict[str, Any]]:
    place = {
        "artifact": one.artifact,
        "device": one.device,
        "scenario": one.scenario.name,
        "session": one.session,
        "repeat": one.repeat,
    }
    untold: list[Any] = [None] * len(one.samples_ms)
    turns = [turn for turn, length in enumerate(one.turns) for _ in range(length)] or untold
    compute = one.compute_ms if len(one.compute_ms) == len(untold) else untold
    return [
        {**place, "turn": turn, "sample": number, "ms": ms, "compute_ms": inner}
        for number, (turn, ms, inner) in enumerate(zip(turns, one.samples_ms, compute, strict=True))
    ]
