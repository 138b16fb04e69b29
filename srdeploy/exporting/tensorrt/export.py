"""Network -> TensorRT engine, with its sidecar and the ONNX it came from beside it.

Three files make an artifact: ``net.engine``, ``net.engine.json`` (what it is and where it runs)
and ``net.engine.onnx`` (what to build it from again). They appear together or not at all.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import onnx

from srdeploy.errors import UserError, unknown_name
from srdeploy.exporting.onnx.graph import Exporter
from srdeploy.exporting.onnx.write import TOOLS as ONNX_TOOLS
from srdeploy.exporting.parity import Probe, Reference, check_parity_of
from srdeploy.exporting.report import ExportReport, Parity, artifact_facts, tool_versions
from srdeploy.exporting.tensorrt.accept import require_onnx
from srdeploy.exporting.tensorrt.build import BuildRequest, Built, build_engine
from srdeploy.exporting.tensorrt.onnx import write_source
from srdeploy.exporting.tensorrt.script import write_script
from srdeploy.exporting.tensorrt.toolkit import RTX_CAPABILITIES
from srdeploy.models.card import Card
from srdeploy.models.network import Network
from srdeploy.models.probes import PROBE_SIZES, Size
from srdeploy.runtime.onnx.session import holds_bfloat16
from srdeploy.runtime.open import open_session
from srdeploy.runtime.session import Session
from srdeploy.runtime.sizes import InputSizes
from srdeploy.runtime.tensorrt.sidecar import (
    ShapeProfile,
    Sidecar,
    onnx_path,
    read_sidecar,
    require_source,
    sidecar_path,
    this_platform,
)
from srdeploy.util.files import atomic_path, cache_dir, sha256

TARGET_NAMES = {"tensorrt": "trt", "tensorrt_rtx": "trt-rtx"}

RTX_DEFAULT = ("7.5", "8.6", "8.9", "12.0")
"""The four generations of RTX cards in PCs: Turing, Ampere, Ada, Blackwell."""

NO_BF16 = ("7.5",)
"""Turing: TensorRT-RTX refuses to compile bfloat16 for it."""

SMALLEST, LARGEST = (16, 16), (1080, 1920)
TYPICAL = {False: (270, 480), True: (720, 1280)}
"""Heights and widths an engine takes unless told; the typical one depends on whether the network
wants its input upscaled beforehand."""

TOLERANCES = {"fp32": 1e-4, "tf32": 1e-2, "fp16": 2e-2, "bf16": 5e-2, "int8": 5e-2, "mixed": 5e-2}
"""Largest |difference| over the value range between an engine and its ONNX in onnxruntime."""


def make_profile(card: Card, sizes: str | None, batch: int = 1) -> ShapeProfile:
    """Input shapes from what the command line takes.

    Args:
        card: The network's.
        sizes: One size (``480x270``), a range (``64x64..1920x1080``), a range with the size to
            tune for in the middle (``64x64..480x270..1920x1080``), or None for the defaults.
        batch: Images at a time.

    Raises:
        UserError: other text, or sizes that the network cannot take.
    """
    m = card.size_multiple
    low, typical, high = SMALLEST, None, LARGEST
    if sizes is None:
        low, high = _multiple_above(low, m), _multiple_above(high, m)
    else:
        parts = sizes.split("..")
        middle = InputSizes.parse(parts.pop(1)) if len(parts) == 3 else None
        asked = InputSizes.parse("..".join(parts))
        if len(asked.listed) > 1 or (middle and not middle.fixed):
            raise UserError(
                f"'{sizes}' is nothing an engine can be tuned for; write one size (480x270) or a "
                "range (64x64..1920x1080, 64x64..480x270..1920x1080)."
            )
        low, high = (asked.low, asked.high) if asked.ranged else (asked.listed[0],) * 2
        typical = middle.listed[0] if middle else None
    if typical is None:
        typical = _clamp(_multiple_above(TYPICAL[card.pre_upscaled], m), low, high)
    for height, width in (low, typical, high):
        if height % m or width % m:
            raise UserError(
                f"The network cannot take {width}x{height} pixels; give multiples of {m}."
            )
    if _clamp(typical, low, high) != typical:
        raise UserError(f"The middle size of '{sizes}' is not between the others.")
    lowest, tuned, highest = ((batch, card.channels, *size) for size in (low, typical, high))
    return ShapeProfile(min=lowest, opt=tuned, max=highest)


def _multiple_above(size: Size, multiple: int) -> Size:
    height, width = (-(-n // multiple) * multiple for n in size)
    return height, width


def _clamp(size: Size, low: Size, high: Size) -> Size:
    height, width = (min(max(n, a), b) for n, a, b in zip(size, low, high, strict=True))
    return height, width


def export_trt(network: Network | Path, path: str | Path, **options: Any) -> ExportReport:
    """Build an engine of TensorRT for the GPU here; see :func:`export_engine`."""
    options.setdefault("timing_cache", timing_cache_path())
    return export_engine(network, path, "tensorrt", **options)


def export_trt_rtx(
    network: Network | Path,
    path: str | Path,
    *,
    capabilities: tuple[str, ...] = (),
    **options: Any,
) -> ExportReport:
    """Build an engine of TensorRT-RTX for the given compute capabilities; no GPU is needed."""
    rtx_capabilities(capabilities, in_bf16=options.get("precision") == "bf16")
    return export_engine(network, path, "tensorrt_rtx", capabilities=capabilities, **options)


def rtx_capabilities(asked: tuple[str, ...], *, in_bf16: bool) -> tuple[str, ...]:
    """Compute capabilities to build for; nothing asked: the usual ones that can.

    Raises:
        UserError: an unknown one, or one that has no bfloat16.
    """
    for capability in asked:
        if capability not in RTX_CAPABILITIES:
            raise unknown_name("compute capability of TensorRT-RTX", capability, RTX_CAPABILITIES)
    without = [name for name in asked or RTX_DEFAULT if in_bf16 and name in NO_BF16]
    if without and asked:
        raise UserError(
            f"GPUs of compute capability {', '.join(without)} have no bfloat16; leave it out of "
            "--sm, or use fp16."
        )
    return tuple(name for name in asked or RTX_DEFAULT if name not in without)


def export_engine(
    network: Network | Path,
    path: str | Path,
    builder: str,
    *,
    opset: int | None = None,
    exporter: Exporter | None = None,
    pixel_shuffle: str = "crd",
    precision: str | None = None,
    sizes: str | None = None,
    capabilities: tuple[str, ...] = (),
    workspace_mb: int | None = None,
    tf32: bool = False,
    timing_cache: Path | None = None,
    emit_script: Path | None = None,
    value_range: float | None = None,
    scale: int | None = None,
) -> ExportReport:
    """Build an engine from a network, or from an ONNX file.

    A file that is in fp32 throughout is converted to another precision that is asked for
    (:mod:`srdeploy.exporting.onnx.convert`); any other is built as it is.

    Args:
        network: A network; or an ONNX file.
        path: The ``.engine`` to write.
        builder: ``tensorrt`` or ``tensorrt_rtx``.
        opset: ONNX operator set, for a network.
        exporter: torch's way to ONNX, for a network.
        pixel_shuffle: Form of PixelShuffle, for a network; ``auto`` takes TensorRT's default.
        precision: What the ONNX shall hold; None for whatever it does.
        sizes: See :func:`make_profile`.
        capabilities: Compute capabilities; TensorRT-RTX only; empty: :data:`RTX_DEFAULT`.
        workspace_mb: Limit of scratch memory, MiB.
        tf32: Let fp32 convolutions round their factors to 10 bits.
        timing_cache: File of kernel timings; ``tensorrt`` only.
        emit_script: Also write the script that rebuilds the engine (``.py`` or ``.sh``).
        value_range: 1 or 255, for an ONNX file without a card.
        scale: For an ONNX file that returns images as large as it takes.

    Raises:
        UserError: a request that does not fit the network, or TensorRT is missing.
        SrdeployError: the build failed or gave something else; nothing is written.
    """
    started = time.perf_counter()
    with staged(path) as engine:
        card, written, sizes = write_source(
            network,
            onnx_path(engine),
            opset=opset,
            exporter=exporter,
            pixel_shuffle=pixel_shuffle,
            precision=precision,
            sizes=sizes,
            value_range=value_range,
            scale=scale,
        )
        notes = list(written.notes) if written else []
        if builder == "tensorrt_rtx":
            in_bf16 = holds_bfloat16(onnx.load(onnx_path(engine)))
            capabilities = rtx_capabilities(capabilities, in_bf16=in_bf16)
        request = BuildRequest(
            builder=builder,
            profile=make_profile(card, sizes),
            precision=precision,
            capabilities=capabilities,
            workspace_mb=workspace_mb,
            tf32=tf32,
            timing_cache=timing_cache,
        )
        return _build(engine, Path(path), request, card, notes, started, emit_script)


def rebuild_engine(engine: str | Path, *, emit_script: Path | None = None) -> ExportReport:
    """Build an engine again, here, from the ONNX beside it and as its sidecar says.

    An engine of ``tensorrt`` becomes one for the GPU of this machine.

    Raises:
        UserError: the engine, its sidecar or its ONNX is missing or damaged.
        SrdeployError: the build failed or gave something else; the old engine stays.
    """
    started = time.perf_counter()
    facts = read_sidecar(engine)
    source = require_source(engine, facts)
    rtx = facts.builder == "tensorrt_rtx"
    request = BuildRequest(
        builder=facts.builder,
        profile=facts.profile,
        capabilities=facts.capabilities if rtx else (),
        workspace_mb=facts.workspace_mb,
        tf32=facts.tf32,
        timing_cache=None if rtx else timing_cache_path(),
    )
    with staged(engine) as place:
        shutil.copyfile(source, onnx_path(place))
        card = facts.card.model_copy(update={"history": facts.card.history[:-1]})
        return _build(place, Path(engine), request, card, [], started, emit_script)


def timing_cache_path() -> Path:
    """Where timings of kernels are kept between builds, so that later ones take seconds."""
    return cache_dir() / "trt" / "timings.bin"


@contextmanager
def staged(path: str | Path) -> Iterator[Path]:
    """A path to build an engine and its companions at; moved to ``path`` together at the end.

    The sidecar comes last, so that it never describes an engine that is not there yet.
    """
    target = Path(path)
    finals = (sidecar_path(target), target, onnx_path(target))
    with ExitStack() as stack:
        places = [stack.enter_context(atomic_path(final)) for final in finals]
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        yield folder / target.name
        for final, place in zip(finals, places, strict=True):
            shutil.copyfile(folder / final.name, place)


def _build(
    engine: Path,
    final: Path,
    request: BuildRequest,
    card: Card,
    notes: list[str],
    started: float,
    emit_script: Path | None,
) -> ExportReport:
    source = onnx_path(engine)
    model = source.read_bytes()
    built = build_engine(model, request)
    engine.write_bytes(built.engine)
    target = TARGET_NAMES[request.builder]
    tools = tool_versions(ONNX_TOOLS) | {request.builder: built.version}
    facts = describe(engine, source, request, built, card, tools)
    sidecar_path(engine).write_text(facts.to_json(), encoding="utf-8")
    parity = None
    if built.verified:
        with open_session(engine) as ours:
            parity = compare_with_source(ours, source, facts)
    if emit_script is not None:
        write_script(emit_script, facts, final.name)
        beside = emit_script.absolute().parent == final.absolute().parent
        where = "" if beside else f", copied into the script's folder ({emit_script.parent})"
        notes.append(f"{emit_script} builds it again from {facts.onnx}{where}")
    if parity is None:
        notes.append("the engine was not run: there is no GPU for it here")
    notes += [f"TensorRT warns: {' '.join(text.split())[:200]}" for text in built.warnings]
    return ExportReport(
        target=target,
        path=str(final),
        **artifact_facts(engine),
        precision=label(facts),
        opset=next(o.version for o in require_onnx(model, "the ONNX").opset_import if not o.domain),
        parity=parity,
        operators=built.layers,
        tools=tools,
        seconds=round(time.perf_counter() - started, 3),
        notes=[
            f"for compute capability {', '.join(facts.capabilities)}, input {facts.profile}",
            built.verification,
            *notes,
            "no two builds are alike to the byte: TensorRT numbers inner values anew each time",
        ],
    )


def describe(
    engine: Path,
    source: Path,
    request: BuildRequest,
    built: Built,
    card: Card,
    tools: dict[str, str],
) -> Sidecar:
    """The sidecar of an engine that was just built on this machine."""
    return Sidecar(
        builder=request.builder,  # type: ignore[arg-type]
        version=built.version,
        platform=this_platform(),
        capabilities=built.capabilities,
        gpu=built.gpu.name if built.gpu else None,
        driver=built.gpu.driver if built.gpu else None,
        engine_sha256=sha256(engine),
        onnx=source.name,
        onnx_sha256=sha256(source),
        precision=built.precision,
        convolutions=built.convolutions,
        tf32=request.tf32,
        profile=request.profile,
        workspace_mb=request.workspace_mb,
        input=built.input,
        output=built.output,
        verified=built.verified,
        verification=built.verification,
        layers=built.layers,
        card=card.step(
            step="export",
            target=TARGET_NAMES[request.builder],
            precision=built.precision,
            parent_sha256=sha256(source),
            tools=tools,
        ),
        tools=tools,
    )


def label(facts: Sidecar) -> str:
    """The precision of an engine in words."""
    if facts.precision == "mixed":
        parts = ", ".join(f"{count} {kind}" for kind, count in facts.convolutions.items())
        return f"mixed ({parts})"
    return "tf32" if facts.tf32 and facts.precision == "fp32" else facts.precision


def compare_with_source(ours: Session, source: Path, facts: Sidecar) -> Parity:
    """Run an engine against its ONNX in onnxruntime, at what it is tuned for and at other sizes.

    Raises:
        SrdeployError: they differ by more than :data:`TOLERANCES` allow.
    """
    card, profile = facts.card, facts.profile
    low, high = profile.min[2:], profile.max[2:]
    usual = [_clamp(_multiple_above(size, card.size_multiple), low, high) for size in PROBE_SIZES]
    sizes = dict.fromkeys([*usual, profile.opt[2:]])
    with open_session(
        source, threads=1, value_range=card.value_range, scale=card.scale
    ) as onnxruntime:
        probes = [Probe(size, profile.min[0]) for size in sizes]
        reference = Reference(card, probes, onnxruntime.run)
        reference.leave_out_what_fails()
        return check_parity_of(
            reference,
            ours.run,
            TOLERANCES["tf32" if facts.tf32 else facts.precision],
            what="The engine",
            than="its ONNX",
            coarse="it was thrown away",
        )
