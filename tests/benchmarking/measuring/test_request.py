"""What a store knows an answer by: everything that was asked, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from srdeploy.benchmarking.measuring.request import Request
from srdeploy.measure.scenario import Scenario

PLAIN: dict[str, Any] = {"scenario": Scenario(), "scale": 2}


def key(
    artifact: str = "a.onnx", device: str = "d", repeat: int = 0, sha256: str = "x", **more: Any
) -> str:
    return Request(**(PLAIN | more)).key(artifact, device, repeat, sha256=sha256)


@pytest.mark.parametrize(
    "change",
    [
        {"artifact": "b.onnx"}, {"device": "e"}, {"repeat": 1}, {"sha256": "y"}, {"scale": 3},
        {"data": "elsewhere"}, {"runtime": "torch"}, {"threads": 1}, {"options": {"arch": "x"}},
        {"scenario": Scenario(min_runs=21)}, {"scenario": Scenario(data="other")},
    ],
)  # fmt: skip
def test_another_question_has_another_key(change: dict[str, Any]) -> None:
    assert key(**change) != key()


@pytest.mark.parametrize(
    "change",
    [
        {}, {"artifact": "/some/where/a.onnx"}, {"data": "/else/where/builtin"}, {"runtime": None},
        {"scenario": Scenario(description="in other words")}, {"options": {"arch": None}},
    ],
)  # fmt: skip
def test_the_same_question_has_the_same_key(change: dict[str, Any]) -> None:
    assert key(**change) == key()


def test_the_set_is_the_scenarios_before_the_requests() -> None:
    assert Request(**PLAIN).folder == "builtin"
    assert Request(**PLAIN, data="one").folder == "one"
    assert Request(Scenario(data="two"), 2, data="one").folder == "two"


def test_a_files_content_is_read_where_it_is_not_given(tmp_path: Path) -> None:
    file = tmp_path / "a.onnx"
    file.write_bytes(b"one")
    one = Request(**PLAIN)
    before = one.key(str(file), "d")
    assert before == one.key(str(file), "d", 0)
    file.write_bytes(b"two")
    assert one.key(str(file), "d") != before
