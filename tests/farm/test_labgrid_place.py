"""labgrid as a lock: a stand-in at its command line, and the real thing where it is installed."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from srdeploy.errors import SrdeployError, UserError
from srdeploy.farm.labgrid_place import Busy, hold_place, require_labgrid

STAND_IN = """#!/bin/sh
# labgrid-client --coordinator C --place P ACTION: the place's owner is a file
place="{folder}/$4"; me="$(hostname)/$(id -un)"
case "$5" in
acquire) if [ -s "$place" ]; then echo "place $4 already acquired by $(cat $place)" >&2; exit 1; fi
         [ "$4" = none ] && {{ echo "place none not found" >&2; exit 1; }}
         echo "$me" > "$place";;
release) rm -f "$place";;
show) echo "  acquired: $(cat $place 2>/dev/null)";;
esac
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "bin" / "labgrid-client"
    program.parent.mkdir()
    program.write_text(STAND_IN.format(folder=tmp_path))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return tmp_path / "orin"


def test_a_place_is_held_and_released(place: Path) -> None:
    with hold_place("orin", "lab:20408"):
        assert place.read_text().strip()
    assert not place.exists()
    with pytest.raises(ValueError, match="inside"), hold_place("orin", "lab:20408"):
        raise ValueError("inside")
    assert not place.exists()


def test_somebody_elses_place_is_busy_and_stays_theirs(place: Path) -> None:
    place.write_text("desk/alice")
    with pytest.raises(Busy, match="alice"), hold_place("orin", "lab:20408"):
        pass
    assert place.read_text() == "desk/alice"


def test_a_place_left_by_our_own_killed_job_is_taken_over(place: Path) -> None:
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    place.write_text(f"{socket.gethostname()}/{user}")
    with hold_place("orin", "lab:20408"):
        pass
    assert not place.exists()


def test_no_such_place_is_no_busy_place(place: Path) -> None:
    with pytest.raises(SrdeployError, match="not found") as caught, hold_place("none", "lab:1"):
        pass
    assert not isinstance(caught.value, Busy)


def test_without_labgrid_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(UserError, match=r"srdeploy\[labgrid\]"):
        require_labgrid()


@pytest.mark.slow
def test_a_farm_leaves_a_reserved_board_alone(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed")
    from benchmarks.farm_lab import free_port, lab
    from srdeploy.benchmarking.measuring.plan import plan
    from srdeploy.farm.client import run
    from srdeploy.farm.link import devices
    from srdeploy.farm.network import open_farm
    from srdeploy.measure.scenario import Scenario
    from srdeploy.measure.store import Store

    # Both devices are there when the first run begins, so none waits for more of them.
    monkeypatch.setattr("srdeploy.farm.link.GRACE_SECONDS", 0.0)
    quick = Scenario(min_runs=1, min_seconds=0, warmup_seconds=0, quality=False, sensors=False)
    entries = [
        {"uri": "fake://orin", "tags": ["board"], "labgrid": "orin"},
        {"uri": "fake://spare", "tags": ["board"]},
    ]
    place.write_text("desk/alice")
    with (
        lab(devices=2, processes=1, port=free_port(), entries=entries) as one,
        Store.open(tmp_path / "results.sqlite") as store,
    ):
        one.start_all()
        one.wait_for_devices()
        farm, _ = open_farm(one.folder / "client")
        rows = run(farm, ["edsr-s-x2"], plan(["board"], [quick], repeats=4, scale=2), store)
        assert [(row.device, row.error) for row in rows] == [("spare", None)] * 4
        (row,) = run(farm, ["edsr-s-x2"], plan(["orin"], [quick], scale=2), store)
        assert "'orin' is taken" in (row.error or "")
        assert {(one.state, one.in_a_row) for one in devices(farm)} == {("ready", 0)}
        place.unlink()  # alice is done
        (row,) = run(farm, ["edsr-s-x2"], plan(["orin"], [quick], scale=2), store)
        assert (row.device, row.error) == ("orin", None)
    assert not place.exists()


@pytest.fixture
def coordinator(tmp_path: Path) -> Iterator[str]:
    program = shutil.which("labgrid-coordinator")
    if program is None or shutil.which("labgrid-client") is None:
        pytest.skip("labgrid is not installed: pip install 'srdeploy[labgrid]'")
    with socket.socket() as probing:
        probing.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probing.getsockname()[1]}"
    process = subprocess.Popen([program, "-l", address], cwd=tmp_path)
    client = ["labgrid-client", "--coordinator", address, "--place", "orin"]
    end = time.monotonic() + 60
    while subprocess.run([*client, "create"], capture_output=True).returncode:
        assert time.monotonic() < end
        time.sleep(0.5)
    yield address
    process.kill()
    process.wait()


def test_with_the_real_coordinator(coordinator: str) -> None:
    client = ["labgrid-client", "--coordinator", coordinator, "--place", "orin"]

    def owner() -> str:
        shown = subprocess.run([*client, "show"], capture_output=True, text=True).stdout
        return next(line for line in shown.splitlines() if "acquired:" in line)

    with hold_place("orin", coordinator):
        assert socket.gethostname() in owner()
        with hold_place("orin", coordinator):  # our own killed job's, as far as labgrid knows
            pass
    assert socket.gethostname() not in owner()
