"""What building an engine elsewhere needs to know of an ONNX file."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from srdeploy.errors import UserError
from srdeploy.exporting.precision.graph import convolution_kinds
from srdeploy.exporting.tensorrt.accept import require_onnx
from srdeploy.runtime.tensorrt.sidecar import Tensor

_DTYPES = {1: "float32", 10: "float16"}


@dataclass(frozen=True)
class EngineSource:
    """An ONNX file to build from.

    Attributes:
        path: The file here.
        input: Its input; -1 where a size is free.
        output: Its output.
        convolutions: How many convolutions it has in each precision.
    """

    path: Path
    input: Tensor
    output: Tensor
    convolutions: dict[str, int]

    @property
    def precision(self) -> str:
        """One precision, or ``mixed``."""
        return next(iter(self.convolutions)) if len(self.convolutions) == 1 else "mixed"

    @property
    def dynamic(self) -> bool:
        """Whether it has sizes to be fixed."""
        return -1 in self.input.shape

    @classmethod
    def read(cls, path: Path) -> EngineSource:
        """Read what building needs to know of a file.

        Raises:
            UserError: it is no ONNX file, or has other ends than one float image of each.
        """
        model = require_onnx(path.read_bytes(), f"'{path}'")
        if len(model.graph.input) != 1 or len(model.graph.output) != 1:
            raise UserError(f"'{path}' does not have one input and one output.")
        ends = []
        for value in (model.graph.input[0], model.graph.output[0]):
            tensor = value.type.tensor_type
            sizes = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim)
            if tensor.elem_type not in _DTYPES or len(sizes) != 4:
                raise UserError(f"'{value.name}' of '{path}' is no float image [N, C, H, W].")
            ends.append(Tensor(name=value.name, dtype=_DTYPES[tensor.elem_type], shape=sizes))
        counted = Counter(convolution_kinds(model).values())
        return cls(path, ends[0], ends[1], dict(sorted(counted.items())))
