"""An engine for another machine: the ONNX file, and the script that builds from it there."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx

from srdeploy.exporting.onnx.write import TOOLS
from srdeploy.exporting.report import ExportReport, artifact_facts, tool_versions
from srdeploy.exporting.tensorrt.build import check_precision
from srdeploy.exporting.tensorrt.export import make_profile
from srdeploy.exporting.tensorrt.onnx import write_source
from srdeploy.exporting.tensorrt.script import Unbuilt, write_script
from srdeploy.exporting.tensorrt.source import EngineSource
from srdeploy.models.network import Network
from srdeploy.runtime.tensorrt.sidecar import onnx_path


def write_for_elsewhere(
    network: Network | Path,
    path: str | Path,
    *,
    emit_script: Path,
    precision: str | None = None,
    sizes: str | None = None,
    workspace_mb: int | None = None,
    tf32: bool = False,
    **source: Any,
) -> ExportReport:
    """Write what builds an engine of TensorRT where this machine cannot.

    Args:
        network: A network; or an ONNX file.
        path: The ``.engine`` that the script will write; the ONNX file is put beside it.
        emit_script: The script (``.py`` or ``.sh``); it looks for the ONNX file in its own folder.
        precision: As of :func:`srdeploy.exporting.tensorrt.export.export_engine`, and so are
        sizes: input shapes,
        workspace_mb: limit of scratch memory, MiB,
        tf32: whether fp32 may be rounded, and
        source: how the ONNX file is written.

    Returns:
        The report of the ONNX file.

    Raises:
        UserError: a request that does not fit the network, or a script of another ending.
    """
    started = time.perf_counter()
    engine = Path(path)
    place = onnx_path(engine)
    card, written, sizes = write_source(network, place, precision=precision, sizes=sizes, **source)
    found = EngineSource.read(place)
    check_precision(precision, found.convolutions)
    facts = Unbuilt(
        builder="tensorrt",
        onnx=place.name,
        input=found.input,
        convolutions=found.convolutions,
        profile=make_profile(card, sizes),
        workspace_mb=workspace_mb,
        tf32=tf32,
    )
    write_script(emit_script, facts, engine.name)
    note = (
        f"no engine is built here: copy {place.name} and {emit_script.name} into one folder of the "
        f"machine that will run {engine.name}, and run the script there"
    )
    if written is not None:
        return replace(written, notes=[*written.notes, note])
    model = onnx.load(place)
    return ExportReport(
        target="onnx",
        path=str(place),
        **artifact_facts(place),
        precision=found.precision,
        opset=next(one.version for one in model.opset_import if not one.domain),
        parity=None,
        operators=dict(sorted(Counter(node.op_type for node in model.graph.node).items())),
        tools=tool_versions(TOOLS),
        seconds=round(time.perf_counter() - started, 3),
        notes=[note],
    )
