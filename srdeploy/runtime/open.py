"""Open anything that upscales: a network file, an exported artifact, or the bicubic baseline."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from srdeploy.errors import UserError, unknown_name
from srdeploy.models.card_file import find_file
from srdeploy.models.hub_file import hub_file
from srdeploy.models.registry import architecture_of_module
from srdeploy.runtime.bicubic_session import NAME as BICUBIC
from srdeploy.runtime.bicubic_session import BicubicSession
from srdeploy.runtime.onnx.file import NotComputed
from srdeploy.runtime.onnx.providers import PROVIDERS
from srdeploy.runtime.session import Session
from srdeploy.runtime.table import ONNXRUNTIME, RUNTIMES, Runtime, split_runtime
from srdeploy.util.plugins import code_of

if TYPE_CHECKING:
    from srdeploy.models.network import Network

BF16_RUNTIMES = ("openvino", "onnx-reference")
"""What opens a bf16 ONNX file unless a runtime is named: the first that is here and computes it."""

SPARSE = ("sparse", "sparse-cuda")
"""What runs networks besides torch."""

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
    precision: str | None = None,
) -> Session:
    """A session for a network, by its type or its file's suffix.

    Args:
        source: a :class:`Network` (copied, so that later changes to it do not show); an artifact
            by its ending (:data:`RUNTIMES`); the word ``bicubic``; or any file that
            ``load_network`` reads, or the name of a shipped network; either file may lie on the hub
            (``hf:org/repo/file``); ``net.onnx@openvino`` names the runtime too.
        runtime: the runtime that must run it; default: the one that fits the file.
        threads: CPU threads; default: ``OMP_NUM_THREADS``, else all cores.
        arch: architecture of a foreign checkpoint that does not show it, as ``load_network``.
        scale: upscaling factor of a foreign file that does not show it.
        value_range: 1 or 255, for a file of ONNX or ncnn without a card.
        provider: onnxruntime's execution provider
            (:data:`srdeploy.runtime.onnx.providers.PROVIDERS`): ``cuda`` is short for the
            runtime ``onnxruntime-cuda``.
        precision: what the runtimes ``sparse``
            (:data:`srdeploy.sparse.model_file.PRECISIONS`) and ``sparse-cuda`` compute a network
            in; default: ``fp32``.

    Raises:
        UserError: the file cannot be read, or the runtime or provider does not exist or cannot run
            it.
    """
    if isinstance(source, str):
        source, named = split_runtime(source)
        runtime = named or runtime
    if runtime is not None and runtime not in RUNTIMES:
        raise unknown_name("runtime", runtime, RUNTIMES)
    if source == BICUBIC:
        return BicubicSession()
    if not isinstance(source, (str, Path)):
        _require_network(runtime, f"this {source.card.arch} network")
        return _open_network(source.copy(), runtime, threads, precision)
    file = find_file(source) if hub_file(source) else source
    if (fitting := artifact_runtime(file, runtime)) is not None:
        if provider is not None:
            fitting = _with_provider(provider, source)
            runtime = None if runtime == ONNXRUNTIME.name else runtime
        _require(runtime, fitting.name, f"'{source}'")
        if precision is not None:
            raise UserError(_HAS_ONE.format(f"'{source}'"))
        foreign = {"value_range": value_range, "scale": scale} if fitting.foreign else {}
        try:
            return _open_artifact(fitting, file, threads, **foreign)
        except NotComputed:
            if runtime is None and (other := _that_computes(file, threads, **foreign)):
                return other
            raise
    _require_network(runtime, f"'{source}'")
    if provider is not None:
        _refuse_provider(source)
    from srdeploy.models.load import load_network

    network = load_network(source, arch=arch, scale=scale)
    return _open_network(network, runtime, threads, precision)


def scale_of(source: str | Path, **options: Any) -> int:
    """The upscaling factor on an artifact's card; it is opened only where there is none to read.

    So an engine for another machine tells it here, where it cannot be opened.

    Args:
        source: A file or the name of a shipped network.
        options: Of :func:`open_session`.

    Raises:
        UserError: there is no card, and it cannot be opened.
    """
    from srdeploy.runtime.card_of import read_card_of

    name, _ = split_runtime(str(source))
    with suppress(UserError):
        return read_card_of(find_file(name)).scale
    with open_session(source, **options) as session:
        return session.card.scale


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
        from srdeploy.runtime.tensorrt.sidecar import read_sidecar

        return RUNTIMES[read_sidecar(path).builder]
    named = [row for row in fitting if row.name == asked]
    here = [row for row in fitting if row.availability()]
    return next(iter([*named, *here, *fitting]), None)


def _open_artifact(
    row: Runtime, path: str | Path, threads: int | None, **foreign: float | None
) -> Session:
    if not Path(path).exists():
        raise UserError(f"There is no file '{path}'.")
    if row.session is None:
        raise UserError(f"'{path}' cannot be run here: {row.availability().reason}.")
    return code_of(row.session)(path, threads=threads, **foreign)


def _that_computes(
    path: str | Path, threads: int | None, **foreign: float | None
) -> Session | None:
    """A session for a bf16 file that onnxruntime does not run: one that really computes in it."""
    for row in (RUNTIMES[name] for name in BF16_RUNTIMES):
        if row.availability():
            session = _open_artifact(row, path, threads, **foreign)
            if "bf16" in (session.precision or ""):
                return session
            session.close()
    return None


def _is_onnx(path: str | Path) -> bool:
    return Path(path).suffix.lower() == ".onnx"


_HAS_ONE = (
    "{} computes in the precision that it was exported in; only a network in a sparse runtime "
    "takes another: leave the precision out."
)


def _open_network(
    network: Network, runtime: str | None, threads: int | None, precision: str | None
) -> Session:
    if runtime == "sparse":
        if precision not in (None, "fp32"):
            from srdeploy.runtime.sparse_file_session import open_compiled

            return open_compiled(network, threads, precision)
        from srdeploy.runtime.sparse_session import SparseSession

        return SparseSession(network, threads)
    if runtime == "sparse-cuda":
        from srdeploy.runtime.sparse_cuda_session import SparseCudaSession

        return SparseCudaSession(network, threads, precision=precision)
    if precision is not None:
        raise UserError(_HAS_ONE.format(f"This {network.card.arch} network"))
    from srdeploy.runtime.torch_session import TorchSession

    row = architecture_of_module(network.module)
    return TorchSession(row.inference_form(network), threads)


def _with_provider(provider: str, source: str | Path) -> Runtime:
    if provider not in PROVIDERS:
        raise unknown_name("provider", provider, PROVIDERS)
    if not _is_onnx(source):
        _refuse_provider(source)
    return RUNTIMES[ONNXRUNTIME.name + ("" if provider == "cpu" else f"-{provider}")]


def _refuse_provider(source: str | Path) -> NoReturn:
    raise UserError(
        f"Only onnxruntime has providers, and it does not run '{source}'; export it to ONNX or "
        "leave the provider out."
    )


def _require_network(asked: str | None, what: str) -> None:
    _require(None if asked in SPARSE else asked, "torch", what)


def _require(asked: str | None, fitting: str, what: str) -> None:
    if asked is not None and asked != fitting:
        inside = f"{fitting}-{asked}"  # as a provider of onnxruntime, it may
        raise UserError(
            f"The runtime {asked} cannot run {what}, {fitting} can; leave the runtime out, "
            f"{f'write {inside}, ' if inside in RUNTIMES else ''}or export the network for the "
            "one you want."
        )
