"""What the person holding the phone sees: a part of the picture, upscaled both ways."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from srdeploy.data.bicubic import imresize
from srdeploy.data.images import to_uint8
from srdeploy.models.card import Card

LARGEST = (960, 1280)
"""Height and width: enough for any screen, and little to send."""

_MARGIN = 4  # input pixels around it: its bicubic edge is then that of the whole picture


def comparison(
    card: Card, x: NDArray[np.float32], picture: tuple[int, int] | None = None
) -> tuple[dict[str, Any], bytes]:
    """The part to be shown, and the same part by bicubic.

    Args:
        card: What the network eats.
        x: Its input, ``float32 [N, C, H, W]`` in 0..``card.value_range``; the first image counts.
        picture: Height and width (LR pixels) of the part of it that is a picture and no padding;
            None for all of it.

    Returns:
        The box ``x, y, w, h`` in output pixels with the value range, and a PNG. A luma network's
        is grey; a pre-upscaled network's input is the bicubic picture already.
    """
    s = card.network_scale
    image = x[0].transpose(1, 2, 0).astype(np.float64) * (255.0 / card.value_range)
    if picture is not None:
        factor = card.scale // s  # of an input that is upscaled already
        image = image[: picture[0] * factor, : picture[1] * factor]
    height, width = image.shape[:2]
    h, w = min(LARGEST[0] // s, height), min(LARGEST[1] // s, width)
    top, left = (height - h) // 2, (width - w) // 2
    above, before = min(_MARGIN, top), min(_MARGIN, left)
    part = image[top - above : top + h + _MARGIN, left - before : left + w + _MARGIN]
    enlarged = part if s == 1 else imresize(part, s)
    shown = enlarged[above * s : (above + h) * s, before * s : (before + w) * s]
    pixels = to_uint8(shown[..., 0] if shown.shape[2] == 1 else shown)
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, format="PNG", compress_level=1)
    box = {"x": left * s, "y": top * s, "w": w * s, "h": h * s, "range": card.value_range}
    return box, png.getvalue()
