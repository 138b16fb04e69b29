"""From two files to the verdict: export where needed, profile in turns, explain."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from srdeploy.benchmarking.deciding.why import Why, explain
from srdeploy.benchmarking.measuring.inputs import choose_image
from srdeploy.benchmarking.measuring.on_device import check_artifacts
from srdeploy.benchmarking.measuring.profile import profile
from srdeploy.errors import UserError
from srdeploy.pruning.blocks import find_block
from srdeploy.runtime.open import artifact_runtime
from srdeploy.runtime.pixels import network_input
from srdeploy.runtime.session import default_threads


def why(
    first: str,
    second: str,
    *,
    data: str | Path,
    scale: int,
    size: tuple[int, int] | None = None,
    runs: int = 20,
    threads: int | None = None,
    options: dict[str, Any] | None = None,
) -> Why:
    """Profile two artifacts in onnxruntime and explain the difference.

    Args:
        first: An ONNX file, or a network, which is exported for the occasion.
        second: The same.
        data: Benchmark set that the image comes from.
        scale: Upscaling factor.
        size: Height and width of the image; default: the set's median image.
        runs: Runs of each that count.
        threads: CPU threads.
        options: ``arch`` and ``value_range``, as ``open_session`` takes them.

    Raises:
        UserError: an artifact that is missing, or that onnxruntime does not run.
    """
    from srdeploy.runtime.onnx.session import OnnxSession

    first, second = check_artifacts((first, second))
    options = options or {}
    lr = choose_image(data, scale, size)
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for number, artifact in enumerate((first, second)):
            path = _as_onnx(artifact, Path(folder) / f"{number}.onnx", scale, options.get("arch"))
            with OnnxSession(
                path, threads=1, value_range=options.get("value_range"), scale=scale
            ) as session:
                files.append((path, network_input(session.card, lr, scale)))
        before, after = profile(files, threads=threads or default_threads(), runs=runs)
    return explain(before, after, find_block().channels)


def _as_onnx(artifact: str, path: Path, scale: int, arch: str | None) -> Path:
    runtime = artifact_runtime(artifact)
    if runtime is not None and runtime.name == "onnxruntime":
        return Path(artifact)
    if runtime is not None:
        raise UserError(
            f"'{artifact}' runs in {runtime.title}, which shows no time per layer; give ONNX files "
            "or networks."
        )
    from srdeploy.exporting.onnx.export import export_onnx
    from srdeploy.models.load import load_network

    export_onnx(load_network(artifact, arch=arch, scale=scale), path, check=False)
    return path
