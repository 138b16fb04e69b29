"""Open anything that upscales: a network file, an exported artifact, or the bicubic baseline."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from srdeploy.errors import UserError, unknown_name
from srdeploy.runtime.bicubic_session import NAME as BICUBIC
from srdeploy.runtime.bicubic_session import BicubicSession
from srdeploy.runtime.session import Session
from srdeploy.runtime.table import RUNTIMES, Runtime

if TYPE_CHECKING:
    from srdeploy.models.network import Network

# Imports of runtimes stay inside the functions, so that an artifact is measured without torch in
# its memory and torch networks run where onnxruntime is missing.


def open_session(
    source: str | Path | Network,
    *,
    runtime: str | None = None,
    threads: int | None = None,
    arch: str | None = None,
    scale: int | None = None,
    value_range: float | None = None,
    provider: str | None = None,
) -> Session:
    """A session for a network, by its type or its file's suffix.

    Args:
        source: a :class:`Network` (copied, so that later changes to it do not show); an artifact
            by its ending (:data:`RUNTIMES`); the word ``bicubic``; or any file that
            ``load_network`` reads, or the name of a shipped network.
        runtime: the runtime that must run it; default: the one that fits the file.
        threads: CPU threads; default: ``OMP_NUM_THREADS``, else all cores.
        arch: architecture of a foreign checkpoint that does not show it, as ``load_network``.
        scale: upscaling factor of a foreign file that does not show it.
        value_range: 1 or 255, for an ONNX file without a card.
        provider: onnxruntime's execution provider (:data:`srdeploy.runtime.providers.PROVIDERS`).

    Raises:
        UserError: the file cannot be read, or the runtime or provider does not exist or cannot run
            it.
    """
    if runtime is not None and runtime not in RUNTIMES:
        raise unknown_name("runtime", runtime, RUNTIMES)
    if source == BICUBIC:
        return BicubicSession()
    if not isinstance(source, (str, Path)):
        _require(runtime, "torch", f"this {source.card.arch} network")
        return _open_torch(source.copy(), threads)
    if (fitting := artifact_runtime(source, runtime)) is not None:
        _require(runtime, fitting.name, f"'{source}'")
        if fitting.name == "onnxruntime":
            from srdeploy.runtime.onnx_session import OnnxSession
            from srdeploy.runtime.providers import provider_list

            return OnnxSession(
                source,
                threads=threads,
                providers=provider_list(provider),
                scale=scale,
                value_range=value_range,
            )
        _no_provider(provider, source)
        return _open_artifact(fitting, source, threads)
    _require(runtime, "torch", f"'{source}'")
    _no_provider(provider, source)
    from srdeploy.models.load import load_network

    return _open_torch(load_network(source, arch=arch, scale=scale), threads)


def artifact_runtime(path: str | Path, asked: str | None = None) -> Runtime | None:
    """The runtime for an artifact's ending, or None for a network file.

    Where several fit, the one asked for is taken, else the first that is here. Engines of TensorRT
    and TensorRT-RTX end alike too; their sidecars tell them apart.

    Raises:
        UserError: an engine without a readable sidecar.
    """
    suffix = Path(path).suffix.lower()
    fitting = [row for row in RUNTIMES.values() if suffix in row.suffixes]
    if suffix == ".engine":
        from srdeploy.runtime.trt_sidecar import read_sidecar

        return RUNTIMES[read_sidecar(path).builder]
    named = [row for row in fitting if row.name == asked]
    here = [row for row in fitting if row.availability()]
    return next(iter([*named, *here, *fitting]), None)


def _open_artifact(row: Runtime, path: str | Path, threads: int | None) -> Session:
    if not Path(path).exists():
        raise UserError(f"There is no file '{path}'.")
    if row.session is None:
        raise UserError(f"'{path}' cannot be run here: {row.availability().reason}.")
    module, name = row.session.split(":")
    return getattr(importlib.import_module(module), name)(path, threads=threads)


def _open_torch(network: Network, threads: int | None) -> Session:
    from srdeploy.runtime.torch_session import TorchSession

    return TorchSession(network, threads)


def _no_provider(provider: str | None, source: str | Path) -> None:
    if provider is not None:
        raise UserError(
            f"Only onnxruntime has providers, and it does not run '{source}'; export it to ONNX or "
            "leave the provider out."
        )


def _require(asked: str | None, fitting: str, what: str) -> None:
    if asked is not None and asked != fitting:
        raise UserError(
            f"The runtime {asked} cannot run {what}, {fitting} can; "
            "leave the runtime out, or export the network for the one you want."
        )
