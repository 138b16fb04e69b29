"""Which operations of a ``.tflite`` file the GPU and NNAPI delegates take, by reading the file.

Sources: for GPU tflite/tools/versioning/gpu_compatibility.cc (google-ai-edge/LiteRT), which the
delegate itself asks; for NNAPI ``Validate`` in tensorflow/lite/delegates/nnapi/nnapi_delegate.cc
(tensorflow/tensorflow), for NNAPI 1.3 (Android 11) and later. What a phone's driver makes of it is
its own matter: this list says what reaches it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srdeploy.runtime.litert_file import names_of

GPU, NNAPI = "GPU", "NNAPI"
DELEGATES = (GPU, NNAPI)

_ANY = ("float32", "int8")
_FLOAT = ("float32",)
_RANK = 4


@dataclass(frozen=True)
class Row:
    """What the delegates take of an operation.

    Attributes:
        gpu: The GPU delegate takes it.
        nnapi: Types of its first input with which NNAPI takes it.
        version: The newest that NNAPI's delegate knows.
        remedy: What to do where one refuses it.
    """

    gpu: bool = True
    nnapi: tuple[str, ...] = _ANY
    version: int = 2
    remedy: str = "replace it in the network's code"


_IN_FLOAT = "export in fp32 or fp16, or keep its layer in float by --precision mixed"

ACCEPTED = {
    "ABS": Row(nnapi=_FLOAT, version=1, remedy=_IN_FLOAT),
    "ADD": Row(),
    "AVERAGE_POOL_2D": Row(),
    "BATCH_MATMUL": Row(nnapi=(), remedy="run it by the GPU delegate or the CPU"),
    "CONCATENATION": Row(),
    "CONV_2D": Row(version=5),
    "DEPTHWISE_CONV_2D": Row(version=3),
    "DEPTH_TO_SPACE": Row(),
    "DEQUANTIZE": Row(nnapi=("float16", "int8"), version=3),
    "DIV": Row(nnapi=_FLOAT, version=1, remedy=_IN_FLOAT),
    "ELU": Row(nnapi=_FLOAT, version=1, remedy=_IN_FLOAT),
    "EXP": Row(nnapi=_FLOAT, version=1, remedy=_IN_FLOAT),
    "FLOOR": Row(nnapi=_FLOAT, version=1, remedy=_IN_FLOAT),
    "HARD_SWISH": Row(),
    "LOG": Row(nnapi=_FLOAT, version=1, remedy=_IN_FLOAT),
    "LOGISTIC": Row(),
    "MAXIMUM": Row(version=3),
    "MAX_POOL_2D": Row(),
    "MEAN": Row(),
    "MINIMUM": Row(version=3),
    "MUL": Row(),
    "PAD": Row(),
    "PADV2": Row(),
    "POW": Row(nnapi=_FLOAT, version=1, remedy=_IN_FLOAT),
    "PRELU": Row(version=1),
    "QUANTIZE": Row(),
    "REDUCE_MAX": Row(),
    "REDUCE_MIN": Row(),
    "RELU": Row(),
    "RELU6": Row(),
    "RELU_N1_TO_1": Row(),
    "RESHAPE": Row(version=1),
    "RESIZE_BILINEAR": Row(version=3),
    "RESIZE_NEAREST_NEIGHBOR": Row(version=3),
    "REVERSE_V2": Row(nnapi=(), remedy="run it by the GPU delegate or the CPU"),
    "RSQRT": Row(nnapi=_FLOAT, version=1, remedy=_IN_FLOAT),
    "SLICE": Row(),
    "SOFTMAX": Row(),
    "SPACE_TO_DEPTH": Row(),
    "SQRT": Row(nnapi=_FLOAT, version=1, remedy=_IN_FLOAT),
    "STRIDED_SLICE": Row(),
    "SUB": Row(version=3),
    "SUM": Row(nnapi=_FLOAT, version=1, remedy=_IN_FLOAT),
    "TANH": Row(),
    "TILE": Row(version=1),
    "TRANSPOSE": Row(),
    "TRANSPOSE_CONV": Row(version=3),
}
"""By LiteRT's name. Not there: what neither takes, or only in cases (SELECT, comparisons)."""


