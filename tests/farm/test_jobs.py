"""Jobs as plain data, and a ledger's results."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from srdeploy.benchmarking.measuring import artifact_run
from srdeploy.benchmarking.measuring.journal import open_journal
from srdeploy.benchmarking.measuring.plan import plan
from srdeploy.data.images import write_png
from srdeploy.farm import job as module
from srdeploy.farm import task
from srdeploy.farm.content_store import HostCache
from srdeploy.farm.job import exclusive
from srdeploy.farm.jobs import HUNG, LOST, TRIES, Contents, FarmJob
from srdeploy.farm.labgrid_place import Busy
from srdeploy.farm.results import Results
from srdeploy.measure.scenario import Scenario
from srdeploy.measure.store import Store
from srdeploy.util.files import cache_dir
from tests.farm.test_accounting import NAME, Heard, measurement

QUICK = Scenario(
    inputs=((6, 9),), min_runs=1, min_seconds=0, turn_seconds=0.01, warmup_runs=0,
    warmup_seconds=0, quality=False, data="builtin",
)  # fmt: skip


def test_limits() -> None:
    assert (TRIES, LOST, HUNG) == (3, 20, 2)


def test_a_job_is_described_in_full() -> None:
    (batch,) = plan(["t"], [QUICK], scale=2, runtime="r", threads=3, options={"arch": "x"})
    job = FarmJob(4, batch.__class__("t", batch.request, 6), [NAME])
    contents = Contents([NAME])
    told = contents.described(job, 9.0)
    assert told == {
        "artifacts": [{"name": NAME, "parcel": contents.parcel(NAME).as_dict()}], "data": "builtin",
        "scenario": QUICK.model_dump(mode="json", exclude={"data"}), "scale": 2, "runtime": "r",
        "threads": 3, "options": {"arch": "x"}, "repeat": 6, "seconds": 9.0, "blame": True,
    }  # fmt: skip
    assert contents.digests(batch, [NAME]) == [d for _, d in contents.parcel(NAME).files]
    assert contents.parcel(NAME) is contents.parcel(NAME)
    assert (job.tag, job.attempt, job.lost, job.hung) == ("t", 0, 0, 0)


def images(folder: Path) -> str:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    write_png(folder / "a.png", pixels)
    return str(folder)


def test_a_folder_of_images_travels_as_a_parcel(tmp_path: Path) -> None:
    folder = images(tmp_path / "set")
    (batch,) = plan(["t"], [QUICK.model_copy(update={"data": None})], scale=2, data=folder)
    contents = Contents([NAME])
    told = contents.described(FarmJob(0, batch, [NAME]), 9.0)
    assert told["data"]["name"] == "set"
    assert len(contents.digests(batch, [NAME])) == 2


def test_a_job_is_done_with_what_was_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRDEPLOY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(artifact_run, "counts", lambda card: {})
    folder = images(tmp_path / "set")
    scenario = QUICK.model_copy(update={"data": None, "inputs": ("median",)})
    (batch,) = plan(["t"], [scenario], scale=2, data=folder, threads=3)
    contents = Contents([NAME])
    told = contents.described(FarmJob(0, batch, [NAME]), 9.0)
    device = {"name": "desk", "uri": "fake://d"}
    missing = module.execute(told, device)
    wanted = contents.digests(batch, [NAME])
    assert missing == {"outcome": "missing", "files": wanted}
    assert task.lacking(wanted) == wanted
    for digest in wanted:
        task.receive(digest, 0, contents.packed.sources[digest].read_bytes(), True, "me")
    assert HostCache().lacking(wanted) == []
    done = module.execute(told, device)
    (result,) = done["results"]
    assert (done["outcome"], result["name"], result["fault"], result["reason"]) == (
        "done", NAME, None, "",
    )  # fmt: skip
    made = result["measurement"]
    assert (made["device"], made["threads"], made["repeat"], made["lr_size"]) == (
        "desk", 3, 0, (24, 32),
    )  # fmt: skip
    wrong = module.execute(told | {"scale": 3}, device)
    (result,) = wrong["results"]
    assert result["fault"] == "job"
    assert "x3" in result["reason"]
    failed = module.execute(told, {"name": "d", "uri": "fake://d?fail=refused"})
    assert (failed["outcome"], "refuses" in failed["reason"]) == ("failed", True)
    lost = module.execute(told, {"name": "d", "uri": "fake://d?fail=lost"})
    assert lost["results"][0]["fault"] == "device"


def test_places_are_held_where_there_are_some(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[Any] = []

    def hold(place: str, coordinator: str) -> Any:
        held.append((place, coordinator))
        raise Busy("taken")

    monkeypatch.setattr(module, "hold_place", hold)
    (batch,) = plan(["t"], [QUICK], scale=2)
    contents = Contents([NAME])
    told = contents.described(FarmJob(0, batch, [NAME]), 9.0)
    for digest, source in contents.packed.sources.items():
        HostCache().receive(digest, 0, source.read_bytes(), True, "me")
    device = {"name": "d", "uri": "fake://d", "labgrid": "p", "coordinator": "c"}
    assert module.execute(told, device) == {"outcome": "busy", "reason": "taken"}
    assert held == [("p", "c")]
    assert module.execute(told, device | {"labgrid": None})["outcome"] == "done"


def test_a_device_is_one_jobs_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRDEPLOY_CACHE", str(tmp_path))
    with exclusive("fake://a"):
        (lock,) = (cache_dir() / "farm" / "locks").iterdir()
        with (
            pytest.raises(Busy, match="'fake://a' is in use by another job of its host"),
            exclusive("fake://a", seconds=0.05),
        ):
            raise AssertionError("held twice")
        with exclusive("fake://b", seconds=0.05):
            pass
        if (opened := Path("/proc/self/fd")).is_dir():  # released last when it is killed
            assert max(int(one.name) for one in opened.iterdir()) >= 500
    with open(lock, "ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)  # free again
    with pytest.raises(ValueError, match="inside"), exclusive("fake://c"):
        raise ValueError("inside")
    with exclusive("fake://c", seconds=0):
        pass


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "results.sqlite") as one:
        yield one


def test_another_clients_result_counts(store: Store, tmp_path: Path) -> None:
    heard, batches = Heard(), plan(["t"], [QUICK], scale=2)
    contents = Contents([NAME])
    job = FarmJob(0, batches[0], [NAME])
    with open_journal(tmp_path / "j") as journal:
        ledger = Results(store, contents, heard, journal)
        assert len(ledger) == 0
        store.add(measurement("other", ms=3), contents.key(batches[0], NAME))
        ledger.keep(job, NAME, measurement("mine", ms=9))
        (row,) = ledger.rows(batches, [NAME])
        assert (row.device, row.p50_ms, len(ledger)) == ("other", 3, 1)
    assert heard.rows == [("other", False, None)]
    assert '"event": "row"' in (tmp_path / "j").read_text()


def test_what_is_given_up_says_why(store: Store) -> None:
    heard, batches = Heard(), plan(["fake://t"], [QUICK], scale=2)
    with open_journal(None) as journal:
        ledger = Results(store, Contents([NAME]), heard, journal)
        job = FarmJob(0, batches[0], [NAME])
        ledger.give_up(job, "nobody is left")
        (row,) = ledger.rows(batches, [NAME])
        assert row.error == f"{NAME}: nobody is left"
        job.last[NAME] = measurement("d", error="it fell")
        ledger.give_up(job, "unused")
        (row,) = ledger.rows(batches, [NAME])
        assert (row.device, row.error) == ("d", "it fell")
