"""Bounds of a scenario's settings, each at its edge, and the documented defaults."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from srdeploy.measure.scenario import Scenario

LIMITS: list[tuple[str, Any, Any]] = [
    ("tile", 1, 0), ("tile", 16384, 16385), ("batch", 1, 0), ("batch", 1024, 1025),
    ("threads", 1, 0), ("warmup_runs", 0, -1), ("warmup_seconds", 0, -1e-9),
    ("warmup_seconds", 86400, 86401), ("min_runs", 1, 0), ("min_seconds", 0, -1),
    ("min_seconds", 86400, 86401), ("max_seconds", 0, -1), ("turn_seconds", 0, -1),
    ("turn_seconds", 86400, 86401), ("rest_seconds", 0, -1), ("rest_seconds", 86400, 86401),
    ("sensor_seconds", 0.01, 0.0099), ("sensor_seconds", 60, 60.1), ("timeout_seconds", 1e-9, 0),
    ("inputs", [(1, 1)], [(0, 1)]), ("inputs", [(16384, 16384)], [(16384, 16385)]),
    ("inputs", ["median"], []), ("inputs", "1X2", "1x"), ("inputs", "1x2", "x2"),
    ("inputs", "1x2", "1*2"), ("inputs", "1x2", "-1x2"), ("inputs", (3, 4), (3, 4, 5)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "good", "bad"), LIMITS)
def test_limits(name: str, good: Any, bad: Any) -> None:
    Scenario.model_validate({name: good})
    with pytest.raises(ValidationError):
        Scenario.model_validate({name: bad})


def test_defaults_are_those_of_the_documentation() -> None:
    assert Scenario().model_dump(exclude={"description", "inputs"}, exclude_none=True) == {
        "name": "default", "batch": 1, "warmup_runs": 3, "warmup_seconds": 0.5, "min_runs": 20,
        "min_seconds": 5.0, "turn_seconds": 0.5, "sustained": False, "rest_seconds": 0.0,
        "quality": True, "memory": True, "sensors": True, "sensor_seconds": 0.1,
        "timeout_seconds": 3600.0,
    }  # fmt: skip
    assert Scenario().input == "median"


def test_width_goes_first_in_text_and_last_in_numbers() -> None:
    told = ["480x270", (270, 480), "median"]
    assert Scenario.model_validate({"inputs": told}).inputs == ((270, 480), (270, 480), "median")
    assert Scenario.model_validate({"inputs": [270, 480]}).inputs == ((270, 480),)
