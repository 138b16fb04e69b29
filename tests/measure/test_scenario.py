from __future__ import annotations

from pathlib import Path

import pytest

from srdeploy.errors import UserError
from srdeploy.measure.scenario import Scenario, find_scenario, read_scenario
from srdeploy.util.shipped import shipped_scenarios

SHIPPED = sorted((Path(__file__).parents[2] / "configs" / "scenarios").glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_scenarios_are_valid_and_named_like_their_files(path: Path) -> None:
    scenario = read_scenario(path)
    assert scenario.name == path.stem
    assert scenario.description != Scenario().description


def test_there_are_some() -> None:
    assert {"quick", "paper-set", "mobile-540p"} <= {path.stem for path in SHIPPED}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("min_run: 3", "did you mean 'min_runs'"),
        ("inputs: [0, 5]", "inputs"),
        ("inputs: largest", "inputs"),
        ("min_runs: 0", "min_runs"),
        ("- 3", "no settings"),
    ],
)
def test_bad_scenarios(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(UserError, match=reason):
        read_scenario(tmp_path / "s.yaml")


def test_inputs_as_people_write_them(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("inputs: [480x270, [540, 960], median]\nthreads: 4\n")
    scenario = read_scenario(tmp_path / "s.yaml")
    assert scenario.inputs == ((270, 480), (540, 960), "median")  # widths_first in text
    assert [one.input for one in scenario.each()] == [(270, 480), (540, 960), "median"]
    with pytest.raises(ValueError, match="unpack"):
        _ = scenario.input


@pytest.mark.parametrize("text", ["480x270", "median", "[270, 480]"])
def test_one_input_needs_no_list(text: str, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(f"inputs: {text}\n")
    expected = "median" if text == "median" else (270, 480)
    assert read_scenario(tmp_path / "s.yaml").input == expected


def test_by_name_or_file(tmp_path: Path) -> None:
    assert find_scenario("paper-set").name == "paper-set"
    (tmp_path / "own.yaml").write_text("name: own\ninputs: [320x180, median]\n")
    assert find_scenario(str(tmp_path / "own.yaml")).inputs == ((180, 320), "median")
    with pytest.raises(UserError, match="did you mean 'mobile-540p'"):
        find_scenario("mobil-540p")
    with pytest.raises(UserError, match="There is no file"):
        find_scenario(str(tmp_path / "absent.yaml"))


def test_the_shipped_ones_are_in_the_package_and_in_configs() -> None:
    assert {path.name for path in SHIPPED} == {p.name for p in shipped_scenarios().values()}
    expected = {"paper-set", "frame-720p", "tiled-4k", "sustained", "quick"}
    assert expected <= shipped_scenarios().keys()


def test_the_three_run_tiers_of_mlperf_mobile() -> None:
    tiers = [find_scenario(f"mobile-540p{tier}") for tier in ("", "-quick", "-rapid")]
    told = [(t.min_runs, t.min_seconds, t.max_seconds) for t in tiers]
    assert told == [(1024, 60, 600), (128, 10, 60), (64, 6, 60)]
    assert {t.inputs for t in tiers} == {((540, 960),)}


def test_sustained_is_ten_minutes_from_rest() -> None:
    scenario = find_scenario("sustained")
    assert (scenario.min_seconds, scenario.sustained, scenario.sensors) == (600, True, True)
    assert scenario.rest_seconds >= 60
