"""ONNX files in ONNX Runtime: ours, with the card inside, and other people's.

torch is never imported here, so that a measured process holds the runtime and little else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import onnxruntime as ort
from numpy.typing import NDArray

from srdeploy.errors import UserError
from srdeploy.models.card import CARD_KEY
from srdeploy.runtime.onnx.file import GraphPort, NotComputed, OnnxFileSession, as_text, last_clause
from srdeploy.runtime.onnx.providers import (
    PROVIDERS,
    ask_for_placement,
    check_placement,
    provider_list,
    with_options,
)
from srdeploy.runtime.patience import patience, within
from srdeploy.runtime.session import default_threads
from srdeploy.util.files import require_file

_FATAL_ONLY = 4  # of onnxruntime's severities: its errors arrive as exceptions
_TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16"}


class OnnxSession(OnnxFileSession):
    """One ONNX file, loaded and ready.

    Operators run one after another, each on ``threads`` threads. A subclass per execution provider
    follows below; its provider must take convolutions, and ``notes`` tell what it leaves.

    Attributes:
        provider: Execution provider, by our name.
        providers: Those in use by onnxruntime's names, best first.
    """

    runtime: ClassVar[str] = "onnxruntime"
    provider: ClassVar[str] = "cpu"

    def __init__(
        self,
        path: str | Path,
        *,
        threads: int | None = None,
        value_range: float | None = None,
        scale: int | None = None,
    ) -> None:
        """Load a file.

        Args:
            path: The ONNX file.
            threads: Threads of one operator; default as in :func:`default_threads`.
            value_range: 1 or 255; only for a file without a card, which can't tell.
            scale: Only for a file without a card whose output is as large as its input: it wants
                its input upscaled by this factor.

        Raises:
            UserError: no such file, not ONNX, truncated, more than one input or output, a provider
                that is not here, does not start or takes nothing, or a file without a card and no
                ``value_range``.
            NotComputed: the file is in bfloat16.
        """
        file = Path(path)
        self._options = ort.RunOptions()
        self._options.log_severity_level = _FATAL_ONLY
        self._session = self._load(file, threads or default_threads())
        self.providers: list[str] = self._session.get_providers()
        if self.provider != "cpu":
            self.notes = check_placement(self._session, PROVIDERS[self.provider], file)
        with as_text(file):
            inputs = [_end(value) for value in self._session.get_inputs()]
            outputs = [_end(value) for value in self._session.get_outputs()]
            card = self._session.get_modelmeta().custom_metadata_map.get(CARD_KEY)
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
        self._session = None

    def _infer(self, x: NDArray) -> NDArray:
        (y,) = self._session.run([self._output.name], {self._input.name: x}, self._options)
        return y

    def _stop(self) -> None:
        self._options.terminate = True

    def _load(self, path: Path, threads: int) -> Any:
        providers = with_options(provider_list(self.provider), threads)
        require_file(path)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # From the second run of a size on, a pattern takes a block of its own beside what the first
        # one took: twice the memory of a tile, and measured no faster.
        options.enable_mem_pattern = False
        options.log_severity_level = _FATAL_ONLY
        if self.provider != "cpu":
            ask_for_placement(options)
        try:
            model = self._model(path)
            return within(
                patience(),
                lambda: ort.InferenceSession(model, options, providers=providers),
                f"'{path}' was not opened",
            )
        except UserError:
            raise
        except Exception as error:  # onnxruntime's errors share no base class
            if "NOT_IMPLEMENTED" in str(error) and holds_bfloat16(_read(path)):
                raise NotComputed(
                    f"'{path}' is in bf16, for which onnxruntime {ort.__version__} has no "
                    f"convolution on {self.provider}; --runtime openvino computes "
                    "it (pip install 'srdeploy[openvino]'), --runtime onnx-reference gives its "
                    "results without speed."
                ) from error
            if "fallback to CPU EP has been explicitly disabled" in str(error):
                raise UserError(
                    f"onnxruntime's {self.provider} provider does not take all of "
                    f"'{path.name}'; leave the provider out, or install onnxruntime 1.24 or later, "
                    "which tells what it leaves."
                ) from error
            raise UserError(
                f"'{path}' is not an ONNX file that onnxruntime {ort.__version__} can load "
                f"({last_clause(error)}); it may be truncated or of another format."
            ) from error

    def _model(self, path: Path) -> str | bytes:
        """What onnxruntime is given: the file."""
        return str(path)


class OnnxCudaSession(OnnxSession):
    """In onnxruntime on an NVIDIA GPU."""

    runtime = "onnxruntime-cuda"
    provider = "cuda"


class OnnxTensorrtSession(OnnxSession):
    """In onnxruntime, which hands the graph to TensorRT."""

    runtime = "onnxruntime-tensorrt"
    provider = "tensorrt"


class OnnxOpenvinoSession(OnnxSession):
    """In onnxruntime, which hands the graph to OpenVINO."""

    runtime = "onnxruntime-openvino"
    provider = "openvino"


class OnnxCoremlSession(OnnxSession):
    """In onnxruntime, which hands the graph to Core ML."""

    runtime = "onnxruntime-coreml"
    provider = "coreml"


class OnnxDirectmlSession(OnnxSession):
    """In onnxruntime on DirectX 12."""

    runtime = "onnxruntime-directml"
    provider = "directml"


def _end(value: Any) -> GraphPort:
    return GraphPort(value.name, _TYPES.get(value.type, f"a {value.type}"), tuple(value.shape))


def holds_bfloat16(model: Any) -> bool:
    """Whether a graph (``onnx.ModelProto``) stores weights in bfloat16."""
    import onnx

    return any(t.data_type == onnx.TensorProto.BFLOAT16 for t in model.graph.initializer)


def _read(path: Path) -> Any:
    import onnx

    return onnx.load(str(path), load_external_data=False)