@dataclass(frozen=True)
class Refused:
    """An operation that a delegate leaves to the CPU.

    Attributes:
        delegate: Which.
        operation: LiteRT's name.
        layer: The network's name for what it computes.
        why: In a few words.
        remedy: What to do.
    """

    delegate: str
    operation: str
    layer: str
    why: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.operation} of '{self.layer}' ({self.why}): {self.remedy}"


@dataclass(frozen=True)
class Accepted:
    """A file held against the list.

    Attributes:
        operations: How often each occurs.
        refused: What each delegate leaves out.
    """

    operations: dict[str, int]
    refused: tuple[Refused, ...] = ()

    def by(self, delegate: str) -> list[Refused]:
        """What one of them leaves out."""
        return [one for one in self.refused if one.delegate == delegate]

    def recorded(self) -> dict[str, str]:
        """For the card."""
        found = {}
        for delegate in DELEGATES:
            left = [f"{one.operation} of {one.layer} ({one.why})" for one in self.by(delegate)]
            found[delegate] = f"all but {', '.join(left)}" if left else "all operations"
        return found

    def told(self) -> list[str]:
        """For people, a line for each delegate."""
        total, lines = sum(self.operations.values()), []
        for delegate in DELEGATES:
            refused = self.by(delegate)
            line = f"{delegate} delegate: takes {total - len(refused)} of {total} operations"
            if refused:
                line += f"; not {'; '.join(map(str, refused[:_NAMED]))}"
                more = len(refused) - _NAMED
                line += f"; and {more} more" if more > 0 else ""
            lines.append(line)
        return lines


_NAMED = 5


def check_file(path: Path, layers: dict[str, str] | None = None) -> Accepted:
    """Hold a file against the list.

    Args:
        path: A ``.tflite`` file that LiteRT loads.
        layers: The network's names, by the names of tensors; None: the tensors' own.
    """
    from ai_edge_litert import schema_py_generated as schema

    names, types = names_of(schema.BuiltinOperator), names_of(schema.TensorType)
    model: Any = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    found, refused = Counter[str](), list[Refused]()
    for graph in model.subgraphs:
        for op in graph.operators:
            code = model.operatorCodes[op.opcodeIndex]
            tensors = [graph.tensors[n] for n in (*op.inputs, *op.outputs) if n >= 0]
            kind = names.get(code.builtinCode, "an unknown operation")
            if kind == "CUSTOM":
                kind = f"CUSTOM {(code.customCode or b'').decode(errors='replace')}"
            found[kind] += 1
            seen = _Seen(
                kind,
                code.version,
                [types[one.type].lower() for one in tensors],
                [[] if one.shape is None else [int(n) for n in one.shape] for one in tensors],
                [model.buffers[one.buffer].data is not None for one in tensors],
                len(op.inputs),
                op.builtinOptions,
            )
            result = tensors[-1].name
            told = result.decode() if isinstance(result, bytes) else str(result)
            layer = (layers or {}).get(told, told)
            for delegate, why, remedy in _complaints(seen):
                refused.append(Refused(delegate, kind, layer, why, remedy))
    return Accepted(dict(sorted(found.items())), tuple(refused))


@dataclass(frozen=True)
class _Seen:
    """An operation in a file; its tensors are its inputs and then its result."""

    kind: str
    version: int
    types: list[str]
    shapes: list[list[int]]
    stored: list[bool]
    inputs: int
    options: Any


def _complaints(op: _Seen) -> list[tuple[str, str, str]]:
    """Delegate, reason and remedy of each refusal."""
    row = ACCEPTED.get(op.kind)
    if row is None:
        unknown = Row(remedy="replace it in the network's code, or run it on the CPU")
        return [(one, "it is not on the delegate's list", unknown.remedy) for one in DELEGATES]
    found: list[tuple[str, str, str]] = []
    rank = max(map(len, op.shapes))
    if rank > _RANK:
        why = f"a tensor of {rank} dimensions"
        found += [(one, why, "use fewer dimensions in the network's code") for one in DELEGATES]
    if not row.gpu:
        found.append((GPU, "it is not on the delegate's list", row.remedy))
    elif why := _gpu(op):
        found.append((GPU, why, row.remedy))
    first = op.types[2] if op.kind == "TRANSPOSE_CONV" else op.types[0]
    if not row.nnapi:
        found.append((NNAPI, "it is not on the delegate's list", row.remedy))
    elif first not in (*row.nnapi, *(("float32",) if op.kind == "QUANTIZE" else ())):
        found.append((NNAPI, f"with {first}", row.remedy))
    elif op.version > row.version and not _hybrid(op):
        found.append((NNAPI, f"in version {op.version}", row.remedy))
    return found


