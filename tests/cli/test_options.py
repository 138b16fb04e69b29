"""Words of the command line that have a form of their own: shares, lists, sizes."""

from __future__ import annotations

import pytest

from srdeploy.cli import options
from srdeploy.errors import UserError


@pytest.mark.parametrize(
    ("text", "value"),
    [("5%", 0.05), ("0.05", 0.05), (" 250 % ", 2.5), ("0", 0.0), ("0%", 0.0), ("0.999", 0.999),
     ("100%", 1.0), ("1", None), ("-1%", None), ("x", None), ("%", None), ("1e8%", None)],
)  # fmt: skip
def test_shares_are_percent_or_below_1(text: str, value: float | None) -> None:
    if value is not None:
        assert options.share(text) == pytest.approx(value)
    else:
        with pytest.raises(UserError, match="is no share"):
            options.share(text)


def test_lists_and_sizes() -> None:
    assert options.listed(" a ,b,, c,") == ["a", "b", "c"]
    assert options.listed("") == []
    assert options.given(a=0, b=None, c=False, d="") == {"a": 0, "c": False, "d": ""}
    assert options.size_of("480X270") == (270, 480)
    for text in ("480", "480x270x3", "axb", ""):
        with pytest.raises(UserError, match="WIDTHxHEIGHT"):
            options.size_of(text)
