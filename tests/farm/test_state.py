from __future__ import annotations

from pathlib import Path

import pytest

from srdeploy.farm.state import KEPT, DeviceState, StateFile


def test_the_nth_failure_in_a_row_sets_a_device_aside() -> None:
    state = DeviceState().failed("lost", 3).failed("lost", 3).succeeded()
    assert state.in_a_row == 0
    state = state.failed("lost", 3).failed("lost", 3)
    assert state.state == "ready"
    state = state.failed("disk full", 3)
    assert state.state == "quarantined"
    assert state.reason == "3 failures in a row, the last: disk full"
    assert [one.reason for one in state.failures] == ["lost"] * 4 + ["disk full"]
    released = state.ordered("ready", "")
    assert released.state == "ready"
    assert released.failed("lost", 3).state == "ready"


def test_only_the_latest_failures_are_kept() -> None:
    state = DeviceState()
    for number in range(KEPT + 5):
        state = state.failed(str(number), 100)
    assert [one.reason for one in state.failures] == [str(n) for n in range(5, KEPT + 5)]


def test_a_drained_device_stays_drained() -> None:
    state = DeviceState().ordered("drained", "moving house")
    assert state.failed("lost", 1).state == "drained"


def test_states_outlive_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRDEPLOY_CACHE", str(tmp_path))
    assert StateFile("orin").read() == DeviceState()
    state = DeviceState().failed("lost", 1)
    StateFile("orin").write(state)
    assert StateFile("orin").read() == state
    StateFile("orin").path.write_text("{half")
    assert StateFile("orin").read() == DeviceState()
