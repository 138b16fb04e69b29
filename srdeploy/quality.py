"""Quality of a network on a benchmark set: PSNR and SSIM under a stated protocol."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from srdeploy.data.benchmark import Pair, open_benchmark
from srdeploy.data.bicubic import imresize
from srdeploy.data.images import rgb_to_y
from srdeploy.errors import UserError
from srdeploy.metrics import PROTOCOLS, SSIM_WINDOW, Protocol, get_protocol, lost, psnr, ssim
from srdeploy.models.card import Card
from srdeploy.models.registry import architecture_of
from srdeploy.progress import track
from srdeploy.runtime.bicubic_session import BicubicSession
from srdeploy.runtime.open import open_session
from srdeploy.runtime.pixels import check_scale, upscale_rgb, upscale_y
from srdeploy.runtime.session import Session

if TYPE_CHECKING:  # what a device puts out is judged without PyTorch
    from srdeploy.models.network import Network


@dataclass(frozen=True)
class Quality:
    """Mean figures over a set, and those of each image.

    Attributes:
        psnr: Mean over the images of each image's PSNR, dB.
        ssim: Mean SSIM, 0..1.
        n_images: How many.
        colour: ``y`` or ``rgb``: the planes compared.
        protocol: The label that belongs beside the figures: ``psnr[y, crop=2, u8, matlab]``.
        per_image: One dict per image: ``name`` and its figures.
    """

    psnr: float
    ssim: float
    n_images: int
    colour: str
    protocol: str
    per_image: list[dict[str, Any]]

    def __repr__(self) -> str:
        """The means alone."""
        return (
            f"Quality(psnr={self.psnr:.3f}, ssim={self.ssim:.4f}, n_images={self.n_images}, "
            f"protocol='{self.protocol}')"
        )

    @property
    def psnr_y(self) -> float:
        """``psnr`` of a protocol that compares luma; ValueError under any other."""
        return self._luma(self.psnr)

    @property
    def ssim_y(self) -> float:
        """``ssim`` of a protocol that compares luma; ValueError under any other."""
        return self._luma(self.ssim)

    def _luma(self, figure: float) -> float:
        if self.colour != "y":
            raise ValueError(f"{self.protocol} does not compare luma")
        return figure

    def as_dict(self) -> dict[str, Any]:
        """For JSON; the figures' keys name the planes: ``psnr_y``, ``ssim_y`` or ``psnr_rgb``..."""
        return {
            f"psnr_{self.colour}": self.psnr,
            f"ssim_{self.colour}": self.ssim,
            "n_images": self.n_images,
            "protocol": self.protocol,
            "per_image": self.per_image,
        }


def psnr_lost(before: Any, after: Any) -> float:
    """Mean PSNR that is lost from one to the other on the same images, dB; a gain is negative.

    A picture that equals its original has infinite PSNR and would hide all others in a mean: such
    a set's loss is the mean of the images' own. NaN where that cannot be told.

    Args:
        before: A :class:`Quality`, of this module or of a measurement;
        after: another of the same set.
    """
    if math.isfinite(before.psnr) and math.isfinite(after.psnr):
        return before.psnr - after.psnr
    key = f"psnr_{before.colour}"
    pairs = [
        (one.get(key, math.nan), other.get(key, math.nan))
        for one, other in zip(before.per_image, after.per_image, strict=False)
    ]
    if not pairs or len(before.per_image) != len(after.per_image):
        return lost(before.psnr, after.psnr)
    return float(np.mean([lost(*pair) for pair in pairs]))


def natural_protocol(card: Card) -> Protocol:
    """The protocol under which networks of this kind are published."""
    usual = "vdsr" if card.luma_only else "standard"
    return PROTOCOLS[architecture_of(card).protocol or usual]


def evaluate(
    source: Session | Network,
    folder: str | Path | Sequence[Pair],
    scale: int,
    protocol: str | Protocol | None = None,
    *,
    progress: bool = True,
) -> Quality:
    """Upscale every image of a benchmark set and compare it with the original.

    Args:
        source: an open session (left open), or a network, which PyTorch then runs.
        folder: as :func:`srdeploy.data.benchmark.open_benchmark`, or the pairs themselves.
        scale: the upscaling factor.
        protocol: default: :func:`natural_protocol` of the card.
        progress: show a bar on a terminal.

    Raises:
        UserError: a folder, image, protocol or scale that does not fit; the sentence says which.
    """
    opened = nullcontext(source) if isinstance(source, Session) else open_session(source)
    with opened as session:
        if protocol is None:
            protocol = natural_protocol(session.card)
        elif isinstance(protocol, str):
            protocol = get_protocol(protocol)
        check_scale(session.card, scale)
        pairs = open_benchmark(folder, scale) if isinstance(folder, (str, Path)) else folder
        per_image = []
        with track("evaluate", total=len(pairs)) if progress else nullcontext() as bar:
            for pair in pairs:
                image_psnr, image_ssim = _compare(session, pair, protocol)
                per_image.append(
                    {
                        "name": pair.name,
                        f"psnr_{protocol.colour}": image_psnr,
                        f"ssim_{protocol.colour}": image_ssim,
                    }
                )
                if bar is not None:
                    bar.update(1, psnr=f"{image_psnr:.2f}")
    return Quality(
        psnr=float(np.mean([row[f"psnr_{protocol.colour}"] for row in per_image])),
        ssim=float(np.mean([row[f"ssim_{protocol.colour}"] for row in per_image])),
        n_images=len(pairs),
        colour=protocol.colour,
        protocol=protocol.label(scale),
        per_image=per_image,
    )


@lru_cache(maxsize=32)
def bicubic_psnr(folder: str | Path, scale: int, protocol: Protocol) -> float:
    """Mean PSNR of bicubic upscaling on a set, dB: what a network has to beat.

    Args:
        folder: As for :func:`evaluate`; measured once in a process.
        scale: The upscaling factor.
        protocol: What is compared.
    """
    return evaluate(BicubicSession(), folder, scale, protocol, progress=False).psnr


def _compare(session: Session, pair: Pair, protocol: Protocol) -> tuple[float, float]:
    hr = pair.hr()
    if min(hr.shape[:2]) < SSIM_WINDOW + 2 * protocol.crop(pair.scale):
        raise UserError(
            f"'{pair.hr_path}' ({hr.shape[1]}x{hr.shape[0]}) is too small to be measured "
            f"at scale {pair.scale}; remove it from the set."
        )
    lr = pair.lr() if protocol.lr == "u8" else imresize(hr.astype(np.float64), 1 / pair.scale)
    result = protocol.planes(_upscale(session, lr, pair.scale, protocol), pair.scale)
    # The original is 8 bits already, so rounding it again under an 8-bit protocol changes nothing.
    original = protocol.planes(hr, pair.scale)
    return psnr(result, original), ssim(result, original)


def _upscale(session: Session, lr: NDArray, scale: int, protocol: Protocol) -> NDArray[np.float64]:
    if session.card.luma_only and protocol.colour == "y" and protocol.rounding != "rgb":
        return upscale_y(session, rgb_to_y(lr), scale)  # no colour is needed to compare luma
    return upscale_rgb(session, lr, scale)