def _hybrid(op: _Seen) -> bool:
    """8-bit weights beside a float input: NNAPI dequantises them while it builds its model."""
    return op.types[:2] == ["float32", "int8"]


def _gpu(op: _Seen) -> str:
    """Why the GPU delegate refuses it; '' if it does not."""
    for kinds, wrong in _GPU_RULES:
        if op.kind in kinds and (why := wrong(op)):
            return why
    return ""


def _fits(op: _Seen) -> str:
    one, two = op.shapes[:2]
    if min(len(one), len(two)) <= 1 or len(one) == len(two):
        return ""
    long, short = sorted((one, two), key=len, reverse=True)
    third = len(long) == 4 and len(short) == 3 and long[0] == 1
    second = len(long) == 4 and len(short) == 2
    single = second and long[0] == 1 and short == [1, 1]
    row = second and [long[0], long[3]] == short
    return "" if third or single or row else f"{long} and {short} do not fit"


def _cut(op: _Seen) -> str:
    return "" if len(op.shapes[0]) in (3, 4) else f"of {len(op.shapes[0])} dimensions"


def _pads(op: _Seen) -> str:
    return "" if op.shapes[1] in ([3, 2], [4, 2]) else f"of {op.shapes[1][0]} dimensions"


def _one_input(op: _Seen) -> str:
    computed = sum(not stored for stored in op.stored[: op.inputs])
    return "" if computed == 1 else f"{computed} computed inputs"


def _operands(op: _Seen) -> str:
    computed = sum(not stored for stored in op.stored[: op.inputs])
    return "" if computed in (1, 2) and op.inputs == 2 else f"{computed} computed inputs"


def _depthwise(op: _Seen) -> str:
    given, weight, bias, made = op.shapes[:4]
    fits = weight[3] == made[3] == given[3] * op.options.depthMultiplier
    return "" if fits and math.prod(bias) == made[3] else "its channels do not fit"


def _beta(op: _Seen) -> str:
    return "" if op.options.beta == 1 else "its beta is not 1"


def _axes(op: _Seen) -> str:
    return "" if op.stored[1] and op.types[1] == "int32" else "its axes are computed"


def _centres(op: _Seen) -> str:
    both = op.options.alignCorners and op.options.halfPixelCenters
    return "pixels are laid out in two ways" if both else ""


def _shrinks(op: _Seen) -> str:
    masks = (op.options.ellipsisMask, op.options.newAxisMask, op.options.shrinkAxisMask)
    return "it changes the number of dimensions" if op.options is not None and any(masks) else ""


_REDUCE = ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN")

_GPU_RULES: tuple[tuple[tuple[str, ...], Callable[[_Seen], str]], ...] = (
    (("ADD", "MUL"), _fits),
    (("SLICE", "STRIDED_SLICE"), _cut),
    (("PAD", "PADV2"), _pads),
    (("DEPTHWISE_CONV_2D",), _depthwise),
    (("SOFTMAX",), _beta),
    (_REDUCE, _axes),
    (("SUB", "DIV", "POW", "MAXIMUM", "MINIMUM"), _operands),
    (("RESIZE_BILINEAR",), _centres),
    (("ABS", "EXP", "LOG", "LOGISTIC", "RSQRT", "SQRT", "TANH", "ELU", "FLOOR"), _one_input),
    (("DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "RESHAPE", "TRANSPOSE", "TILE"), _one_input),
    (("AVERAGE_POOL_2D", "MAX_POOL_2D", *_REDUCE, "PAD", "PADV2"), _one_input),
    (("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"), _one_input),
)
"""Operations and what the delegate wants of them."""
