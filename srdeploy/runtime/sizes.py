"""The input sizes that an artifact takes: one, a few, or a range."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from srdeploy.errors import UserError

Size = tuple[int, int]
"""Height and width in pixels."""

UNLIMITED = 1 << 20
"""The largest side where nothing limits it."""


@dataclass(frozen=True)
class InputSizes:
    """Either the sizes of a list, or everything between two sizes.

    Attributes:
        listed: The allowed sizes, the default first; empty for a range.
        low: Smallest height and width of a range.
        high: Largest height and width of a range.
    """

    listed: tuple[Size, ...] = ()
    low: Size = (1, 1)
    high: Size = (1, 1)

    @classmethod
    def parse(cls, text: str) -> InputSizes:
        """Read what people write, widths first: ``480x270``, ``480x270,640x360``, ``64..1024``.

        A range may name both sides: ``64x64..1920x1080``.

        Raises:
            UserError: the text is none of these.
        """
        low, dots, high = text.partition("..")
        try:
            if dots:
                sizes = cls(low=parse_size(low, square=True), high=parse_size(high, square=True))
            else:
                sizes = cls(tuple(dict.fromkeys(parse_size(part) for part in low.split(","))))
        except ValueError:
            raise UserError(
                f"'{text}' names no sizes; write WIDTHxHEIGHT (480x270), several with commas "
                "(480x270,640x360) or a range (64..1024, 64x64..1920x1080)."
            ) from None
        if dots and (sizes.low[0] > sizes.high[0] or sizes.low[1] > sizes.high[1]):
            raise UserError(f"The range '{text}' is empty; write the smaller size first.")
        return sizes

    @classmethod
    def of_shape(cls, sides: Sequence[object]) -> InputSizes | None:
        """From height and width in a file's signature, where what varies is no number.

        Returns:
            None where both vary.
        """
        given = [side if isinstance(side, int) else None for side in sides]
        height, width = given
        if height is None and width is None:
            return None
        if height is not None and width is not None:
            return cls(((height, width),))
        return cls(low=(height or 1, width or 1), high=(height or UNLIMITED, width or UNLIMITED))

    @property
    def fixed(self) -> bool:
        """Whether there is only one size."""
        return len(self.listed) == 1

    @property
    def ranged(self) -> bool:
        """Whether this is a range."""
        return not self.listed

    def allows(self, height: int, width: int) -> bool:
        """Whether an image of this size may come in."""
        if self.listed:
            return (height, width) in self.listed
        return all(
            a <= n <= b for a, n, b in zip(self.low, (height, width), self.high, strict=True)
        )

    def times(self, factor: int) -> InputSizes:
        """The sizes that come out of a network that scales by ``factor``."""
        if self.listed:
            return InputSizes(tuple((h * factor, w * factor) for h, w in self.listed))
        low, high = ((h * factor, w * factor) for h, w in (self.low, self.high))
        return InputSizes(low=low, high=high)

    def __str__(self) -> str:
        """As :meth:`parse` reads it."""
        if self.listed:
            return ",".join(f"{w}x{h}" for h, w in self.listed)
        if len({*self.low}) == len({*self.high}) == 1:
            return f"{self.low[0]}..{self.high[0]}"
        return f"{self.low[1]}x{self.low[0]}..{self.high[1]}x{self.high[0]}"


def parse_size(text: str, square: bool = False) -> Size:
    """Height and width of a size as people write it, the width first: ``480x270``.

    Args:
        text: Sides of 1 to 999999 pixels; case and spaces do not matter.
        square: Let one number stand for a square, too.

    Raises:
        ValueError: the text is no size.
    """
    side = r"([1-9][0-9]{0,5})"
    match = re.fullmatch(f"{side}(?:x{side})?", text.lower().replace(" ", ""))
    if match is None or (match[2] is None and not square):
        raise ValueError(f"'{text}' is no size; write WIDTHxHEIGHT (480x270)")
    width = int(match[1])
    return (int(match[2] or width), width)
