"""One call for every target."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from srdeploy.errors import UserError
from srdeploy.export.report import ExportReport
from srdeploy.export.targets import find_target
from srdeploy.models.network import Network


def export(network: Network | Path, target: str, path: str | Path, **options: Any) -> ExportReport:
    """Turn a network into an artifact.

    Args:
        network: float32, on the CPU; or an ONNX file, for targets that take one.
        target: A name from :data:`srdeploy.export.targets.TARGETS`.
        path: Where to; its ending must be the target's.
        options: The target's own, for instance ``opset`` for ``onnx``.

    Raises:
        UserError: unknown target or option, a target that can't be built here, or a path with
            another ending.
        SrdeployError: the conversion failed, or its result is not the network; nothing is written.
    """
    row = find_target(target)
    row.check_options(options)
    if Path(path).suffix.lower() != row.suffix:
        raise UserError(f"'{path}' must end in {row.suffix} to be exported to {target}.")
    if not (can := row.availability()):
        raise UserError(f"The target '{target}' cannot be built here: {can.reason}.")
    if "precision" not in row.options:  # checked above: it is the only one the exporter writes
        options.pop("precision", None)
    module, function = row.exporter.split(":")
    return getattr(importlib.import_module(module), function)(network, path, **options)
