"""A real farm on loopback: scheduler and two workers' hosts as processes, TLS, fake devices."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from srdeploy.benchmarking.measuring.plan import Batch, Watcher, plan
from srdeploy.benchmarking.measuring.row import Row
from srdeploy.errors import SrdeployError, UserError
from srdeploy.farm.settings import FarmFile, read_farm
from srdeploy.measure.scenario import Scenario
from srdeploy.measure.store import Store

pytest.importorskip("distributed")

from benchmarks.farm_chaos import ByProgress, chaos
from benchmarks.farm_lab import Lab, free_port, lab
from srdeploy.farm import link
from srdeploy.farm.client import FarmOptions, run
from srdeploy.farm.link import devices, order
from srdeploy.farm.network import open_farm, probe

NAME = "edsr-s-x2"
QUICK = Scenario(
    min_runs=1, min_seconds=0.05, turn_seconds=0.05, warmup_seconds=0, quality=False, sensors=False
)
ENTRIES = [
    {"uri": "fake://a1", "tags": ["good", "mixed"]},
    {"uri": "fake://a2?ms=7", "tags": ["good", "spare"]},
    {"uri": "fake://lost?fail=lost", "tags": ["mixed", "bad"]},
    {"uri": "fake://refused?fail=refused", "tags": ["mixed", "closed"]},
    {"uri": "fake://slow?pace=1e5", "tags": ["slow"]},
    {"uri": "fake://away", "tags": ["drainable"]},
]


class Heard(Watcher):
    def __init__(self) -> None:
        self.sentences: list[str] = []
        self.stored: list[bool] = []

    def row(self, batch: Batch, artifact: str, row: Row, stored: bool) -> None:
        self.stored.append(stored)

    def said(self, sentence: str) -> None:
        self.sentences.append(sentence)


@pytest.fixture(scope="module")
def shop() -> Iterator[Lab]:
    with lab(devices=len(ENTRIES), processes=2, port=free_port(), entries=ENTRIES) as one:
        one.start_all()
        one.wait_for_devices()
        yield one


@pytest.fixture(scope="module")
def farm(shop: Lab) -> FarmFile:
    settings, _ = open_farm(shop.folder / "client")
    return settings.model_copy(update={"patience_seconds": 5.0})


@pytest.fixture(autouse=True)
def _all_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test begins before all devices have registered, so none waits for more of them."""
    monkeypatch.setattr(link, "GRACE_SECONDS", 0.0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "results.sqlite") as one:
        yield one


def measure(
    farm: FarmFile,
    store: Store,
    *tags: str,
    artifacts: tuple[str, ...] = (NAME,),
    heard: Watcher | None = None,
    asked: FarmOptions | None = None,
    repeats: int = 1,
    **settings: Any,
) -> list[Row]:
    scenario = settings.pop("scenario", QUICK)
    batches = plan(list(tags), [scenario], repeats=repeats, **{"scale": 2, **settings})
    return run(farm, artifacts, batches, store, watcher=heard, asked=asked)


def released(farm: FarmFile) -> None:
    order(farm, ["*"], "ready", "")


def test_fans_out_collects_and_resumes(farm: FarmFile, store: Store, tmp_path: Path) -> None:
    twin = tmp_path / "twin.safetensors"
    shutil.copy(Path("srdeploy/assets/networks/edsr-s-x2.safetensors").resolve(), twin)
    both = (NAME, str(twin))
    rows = measure(farm, store, "good", "spare", artifacts=both, repeats=3)
    assert len(rows) == 12
    assert not [row.error for row in rows if row.error]
    assert {row.device for row in rows} == {"a1", "a2"}
    assert {row.device for row in rows[6:]} == {"a2"}  # the tag's only device
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        assert (first.artifact, second.artifact) == (NAME, "twin.safetensors")
        assert first.session == second.session  # they took turns
    assert len(store) == 12
    heard = Heard()
    again = measure(farm, store, "good", "spare", artifacts=both, repeats=3, heard=heard)
    assert [row.started for row in again] == [row.started for row in rows]
    assert len(store) == 12
    assert heard.stored == [True] * 12


def test_artifacts_of_one_name_and_content_have_a_row_each(
    farm: FarmFile, store: Store, tmp_path: Path
) -> None:
    source = Path("srdeploy/assets/networks/edsr-s-x2.safetensors").resolve()
    twins = [tmp_path / folder / "net.safetensors" for folder in "ab"]
    for twin in twins:
        twin.parent.mkdir()
        shutil.copy(source, twin)
    names = tuple(map(str, twins))
    rows = measure(farm, store, "good", artifacts=names)
    assert [row.artifact for row in rows] == ["net.safetensors"] * 2
    assert rows[0].session == rows[1].session
    assert rows[0].samples_ms != rows[1].samples_ms  # each its own, though one place in the store
    assert rows[1].speedup is not None
    assert len(store) == 1
    assert len(measure(farm, store, "good", artifacts=names)) == 2


