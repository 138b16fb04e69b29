from __future__ import annotations

from pathlib import Path

import pytest

from srdeploy.errors import UserError
from srdeploy.measure.scenario import Scenario, read_scenario

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
