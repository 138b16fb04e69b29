from __future__ import annotations

import pytest

from srdeploy.errors import UserError
from srdeploy.runtime.sizes import InputSizes


@pytest.mark.parametrize(
    ("text", "listed", "low", "high"),
    [
        ("480x270", ((270, 480),), None, None),
        ("480x270, 640X360", ((270, 480), (360, 640)), None, None),
        ("480x270,480x270", ((270, 480),), None, None),
        ("64..1024", (), (64, 64), (1024, 1024)),
        ("64x32..1920x1080", (), (32, 64), (1080, 1920)),
        ("64..1920x1080", (), (64, 64), (1080, 1920)),
    ],
)
def test_written_sizes(text: str, listed: tuple, low: tuple | None, high: tuple | None) -> None:
    sizes = InputSizes.parse(text)
    assert sizes.listed == listed
    assert sizes.ranged == (not listed)
    assert sizes.fixed == (len(listed) == 1)
    if low is not None:
        assert (sizes.low, sizes.high) == (low, high)
    assert InputSizes.parse(str(sizes)) == sizes


@pytest.mark.parametrize("text", ["", "480", "480x", "0x4", "4x4..", "a..b", "480x270;", "-1..4"])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="names no sizes; write WIDTHxHEIGHT"):
        InputSizes.parse(text)


def test_empty_range() -> None:
    with pytest.raises(UserError, match="smaller size first"):
        InputSizes.parse("64..32")


def test_what_is_allowed_and_what_comes_out() -> None:
    listed, ranged = InputSizes.parse("48x27,64x36"), InputSizes.parse("16x8..64x32")
    assert listed.allows(27, 48)
    assert not listed.allows(48, 27)
    assert ranged.allows(8, 64)
    assert not ranged.allows(33, 64)
    assert str(listed.times(3)) == "144x81,192x108"
    assert str(ranged.times(2)) == "32x16..128x64"
