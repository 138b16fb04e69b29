"""What a page may tell, at the edges."""

from __future__ import annotations

from typing import Any

import pytest

from srdeploy.devices.answers import Implausible
from srdeploy.devices.browser.told import hello_of, state_of


def facts(**told: Any) -> dict[str, Any]:
    return hello_of({"facts": told})[0]


@pytest.mark.parametrize(
    ("name", "fitting", "beyond"),
    [
        ("user_agent", ["", "x" * 2000, None], ["x" * 2001, "a\nb", 7]),
        ("cores", [1, 4096, None], [0, 4097, 2.5]),
        ("memory_gib", [0, 0.25, 1e9, None], [-0.001, 1.0001e9, float("nan"), float("inf")]),
        ("clock_ms", [0, 1e9, None], [-1, 2e9, float("nan")]),
        ("screen", [[], [1, 2, 3], None], [[1, 2, 3, 4], [-1], [float("nan")], 7]),
        ("touch", [0, 1000, None], [-1, 1001]),
        ("webgpu", [True, False, None], ["perhaps", 7]),
        ("secure", [True, False, None], ["perhaps"]),
        ("isolated", [True, False, None], ["perhaps"]),
        ("hints", [{}, {"model": "x" * 400}, None], [{"model": "x" * 401}, [], {"model": "\0"}]),
        ("gpu", [{}, {"name": "x", "software": True, "f16": False}, None], [{"software": "odd"}]),
    ],
)
def test_facts(name: str, fitting: list[Any], beyond: list[Any]) -> None:
    for value in fitting:
        assert facts(**{name: value}) == {name: value}
    for value in beyond:
        with pytest.raises(Implausible, match=rf"cannot be \(facts\.{name}.*; it is not let in"):
            facts(**{name: value})


@pytest.mark.parametrize("name", ["platform", "platformVersion", "architecture", "bitness"])
def test_hints(name: str) -> None:
    assert facts(hints={name: "x" * 400}) == {"hints": {name: "x" * 400}}
    with pytest.raises(Implausible):
        facts(hints={name: "x" * 401})


def test_what_is_new_is_left_out() -> None:
    assert facts(cores=4, colour="red", hints={"mood": 1}) == {"cores": 4, "hints": {}}


def test_names() -> None:
    assert hello_of({"facts": {}}) == ({}, "")
    assert hello_of({"facts": {}, "wanted": None}) == ({}, "")
    assert hello_of({"facts": {}, "wanted": "x" * 40})[1] == "x" * 40
    for wanted in ("x" * 41, "a\tb", 7):
        with pytest.raises(Implausible, match="wanted"):
            hello_of({"facts": {}, "wanted": wanted})
    for document in ({}, [], None, 7):
        with pytest.raises(Implausible, match=r"\((facts|all of it): "):
            hello_of(document)


def test_the_first_complaint_is_told() -> None:
    with pytest.raises(Implausible) as caught:
        facts(cores=0, touch=-1, screen=7)
    assert "facts.cores" in str(caught.value)
    assert "touch" not in str(caught.value)


def test_states() -> None:
    assert state_of({}) == {}
    whole = {"hidden": True, "battery": 0, "charging": False}
    assert state_of({**whole, "mood": 1}) == whole
    assert state_of({"hidden": False, "battery": 100}) == {"hidden": False, "battery": 100}
    assert state_of(dict.fromkeys(whole)) == {}
    for battery in (-0.1, 100.1, float("nan")):
        with pytest.raises(Implausible, match="battery"):
            state_of({"battery": battery})
