"""Images through a session: value range, padding, luma and colour, the same for every runtime."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from srdeploy.data.bicubic import imresize
from srdeploy.data.images import rgb_to_ycbcr, ycbcr_to_rgb
from srdeploy.errors import SrdeployError, UserError
from srdeploy.models.card import Card
from srdeploy.runtime.session import Session


def upscale_rgb(session: Session, lr: NDArray, scale: int) -> NDArray[np.float64]:
    """Upscale an RGB image.

    A luma-only network upscales Y of YCbCr; Cb and Cr are upscaled bicubically around it, as VDSR's
    authors do: the eye resolves colour coarsely.

    Args:
        session: the network.
        lr: ``[h, w, 3]`` in 0..255, ``uint8`` or floating.
        scale: output size over ``lr`` size; must be among the card's ``scales``.

    Returns:
        ``float64 [h * scale, w * scale, 3]``, about 0..255, neither rounded nor clipped.

    Raises:
        UserError: the network does not serve this scale.
        SrdeployError: the network returned values that are not finite.
    """
    if session.card.luma_only:
        ycbcr = rgb_to_ycbcr(lr)
        y = upscale_y(session, ycbcr[..., 0], scale)
        colour = imresize(ycbcr[..., 1:], scale)
        return ycbcr_to_rgb(np.concatenate([y[..., None], colour], axis=2))
    return _upscale(session, np.asarray(lr, np.float64), scale)


def upscale_y(session: Session, y: NDArray[np.float64], scale: int) -> NDArray[np.float64]:
    """Upscale a luma plane with a luma-only network.

    Args:
        session: the network.
        y: ``[h, w]``, luma in 16..235 (:func:`srdeploy.data.images.rgb_to_y`), not rounded.
        scale: as in :func:`upscale_rgb`.

    Returns:
        ``float64 [h * scale, w * scale]``, neither rounded nor clipped.

    Raises:
        UserError, SrdeployError: as :func:`upscale_rgb`.
    """
    return _upscale(session, np.asarray(y, np.float64)[..., None], scale)[..., 0]


def check_scale(card: Card, scale: int) -> None:
    """Raise UserError unless the network serves this scale."""
    if scale not in card.scales:
        served = ", ".join(f"x{s}" for s in card.scales)
        raise UserError(f"This {card.arch} network upscales by {served}, not by x{scale}.")


def _upscale(session: Session, image: NDArray[np.float64], scale: int) -> NDArray[np.float64]:
    """``[h, w, C]`` in 0..255 through the network, C being the card's channels."""
    card = session.card
    check_scale(card, scale)
    # A network with several output scales in one module would need to be told which; the only ones
    # that serve several are pre-upscaled, and there the input's size says it.
    if card.pre_upscaled:
        image = imresize(image, scale)
    height, width = image.shape[:2]
    below, right = -height % card.size_multiple, -width % card.size_multiple
    padded = np.pad(image, ((0, below), (0, right), (0, 0)), mode="reflect")
    planes = np.ascontiguousarray(padded.transpose(2, 0, 1)[None] * (card.value_range / 255.0))
    out = session.run(planes.astype(np.float32))[0]
    if not np.isfinite(out).all():
        raise SrdeployError(
            f"The {card.arch} network returned values that are not finite under {session.runtime}; "
            "its weights or its precision are broken."
        )
    s = card.network_scale
    pixels = out.transpose(1, 2, 0)[: height * s, : width * s].astype(np.float64)
    return pixels * (255.0 / card.value_range)
