"""What an artifact loses on images, against the network that it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from srdeploy.data.benchmark import Pair
from srdeploy.data.builtin import BUILTIN
from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.portable import StableSorts
from srdeploy.exporting.report import ExportReport
from srdeploy.models.network import Network
from srdeploy.quality.evaluate import evaluate
from srdeploy.quality.result import Quality, psnr_lost
from srdeploy.runtime.fitting import fitting
from srdeploy.runtime.open import open_session
from srdeploy.runtime.session import Session
from srdeploy.util.figures_json import figure

LOSSLESS = 0.01
"""dB below which float32 rounding explains a change."""


def quality_facts(
    data: str,
    protocol: str,
    before: float,
    after: float,
    drop: float,
    agreement: float | None = None,
) -> dict[str, Any]:
    """``quality`` of a report: PSNR (dB) of the float32 network and of the artifact on a set.

    And, where it was measured, the PSNR of the artifact's outputs to the network's own.
    """
    return {
        "data": data,
        "protocol": protocol,
        "psnr_fp32": before,
        "psnr": after,
        "drop": drop,
        **({} if agreement is None else {"agreement": agreement}),
    }


def quality_told(quality: dict[str, Any]) -> str:
    """The same in words."""
    drop = quality["drop"]
    change = f"loses {drop:.3f}" if drop >= 0 else f"gains {-drop:.3f}"
    return (
        f"{change} dB on {quality['data']}: {quality['protocol']} {quality['psnr_fp32']:.3f} in "
        f"fp32, {quality['psnr']:.3f} now{_by_runtime(quality.get('runtimes', {}))}"
        f"{_agreement(quality)}"
    )


def _agreement(quality: dict[str, Any]) -> str:
    """Of one that rounds more than float32 does: how near its outputs are to the network's."""
    agreement = figure(quality.get("agreement"))
    told = agreement is not None and abs(quality["drop"]) >= LOSSLESS
    return f", {agreement:.1f} dB to the network's own outputs" if told else ""


def _by_runtime(found: dict[str, float]) -> str:
    if len(found) < 2:
        return ""
    (usual, _), *others = found.items()
    return "".join([f" ({usual}", *(f"; {psnr:.3f} in {name}" for name, psnr in others), ")"])


def with_quality(
    report: ExportReport, original: Network | Session, data: str = BUILTIN
) -> ExportReport:
    """The report with what the artifact loses on a set, where something here can run it.

    An artifact of fixed sizes gets the set's images cut, or continued in the mirror, to one.

    Args:
        report: Of an artifact that is compared with its original already.
        original: What it was made from: a network, or the session of a file.
        data: Benchmark set.
    """
    try:
        with open_session(report.path) as session:
            pairs = fitting(session.sizes, session.card, data)
            before = _of_original(original, pairs, session.card.scale)
            dense = None if report.precision == "fp32" else original  # which is the network itself
            after = evaluate(session, pairs, session.card.scale, dense=dense, progress=False)
    except UserError as error:
        return replace(report, notes=[*report.notes, f"not measured on {data}: {error}"])
    drop = psnr_lost(before, after)
    agreement = after.figures.get("agreement")
    quality = quality_facts(data, before.protocol, before.psnr, after.psnr, drop, agreement)
    return replace(report, quality=quality, notes=[*report.notes, quality_told(quality)])


def within_limit(
    report: ExportReport,
    original: Network | Session,
    data: str,
    max_drop: float | None,
    *,
    what: str,
    remedy: str,
) -> ExportReport:
    """:func:`with_quality`, and a limit to what is lost.

    Args:
        report: As of :func:`with_quality`, and so are
        original: what it was made from
        data: and the set.
        max_drop: What may be lost, dB; None: anything.
        what: The artifact, in the sentence.
        remedy: What to do, likewise.

    Raises:
        SrdeployError: more is lost, or it cannot be measured.
    """
    report = with_quality(report, original, data)
    quality = report.quality
    if max_drop is not None and (quality is None or not quality["drop"] <= max_drop):
        lost = "no measurable image" if quality is None else f"{quality['drop']:.3f} dB"
        raise SrdeployError(
            f"In {report.precision} {what} loses {lost} on {data}, more than {max_drop:g} dB; "
            f"{remedy}."
        )
    return report


def _of_original(original: Network | Session, pairs: Sequence[Pair], scale: int) -> Quality:
    try:
        with StableSorts():
            return evaluate(original, pairs, scale, progress=False)
    except SrdeployError:
        raise
    except Exception as error:  # whatever its own code raises on images of these sizes
        why = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise UserError(f"the network does not run on images of such sizes ({why})") from error


def require_quality(report: ExportReport) -> None:
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
    if before == after or abs(quality["drop"]) < LOSSLESS:
        return
    if report.parity.light < 1 or report.parity.in_float64:
        return
    sizes = ", ".join(f"{width}x{height}" for height, width in report.parity.sizes)
    raise SrdeployError(
        f"In fp32 the artifact has {after:.3f} dB on {quality['data']} where its network has "
        f"{before:.3f}: it is another one. They agree on inputs of {sizes}, so the network's code "
        "probably depends on the size of its input (an `if` on x.shape): write it without."
    )
