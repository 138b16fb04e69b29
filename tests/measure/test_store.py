"""The store: nothing finished is lost, nothing is stored twice, bad files are named."""

from __future__ import annotations

import math
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from srdeploy.errors import SrdeployError, UserError
from srdeploy.measure import store as store_module
from srdeploy.measure.measurement import DeviceFacts, Measurement
from srdeploy.measure.scenario import Scenario
from srdeploy.measure.store import Store, measurement_key
from srdeploy.quality.result import Quality

BASE: dict[str, Any] = {
    "artifact": "net.onnx",
    "sha256": "ab",
    "device": "local",
    "facts": DeviceFacts(kind="local", model="desk"),
    "scenario": Scenario(),
    "started": "2026-01-02T03:04:05+00:00",
    "samples_ms": [3.25, 1.5, 2.0],
    "turns": [1, 2],
}
ASKED: dict[str, Any] = {
    "artifact": "net.onnx",
    "sha256": "ab",
    "device": "local",
    "scenario": Scenario(),
    "settings": {"scale": 2, "runtime": None},
}


def made(**changes: Any) -> Measurement:
    return Measurement(**(BASE | changes))


def test_what_went_in_comes_out(tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.sqlite"
    with Store.open(path) as store:
        assert store.add(made(), "a")
        assert store.add(made(device="ssh://orin", notes=["one"]), "b")
    assert [p.name for p in path.parent.iterdir()] == ["results.sqlite"]  # one file to carry away
    with Store.open(path, create=False) as store:
        first, second = store.measurements()
        assert first == made()
        assert second.notes == ["one"]
        assert store.get("a") == first
        assert store.get("c") is None
        assert len(store) == 2


def test_a_key_is_stored_once_and_failures_make_room(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.sqlite") as store:
        assert store.add(made(error="it fell", samples_ms=[], turns=[]), "k")
        assert not store.done("k")
        assert store.add(made(error="it fell again"), "k")
        assert store.add(made(samples_ms=[7.0], turns=[1]), "k")
        assert store.done("k")
        assert not store.add(made(samples_ms=[8.0], turns=[1]), "k")
        assert not store.add(made(error="late failure"), "k")
        (only,) = store.measurements()
        assert only.samples_ms == [7.0]


def test_what_asks_for_a_run_of_its_own() -> None:
    key = measurement_key(**ASKED)
    others = [
        {"sha256": "cd"},
        {"artifact": "other.onnx"},
        {"device": "ssh://orin"},
        {"scenario": Scenario(min_runs=21)},
        {"settings": {"scale": 3}},
        {"settings": {"scale": 2, "runtime": "torch"}},
        {"repeat": 1},
    ]
    keys = {measurement_key(**(ASKED | other)) for other in others}
    assert len(keys | {key}) == len(others) + 1
    same = [{"scenario": Scenario(description="in other words")}, {"settings": {"scale": 2}}]
    assert {measurement_key(**(ASKED | other)) for other in same} == {key}


def test_patterns_choose(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.sqlite") as store:
        for number, name in enumerate(("a.onnx", "b.onnx", "b.engine")):
            store.add(made(artifact=name, error="x" if number == 1 else None), name)
        assert [m.artifact for m in store.measurements(artifact="b.*")] == ["b.onnx", "b.engine"]
        assert [m.artifact for m in store.measurements(artifact="b.*", failed=False)] == [
            "b.engine"
        ]
        assert not list(store.measurements(scenario="paper*"))


WRITER = """
import sys
from srdeploy.measure.store import Store
from srdeploy.measure.measurement import Measurement
with Store.open(sys.argv[1]) as store:
    text = sys.stdin.readline()
    number = 0
    while True:
        key = f"{sys.argv[2]}-{number}"
        assert store.add(Measurement.from_json(text).model_copy(update={"artifact": key}), key)
        print(key, flush=True)
        number += 1
"""


def test_kill_9_loses_nothing_finished(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    told: list[str] = []
    body = made(samples_ms=[1.0] * 3000, turns=[3000]).to_json() + "\n"
    for number in range(4):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert writer.stdin is not None
        assert writer.stdout is not None
        writer.stdin.write(body)
        writer.stdin.flush()
        told.append(writer.stdout.readline().strip())
        time.sleep(0.02 * number)
        os.kill(writer.pid, signal.SIGKILL)
        told += writer.stdout.read().split()
        writer.wait()
        writer.stdin.close()
        writer.stdout.close()
    whole = [key for key in told if key.count("-") == 1]
    assert len(whole) >= 4
    with Store.open(path) as store:
        stored = {m.artifact: m for m in store.measurements()}
        assert set(whole) <= set(stored)
        assert len(set(stored) - set(told)) <= 4  # at most the one each was about to name
        assert all(len(m.samples_ms) == 3000 for m in stored.values())
        (verdict,) = store._connection.execute("PRAGMA integrity_check").fetchone()
        assert verdict == "ok"


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    script = WRITER.replace("while True", "while number < 25")
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(path), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(made().to_json() + "\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=60)
        assert writer.returncode == 0
    with Store.open(path, create=False) as store:
        assert len(store) == 100


def test_the_journal_is_switched_once_another_process_has_switched_it() -> None:
    asked: list[str] = []

    class Busy:
        def execute(self, statement: str) -> Any:
            asked.append(statement)
            if len(asked) < 3:
                raise sqlite3.OperationalError("database is locked")
            return sqlite3.connect(":memory:").execute("SELECT 1")

    store_module._write_ahead(Busy())  # type: ignore[arg-type]
    assert len(asked) == 3
    assert set(asked) == {"PRAGMA journal_mode = WAL"}


def test_threads_share_a_store(tmp_path: Path) -> None:
    taken: list[bool] = []
    with Store.open(tmp_path / "s.sqlite") as store:

        def work() -> None:
            taken.extend(store.add(made(), f"{number}") for number in range(20))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(store) == 20
    assert sum(taken) == 20


def test_an_older_store_is_brought_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s.sqlite"
    with Store.open(path) as store:
        store.add(made(), "k")
    later = [*store_module.MIGRATIONS, "ALTER TABLE measurements ADD COLUMN colour TEXT;\n"]
    monkeypatch.setattr(store_module, "MIGRATIONS", later)
    with pytest.raises(UserError, match="earlier srdeploy"):
        Store.open(path, create=False)
    with Store.open(path) as store:
        assert store.done("k")
        store._connection.execute("SELECT colour FROM measurements")
    monkeypatch.undo()
    with pytest.raises(UserError, match="later srdeploy"):
        Store.open(path)


@pytest.mark.parametrize("create", [True, False])
def test_files_that_are_no_store(tmp_path: Path, create: bool) -> None:
    text, other, cut = tmp_path / "text", tmp_path / "other", tmp_path / "cut"
    text.write_text("no database at all, but long enough to be looked at" * 30)
    with sqlite3.connect(other) as foreign:
        foreign.execute("CREATE TABLE recipes (name)")
    foreign.close()
    with Store.open(tmp_path / "whole") as store:
        for number in range(30):
            store.add(made(samples_ms=[1.0] * 500, turns=[500]), str(number))
    cut.write_bytes((tmp_path / "whole").read_bytes()[:9000])
    with pytest.raises(UserError, match="no store of results"):
        Store.open(text, create=create)
    with pytest.raises(UserError, match="not one of srdeploy's"):
        Store.open(other, create=create)
    with pytest.raises(UserError, match="is a folder"):
        Store.open(tmp_path, create=create)
    with pytest.raises(UserError, match="damaged"), Store.open(cut, create=create) as store:
        list(store.measurements())
    assert text.read_text().startswith("no database")


def test_reading_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no store"):
        Store.open(tmp_path / "absent", create=False)
    assert not list(tmp_path.iterdir())
    (tmp_path / "empty").touch()
    with pytest.raises(UserError, match="not one of srdeploy's"):
        Store.open(tmp_path / "empty", create=False)


def test_a_store_is_readable_where_nothing_can_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "medium"
    with Store.open(folder / "s.sqlite") as store:
        store.add(made(), "k")
    (folder / "s.sqlite").chmod(0o444)
    folder.chmod(0o555)
    try:
        with Store.open(folder / "s.sqlite", create=False) as store:
            assert len(list(store.measurements())) == 1
    finally:
        folder.chmod(0o755)


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.sqlite") as store:
        store.add(made(), "k")
        store._connection.execute("PRAGMA max_page_count = 12")
        with pytest.raises(SrdeployError, match="no space left on the disk of"):
            for number in range(50):
                store.add(made(samples_ms=[1.0] * 2000, turns=[2000]), str(number))
        assert store.done("k")


def test_a_flat_picture_is_no_harm(tmp_path: Path) -> None:
    quality = Quality(
        psnr=math.inf, ssim=1.0, colour="y", protocol="psnr[y]", n_images=1, data="flat"
    )
    with Store.open(tmp_path / "s.sqlite") as store:
        store.add(made(quality=quality), "k")
        assert store.get("k") == made(quality=quality)
        assert list(store.measurements()) == [made(quality=quality)]
        # as it was written before
        old = made(quality=quality).to_json().replace('"Infinity"', "null")
        store._connection.execute("UPDATE measurements SET body = ?", (old,))
        assert store.get("k") == made(quality=quality)


@pytest.mark.parametrize(
    "damage",
    ["body = '{'", "body = NULL", "body = 7", "body = X'ff00'", "body = '{\"format\": 2}'",
     "body = replace(body, 'net.onnx', CAST(X'ff' AS TEXT))", "artifact = X'ff', body = ''",
     "artifact = CAST(X'ff' AS TEXT), body = ''"],
)  # fmt: skip
def test_one_unreadable_row_is_one_remark(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "s.sqlite"
    with Store.open(path) as store:
        for key in "abc":
            store.add(made(device=key), key)
        store._connection.execute("PRAGMA writable_schema = ON")
        schema = "UPDATE sqlite_master SET sql = replace(sql, 'NOT NULL', '')"
        store._connection.execute(schema)
        store._connection.commit()
    with Store.open(path) as store:
        store._connection.execute(f"UPDATE measurements SET {damage} WHERE key = 'b'")
        store._connection.commit()
        assert [one.device for one in store.measurements()] == ["a", "c"]
        (remark,) = caplog.messages
        assert remark.startswith(f"'{path}', row 2 (")
        assert remark.endswith("It is left out.")
        assert not store.done("b")
        assert store.add(made(device="b", samples_ms=[1.0], turns=[1]), "b")
        assert store.done("b")
        assert not store.add(made(device="b"), "b")
        assert sorted(one.device for one in store.measurements()) == ["a", "b", "c"]


@pytest.mark.parametrize("taken", [0, 40, 56])
def test_a_small_disk_is_one_sentence(tiny_disk: Path, taken: int) -> None:
    (tiny_disk / "other").write_bytes(bytes(taken << 10))
    path = tiny_disk / "s.sqlite"
    with pytest.raises(SrdeployError) as refusal, Store.open(path) as store:
        for number in range(50):
            store.add(made(samples_ms=[1.0] * 2000, turns=[2000]), str(number))
    assert str(refusal.value) == (
        f"There is no space left on the disk of '{path}'; free some and run again: what was "
        "finished is stored."
    )


def test_a_locked_store_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s.sqlite"
    Store.open(path).close()
    monkeypatch.setattr(store_module, "_BUSY_SECONDS", 0.1)
    with Store.open(path) as store:
        other = sqlite3.connect(path)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(SrdeployError, match="locked by another program"):
            store.add(made(), "k")
        other.rollback()
        other.close()
        assert store.add(made(), "k")


def test_a_copy_taken_after_a_crash_is_whole(tmp_path: Path) -> None:
    path, copy = tmp_path / "s.sqlite", tmp_path / "copy"
    store = Store.open(path)
    store.add(made(), "k")  # not closed: the log lies beside the file
    copy.mkdir()
    for part in tmp_path.glob("s.sqlite*"):
        shutil.copy(part, copy)
    with Store.open(copy / "s.sqlite") as again:
        assert again.done("k")
    store.close()


def test_sqlites_own_words_may_not_be_text(tmp_path: Path) -> None:
    """Its errors quote names in the file, which a damaged one has in no encoding."""
    path = tmp_path / "a.sqlite"
    with Store.open(path):
        pass
    data = path.read_bytes()
    column = data.index(b"artifact", data.index(b"CREATE INDEX"))
    path.write_bytes(data[: column + 2] + b"\xff" * 6 + data[column + 8 :])
    with (
        pytest.raises(UserError, match="no store of results, or a damaged one"),
        Store.open(path) as store,
    ):
        list(store.measurements())


def test_the_sessions_that_are_stored(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.sqlite") as store:
        assert store.sessions() == set()
        for number, session in enumerate(("a", "a", "b", None)):
            store.add(made(session=session), f"{number}")
        assert store.sessions() == {"a", "b"}
