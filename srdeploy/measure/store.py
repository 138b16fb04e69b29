"""Measurements on disk: one SQLite file that takes each of them the moment it is finished.

Every :meth:`Store.add` is a transaction that is on the disk when it returns, so a crash, a kill or
a power cut costs at most what was still being measured. Several processes may write at once. The
write-ahead log lies beside the file (``-wal``) while it is open and is folded in on closing; after
a crash the next opening does that.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from types import TracebackType
from typing import Any

from srdeploy.errors import SrdeployError, UserError
from srdeploy.measure.measurement import Measurement
from srdeploy.measure.scenario import Scenario
from srdeploy.util.files import check_output, space_for

APPLICATION_ID = int.from_bytes(b"SRdp", "big")
"""What ``file(1)`` and we know a store by."""

MIGRATIONS = [
    """
    CREATE TABLE measurements (
        key TEXT PRIMARY KEY,      -- see measurement_key
        artifact TEXT NOT NULL,
        sha256 TEXT,
        device TEXT NOT NULL,
        scenario TEXT NOT NULL,
        session TEXT,
        repeat INTEGER NOT NULL,
        started TEXT NOT NULL,
        runtime TEXT,
        p50_ms REAL,
        psnr REAL,
        error TEXT,                -- NULL: finished; a failure may be tried again
        body TEXT NOT NULL         -- Measurement.to_json, raw samples and all
    );
    CREATE INDEX by_name ON measurements (artifact, device, scenario);
    """,
]
"""Scripts that lead from one schema version to the next; ``user_version`` counts those applied."""

_BUSY_SECONDS = 60.0
_SQLITE = b"SQLite format 3\0"
_BODY = "CAST(body AS BLOB)"  # bytes that are no text are one row's trouble, not the store's

log = logging.getLogger(__name__)


def measurement_key(
    *,
    artifact: str,
    sha256: str | None,
    device: str,
    scenario: Scenario,
    settings: Mapping[str, Any],
    repeat: int = 0,
) -> str:
    """The name under which a measurement is stored once.

    Args:
        artifact: Name of the artifact: two names of the same content are two contestants.
        sha256: Its content.
        device: The device's name.
        scenario: The conditions. Only what differs from the defaults counts, and not the
            description, so that neither wording nor new keys of later versions ask for new runs.
        settings: Whatever else the request fixed: ``data``, ``scale``, ``runtime``, ``threads``...
            None counts as not fixed.
        repeat: Number of the repetition.

    Returns:
        64 hexadecimal digits.
    """
    asked = {
        "artifact": artifact,
        "sha256": sha256,
        "device": device,
        "scenario": scenario.model_dump(
            mode="json", exclude_defaults=True, exclude={"description"}
        ),
        "settings": {k: v for k, v in settings.items() if v is not None},
        "repeat": repeat,
    }
    text = json.dumps(asked, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


class Store:
    """An open store. A context manager that closes it; any thread may use it."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._lock = threading.RLock()
        self.path = path

    @classmethod
    def open(cls, path: str | Path, *, create: bool = True) -> Store:
        """Open a store to write to, or only to read.

        Args:
            path: The file.
            create: Make it if need be and let measurements in; otherwise it must exist, and
                nothing is written, not even on a medium that could not be written to.

        Raises:
            UserError: there is none, it is no store, was written by a later version, or cannot be
                opened or made here.
        """
        path = Path(path)
        if path.is_dir():
            raise UserError(f"'{path}' is a folder; name a file for the results.")
        with _readable_errors(path):
            if create:
                check_output(path)
                connection = _connect(path, "mode=rwc")
            elif path.is_file():
                connection = _connect_to_read(path)
            else:
                raise UserError(
                    f"There is no store of results '{path}'; `srdeploy bench ARTIFACT... --store "
                    f"{path}` makes it, and keeps what it measures there."
                )
            try:
                _prepare(connection, path, create)
            except BaseException:
                connection.close()
                raise
        return cls(connection, path)

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close it; the write-ahead log is folded in."""
        self._connection.close()

    def add(self, measurement: Measurement, key: str) -> bool:
        """Keep a measurement; it is on the disk when this returns.

        Args:
            measurement: Finished, or failed (``error``).
            key: See :func:`measurement_key`.

        Returns:
            Whether it was taken: a finished one is there once and for all; one that failed, or
            cannot be read, makes room for whatever comes next.

        Raises:
            SrdeployError: the disk is full or fails; what was stored before is safe.
        """
        values = {
            "key": key,
            "artifact": measurement.artifact,
            "sha256": measurement.sha256,
            "device": measurement.device,
            "scenario": measurement.scenario.name,
            "session": measurement.session,
            "repeat": measurement.repeat,
            "started": measurement.started,
            "runtime": measurement.runtime,
            "p50_ms": measurement.p50_ms,
            "psnr": measurement.quality.psnr if measurement.quality else None,
            "error": measurement.error,
            "body": measurement.to_json(),
        }
        names = list(values)
        statement = (
            f"INSERT INTO measurements ({', '.join(names)}) "
            f"VALUES ({', '.join(f':{name}' for name in names)}) "
            f"ON CONFLICT (key) DO UPDATE SET {', '.join(f'{n} = excluded.{n}' for n in names)} "
            "WHERE measurements.error IS NOT NULL OR :beyond_reading"
        )
        with self._lock, _readable_errors(self.path), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            values["beyond_reading"] = self.get(key) is None
            return self._connection.execute(statement, values).rowcount == 1

    def sessions(self) -> set[str]:
        """The sessions (:class:`Measurement.session`) of what is stored."""
        with self._lock, _readable_errors(self.path):
            rows = self._connection.execute("SELECT DISTINCT session FROM measurements").fetchall()
        return {session for (session,) in rows if session is not None}

    def done(self, key: str) -> bool:
        """Whether that measurement is finished (a failed one is not)."""
        found = self.get(key)
        return found is not None and found.error is None

    def get(self, key: str) -> Measurement | None:
        """The measurement under a key, finished or failed; None also for one beyond reading."""
        query = f"SELECT {_BODY}, rowid, artifact, device, scenario FROM measurements WHERE key = ?"
        with self._lock, _readable_errors(self.path):
            row = self._connection.execute(query, (key,)).fetchone()
        return self._read(row[0], row[1], row[2:]) if row else None

    def measurements(
        self, *, artifact: str = "*", device: str = "*", scenario: str = "*", failed: bool = True
    ) -> Iterator[Measurement]:
        """What is stored, in the order it came.

        Args:
            artifact: Pattern of names (``*``, ``?``, ``[...]``).
            device: Likewise.
            scenario: Likewise.
            failed: Give failures too.

        What cannot be read (damaged, or of another version) is left out with a remark.
        """
        query = "SELECT rowid, artifact, device, scenario FROM measurements"
        query += "" if failed else " WHERE error IS NULL"
        with self._lock, _readable_errors(self.path):
            rows = self._connection.execute(f"{query} ORDER BY rowid").fetchall()
        patterns = (artifact, device, scenario)
        for rowid, *names in rows:
            if all(fnmatchcase(str(n), p) for n, p in zip(names, patterns, strict=True)):
                with self._lock, _readable_errors(self.path):
                    body = self._connection.execute(
                        f"SELECT {_BODY} FROM measurements WHERE rowid = ?", (rowid,)
                    ).fetchone()
                if body and (found := self._read(body[0], rowid, names)) is not None:
                    yield found

    def _read(self, body: bytes, rowid: int, names: list[str]) -> Measurement | None:
        artifact, device, scenario = names
        what = f"row {rowid} ({artifact} on {device}, {scenario})"
        try:
            return Measurement.from_json(body, f"'{self.path}', {what},")
        except UserError as error:
            log.warning("%s It is left out.", error)
            return None

    def __len__(self) -> int:
        with self._lock, _readable_errors(self.path):
            return self._connection.execute("SELECT count(*) FROM measurements").fetchone()[0]


def is_sqlite(path: Path) -> bool:
    """Whether a file begins like an SQLite database, whatever its name is.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb") as stream:
        return stream.read(len(_SQLITE)) == _SQLITE


