"""Sentences for people: what is offered, and how long a stranger's text may be."""

from __future__ import annotations

import pytest

from srdeploy.errors import SrdeployError, UserError, shown, unknown_name


def test_exit_codes() -> None:
    assert (SrdeployError.exit_code, UserError.exit_code) == (1, 2)
    assert issubclass(UserError, SrdeployError)


@pytest.mark.parametrize(
    ("name", "known", "told"),
    [
        (
            "standart",
            ["vdsr", "standard"],
            "There is no row named 'standart'; did you mean 'standard'?",
        ),
        ("zzz", ["b", "a"], "There is no row named 'zzz'; known: a, b."),
        ("zzz", [], "There is no row named 'zzz'; known: none."),
        ("abcxx", ["abcde"], "There is no row named 'abcxx'; did you mean 'abcde'?"),  # .6 alike
        ("abxx", ["abcd"], "There is no row named 'abxx'; known: abcd."),
    ],
)
def test_the_nearest_name_is_offered(name: str, known: list[str], told: str) -> None:
    assert str(unknown_name("row", name, known)) == told


@pytest.mark.parametrize(
    ("text", "line"),
    [("a\n  b\tc ", "a b c"), ("a\x1b[2J", "a?[2J"), ("x" * 120, "x" * 120),
     ("x" * 121, "x" * 120 + "..."), (3, "3")],
)  # fmt: skip
def test_a_stranger_s_text_is_one_short_line(text: object, line: str) -> None:
    assert shown(text) == line


def test_as_short_as_one_likes() -> None:
    assert shown("abcdef", 3) == "abc..."
    assert shown("abc", 3) == "abc"
