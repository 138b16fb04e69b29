"""Batches over devices and scenarios: once each, resumed, and what cannot be reached is told."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from srdeploy.benchmarking.deciding.baseline import measured_pair
from srdeploy.benchmarking.measuring.plan import Batch, Watcher, plan, run
from srdeploy.benchmarking.measuring.row import Row
from srdeploy.devices.errors import DeviceRefused
from srdeploy.errors import UserError
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.measure.scenario import Scenario
from srdeploy.measure.store import Store
from srdeploy.models.registry import create

SHORT = Scenario(
    name="short", inputs=((16, 24),), min_runs=4, min_seconds=0.01, turn_seconds=0.01,
    warmup_runs=0, warmup_seconds=0, quality=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("plan")
    for name, width in (("a", 4), ("b", 6)):
        export_onnx(create("ledsr", n_blocks=1, n_feats=width), root / f"{name}.onnx")
    return root


@pytest.fixture
def both(folder: Path) -> list[str]:
    return [str(folder / "a.onnx"), str(folder / "b.onnx")]


class Counter(Watcher):
    def __init__(self) -> None:
        self.measured: list[tuple[str, str, str, int]] = []
        self.stored = 0

    def row(self, batch: Batch, artifact: str, row: Row, stored: bool) -> None:
        self.stored += stored
        if not stored:
            scenario = batch.request.scenario.name
            self.measured.append((Path(artifact).name, batch.device, scenario, batch.repeat))


def test_every_combination_once(both: list[str]) -> None:
    tiers = SHORT.model_copy(update={"name": "tiers", "inputs": ((16, 24), (24, 32))})
    batches = plan(["fake://x", "fake://y"], [SHORT, tiers], repeats=2, scale=2)
    counter = Counter()
    rows = run(both, batches, watcher=counter)
    assert len(rows) == 2 * 2 * 3 * 2
    assert len(counter.measured) == len(rows)
    assert {row.device for row in rows} == {"fake://x", "fake://y"}
    assert {row.input for row in rows} == {(1, 3, 16, 24), (1, 3, 24, 32)}
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        assert first.session == second.session
        assert first.speedup is None
        assert second.speedup is not None
    assert len({row.session for row in rows}) == len(batches)  # each repeat starts afresh


def test_what_is_stored_is_not_measured_again(both: list[str], tmp_path: Path) -> None:
    batches = plan(["fake://x"], [SHORT], repeats=2, scale=2)
    with Store.open(tmp_path / "s.sqlite") as store:
        before = run(both[:1], batches, store=store)
        counter = Counter()
        rows = run(both, [*batches, *plan(["fake://y"], [SHORT], scale=2)], store=store,
                   watcher=counter)  # fmt: skip
        assert counter.stored == 2
        assert [name for name, *_ in counter.measured] == ["b.onnx", "b.onnx", "a.onnx", "b.onnx"]
        assert len(store) == 6
        kept = [row for row in rows if row.artifact == "a.onnx" and row.device == "fake://x"]
        assert [row.samples_ms for row in kept] == [row.samples_ms for row in before]
        assert all(row.speedup is None for row in rows[:4])  # their turns were not interleaved


def test_ratios_refer_to_the_first_artifact_whatever_the_store_has(
    both: list[str], tmp_path: Path
) -> None:
    """A baseline that failed is measured after what the store has; it is the baseline still."""
    shutil.copy(both[1], tmp_path / "c.onnx")
    three = [*both, str(tmp_path / "c.onnx")]
    batches = plan(["fake://x"], [SHORT], scale=2)
    with Store.open(tmp_path / "s.sqlite") as store:
        run(three[1:2], batches, store=store)
        heard: list[tuple[str, bool]] = []

        class Listener(Watcher):
            def row(self, batch: Batch, artifact: str, row: Row, stored: bool) -> None:
                heard.append((Path(artifact).name, row.speedup is not None))

        rows = run(three, batches, store=store, watcher=Listener())
    assert [row.artifact for row in rows] == ["a.onnx", "b.onnx", "c.onnx"]
    assert rows[0].session == rows[2].session != rows[1].session
    assert [row.speedup is not None for row in rows] == [False, False, True]
    assert heard == [("b.onnx", False), ("a.onnx", False), ("c.onnx", True)]


def test_two_files_of_one_name_and_content_are_two_contestants(
    both: list[str], tmp_path: Path
) -> None:
    shutil.copy(both[0], tmp_path / "a.onnx")
    twins = [both[0], str(tmp_path / "a.onnx")]
    with Store.open(tmp_path / "s.sqlite") as store:
        for artifacts in (twins, twins, [both[0], both[0]]):
            rows = run(artifacts, plan(["fake://x"], [SHORT], scale=2), store=store)
            assert [row.artifact for row in rows] == ["a.onnx", "a.onnx"]


def test_a_device_that_cannot_be_reached_costs_its_own_rows(
    both: list[str], tmp_path: Path
) -> None:
    devices = ["fake://dead?fail=refused", "fake://alive"]
    with Store.open(tmp_path / "s.sqlite") as store:
        rows = run(both, plan(devices, [SHORT], scale=2), store=store)
        assert [row.error is None for row in rows] == [False, False, True, True]
        assert "refuses" in (rows[0].error or "")
        assert rows[0].device == devices[0]
        counter = Counter()
        run(both, plan(devices, [SHORT], scale=2), store=store, watcher=counter)
        assert len(counter.measured) == 2  # the failed ones are tried again
        assert len(store) == 4
    with pytest.raises(DeviceRefused):
        run(both, plan(devices[:1], [SHORT], scale=2))


def test_a_device_lost_on_the_way(both: list[str]) -> None:
    rows = run(both, plan(["fake://x?fail=lost&after=3"], [SHORT], scale=2))
    assert all("went away" in (row.error or "") for row in rows)
    assert sum(row.n_samples for row in rows) > 0  # what was measured is kept


def test_nothing_is_started_on_a_wrong_uri(both: list[str], tmp_path: Path) -> None:
    counter = Counter()
    with pytest.raises(UserError, match="did you mean 'fake'"):
        run(both, plan(["fake://x", "fkae://y"], [SHORT], scale=2), watcher=counter)
    assert not counter.measured
    with pytest.raises(UserError, match="nothing to measure"):
        run([], plan(["fake://x"], [SHORT], scale=2))


def test_power_is_ones_own(both: list[str]) -> None:
    scenario = SHORT.model_copy(update={"turn_seconds": 0.1, "sensor_seconds": 0.01})
    (row,) = run(both[:1], plan(["fake://x?pace=1&watts=4&ms=10"], [scenario], scale=2))
    assert row.power_w == pytest.approx(4, rel=0.05)
    assert row.energy_mj == pytest.approx(40, rel=0.1)
    assert row.before["power_mode"] == "full"
    unwatched = scenario.model_copy(update={"sensors": False})
    (row,) = run(both[:1], plan(["fake://x?pace=1"], [unwatched], scale=2))
    assert row.power_w is None


def test_sustained_artifacts_run_alone(both: list[str]) -> None:
    scenario = SHORT.model_copy(
        update={"sustained": True, "min_runs": 1, "min_seconds": 100.0, "turn_seconds": 2.0}
    )
    first, second = run(both, plan(["fake://x?ms=20"], [scenario], scale=2))
    assert first.session != second.session
    assert second.speedup is None
    for row in (first, second):
        assert sum(row.samples_ms) >= 100e3
        assert row.drift == pytest.approx(1, abs=0.02)
        assert row.drift_low is not None
        assert row.drift_low < row.drift


def test_time_is_up_before_there_are_enough_runs(both: list[str]) -> None:
    scenario = SHORT.model_copy(
        update={"min_runs": 1000, "min_seconds": 1.0, "max_seconds": 2.0, "turn_seconds": 0.5}
    )
    (row,) = run(both[:1], plan(["fake://x?ms=100"], [scenario], scale=2))
    assert 2000 <= sum(row.samples_ms) < 2700
    assert row.n_samples < 30


RUN = """
import sys
from srdeploy.benchmarking.measuring.plan import Watcher, plan, run
from srdeploy.measure.scenario import Scenario
from srdeploy.measure.store import Store

