"""ONNX files in OpenVINO, on the CPU: ours, with the card inside, and other people's.

Left alone, OpenVINO computes a float32 network in bfloat16 where the processor can. Here the file
decides: a float32 file is computed in float32, a bf16 file in bfloat16, 8-bit convolutions as
such; and what the compiled network computes in is read back. torch is never imported here.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray

from srdeploy.errors import UserError
from srdeploy.models.card import CARD_KEY
from srdeploy.runtime.onnx.file import GraphPort, OnnxFileSession, as_text, last_clause
from srdeploy.runtime.patience import patience, within
from srdeploy.runtime.session import default_threads
from srdeploy.runtime.table import OPENVINO
from srdeploy.util.files import require_file

DEVICE = "CPU"

_CONVOLUTIONS = ("Convolution", "Deconvolution")
_PRECISIONS = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "u8": "int8", "i8": "int8"}
_TYPES = {"f32": "float32", "f16": "float16"}


class OpenvinoSession(OnnxFileSession):
    """One ONNX file, compiled and ready.

    Attributes:
        precision: What its convolutions compute in, read back from the compiled network; several
            joined by ``+``, the commonest first.
    """

    runtime: ClassVar[str] = "openvino"

    def __init__(
        self,
        path: str | Path,
        *,
        threads: int | None = None,
        value_range: float | None = None,
        scale: int | None = None,
    ) -> None:
        """Compile a file.

        Args:
            path: The ONNX file.
            threads: Threads of one run; default as in :func:`default_threads`.
            value_range: 1 or 255; only for a file without a card, which can't tell.
            scale: Only for a file without a card whose output is as large as its input.

        Raises:
            UserError: OpenVINO is missing; no such file, not ONNX, truncated, more than one input
                or output, or a file without a card and no ``value_range``.
        """
        file = Path(path)
        if not (found := OPENVINO.availability()):
            raise UserError(f"Running '{file}' in OpenVINO is not possible: {found.reason}.")
        require_file(file)
        import openvino as ov

        def load() -> tuple[Any, Any]:
            core = ov.Core()
            model = core.read_model(str(file))
            wanted = "bf16" if _in_bfloat16(model) and _has_bfloat16(core) else "f32"
            compiled = core.compile_model(
                model,
                DEVICE,
                {
                    "INFERENCE_NUM_THREADS": threads or default_threads(),
                    "NUM_STREAMS": 1,
                    "PERFORMANCE_HINT": "LATENCY",
                    "INFERENCE_PRECISION_HINT": wanted,
                },
            )
            return model, compiled

        try:
            model, self._compiled = within(patience(), load, f"'{file}' was not opened")
            self._request: Any = self._compiled.create_infer_request()
            self.precision = _precision(self._compiled)
            with as_text(file):
                inputs = [_end(value) for value in model.inputs]
                outputs = [_end(value) for value in model.outputs]
                card = _card(model)
        except UserError:
            raise
        except Exception as error:  # plain RuntimeErrors, of several lines
            raise UserError(
                f"'{file}' is not an ONNX file that OpenVINO {ov.__version__} can load "
                f"({_reason(error)}); it may be truncated or of another format."
            ) from error
        super().__init__(
            file,
            inputs,
            outputs,
            card,
            threads=threads,
            value_range=value_range,
            scale=scale,
        )

    def close(self) -> None:
        """Give the memory and the threads back."""
        self._request = self._compiled = None

    def _infer(self, x: NDArray) -> NDArray:
        # The copy out is the price of results that the next run does not overwrite.
        return self._request.infer([x], share_inputs=True)[0]

    def _stop(self) -> None:
        self._request.cancel()


def _in_bfloat16(model: Any) -> bool:
    """Whether the file holds bfloat16 convolutions and no others that are not 8 bits wide."""
    kinds = {
        str(op.input(1).get_source_output().get_element_type().get_type_name())
        for op in model.get_ops()
        if op.get_type_name() in ("Convolution", "GroupConvolution", "ConvolutionBackpropData")
    }
    return kinds == {"bf16"}


def _has_bfloat16(core: Any) -> bool:
    return "BF16" in core.get_property(DEVICE, "OPTIMIZATION_CAPABILITIES")


def _precision(compiled: Any) -> str | None:
    counts: Counter[str] = Counter()
    for op in compiled.get_runtime_model().get_ops():
        told = op.get_rt_info()
        if told["layerType"].value in _CONVOLUTIONS:
            kind = told["runtimePrecision"].value
            counts[_PRECISIONS.get(kind, kind)] += 1
    return "+".join(name for name, _ in counts.most_common()) or None


def _card(model: Any) -> str | None:
    """OpenVINO keeps an ONNX file's metadata under ``framework``."""
    path = ["framework", CARD_KEY]
    return str(model.get_rt_info(path).value) if model.has_rt_info(path) else None


def _end(value: Any) -> GraphPort:
    kind = value.get_element_type().get_type_name()
    shape = tuple(n.get_length() if n.is_static else None for n in value.get_partial_shape())
    return GraphPort(value.get_any_name(), _TYPES.get(kind, kind), shape)


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return last_clause(RuntimeError((telling or lines or [""])[-1]))