def _connect(path: Path, how: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.resolve().as_uri()}?{how}",
        uri=True,
        timeout=_BUSY_SECONDS,
        check_same_thread=False,
    )
    connection.text_factory = lambda text: text.decode("utf-8", "replace")
    return connection


def _connect_to_read(path: Path) -> sqlite3.Connection:
    """Where nothing can be written beside the file, it is read as it lies there."""
    connection = _connect(path, "mode=ro")
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        return _connect(path, "immutable=1")
    return connection


def _prepare(connection: sqlite3.Connection, path: Path, writable: bool) -> None:
    """Check whose file it is, and bring it to the present schema."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION_ID and (tables or not writable):
        raise UserError(f"'{path}' is a database, but not one of srdeploy's results.")
    if version > len(MIGRATIONS):
        raise UserError(
            f"'{path}' was written by a later srdeploy (schema {version}, this one knows "
            f"{len(MIGRATIONS)}); update srdeploy."
        )
    if not writable:
        if version < len(MIGRATIONS):
            raise UserError(
                f"'{path}' was written by an earlier srdeploy (schema {version}); open it once "
                "for writing (`srdeploy bench --store`) to bring it up to date."
            )
        return
    _write_ahead(connection)
    connection.execute("PRAGMA synchronous = FULL")
    # Two processes may come here at once; the second waits, and finds nothing left to do.
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        for script in MIGRATIONS[version:]:
            for statement in script.split(";\n"):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.commit()
    except BaseException:
        connection.rollback()
        raise


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch the journal; SQLite itself does not wait for a process that is switching it, too."""
    ends = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > ends:
                raise
            time.sleep(0.02)


@contextmanager
def _readable_errors(path: Path) -> Iterator[None]:
    try:
        with space_for(path, then="run again: what was finished is stored"):
            yield
    except sqlite3.OperationalError as error:
        reason = str(error)
        if "readonly" in reason or "unable to open" in reason:
            raise UserError(
                f"'{path}' cannot be opened ({reason}); choose a file in a folder that can be "
                "written to."
            ) from error
        if "locked" in reason:
            raise SrdeployError(
                f"'{path}' has been locked by another program for {_BUSY_SECONDS:g} s; close it "
                "and repeat the command."
            ) from error
        raise SrdeployError(f"'{path}' cannot be used ({reason}).") from error
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # sqlite's words quote the file
        raise UserError(f"'{path}' is no store of results, or a damaged one ({error}).") from error