class Teller(Watcher):
    def row(self, batch, artifact, row, stored):
        print(batch.repeat, int(stored), flush=True)

scenario = Scenario(name="s", inputs="24x16", min_runs=1, min_seconds=0.1, turn_seconds=0.1,
                    warmup_runs=0, warmup_seconds=0, quality=False)
with Store.open(sys.argv[1]) as store:
    run([sys.argv[2]], plan(["fake://x?pace=0.3"], [scenario], repeats=12, scale=2), store=store,
        watcher=Teller())
"""


def test_kill_9_and_go_on(both: list[str], tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    command = [sys.executable, "-c", RUN, str(path), both[0]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        told = [first.stdout.readline().split() for _ in range(3)]
        time.sleep(0.01)
        first.send_signal(signal.SIGKILL)
        told += [line.split() for line in first.stdout.read().splitlines() if " " in line]
    assert 3 <= len(told) < 12
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    again = [line.split() for line in ended.stdout.splitlines()]
    assert sum(int(stored) for _, stored in again) >= len(told)
    with Store.open(path, create=False) as store:
        assert sorted(m.repeat for m in store.measurements()) == list(range(12))


def test_everything_is_looked_at_before_anything_is_measured(
    both: list[str], folder: Path, tmp_path: Path
) -> None:
    counter = Counter()
    measures = SHORT.model_copy(update={"quality": True, "protocol": "standrad"})
    elsewhere = SHORT.model_copy(update={"data": str(tmp_path / "gone")})
    gone = str(folder / "gone.onnx")
    for artifacts, scenarios, told in (
        ([*both, gone], [SHORT], f"There is no file '{gone}'"),
        ([*both, "edsr-x2"], [SHORT], "did you mean 'edsr-s-x2'"),
        (both, [SHORT, elsewhere], f"There is no folder '{tmp_path / 'gone'}'"),
        (both, [SHORT, measures], "did you mean 'standard'"),
    ):
        batches = plan(["fake://x"], scenarios, scale=2)
        with pytest.raises(UserError, match=told):
            run(artifacts, batches, watcher=counter)
        with pytest.raises(UserError, match=told):
            measured_pair(artifacts[0], artifacts[-1], ["fake://x"], scenarios, scale=2)
    with pytest.raises(UserError, match="did you mean 'fake'"):
        measured_pair(*both, ["fake://x", "fkae://y"], [SHORT], scale=2)
    assert counter.measured == []
