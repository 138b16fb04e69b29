"""What an artifact loses on images, against the network that it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srdeploy.data.benchmark import Pair, open_benchmark
from srdeploy.data.bicubic import imresize
from srdeploy.data.builtin import BUILTIN
from srdeploy.errors import SrdeployError, UserError
from srdeploy.export.report import ExportReport
from srdeploy.models.network import Network
from srdeploy.quality import Quality, evaluate, psnr_lost
from srdeploy.runtime.open import open_session
from srdeploy.runtime.session import Session
from srdeploy.runtime.sizes import InputSizes

LOSSLESS = 0.01
"""dB below which float32 rounding explains a change."""

_PIXELS = 2**18
"""Input pixels that are enough: of larger images fewer are measured."""


def quality_facts(
    data: str, protocol: str, before: float, after: float, drop: float
) -> dict[str, Any]:
    """``quality`` of a report: PSNR (dB) of the float32 network and of the artifact on a set."""
    return {
        "data": data,
        "protocol": protocol,
        "psnr_fp32": before,
        "psnr": after,
        "drop": drop,
    }


def quality_told(quality: dict[str, Any]) -> str:
    """The same in words."""
    drop = quality["drop"]
    change = f"loses {drop:.3f}" if drop >= 0 else f"gains {-drop:.3f}"
    return (
        f"{change} dB on {quality['data']}: {quality['protocol']} {quality['psnr_fp32']:.3f} in "
        f"fp32, {quality['psnr']:.3f} now{_by_runtime(quality.get('runtimes', {}))}"
    )


def _by_runtime(found: dict[str, float]) -> str:
    if len(found) < 2:
        return ""
    (usual, _), *others = found.items()
    return "".join([f" ({usual}", *(f"; {psnr:.3f} in {name}" for name, psnr in others), ")"])


def with_quality(report: ExportReport, network: Network, data: str = BUILTIN) -> ExportReport:
    """The report with what the artifact loses on a set, where something here can run it.

    An artifact of fixed sizes gets the set's images cut, or continued in the mirror, to one.

    Args:
        report: Of an artifact that is compared with the network already.
        network: What it was made from.
        data: Benchmark set.
    """
    try:
        with open_session(report.path) as session:
            pairs = _fitting(session, data)
            before = _of_network(network, pairs)
            after = evaluate(session, pairs, network.card.scale, progress=False)
    except UserError as error:
        return replace(report, notes=[*report.notes, f"not measured on {data}: {error}"])
    drop = psnr_lost(before, after)
    quality = quality_facts(data, before.protocol, before.psnr, after.psnr, drop)
    return replace(report, quality=quality, notes=[*report.notes, quality_told(quality)])


def _of_network(network: Network, pairs: Sequence[Pair]) -> Quality:
    try:
        return evaluate(network, pairs, network.card.scale, progress=False)
    except SrdeployError:
        raise
    except Exception as error:  # whatever its own code raises on images of these sizes
        why = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise UserError(f"the network does not run on images of such sizes ({why})") from error


def require_kept(report: ExportReport) -> None:
    """A float32 artifact is the network itself, so it loses nothing.

    Of a network whose float32 rounding drowns photographs the loss tells nothing, and may be any.

    Raises:
        SrdeployError: it loses or gains :data:`LOSSLESS` or more.
    """
    quality = report.quality
    if quality is None or report.precision != "fp32":
        return
    before, after = quality["psnr_fp32"], quality["psnr"]
    assert report.parity is not None
    if before == after or abs(quality["drop"]) < LOSSLESS or report.parity.light < 1:
        return
    sizes = ", ".join(f"{width}x{height}" for height, width in report.parity.sizes)
    raise SrdeployError(
        f"In fp32 the artifact has {after:.3f} dB on {quality['data']} where its network has "
        f"{before:.3f}: it is another one. They agree on inputs of {sizes}, so the network's code "
        "probably depends on the size of its input (an `if` on x.shape): write it without."
    )


@dataclass(frozen=True)
class _Cut(Pair):
    """A pair whose original has a size of its own."""

    height: int = 0
    width: int = 0

    def hr(self) -> NDArray[np.uint8]:
        image = super().hr()
        for axis, wanted in enumerate((self.height, self.width)):
            more = max(0, wanted - image.shape[axis])
            around = [(0, 0)] * 3
            around[axis] = (more // 2, more - more // 2)
            image = np.pad(image, around, mode="symmetric")
            start = (image.shape[axis] - wanted) // 2
            image = image.take(range(start, start + wanted), axis)
        return image

    def lr(self) -> NDArray[np.uint8]:
        made: NDArray[np.uint8] = imresize(self.hr(), 1 / self.scale)
        return made


def _fitting(session: Session, data: str) -> Sequence[Pair]:
    """Pairs of the set whose inputs the session takes."""
    card, sizes = session.card, session.sizes
    pairs = open_benchmark(data, card.scale)
    if sizes is None:
        return pairs
    factor = card.network_scale
    found: list[Pair] = []
    pixels = 0
    for pair in pairs:
        height, width = (n // factor for n in pair.hr().shape[:2])
        if not sizes.allows(height, width):
            height, width = _nearest(sizes, height, width)
            if card.pre_upscaled and (height % card.scale or width % card.scale):
                raise UserError(f"no image upscaled by {card.scale} is {width}x{height}")
            pair = _Cut(
                pair.name,
                pair.scale,
                pair.hr_path,
                height=height * factor,
                width=width * factor,
            )
        pixels += height * width
        if found and pixels > _PIXELS:
            break
        found.append(pair)
    return found


def _nearest(sizes: InputSizes, height: int, width: int) -> tuple[int, int]:
    if sizes.listed:
        return min(sizes.listed, key=lambda size: abs(size[0] * size[1] - height * width))
    low, high = sizes.low, sizes.high
    return min(max(height, low[0]), high[0]), min(max(width, low[1]), high[1])
