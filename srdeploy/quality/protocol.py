"""The protocols that make a quality figure comparable with a published one.

A figure such as 37.65 dB means nothing without its protocol: which colour plane, how wide a border
was cut, what was rounded to 8 bits and what the low-resolution input was. Here a protocol is a row
of data, and every number is printed beside its label.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from srdeploy.errors import unknown_name

if TYPE_CHECKING:  # the shell's completion reads the table and waits for nothing
    import numpy as np
    from numpy.typing import NDArray

    from srdeploy.quality.metrics import Colour


@dataclass(frozen=True)
class Protocol:
    """How an upscaled image is compared with the original.

    Attributes:
        name: What ``--protocol`` takes.
        colour: The planes compared: luma, or all three of RGB.
        lr: The network's input: 8-bit files (``u8``), or the original shrunk in double precision
            and never rounded (``double``).
        rounding: What is rounded to 8 bits before comparing: the RGB image, as a file would hold it
            (``rgb``), the luma plane (``y``), or nothing (``none``).
        luma: The formula of Y: ``matlab`` is BT.601 in 16..235; None where no luma is taken.
        crop_per_scale: Border cut off each side before comparing, in multiples of the scale,
        crop_extra: plus this many pixels.
        about: One line for lists.
    """

    name: str
    colour: Colour
    lr: Literal["u8", "double"]
    rounding: Literal["rgb", "y", "none"]
    luma: Literal["matlab"] | None
    crop_per_scale: int = 1
    crop_extra: int = 0
    about: str = ""

    def crop(self, scale: int) -> int:
        """Pixels cut off each side of the output."""
        return self.crop_per_scale * scale + self.crop_extra

    def label(self, scale: int, metric: str = "psnr") -> str:
        """The label printed beside a number, for instance ``psnr[y, crop=2, u8, matlab]``."""
        parts = [self.colour, f"crop={self.crop(scale)}", _ROUNDING_LABELS[self.rounding]]
        if self.lr != ("u8" if self.rounding == "rgb" else "double"):  # not what goes with it
            parts.append(f"lr={self.lr}")
        if self.luma:
            parts.append(self.luma)
        return f"{metric}[{', '.join(parts)}]"

    def planes(self, image: NDArray, scale: int) -> NDArray[np.float64]:
        """What is compared of an image.

        Args:
            image: RGB ``[H, W, 3]`` in 0..255, or ``[H, W]``: luma that a network gave directly.
            scale: the upscaling factor, which sets the border.

        Returns:
            ``float64``, ``[H', W']`` for luma or ``[H', W', 3]`` for RGB.
        """
        import numpy as np

        from srdeploy.data.images import rgb_to_y, to_uint8

        if self.rounding == "rgb":
            image = to_uint8(image)
        if self.colour == "y" and image.ndim == 3:
            image = rgb_to_y(image)
        if self.rounding == "y":
            image = to_uint8(image)
        border = self.crop(scale)
        height, width = image.shape[:2]
        return image[border : height - border, border : width - border].astype(np.float64)


_ROUNDING_LABELS = {"rgb": "u8", "y": "y8", "none": "double"}

PROTOCOLS: dict[str, Protocol] = {
    row.name: row
    for row in (
        Protocol(
            "standard",
            colour="y",
            lr="u8",
            rounding="rgb",
            luma="matlab",
            about="8-bit files in, 8-bit RGB out, Y compared: EDSR and everything since",
        ),
        Protocol(
            "vdsr",
            colour="y",
            lr="double",
            rounding="none",
            luma="matlab",
            about="Y shrunk, upscaled and compared in double: the published VDSR weights",
        ),
        Protocol(
            "srcnn",
            colour="y",
            lr="double",
            rounding="y",
            luma="matlab",
            about="as vdsr, but Y rounded to 8 bits before comparing: papers' tables up to 2017",
        ),
        Protocol(
            "rgb",
            colour="rgb",
            lr="u8",
            rounding="rgb",
            luma=None,
            about="8-bit files in, 8-bit RGB out, all three planes compared",
        ),
    )
}


def get_protocol(name: str) -> Protocol:
    """The protocol of that name.

    Raises:
        UserError: there is none; the nearest name is offered.
    """
    if name not in PROTOCOLS:
        raise unknown_name("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]
