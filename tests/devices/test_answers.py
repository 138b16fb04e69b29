"""Bounds of what devices may say: just within is taken, just beyond is that device's error."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from srdeploy.devices import answers
from srdeploy.devices.answers import Implausible


def implausible(told: str) -> Any:
    return pytest.raises(Implausible, match=told)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


PLAIN: list[Any] = [
    None, True, 0, -1, 1.5, "", "x" * 4096, [0] * 4096, dict.fromkeys(range(4096)), (1, "a"),
    2**63 - 1, -(2**63) + 1, nested(8), {"a": nested(6)},
]  # fmt: skip


@pytest.mark.parametrize("value", PLAIN, ids=range(len(PLAIN)))
def test_plain_data_within_bounds(value: Any) -> None:
    answers.data(value, "d")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("x" * 4097, "'d' sent 4097 characters for one of its facts"),
        ([0] * 4097, "'d' sent more of itself than can be kept"),
        (dict.fromkeys(range(4097)), "more of itself"),
        (nested(9), "more of itself"),
        ({"a": nested(7)}, "more of itself"),
        (["x" * 4097], "4097 characters"),
        ({"x" * 4097: 1}, "4097 characters"),
        ({"a": math.nan}, "sent nan for one of its facts"),
        (math.inf, "sent inf for one of its facts"),
        (2**63, "a number too large"),
        (-(2**63), "a number too large"),
        (b"x", "a bytes for one of its facts"),
        ([object()], "a object for one of its facts"),
    ],
)
def test_data_beyond_bounds(value: Any, told: str) -> None:
    with implausible(told):
        answers.data(value, "d")


@pytest.mark.parametrize("value", [0, 0.0, 1, 86_400_000, 86_400_000.0])
def test_numbers_within_bounds(value: float) -> None:
    found = answers.number(value, "d", "a time")
    assert (found, type(found)) == (value, float)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (-1e-9, "says a time is -1e-09, which cannot be"),
        (86_400_000.1, "which cannot be"),
        (math.nan, "is nan, which cannot be"),
        (math.inf, "is inf, which cannot be"),
        (True, "is True, which is no number"),
        ("5", "is '5', which is no number"),
        (None, "is None, which is no number"),
        ([1], "is list, which is no number"),
        (2**63, "is a number of many digits, which cannot be"),
        (2**63 - 1, "is 9223372036854775807, which cannot be"),
        ("x" * 38, f"is '{'x' * 38}', which"),
        ("x" * 39, f"is '{'x' * 39}\\.\\.\\., which"),
    ],
)
def test_numbers_beyond_bounds(value: Any, told: str) -> None:
    with implausible(told):
        answers.number(value, "d", "a time")


def test_bounds_of_ones_own_are_part_of_the_range() -> None:
    for value in (-3, 5):
        assert answers.number(value, "d", "x", -3, 5) == value
    for value in (-3.01, 5.01):
        with implausible("which cannot be"):
            answers.number(value, "d", "x", -3, 5)


def test_lists_of_numbers() -> None:
    assert answers.numbers((1, 2.5), "d", "times") == [1.0, 2.5]
    assert answers.numbers([1, 2], "d", "times", most=2) == [1.0, 2.0]
    for values, told in (
        ([1, 2, 3], "sent 3 of times; at most 2 can be"),
        ("12", "no list of times"),
        (b"12", "no list of times"),
        ({1: 2}, "no list of times"),
        (None, "no list of times"),
        ([1, -1], "times is -1"),
        ([86_400_001], "cannot be"),
    ):
        with implausible(told):
            answers.numbers(values, "d", "times", most=2)
    assert (answers.MOST_SAMPLES, answers.MOST_READINGS) == (10**6, 10**6)
    assert len(answers.numbers([0] * 10**6, "d", "times")) == 10**6
    with implausible("sent 1000001 of times; at most 1000000"):
        answers.numbers(range(10**6 + 1), "d", "times")


def test_tensors_are_of_their_size_and_little_endian() -> None:
    content = np.arange(6, dtype="<f4").tobytes()
    found = answers.tensor_of(content, (1, 2, 3), "d")
    np.testing.assert_array_equal(found, [[[0, 1, 2], [3, 4, 5]]])
    assert found.dtype == np.float32
    assert found.flags.writeable
    for wrong in (content[:-1], content + b"x"):
        with implausible(f"put out {len(wrong)} bytes in place of 24"):
            answers.tensor_of(wrong, (1, 2, 3), "d")


def test_json_that_a_device_wrote() -> None:
    assert answers.read_json('{"a": [1, 2.5]}', "d", "The answer") == {"a": [1, 2.5]}
    for text in ("NaN", "[Infinity]", "-Infinity", "{", "", "[" * 100_000):
        with implausible("^The answer of 'd' cannot be read"):
            answers.read_json(text, "d", "The answer")
    assert answers.read_json("[Infinity]", "d", "x", numbers_only=False) == [math.inf]
    with implausible("'NaN' is no number"):
        answers.read_json("NaN", "d", "x")


def test_figures_by_name() -> None:
    answers.quantities({"cpu": -5.0, "gpu": 5.0}, "d", "the clock", -5.0, 5.0)
    with implausible("says the clock of 'gpu' is 5.5, which cannot be"):
        answers.quantities({"cpu": 1.0, "gpu": 5.5}, "d", "the clock", -5.0, 5.0)
    with implausible("more of itself"):
        answers.quantities(dict.fromkeys(map(str, range(4097)), 1.0), "d", "the clock", 0, 5)


@pytest.mark.parametrize(
    "error",
    [ValueError("a\n b"), TypeError("a b"), KeyError("a b"), AttributeError("a b"),
     ZeroDivisionError("a b"), RecursionError("a b")],
)  # fmt: skip
def test_what_stumbles_over_an_answer_is_the_devices_error(error: Exception) -> None:
    with implausible(r"'d' answered what cannot be read \(\w+: '?a b'?\)\."), answers.reading("d"):
        raise error
    with pytest.raises(OSError, match="ours"), answers.reading("d"):
        raise OSError("ours")
    with implausible(f": {'x' * 200}\\)"), answers.reading("d"):
        raise ValueError("x" * 201)
