"""Functions about artifacts: what writes, measures and uses them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, overload

from numpy.typing import NDArray
from torch import nn

from srdeploy.api.given import artifact_of, flat, listed, network_of, said, sizes_told
from srdeploy.benchmarking.measuring.row import Row
from srdeploy.benchmarking.measuring.run import bench as _bench
from srdeploy.data.picture import read_picture
from srdeploy.data.picture_write import write_picture
from srdeploy.errors import UserError
from srdeploy.exporting.report import ExportReport
from srdeploy.exporting.run import export as _export
from srdeploy.exporting.targets import target_for
from srdeploy.measure.scenario import Scenario
from srdeploy.models.network import Network
from srdeploy.quality.evaluate import evaluate as _evaluate
from srdeploy.quality.result import Quality
from srdeploy.reporting.page import ReportSummary, write_report
from srdeploy.runtime.open import open_session, scale_of
from srdeploy.upscaling.image import picture_of, upscale_picture


@overload
def export(
    network: Network | nn.Module | str | Path,
    path: str | Path,
    *,
    precision: str | None = None,
    **options: Any,
) -> ExportReport: ...


@overload
def export(
    network: Network | nn.Module | str | Path,
    path: str | Path,
    *,
    precision: list[str] | tuple[str, ...],
    **options: Any,
) -> list[ExportReport]: ...


def export(
    network: Network | nn.Module | str | Path,
    path: str | Path,
    *,
    target: str | None = None,
    precision: str | list[str] | tuple[str, ...] | None = None,
    sizes: str | Sequence[int] | Sequence[str | Sequence[int]] | None = None,
    max_drop: float | None = None,
    data: str | Path | None = None,
    calibration: str | Path | None = None,
    scale: int | None = None,
    value_range: float | None = None,
    **options: Any,
) -> ExportReport | list[ExportReport]:
    """Turn a network into an artifact and check it against the network.

    Args:
        network: A network; or an ONNX file, for ``onnx`` and TensorRT.
        path: Where to.
        target: A name that ``srdeploy targets`` lists; default: the first whose ending fits.
        precision: What it computes in, default the target's first (fp32); of several each gets a
            file of its own: ``net.onnx`` as ``net-fp16.onnx`` and ``net-int8.onnx``.
        sizes: Input sizes, for targets that fix them: ``"480x270"``, ``(480, 270)``, a list of
            either, or a range ``"64..1024"``.
        max_drop: dB that may be lost on ``data``, else nothing is written (onnx).
        data: Benchmark set that the loss is measured on (onnx); default: the shipped one.
        calibration: Images that ranges of 8 bits are found on; default: the shipped ones.
        scale: Upscaling factor of an ONNX file that returns images as large as it takes.
        value_range: What pixels run to, 1 or 255, of an ONNX file that does not show it.
        options: The target's own (``opset``, ``exporter``, ``pixel_shuffle``, ``accept``,
            ``activations``, ``images``, ``palettize``, ``capabilities``...).

    Returns:
        What was written and how it compares; a list of them for several precisions.

    Raises:
        UserError: unknown target or option, or a target that can't be built here.
        SrdeployError: the result is not the network; nothing is written.

    Example:
        >>> sr.export(small, "small.onnx")
        >>> sr.export("foreign.onnx", "foreign.onnx", precision=["fp16", "int8"], value_range=255)
    """
    source: Network | Path
    if isinstance(network, (str, Path)) and Path(network).suffix.lower() == ".onnx":
        source = Path(network)
    else:
        source = network_of(network)
    given = said(
        sizes=sizes_told(sizes),
        max_drop=max_drop,
        data=None if data is None else str(data),
        calibration=None if calibration is None else str(calibration),
        scale=scale,
        value_range=value_range,
        **options,
    )
    if "capabilities" in given:
        given["capabilities"] = tuple(listed(given["capabilities"]))
    chosen = target or target_for(path).name
    if precision is None or isinstance(precision, str):
        return _export(source, chosen, path, **said(precision=precision), **given)
    return [
        _export(
            source,
            chosen,
            Path(path).with_stem(f"{Path(path).stem}-{one}"),
            precision=one,
            **given,
        )
        for one in precision
    ]


def evaluate(
    artifact: Network | nn.Module | str | Path,
    data: str | Path = "builtin",
    *,
    scale: int | None = None,
    protocol: str | None = None,
    runtime: str | None = None,
    threads: int | None = None,
    arch: str | None = None,
    value_range: float | None = None,
    dense: Network | nn.Module | str | Path | None = None,
) -> Quality:
    """PSNR, SSIM and other metrics on a benchmark set, of the artifact itself.

    Args:
        artifact: Anything that runs here.
        data: Benchmark folder, or ``builtin``.
        scale: Upscaling factor; default: the artifact's own.
        protocol: ``standard``, ``vdsr``, ``srcnn`` or ``rgb``; default: the network's customary.
        runtime: What runs it; default: what fits.
        threads: CPU threads; default: all cores.
        arch: Of a foreign checkpoint that does not show it.
        value_range: What pixels run to, 1 or 255, of an ONNX file without a card.
        dense: What it was made from by pruning or quantisation: also measures ``agreement``, the
            PSNR to its outputs.

    Raises:
        UserError: no such artifact, set or protocol, or a runtime that does not fit.

    Example:
        >>> sr.evaluate("small.onnx", "Set5").psnr
    """
    options = said(runtime=runtime, threads=threads, arch=arch, value_range=value_range)
    with open_session(artifact_of(artifact), scale=scale, **options) as session:
        known = None if dense is None else open_session(artifact_of(dense))
        with known or nullcontext():
            return _evaluate(session, data, scale or session.card.scale, protocol, dense=known)


def bench(
    *artifacts: str | Path | Sequence[str | Path],
    data: str | Path = "builtin",
    scale: int | None = None,
    scenario: Scenario | None = None,
    on_row: Callable[[Row], None] = lambda row: None,
    runtime: str | None = None,
    threads: int | None = None,
) -> list[Row]:
    """Latency, memory and quality of artifacts that take turns; ratios refer to the first.

    Args:
        artifacts: Files or names of shipped networks, each measured in a process of its own.
        data: Benchmark folder, or ``builtin``.
        scale: Upscaling factor; default: the first artifact's.
        scenario: Conditions; default: ``Scenario()``.
        on_row: Called with each row as soon as it is complete.
        runtime: What runs them; default: what fits each.
        threads: CPU threads; default: all cores.

    Raises:
        UserError: nothing to measure, or a set that cannot be read.

    Example:
        >>> rows = sr.bench("dense.onnx", "small.onnx", scenario=sr.Scenario(inputs="480x270"))
    """
    given = flat(artifacts)
    if not given:
        raise UserError("There is nothing to measure; name at least one network or artifact.")
    if any(isinstance(one, (Network, nn.Module)) for one in given):
        raise UserError(
            "What is measured is a file, opened in a process of its own: write the network first, "
            "with sr.export(network, 'net.onnx')."
        )
    names = listed(given)
    if scale is None:
        scale = scale_of(names[0])
    options = said(runtime=runtime, threads=threads)
    return _bench(names, data=data, scale=scale, scenario=scenario, on_row=on_row, **options)


def upscale(
    artifact: Network | nn.Module | str | Path,
    picture: NDArray | str | Path,
    output: str | Path | None = None,
    *,
    scale: int | None = None,
    memory: int | None = None,
    runtime: str | None = None,
    threads: int | None = None,
    arch: str | None = None,
    value_range: float | None = None,
) -> NDArray:
    """Upscale one picture, in tiles that equal the whole where memory asks for them.

    Folders, and pictures whose result shall not be held in memory: ``srdeploy upscale``.

    Args:
        artifact: Anything that runs here.
        picture: A file, or ``[H, W]`` or ``[H, W, 1..4]`` of ``uint8`` or ``uint16``.
        output: Also write the result there, with the file's colour profile and EXIF.
        scale: Upscaling factor; default: the artifact's own.
        memory: Bytes that the process may hold; default: 2e9, or half of what is free.
        runtime: What runs it; default: what fits.
        threads: CPU threads; default: all cores.
        arch: Of a foreign checkpoint that does not show it.
        value_range: What the network's pixels run to, 1 or 255, of an ONNX file without a card.

    Returns:
        As many channels and bits as the picture has (a grey file: ``[H, W, 1]``).

    Raises:
        UserError: no such artifact or picture, or a scale, path or memory that does not fit.
        ValueError: an array of another shape or type.

    Example:
        >>> pixels = sr.upscale("small.onnx", "photo.jpg", "photo_x2.png")
    """
    if isinstance(picture, (str, Path)):
        source, flat = read_picture(picture), False
    else:
        source, flat = picture_of(picture), picture.ndim == 2
    options = said(runtime=runtime, threads=threads, arch=arch, value_range=value_range)
    with open_session(artifact_of(artifact), scale=scale, **options) as session:
        result = upscale_picture(session, source, scale, memory=memory)
    if output is not None:
        write_picture(output, result)
    return result.pixels[..., 0] if flat else result.pixels


def report(
    *results: str | Path | Row | Sequence[str | Path | Row],
    output: str | Path = "report.html",
    baseline: str | Path | Sequence[str | Path] | None = None,
    **options: Any,
) -> ReportSummary:
    """Write one self-contained page about results.

    Args:
        results: Stores, JSON of ``srdeploy bench``, folders of ``srdeploy run``; rows of
            :func:`bench`; or lists of them.
        output: The HTML file.
        baseline: Results to hold these against.
        options: ``images`` (benchmark set of the pictures), ``limits``, ``title``.

    Raises:
        UserError: no results, something else in a file, or a place that cannot be written to.

    Example:
        >>> sr.report(sr.bench("dense.onnx", "small.onnx"), output="report.html")
    """
    return write_report(tuple(flat(results)), output, baseline, **options)
