"""Evaluation: every image of a benchmark set upscaled and compared with its original."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
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
from srdeploy.quality.metrics import METRICS, Metric
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
    dense: Session | Network | None = None,
    progress: bool = True,
) -> Quality:
    """Upscale every image of a benchmark set and measure how far it is from the original.

    Args:
        source: an open session (left open), or a network, which PyTorch then runs.
        folder: as :func:`srdeploy.data.benchmark.open_benchmark`, or the pairs themselves.
        scale: the upscaling factor.
        protocol: default: :func:`natural_protocol` of the card.
        dense: What the source was made from by pruning or quantisation, as ``source``: the metrics
            that compare with its outputs are measured, too.
        progress: show a bar on a terminal.

    Returns:
        The figures of every metric of :data:`srdeploy.quality.metrics.METRICS` that can be measured
        here; without ``dense``, of those that compare with the original.

    Raises:
        UserError: a folder, image, protocol or scale that does not fit; the sentence says which.
        SrdeployError: a metric fails.
    """
    with ExitStack() as stack:
        session = _session(source, stack)
        teacher = None if dense is None else _session(dense, stack)
        if protocol is None:
            protocol = natural_protocol(session.card)
        elif isinstance(protocol, str):
            protocol = get_protocol(protocol)
        for one in (session, teacher):
            if one is not None:
                check_scale(one.card, scale)
        data, pairs = _opened(folder, scale)
        metrics = [
            metric
            for metric in METRICS.values()
            if (metric.reference == "original" or teacher) and metric.missing() is None
        ]
        keys = {metric.name: key_of(metric.name, protocol.colour) for metric in metrics}
        per_image: list[dict[str, Any]] = []
        with track("evaluate", total=len(pairs)) if progress else nullcontext() as bar:
            for pair in pairs:
                figures = _compare(session, pair, protocol, metrics, teacher)
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


def _session(source: Session | Network, stack: ExitStack) -> Session:
    """An open session as it is; a network's, closed with the stack."""
    if isinstance(source, Session):
        return source
    return stack.enter_context(open_session(source))


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


def _compare(
    session: Session,
    pair: Pair,
    protocol: Protocol,
    metrics: Sequence[Metric],
    dense: Session | None,
) -> dict[str, float]:
    """The figures of one image, by metric."""
    hr = pair.hr()
    smallest = max(metric.smallest for metric in metrics)
    if min(hr.shape[:2]) < smallest + 2 * protocol.crop(pair.scale):
        raise UserError(
            f"'{pair.hr_path}' ({hr.shape[1]}x{hr.shape[0]}) is too small to be measured "
            f"at scale {pair.scale}; remove it from the set."
        )
    lr = pair.lr() if protocol.lr == "u8" else imresize(hr.astype(np.float64), 1 / pair.scale)
    result = protocol.planes(_upscale(session, lr, pair.scale, protocol), pair.scale)
    # The original is 8 bits already, so rounding it again under an 8-bit protocol changes nothing.
    references = {"original": protocol.planes(hr, pair.scale)}
    if dense is not None:
        upscaled = _upscale(dense, lr, pair.scale, protocol)
        references["dense"] = protocol.planes(upscaled, pair.scale)
    figures = {}
    for metric in metrics:
        try:
            figures[metric.name] = metric.measure(result, references[metric.reference])
        except SrdeployError:
            raise
        except Exception as error:  # whatever the code of others raises
            raise SrdeployError(
                f"The metric '{metric.name}' fails on '{pair.name}' ({shown(error)}); correct it, "
                "or remove what adds it."
            ) from error
    return figures


def _upscale(session: Session, lr: NDArray, scale: int, protocol: Protocol) -> NDArray[np.float64]:
    if session.card.luma_only and protocol.colour == "y" and protocol.rounding != "rgb":
        return upscale_y(session, rgb_to_y(lr), scale)  # no colour is needed to compare luma
    return upscale_rgb(session, lr, scale)
