from __future__ import annotations

import pytest

from srdeploy.errors import UserError
from srdeploy.runtime.sizes import UNLIMITED, InputSizes


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


@pytest.mark.parametrize(
    ("sides", "sizes"),
    [
        (["h", None], None),
        ([8, 10], InputSizes(((8, 10),))),
        ([8, "w"], InputSizes(low=(8, 1), high=(8, UNLIMITED))),
        ([None, 10], InputSizes(low=(1, 10), high=(UNLIMITED, 10))),
    ],
)
def test_sizes_of_a_signature(sides: list, sizes: InputSizes | None) -> None:
    assert InputSizes.of_shape(sides) == sizes


def test_no_side_is_beyond_what_is_called_unlimited() -> None:
    assert UNLIMITED > 999_999  # the largest that can be written
    assert InputSizes.parse("999999x1").listed == ((1, 999_999),)
    for text in ("1000000x1", "1x1000000", "0..4", "01x4"):
        with pytest.raises(UserError, match="names no sizes"):
            InputSizes.parse(text)


@pytest.mark.parametrize(
    ("size", "allowed"),
    [((8, 16), True), ((32, 64), True), ((7, 16), False), ((8, 15), False), ((33, 64), False),
     ((32, 65), False)],
)  # fmt: skip
def test_the_ends_of_a_range_belong_to_it(size: tuple[int, int], allowed: bool) -> None:
    assert InputSizes.parse("16x8..64x32").allows(*size) == allowed


@pytest.mark.parametrize(
    ("text", "ok"), [("64x64..64x64", True), ("64x32..64x31", False), ("64x32..63x32", False),
                     ("64x32..63x64", False), ("64x32..65x32", True)],
)  # fmt: skip
def test_a_range_ends_beyond_its_start(text: str, ok: bool) -> None:
    if ok:
        assert InputSizes.parse(text).ranged
    else:
        with pytest.raises(UserError, match=f"The range '{text}' is empty; write the smaller"):
            InputSizes.parse(text)


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [((4, 4), (8, 8), "4..8"), ((4, 4), (8, 9), "4x4..9x8"), ((4, 5), (8, 8), "5x4..8x8")],
)
def test_squares_are_written_short(low: tuple, high: tuple, text: str) -> None:
    assert str(InputSizes(low=low, high=high)) == text


def test_the_smallest_size_unless_told() -> None:
    assert InputSizes() == InputSizes(low=(1, 1), high=(1, 1))
    assert not InputSizes(((1, 2), (3, 4))).fixed
