"""What a TFLite file tells without being run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srdeploy.errors import UserError
from srdeploy.models.card import CARD_KEY, Card
from srdeploy.util.files import require_file

MAGIC = b"TFL3"
"""Bytes 4 to 8 of every TFLite file."""

LAYOUT = "layout"
"""What the history's last step calls the order of axes; files without it have channels second."""

CHANNELS_LAST = "NHWC"

_WEIGHTED = {"CONV_2D": (0, 1), "DEPTHWISE_CONV_2D": (0, 1), "TRANSPOSE_CONV": (2, 1)}
"""Operations with weights, and which inputs image and weights are."""


def read_card(path: Path) -> Card:
    """The card in a TFLite file's metadata.

    Raises:
        UserError: no such file, truncated, not TFLite, or without a card.
    """
    from ai_edge_litert import schema_py_generated as schema

    require_file(path)
    data = path.read_bytes()
    if data[4:8] != MAGIC:
        raise UserError(f"'{path}' is no TFLite file.")
    try:
        model = schema.Model.GetRootAs(data, 0)
        for index in range(model.MetadataLength()):
            entry = model.Metadata(index)
            if entry.Name() == CARD_KEY.encode():
                text = model.Buffers(entry.Buffer()).DataAsNumpy().tobytes().decode()
                return Card.from_json(text, f"'{path}'")
    except UserError:
        raise
    except Exception as error:
        # A flatbuffer is read by offsets; those of a cut file lead outside it.
        raise UserError(f"'{path}' is truncated or damaged; export it again.") from error
    raise UserError(f"'{path}' has no srdeploy card; export it with `srdeploy export`.")


def names_of(enumeration: type) -> dict[int, str]:
    """What an enumeration of LiteRT's schema calls its values."""
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


def computed_in(path: Path) -> str | None:
    """What the convolutions of a file that LiteRT loads compute in, the commonest first.

    ``dynamic``: weights of 8 bits, and inputs that are rounded while it runs; ``fp16``: weights in
    float16, and arithmetic in it where a delegate has that. None: it has no convolution.
    """
    from ai_edge_litert import schema_py_generated as schema

    names, types = names_of(schema.BuiltinOperator), names_of(schema.TensorType)
    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    graph = model.Subgraphs(0)
    halves, found = set[int](), Counter[str]()
    for number in range(graph.OperatorsLength()):
        op = graph.Operators(number)
        kind = names.get(model.OperatorCodes(op.OpcodeIndex()).BuiltinCode(), "")

        def type_of(place: int, op: Any = op) -> str:
            return types.get(graph.Tensors(op.Inputs(place)).Type(), "")

        if kind == "DEQUANTIZE" and type_of(0) == "FLOAT16":
            halves.add(op.Outputs(0))
        elif kind in _WEIGHTED:
            image, weight = _WEIGHTED[kind]
            if op.Inputs(weight) in halves:
                found["fp16"] += 1
            elif type_of(weight) != "INT8":
                found["fp32"] += 1
            else:
                found["int8" if type_of(image) == "INT8" else "dynamic"] += 1
    return "+".join(name for name, _ in found.most_common()) or None


@dataclass(frozen=True)
class End:
    """The input or the output of a file.

    Attributes:
        name: What the file calls it.
        shape: As it lies in memory.
        dtype: float32 or int8.
        scale: Of 8 bits, and
        zero: their step for 0.
        channels_last: Whether channels are last in ``shape``.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    scale: float
    zero: int
    channels_last: bool

    @property
    def image_shape(self) -> tuple[int, ...]:
        """``[N, C, H, W]``."""
        n, *rest = self.shape
        return (n, rest[2], rest[0], rest[1]) if self.channels_last else self.shape

    def from_image(self, x: NDArray[np.float32]) -> NDArray:
        """An image ``[1, C, H, W]`` as the file takes it."""
        lying = x.transpose(0, 2, 3, 1) if self.channels_last else x
        if self.dtype == np.int8:
            lying = np.clip(np.rint(lying / np.float32(self.scale)) + self.zero, -128, 127)
        return np.ascontiguousarray(lying.astype(self.dtype))

    def to_image(self, y: NDArray) -> NDArray[np.float32]:
        """What came out as an image."""
        values = y.reshape(self.shape).astype(np.float32)
        if self.dtype == np.int8:
            values = (values - np.float32(self.zero)) * np.float32(self.scale)
        return values.transpose(0, 3, 1, 2) if self.channels_last else values


def read_ends(path: Path) -> tuple[End, End]:
    """Input and output of a file of ours.

    Raises:
        UserError: no such file, or one that is no TFLite file of ours with one input and output.
    """
    from ai_edge_litert import schema_py_generated as schema

    card = read_card(path)
    last: dict[str, Any] = card.history[-1] if card.history else {}
    try:
        graph = schema.Model.GetRootAs(path.read_bytes(), 0).Subgraphs(0)
        if (graph.InputsLength(), graph.OutputsLength()) != (1, 1):
            raise UserError(f"'{path}' has more than one input and one output.")
        ends = [graph.Tensors(graph.Inputs(0)), graph.Tensors(graph.Outputs(0))]
        given, made = (_end(schema, one, last.get(LAYOUT) == CHANNELS_LAST) for one in ends)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"'{path}' is truncated or damaged; export it again.") from error
    return given, made


def _end(schema: Any, tensor: Any, channels_last: bool) -> End:
    types = {schema.TensorType.FLOAT32: np.float32, schema.TensorType.INT8: np.int8}
    grid = tensor.Quantization()
    known = grid is not None and grid.ScaleLength() > 0
    shape = tuple(int(n) for n in tensor.ShapeAsNumpy())
    if len(shape) != 4:
        raise ValueError("not an image")
    return End(
        tensor.Name().decode(), shape, np.dtype(types[tensor.Type()]),
        float(grid.Scale(0)) if known else 1.0, int(grid.ZeroPoint(0)) if known else 0,
        channels_last,
    )  # fmt: skip
