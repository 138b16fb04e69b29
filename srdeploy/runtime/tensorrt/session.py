"""TensorRT engines on an NVIDIA GPU, and polite refusals everywhere else.

The refusal comes before TensorRT is asked: an engine for another GPU, TensorRT or platform is
recognised by its sidecar. torch is never imported here.
"""

from __future__ import annotations

import importlib
from math import prod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from srdeploy.errors import SrdeployError, UserError
from srdeploy.runtime.session import Session
from srdeploy.runtime.sizes import InputSizes
from srdeploy.runtime.table import RUNTIMES
from srdeploy.runtime.tensorrt.cuda import Cuda, Gpu
from srdeploy.runtime.tensorrt.sidecar import Sidecar, read_sidecar, require_whole, this_platform

_DTYPES: dict[str, type] = {"float32": np.float32, "float16": np.float16}


class EngineSession(Session):
    """One engine on the first visible GPU.

    A run copies the input to the GPU, computes and copies the result back, and returns when that
    is done: its time is the end-to-end latency. Memory is kept between runs of one shape.

    Attributes:
        facts: The engine's sidecar.
        gpu: What it runs on.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        threads: int | None = None,
        cuda: Cuda | None = None,
        api: Any = None,
    ) -> None:
        """Load an engine and its sidecar.

        Args:
            path: The ``.engine`` file.
            threads: Noted only: the GPU does the work.
            cuda: The driver; for tests.
            api: The ``tensorrt`` module; for tests.

        Raises:
            UserError: a missing, truncated or foreign file; no GPU; or the engine was built for
                another GPU, TensorRT or platform.
        """
        self.path = Path(path)
        self.facts = read_sidecar(path)
        if self.facts.builder != self.runtime:
            raise UserError(f"'{path}' is an engine of {self.facts.builder}, not {self.runtime}.")
        require_whole(path, self.facts)
        self._cuda = cuda or Cuda()
        self._buffers: dict[str, tuple[int, int]] = {}
        self._runtime: Any = None
        try:
            self.gpu = self._cuda.gpu()
            self._api = api or _import(self.runtime)
            require_device(self.path, self.facts, self.gpu, self._api.__version__)
            self._engine, self._context = self._load()
        except BaseException:
            self._cuda.close()
            raise
        super().__init__(self.facts.card, threads or 1)

    @property
    def sizes(self) -> InputSizes | None:
        """See :class:`Session`."""
        low, high = self.facts.profile.min[2:], self.facts.profile.max[2:]
        return InputSizes((low,)) if low == high else InputSizes(low=low, high=high)

    def close(self) -> None:
        """Free the engine, its memory and the GPU's context."""
        if self._context is not None:
            self._context = self._engine = self._runtime = None
            self._buffers.clear()
            self._cuda.close()

    def _load(self) -> tuple[Any, Any]:
        errors: list[str] = []
        self._logger = _quiet_logger(self._api, errors)  # must outlive the engine
        self._runtime = self._api.Runtime(self._logger)
        engine = self._runtime.deserialize_cuda_engine(self.path.read_bytes())
        context = engine.create_execution_context() if engine is not None else None
        if context is None:
            reason = " ".join(errors[0].split())[:200] if errors else "no reason given"
            raise UserError(
                f"TensorRT cannot load '{self.path}' on this {self.gpu.name} ({reason}); "
                f"run `srdeploy rebuild {self.path}`."
            )
        return engine, context

    def _run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        facts = self.facts
        if not facts.profile.holds(x.shape):
            raise UserError(
                f"'{self.path.name}' takes {facts.profile}, not {'x'.join(map(str, x.shape))}; "
                "export it with another --input, or give an image of that size."
            )
        feed: NDArray = np.ascontiguousarray(x, dtype=_DTYPES[facts.input.dtype])
        context = self._context
        if not context.set_input_shape(facts.input.name, x.shape):
            raise SrdeployError(f"TensorRT refuses the shape {x.shape} that its profile holds.")
        shape = tuple(context.get_tensor_shape(facts.output.name))
        dtype = _DTYPES[facts.output.dtype]
        source = self._buffer(facts.input.name, feed.nbytes)
        result = self._buffer(facts.output.name, prod(shape) * np.dtype(dtype).itemsize)
        context.set_tensor_address(facts.input.name, source)
        context.set_tensor_address(facts.output.name, result)
        self._cuda.upload(feed, source)
        if not context.execute_async_v3(self._cuda.stream):
            raise SrdeployError(f"TensorRT failed on an input of shape {x.shape}.")
        return self._cuda.download(result, shape, dtype).astype(np.float32, copy=False)

    def _buffer(self, name: str, size: int) -> int:
        address, held = self._buffers.get(name, (0, -1))
        if held < size:
            if held >= 0:
                self._cuda.free(address)
                del self._buffers[name]
            address = self._cuda.allocate(size)
            self._buffers[name] = (address, size)
        return address


class TensorrtSession(EngineSession):
    """An engine of TensorRT."""

    runtime: ClassVar[str] = "tensorrt"


class TensorrtRtxSession(EngineSession):
    """An engine of TensorRT-RTX; the first run compiles its kernels for the GPU at hand."""

    runtime: ClassVar[str] = "tensorrt_rtx"


def require_device(path: Path, facts: Sidecar, gpu: Gpu, version: str) -> None:
    """See that an engine may run here.

    TensorRT's engines want the very version that built them; RTX's run under later ones too, but
    not under earlier ones.

    Raises:
        UserError: another GPU, TensorRT or platform.
    """
    remedy = f"run `srdeploy rebuild {path}` here"
    if gpu.capability not in facts.capabilities:
        raise UserError(
            f"'{path}' is for GPUs of compute capability {', '.join(facts.capabilities)}, and this "
            f"{gpu.name} has {gpu.capability}; {remedy}."
        )
    if facts.platform != this_platform():
        raise UserError(
            f"'{path}' was built on {facts.platform} and does not run on {this_platform()}; "
            f"{remedy}."
        )
    if facts.builder == "tensorrt":
        fits = version == facts.version
    else:
        fits = _numbers(version) >= _numbers(facts.version)
    if not fits:
        raise UserError(
            f"'{path}' was built by {facts.builder} {facts.version}, and {version} is installed; "
            f"{remedy}."
        )


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdecimal()]


def _import(name: str) -> Any:
    if not (found := RUNTIMES[name].module.availability()):
        raise UserError(f"Running this engine needs {name}: {found.reason}.")
    return importlib.import_module(name)


def _quiet_logger(api: Any, errors: list[str]) -> Any:
    class Logger(api.ILogger):
        def __init__(self) -> None:
            api.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if "ERROR" in str(severity):
                errors.append(message)

    return Logger()
