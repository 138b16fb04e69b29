"""Evaluation: every image of a benchmark set upscaled and compared with its original."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from srdeploy.data.benchmark import Pair, open_benchmark
from srdeploy.data.bicubic import imresize
from srdeploy.data.images import rgb_to_y
from srdeploy.errors import SrdeployError, UserError, shown
from srdeploy.models.card import Card
from srdeploy.models.registry import architecture_of
from srdeploy.quality.metrics import METRICS
from srdeploy.quality.protocol import PROTOCOLS, Protocol, get_protocol
from srdeploy.quality.result import Quality, key_of
from srdeploy.runtime.bicubic_session import BicubicSession
from srdeploy.runtime.open import open_session
from srdeploy.runtime.pixels import check_scale, upscale_rgb, upscale_y
from srdeploy.runtime.session import Session
from srdeploy.util.progress import track

if TYPE_CHECKING:  # what a device puts out is judged without PyTorch
    from srdeploy.models.network import Network


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
    """Upscale every image of a benchmark set and measure how far it is from the original.

    Args:
        source: an open session (left open), or a network, which PyTorch then runs.
        folder: as :func:`srdeploy.data.benchmark.open_benchmark`, or the pairs themselves.
        scale: the upscaling factor.
        protocol: default: :func:`natural_protocol` of the card.
        progress: show a bar on a terminal.

    Returns:
        The figures of every metric of :data:`srdeploy.quality.metrics.METRICS`.

    Raises:
        UserError: a folder, image, protocol or scale that does not fit; the sentence says which.
        SrdeployError: a metric fails.
    """
    opened = nullcontext(source) if isinstance(source, Session) else open_session(source)
    with opened as session:
        if protocol is None:
            protocol = natural_protocol(session.card)
        elif isinstance(protocol, str):
            protocol = get_protocol(protocol)
        check_scale(session.card, scale)
        data, pairs = _opened(folder, scale)
        keys = {name: key_of(name, protocol.colour) for name in METRICS}
        per_image: list[dict[str, Any]] = []
        with track("evaluate", total=len(pairs)) if progress else nullcontext() as bar:
            for pair in pairs:
                figures = _compare(session, pair, protocol)
                per_image.append({"name": pair.name, **{keys[n]: f for n, f in figures.items()}})
                if bar is not None:
                    bar.update(1, psnr=f"{figures['psnr']:.2f}")
    return Quality(
        figures={n: float(np.mean([one[key] for one in per_image])) for n, key in keys.items()},
        colour=protocol.colour,
        protocol=protocol.label(scale),
        n_images=len(pairs),
        data=data,
        per_image=per_image,
    )


def _opened(folder: str | Path | Sequence[Pair], scale: int) -> tuple[str, Sequence[Pair]]:
    """The set's name, empty for bare pairs, and its pairs."""
    if isinstance(folder, (str, Path)):
        return Path(folder).name, open_benchmark(folder, scale)
    return "", folder


@lru_cache(maxsize=32)
def bicubic_psnr(folder: str | Path, scale: int, protocol: Protocol) -> float:
    """Mean PSNR of bicubic upscaling on a set, dB: what a network has to beat.

    Args:
        folder: As for :func:`evaluate`; measured once in a process.
        scale: The upscaling factor.
        protocol: What is compared.
    """
    return evaluate(BicubicSession(), folder, scale, protocol, progress=False).psnr


def _compare(session: Session, pair: Pair, protocol: Protocol) -> dict[str, float]:
    """The figures of one image, by metric."""
    hr = pair.hr()
    smallest = max(metric.smallest for metric in METRICS.values())
    if min(hr.shape[:2]) < smallest + 2 * protocol.crop(pair.scale):
        raise UserError(
            f"'{pair.hr_path}' ({hr.shape[1]}x{hr.shape[0]}) is too small to be measured "
            f"at scale {pair.scale}; remove it from the set."
        )
    lr = pair.lr() if protocol.lr == "u8" else imresize(hr.astype(np.float64), 1 / pair.scale)
    result = protocol.planes(_upscale(session, lr, pair.scale, protocol), pair.scale)
    # The original is 8 bits already, so rounding it again under an 8-bit protocol changes nothing.
    original = protocol.planes(hr, pair.scale)
    figures = {}
    for name, metric in METRICS.items():
        try:
            figures[name] = metric.measure(result, original)
        except SrdeployError:
            raise
        except Exception as error:  # whatever the code of others raises
            raise SrdeployError(
                f"The metric '{name}' fails on '{pair.name}' ({shown(error)}); correct it, or "
                "remove what adds it."
            ) from error
    return figures


def _upscale(session: Session, lr: NDArray, scale: int, protocol: Protocol) -> NDArray[np.float64]:
    if session.card.luma_only and protocol.colour == "y" and protocol.rounding != "rgb":
        return upscale_y(session, rgb_to_y(lr), scale)  # no colour is needed to compare luma
    return upscale_rgb(session, lr, scale)
