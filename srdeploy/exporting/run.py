"""One call for every target."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from srdeploy.errors import UserError
from srdeploy.exporting.quality_loss import require_quality, with_quality
from srdeploy.exporting.report import ExportReport
from srdeploy.exporting.targets import Target, find_target, target_for
from srdeploy.models.network import Network
from srdeploy.models.registry import architecture_of_module
from srdeploy.runtime.table import Availability
from srdeploy.util.files import staged_files
from srdeploy.util.plugins import code_of


def export(network: Network | Path, target: str, path: str | Path, **options: Any) -> ExportReport:
    """Turn a network into an artifact.

    Args:
        network: float32, on the CPU; or an ONNX file, ours or foreign, for targets that take one.
        target: A name from :data:`srdeploy.exporting.targets.TARGETS`.
        path: Where to; its ending must be the target's.
        options: The target's own, for instance ``opset`` for ``onnx``. ``sparse`` (SMSR only): the
            form that skips pixels; a target that cannot take it gets dense-with-masks, and the
            report says so.

    Raises:
        UserError: unknown target or option, a target that can't be built here or of an ONNX file,
            or a path with another ending or that is the ONNX file itself.
        SrdeployError: the conversion failed, or its result is not the network; nothing is written.
    """
    row = find_target(target)
    sparse = options.pop("sparse", None)
    from_onnx = not isinstance(network, Network)
    row.check_source(options, from_onnx=from_onnx)
    row.check_options(options)
    note = None
    if isinstance(network, Network):
        network, note = _form(network, row, sparse, options)
    elif sparse is not None:
        raise UserError(_NO_FORMS)
    target_for(path, target)
    if isinstance(network, Path) and _same_file(network, Path(path)):
        raise UserError(
            f"'{path}' is the file that is read, and would be replaced; name another with -o."
        )
    way = row.converter if from_onnx else row.exporter
    if not (can := row.availability()):
        way = _elsewhere(row, can, options)
    if "precision" not in row.options:  # checked above: it is the only one the exporter writes
        options.pop("precision", None)
    exporter = code_of(way)
    with staged_files(path) as place:
        report: ExportReport = exporter(network, place, **options)
        if note:
            report.notes.append(note)
        if isinstance(network, Network) and report.parity is not None and report.quality is None:
            report = with_quality(report, network)
            require_quality(report)
    final, *notes = (text.replace(str(place), str(path)) for text in (report.path, *report.notes))
    return replace(report, path=final, notes=notes)


def _elsewhere(row: Target, can: Availability, options: dict[str, Any]) -> str:
    """What writes an artifact that cannot be built here for another machine, if that is asked."""
    if row.elsewhere is not None and "emit_script" in options:
        options.pop("timing_cache", None)  # of builds on this machine
        return row.elsewhere
    remedy = (
        "; --emit-script FILE.sh writes its ONNX file and a script that builds it where it will run"
        if row.elsewhere is not None
        else ""
    )
    raise UserError(f"The target '{row.name}' cannot be built here: {can.reason}{remedy}.")


def _same_file(source: Path, target: Path) -> bool:
    return target.exists() and source.exists() and os.path.samefile(source, target)


_NO_FORMS = "--sparse and --dense-masks choose between forms of SMSR networks; leave them out."


def _form(
    network: Network, row: Target, sparse: bool | None, options: dict[str, Any]
) -> tuple[Network, str | None]:
    """What to hand the exporter, of an architecture that has several forms, and what to tell."""
    architecture = architecture_of_module(network.module)
    if sparse is not None and architecture.sparse is None:
        raise UserError(_NO_FORMS)
    if row.sparse_only:
        if sparse is False:
            raise UserError(f"--target {row.name} has no dense form; leave --dense-masks out.")
        return network, None
    if row.sparse:  # its exporter writes either
        if sparse:
            options["sparse"] = True
        return network, None
    note = (
        f"the target {row.name} cannot take the sparse form ({architecture.no_sparse}): "
        "this is the dense one"
    )
    if not row.exporter.startswith(
        "srdeploy.exporting.tensorrt.export:"
    ):  # goes through ONNX, dense by default
        network = architecture.inference_form(network, portable=True)
    return network, note if sparse else None
