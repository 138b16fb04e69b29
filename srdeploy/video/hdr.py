"""HDR10's static metadata, from decoded frames to an encoder's options."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

from srdeploy.video.codecs import Choice

MASTERING, LIGHT = "MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"
"""FFmpeg's names of the two parts (SMPTE ST 2086; CTA-861.3)."""

_CHROMATICITY, _LUMINANCE = 50000, 10000  # units of HEVC's messages: of x and y, of cd/m2


def hdr10_words(side: Mapping[str, bytes]) -> tuple[str, ...]:
    """What x265 is told of a frame's side data; empty where it has none.

    Args:
        side: FFmpeg's structures by their names: eight rationals (x and y of red, green, blue and
            white), two of luminance, and whether each group is there; two levels.
    """
    words = []
    if len(found := side.get(MASTERING, b"")) >= 88:
        numbers = struct.unpack("=22i", found[:88])
        pairs = list(zip(numbers[0:20:2], numbers[1:20:2], strict=True))
        if all(below > 0 for _, below in pairs) and numbers[20] and numbers[21]:
            values = [Fraction(above, below) for above, below in pairs]
            red, green, blue, white = (
                ",".join(str(round(one * _CHROMATICITY)) for one in values[at : at + 2])
                for at in (0, 2, 4, 6)
            )
            low, high = (round(one * _LUMINANCE) for one in values[8:])
            words.append(f"master-display=G({green})B({blue})R({red})WP({white})L({high},{low})")
    if len(found := side.get(LIGHT, b"")) >= 8:
        words.append("max-cll={},{}".format(*struct.unpack("=2I", found[:8])))
    return tuple(words)


def with_hdr10(choice: Choice, words: tuple[str, ...]) -> Choice:
    """A choice whose encoder writes it, or which says that it does not."""
    if not words:
        return choice
    if choice.codec.encoder != "libx265":
        lost = "not kept: HDR10's metadata, which only --codec hevc takes here"
        return replace(choice, why="; ".join(filter(None, [choice.why, lost])))
    told = ":".join(filter(None, [choice.options.get("x265-params", ""), *words]))
    return replace(choice, options=choice.options | {"x265-params": told})
