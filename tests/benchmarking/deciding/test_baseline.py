"""Which results stand on which side: read by name, scenario and device, or measured in turns."""

from __future__ import annotations

from pathlib import Path

import pytest

from srdeploy.benchmarking.deciding.baseline import is_stored, measured_pair, stored_pair
from srdeploy.errors import UserError
from srdeploy.measure.export import export_measurements
from srdeploy.measure.scenario import Scenario
from srdeploy.measure.store import Store
from tests.benchmarking.material import measured

ALL = [
    measured([1.0], artifact=artifact, device=device, scenario=Scenario(name=name))
    for artifact in ("a", "b")
    for device in ("x", "y")
    for name in ("one", "two")
]


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    with Store.open(tmp_path / "base.sqlite") as store:
        for number, one in enumerate(ALL):
            store.add(one, str(number))
    export_measurements(ALL[4:], tmp_path / "new.JSON")
    return str(tmp_path / "base.sqlite"), str(tmp_path / "new.JSON")


def test_what_names_results(files: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "store").write_bytes(Path(files[0]).read_bytes())
    (tmp_path / "net.onnx").write_bytes(b"SQLite no")
    assert all(is_stored(text) for text in (*files, f"{files[0]}#a", str(tmp_path / "store")))
    assert all(is_stored(text) for text in ("absent.json", "absent.sqlite", "absent.DB#a"))
    assert not any(
        is_stored(text) for text in ("absent", "absent.onnx", str(tmp_path / "net.onnx"))
    )
    (tmp_path / "empty.sqlite").touch()
    assert not is_stored(str(tmp_path / "empty.sqlite"))


def test_all_of_it_or_what_is_asked_for(files: tuple[str, str]) -> None:
    whole = stored_pair(*files)
    assert (whole.base, whole.new, whole.same_names) == (ALL, ALL[4:], True)
    part = stored_pair(*files, scenario="two,three", device="y")
    assert [(one.artifact, one.device, one.scenario.name) for one in part.base] == [
        ("a", "y", "two"), ("b", "y", "two"),
    ]  # fmt: skip
    assert len(stored_pair(*files, device="x,y").base) == 8
    one = stored_pair(f"{files[0]}#a", f"{files[1]}#b")
    assert ({m.artifact for m in one.base}, one.same_names) == ({"a"}, False)
    assert stored_pair(f"{files[0]}#b", files[1]).same_names
    assert stored_pair(files[0], f"{files[1]}#b").same_names


@pytest.mark.parametrize(
    ("base", "new", "more", "sentence"),
    [
        ("{0}", "{0}", {}, "BASE and NEW are the same"),
        ("{0}", "{1}#a", {}, r"no artifact in '.*new\.JSON' named 'a'"),
        ("{0}", "{1}", {"scenario": "on"}, "holds no measurement of that scenario and device"),
        ("{0}", "{1}", {"device": "z"}, "holds no measurement of that scenario and device"),
        ("{0}", "absent.sqlite", {}, "There is no store"),
    ],
)
def test_what_is_not_there(
    base: str, new: str, more: dict[str, str], sentence: str, files: tuple[str, str]
) -> None:
    with pytest.raises(UserError, match=sentence):
        stored_pair(base.format(*files), new.format(*files), **more)
    assert not Path("absent.sqlite").exists()


def test_measured_now_in_turns() -> None:
    quick = Scenario(
        inputs=((6, 9),), min_runs=2, min_seconds=0, turn_seconds=0.01, warmup_runs=0,
        warmup_seconds=0, quality=False,
    )  # fmt: skip
    sides = measured_pair("edsr-s-x2", "edsr-s-x2", ["fake://x"], [quick], scale=2, repeats=2)
    assert [one.repeat for one in sides.base] == [one.repeat for one in sides.new] == [0, 1]
    assert [one.session for one in sides.base] == [one.session for one in sides.new]
    assert not sides.same_names
