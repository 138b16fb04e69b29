"""What a report is made of: measurements from stores and JSON, and the folders of whole runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from srdeploy.benchmarking.measuring.row import Row, measurement_of, row_of
from srdeploy.errors import UserError
from srdeploy.fitting.result import RESULTS, FitResult, fit_folders, read_result
from srdeploy.measure.measurement import Measurement
from srdeploy.measure.store import Store, is_sqlite
from srdeploy.reporting.run_folder import BENCH, STORE, RunFolder, read_run_folder
from srdeploy.util.figures_json import dumps


@dataclass(frozen=True)
class SourceEntry:
    """One measurement: its row, and all of it.

    Attributes:
        row: The figures.
        measurement: With sensors; rebuilt from the row where a file held only that.
        folder: Where its artifact may lie: beside the results, or the run's folder.
    """

    row: Row
    measurement: Measurement
    folder: Path


@dataclass
class Evidence:
    """Everything the sources hold.

    Attributes:
        entries: Measurements, each once, in the order they were found.
        runs: Folders of runs.
        fits: Results of ``srdeploy fit``.
        names: The sources, as they were named.
    """

    entries: list[SourceEntry] = field(default_factory=list)
    runs: list[RunFolder] = field(default_factory=list)
    fits: list[FitResult] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    @property
    def finished(self) -> list[SourceEntry]:
        """Those that did not fail."""
        return [entry for entry in self.entries if entry.row.error is None]


def read_sources(sources: Sequence[str | Path | Row]) -> Evidence:
    """Read results.

    Args:
        sources: Stores, JSON of ``srdeploy bench`` or ``srdeploy results``, folders of runs or
            fits, or rows just measured.

    Raises:
        UserError: none given, one is missing or something else, or none holds a result.
    """
    if not sources:
        raise UserError(
            "There is nothing to report; name a store, a JSON file of results or a run's folder."
        )
    evidence = Evidence()
    seen: set[Any] = set()
    for source in sources:
        evidence.names.append(source.artifact if isinstance(source, Row) else str(source))
        path = Path(evidence.names[-1])
        if isinstance(source, Row):
            found = [SourceEntry(source, measurement_of(source), path.parent)]
        elif path.is_dir() and (fits := fit_folders(path)):
            evidence.fits += [one for folder in fits if (one := read_result(folder))]
            stores = [(folder / RESULTS, folder) for folder in fits]
            found = [e for store, at in stores if store.is_file() for e in _of_store(store, at)]
        elif path.is_dir():
            evidence.runs.append(read_run_folder(path))
            store = path / BENCH / STORE
            found = list(_of_store(store, path)) if store.is_file() else []
        elif not path.exists():
            raise UserError(
                f"There is no file or folder of results '{path}'; `srdeploy bench ARTIFACT... "
                f"--store {path}` makes a store."
            )
        elif _holds_store(path):
            found = list(_of_store(path, path.parent))
        else:
            found = list(_of_json(path))
        for entry in found:
            row = entry.row
            key = (row.artifact, row.sha256, row.device, row.started, row.repeat, row.input)
            if key not in seen:
                seen.add(key)
                evidence.entries.append(entry)
    known = evidence.entries or evidence.fits or any(run.cards for run in evidence.runs)
    if not known:
        told = ", ".join(f"'{name}'" for name in evidence.names)
        raise UserError(f"{told} holds no results; measure with `srdeploy bench --store` first.")
    return evidence


def _holds_store(path: Path) -> bool:
    try:
        return is_sqlite(path)
    except OSError as error:
        raise UserError(f"'{path}' cannot be read ({error.strerror}).") from error


def _of_store(path: Path, folder: Path) -> Iterator[SourceEntry]:
    with Store.open(path, create=False) as store:
        yield from _entries(list(store.measurements()), folder)


def _entries(found: list[Measurement], folder: Path) -> Iterator[SourceEntry]:
    """With speed-ups to the first of each session."""
    first: dict[Any, Measurement] = {}
    for one in found:
        base = first.setdefault((one.session, one.device, one.scenario.name, one.repeat), one)
        yield SourceEntry(row_of(one, base), one, folder)


def _of_json(path: Path) -> Iterator[SourceEntry]:
    """Rows of ``bench --json``, JSON lines of ``bench -o``, or measurements of ``results -o``."""
    foreign = UserError(
        f"'{path}' holds no results of srdeploy; name a store, JSON of `srdeploy bench` or "
        "`srdeploy results`, or a run's folder."
    )
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise foreign from None
    try:
        document = json.loads(text)
    except ValueError:
        try:
            document = [json.loads(line) for line in text.splitlines() if line.strip()]
        except ValueError:
            raise foreign from None
    records = document if isinstance(document, list) else [document]
    records = [_unwrapped(record) for record in records]
    records = [record for record in records if record is not None]
    measurements, rows = [], []
    for record in records:
        if not isinstance(record, dict) or "artifact" not in record or "scenario" not in record:
            raise foreign
        if "facts" in record:
            measurements.append(Measurement.from_json(dumps(record), f"'{path}'"))
        else:
            try:
                row = Row.model_validate(record)
                rows.append(SourceEntry(row, measurement_of(row), path.parent))
            except ValidationError:
                raise foreign from None
    yield from _entries(measurements, path.parent)
    yield from rows


def _unwrapped(record: Any) -> Any:
    """A row as ``bench -o`` notes it; None for the other events beside it."""
    if not isinstance(record, dict) or "event" not in record:
        return record
    if record["event"] != "row":
        return None
    return {key: value for key, value in record.items() if key != "event"}
