"""A result read back: whether every frame is there at its time, and what its tags say."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from srdeploy.errors import SrdeployError
from srdeploy.video.container import chosen_video, opened_file
from srdeploy.video.encode import Packing
from srdeploy.video.read import open_video


def verify(path: Path, packing: Packing, times: list[int]) -> list[str]:
    """Read a result's times, and decode its first frame.

    Args:
        path: The result.
        packing: What it should be.
        times: ``pts`` of its frames, in order.

    Returns:
        What its codec and container did not keep, in sentences.

    Raises:
        SrdeployError: frames are missing, or at another time.
    """
    with opened_file(path) as container:
        stream = chosen_video(container)
        unit = Fraction(stream.time_base)
        found = sorted(packet.pts for packet in container.demux(stream) if packet.size)
    if len(found) != len(times):
        raise SrdeployError(
            f"'{path}' holds {len(found)} frames instead of {len(times)}; try another ending, for "
            "instance .mkv."
        )
    places = [there * unit for there in found]
    wanted = [pts * packing.time_base for pts in times]
    later = places[0] - wanted[0]
    off = max(abs(a - b - later) for a, b in zip(places, wanted, strict=True))
    notes = []
    if off > unit:
        raise SrdeployError(
            f"'{path}' has frames {float(off):.4g} s away from their times; try another ending, "
            "for instance .mp4."
        )
    if off:
        notes.append(
            f"{path.suffix} counts time in units of {unit} s and the video in "
            f"{packing.time_base} s, so times are rounded (.mp4 and .mov keep them)"
        )
    if abs(later) > unit:
        notes.append(
            f"all is {float(later):.3f} s later: something in it begins before 0, and "
            f"{path.suffix} holds no such times"
        )
    with open_video(path) as video:
        if (video.aspect or 1) != (packing.aspect or 1):
            notes.append(
                f"{packing.choice.codec.name} in {path.suffix} does not keep that pixels are "
                f"{packing.aspect} as wide as high"
            )
        grey = packing.format.layout.kind == "gray"  # decoders give it any colours
        if video.format.colour != packing.format.colour and not grey:
            notes.append(
                f"{packing.choice.codec.name} in {path.suffix} tells its colours as "
                f"{video.format.colour}, and they are {packing.format.colour}"
            )
    return notes