def test_each_row_goes_to_the_journal(farm: FarmFile, store: Store, tmp_path: Path) -> None:
    batches = plan(["good"], [QUICK], repeats=2, scale=2)
    rows = run(farm, [NAME], batches, store, journal=tmp_path / "journal.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["row", "row"]
    assert {line["repeat"]: line["samples_ms"] for line in lines} == {
        row.repeat: row.samples_ms for row in rows
    }


def test_two_clients_with_one_store_and_every_result_is_there_once(
    farm: FarmFile, store: Store
) -> None:
    batches = plan(["good"], [QUICK], repeats=6, scale=2)
    with Store.open(store.path) as other, ThreadPoolExecutor() as pool:
        ways = [pool.submit(run, farm, [NAME], batches, one) for one in (store, other)]
        first, second = ([row.model_dump() for row in way.result()] for way in ways)
    assert len(store) == 6
    assert [row["session"] for row in first] == [row["session"] for row in second]


def test_a_folder_of_images_travels_too(farm: FarmFile, store: Store, tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "Set1" / "HR"
    folder.mkdir(parents=True)
    Image.effect_noise((64, 48), 50).convert("RGB").save(folder / "noise.png")
    scenario = QUICK.model_copy(update={"quality": True})
    (row,) = measure(farm, store, "a1", data=str(tmp_path / "Set1"), scenario=scenario)
    assert row.error is None
    assert (row.data, row.n_images) == ("Set1", 1)


def test_contents_are_sent_once_per_host(farm: FarmFile, shop: Lab, store: Store) -> None:
    measure(farm, store, "good", repeats=2)
    contents = [p for p in (shop.folder / "cache/farm/content").rglob("*") if p.is_file()]
    before = {path: path.stat().st_ino for path in contents}
    assert before
    with Store.open(store.path.with_name("other.sqlite")) as other:
        measure(farm, other, "good", repeats=2)
    assert {path: path.stat().st_ino for path in before} == before  # not written again


def test_a_failing_device_is_left_out_and_quarantined(
    farm: FarmFile, shop: Lab, store: Store
) -> None:
    heard = Heard()
    rows = measure(farm, store, "mixed", repeats=30, heard=heard)
    assert not [row.error for row in rows if row.error]
    assert {row.device for row in rows} == {"a1"}
    set_aside = {one.name: one for one in devices(farm) if one.state == "quarantined"}
    assert set_aside  # at least the quicker one got three
    for one in set_aside.values():
        assert one.reason.startswith("3 failures in a row, the last: The fake device")
        state = (shop.folder / f"cache/farm/devices/{one.name}.json").read_text()
        assert one.reason in state
    assert any("is quarantined: 3 failures" in sentence for sentence in heard.sentences)
    released(farm)
    assert not [one for one in devices(farm) if one.state != "ready"]


def test_a_job_that_every_device_fails_ends_with_its_reasons(farm: FarmFile, store: Store) -> None:
    (row,) = measure(farm, store, "bad")
    assert "The fake device went away" in (row.error or "")
    (row,) = measure(farm, store, "closed")
    assert "The fake device refuses" in (row.error or "")
    released(farm)


def test_a_job_is_ended_at_its_limit(farm: FarmFile, store: Store) -> None:
    began = time.monotonic()
    (row,) = measure(farm, store, "slow", asked=FarmOptions(job_seconds=2))
    assert "no end within 2 s" in (row.error or "")
    assert time.monotonic() - began < 300  # without the limit it would take over an hour
    released(farm)


def test_the_jobs_own_fault_blames_no_device(farm: FarmFile, store: Store, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no network")
    good, bad = measure(farm, store, "good", artifacts=(NAME, str(broken)))
    assert good.error is None
    assert "broken.onnx" in (bad.error or "")
    assert {one.in_a_row for one in devices(farm) if one.has("good")} == {0}


def test_what_is_not_there_is_told_within_seconds(farm: FarmFile, store: Store) -> None:
    began = time.monotonic()
    with pytest.raises(UserError, match="did you mean 'good'"):
        measure(farm, store, "god")
    order(farm, ["away"], "drained", "being moved")
    with pytest.raises(UserError, match=r"away is drained \(being moved\)"):
        measure(farm, store, "drainable")
    assert time.monotonic() - began < 120  # Dask itself would wait for ever
    released(farm)


def test_drain_finishes_what_runs_and_takes_no_more(
    farm: FarmFile, store: Store, shop: Lab
) -> None:
    path = shop.folder / "results.sqlite"
    client = shop.start("client", "--devices", "away", "--repeats", "500", "--json")
    end = time.monotonic() + 120
    while not path.exists() or shop.results()[1] < 3:
        assert time.monotonic() < end, shop.log("client")
        time.sleep(0.1)
    (drained,) = order(farm, ["away"], "drained", "by order", wait=True)
    assert (drained.state, drained.running) == ("drained", None)
    time.sleep(1)
    assert listening(client) == []
    stored = shop.results()[1]
    time.sleep(1)
    assert shop.results()[1] == stored < 500
    assert {one.done for one in devices(farm) if one.name == "away"} == {drained.done}
    client.kill()
    client.wait()
    released(farm)


def test_a_quarantine_survives_its_worker(farm: FarmFile, shop: Lab) -> None:
    order(farm, ["a1"], "quarantined", "battery swells")
    shop.kill("worker0")  # which has a1
    shop.start("worker0")
    end = time.monotonic() + 120
    while not (here := [one for one in devices(farm) if one.name == "a1"]):
        assert time.monotonic() < end
        time.sleep(0.5)
    assert (here[0].state, here[0].reason) == ("quarantined", "battery swells")
    released(farm)


def listening(process: subprocess.Popen[bytes]) -> list[tuple[str, int]]:
    """Address and port of whatever a process listens on."""
    import psutil

    found = psutil.Process(process.pid).net_connections()
    return [(one.laddr.ip, one.laddr.port) for one in found if one.status == psutil.CONN_LISTEN]


def test_nothing_listens_beyond_the_address_asked_for(shop: Lab) -> None:
    assert listening(shop.running["scheduler"]) == [("127.0.0.1", shop.port)]
    workers = [*listening(shop.running["worker0"]), *listening(shop.running["worker1"])]
    # One port per device, for the scheduler's calls, and no other.
    assert [address for address, _ in workers] == ["127.0.0.1"] * len(ENTRIES)


def test_no_certificate_no_access(farm: FarmFile, shop: Lab, tmp_path: Path, store: Store) -> None:
    import asyncio

    from distributed import Client
    from distributed.security import Security

    from srdeploy.farm.certificates import issue

    issue(tmp_path / "other", ["client"], f"127.0.0.1:{shop.port}")
    stranger = read_farm(tmp_path / "other" / "client")
    with pytest.raises(UserError, match="does not trust"):
        probe(stranger)
    with pytest.raises(UserError, match="does not accept"):
        probe(farm.model_copy(update={n: getattr(stranger, n) for n in ("certificate", "key")}))

    async def without() -> None:
        for protocol, security in (("tcp", None), ("tls", Security(tls_ca_file=str(farm.ca)))):
            address = f"{protocol}://127.0.0.1:{shop.port}"
            await Client(address, security=security, timeout=3, asynchronous=True)

    with pytest.raises((OSError, TypeError)):
        asyncio.run(without())


def test_a_store_that_cannot_be_written_ends_the_run_with_its_own_reason(
    farm: FarmFile, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def add(*_: Any) -> bool:
        raise SrdeployError("no space is left for the results")

    monkeypatch.setattr(store, "add", add)
    heard = Heard()
    with pytest.raises(SrdeployError, match="no space is left for the results"):
        measure(farm, store, "good", heard=heard)
    assert heard.sentences == []


def test_nobody_there(farm: FarmFile, store: Store) -> None:
    nowhere = farm.model_copy(update={"scheduler": f"127.0.0.1:{free_port()}"})
    with pytest.raises(SrdeployError, match="start it there"):
        measure(nowhere, store, "good")
    unknown = farm.model_copy(update={"scheduler": "no-such-host.invalid"})
    with pytest.raises(UserError, match="no host"):
        measure(unknown, store, "good")


def answers(farm: FarmFile) -> bool:
    try:
        probe(farm)
    except SrdeployError:
        return False
    return True


def test_a_scheduler_that_has_just_started_is_given_time(
    farm: FarmFile, shop: Lab, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "GRACE_SECONDS", 15.0)
    shop.kill("scheduler")
    began = time.time()
    shop.start("scheduler")
    end = time.monotonic() + 120
    while not answers(farm):
        assert time.monotonic() < end
        time.sleep(0.05)
    (row,) = measure(farm, store, "drainable")
    assert (row.device, row.error) == ("away", None)
    monkeypatch.setattr(link, "GRACE_SECONDS", time.time() - began + 2)  # as if it went on so long
    with pytest.raises(UserError, match="did you mean 'good'"):
        measure(farm, store, "god")


def test_a_name_is_taken_once(shop: Lab) -> None:
    twin = shop.start("worker1-twin", "--device", "fake://a1")
    assert twin.wait(120) == 2
    assert "has a device 'a1' already" in shop.log("worker1-twin")


LONG = [(6, "worker"), (14, "client"), (24, "scheduler"), (36, "runner"), (46, "worker")]
SHORT = [(4, "worker"), (9, "client"), (15, "scheduler"), (22, "runner")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("devices", "processes", "jobs", "victims"), [(5, 2, 40, SHORT), (6, 3, 60, LONG)]
)
def test_killed_in_all_its_parts_and_nothing_is_lost_or_twice(
    devices: int, processes: int, jobs: int, victims: list[tuple[int, str]]
) -> None:
    with lab(devices=devices, processes=processes, port=free_port(), turn=0.1) as one:
        one.start_all()
        one.wait_for_devices()
        counts = chaos(one, jobs, ByProgress(list(victims)), limit=500)
        assert counts["exit"] == 0, one.log("client")
    assert counts["stored"] == counts["finished"] == counts["different"] == jobs
    assert counts["entered_while_in_use"] == 0
    assert counts["entered"] >= jobs
    assert sum(counts["kills"].values()) == len(victims)
