"""A LiteRT program as the bytes of a ``.tflite`` file.

The format is LiteRT's schema (tflite/converter/schema/schema.fbs), by the classes that
``ai-edge-litert`` brings.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from srdeploy.exporting.litert.graph import Op, Program, Tensor
from srdeploy.models.card import CARD_KEY, Card

_OPTIONS = {
    "CONV_2D": "Conv2D",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2D",
    "TRANSPOSE_CONV": "TransposeConv",
    "AVERAGE_POOL_2D": "Pool2D",
    "MAX_POOL_2D": "Pool2D",
    "ADD": "Add",
    "SUB": "Sub",
    "MUL": "Mul",
    "DIV": "Div",
    "CONCATENATION": "Concatenation",
    "RESHAPE": "Reshape",
    "MEAN": "Reducer",
    "SUM": "Reducer",
    "REDUCE_MAX": "Reducer",
    "REDUCE_MIN": "Reducer",
    "SOFTMAX": "Softmax",
    "BATCH_MATMUL": "BatchMatMul",
    "STRIDED_SLICE": "StridedSlice",
    "RESIZE_BILINEAR": "ResizeBilinear",
    "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighbor",
    "DEPTH_TO_SPACE": "DepthToSpace",
    "SPACE_TO_DEPTH": "SpaceToDepth",
}
"""Operations whose options have fields that are written, and the name of those options."""

_INT8_VERSION = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "PRELU": 1, "RESHAPE": 1, "TILE": 1}
_HYBRID_VERSION = {"CONV_2D": 5, "DEPTHWISE_CONV_2D": 6}
"""Versions of operations that read 8 bits, where they are not 2; hybrid: with float inputs
(tflite/tools/versioning/op_version.cc)."""


def to_bytes(program: Program, card: Card | None = None) -> bytes:
    """The file; equal programs and cards give equal bytes.

    Args:
        program: What to write.
        card: Stored in the metadata under ``srdeploy.card``; None: none is.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model: Any = schema.ModelT()
    model.version, model.description = 3, "srdeploy"
    model.buffers = [_buffer(schema, b"")]  # the first one stands for none
    model.operatorCodes, graph = [], schema.SubGraphT()
    graph.name = "main"
    graph.tensors, graph.operators = [], []
    numbers: dict[int, int] = {}
    for tensor in program.tensors():
        numbers[id(tensor)] = len(graph.tensors)
        graph.tensors.append(_tensor(schema, model, tensor))
    codes: dict[tuple[str, int], int] = {}
    for op in program.ops:
        key = op.kind, version_of(op)
        if key not in codes:
            codes[key] = len(codes)
            model.operatorCodes.append(_code(schema, *key))
        graph.operators.append(_operator(schema, op, codes[key], numbers))
    graph.inputs, graph.outputs = [numbers[id(program.input)]], [numbers[id(program.output)]]
    model.subgraphs = [graph]
    if card is not None:
        entry: Any = schema.MetadataT()
        entry.name, entry.buffer = CARD_KEY, len(model.buffers)
        model.buffers.append(_buffer(schema, card.to_json().encode()))
        model.metadata = [entry]
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def version_of(op: Op) -> int:
    """The oldest version of an operation that computes what is asked."""
    dilated = max(op.options.get("dilationHFactor", 1), op.options.get("dilationWFactor", 1)) > 1
    kinds = [tensor.dtype for tensor in op.inputs]
    if op.kind == "DEQUANTIZE":
        return {"float16": 3, "int8": 2}.get(kinds[0], 1)
    if op.kind == "QUANTIZE":
        return 2 if kinds[0] == "int8" else 1
    if op.kind == "TRANSPOSE_CONV":
        return 3  # with a bias
    if "int8" in kinds:
        hybrid = "float32" in kinds and op.kind in _HYBRID_VERSION
        found = _HYBRID_VERSION[op.kind] if hybrid else _INT8_VERSION.get(op.kind, 2)
    else:
        found = 2 if op.kind == "DEPTHWISE_CONV_2D" and dilated else 1
    resized = op.kind.startswith("RESIZE") and True in op.options.values()
    return max(found, 3) if resized else found


def _buffer(schema: Any, content: bytes) -> Any:
    made = schema.BufferT()
    made.data = np.frombuffer(content, np.uint8) if content else None
    return made


def _tensor(schema: Any, model: Any, tensor: Tensor) -> Any:
    made = schema.TensorT()
    made.name, made.shape, made.hasRank = tensor.name, list(tensor.shape), True
    made.type = getattr(schema.TensorType, tensor.dtype.upper())
    made.buffer = 0
    if tensor.data is not None:
        assert tensor.data.dtype == tensor.dtype, f"{tensor.name} is not of its type"
        made.buffer = len(model.buffers)
        model.buffers.append(_buffer(schema, np.ascontiguousarray(tensor.data).tobytes()))
    if tensor.grid is not None:
        grid = schema.QuantizationParametersT()
        grid.scale = np.asarray(tensor.grid.scale, np.float32)
        grid.zeroPoint = np.asarray(tensor.grid.zero, np.int64)
        grid.quantizedDimension = tensor.grid.axis
        made.quantization = grid
    return made


def _code(schema: Any, kind: str, version: int) -> Any:
    made = schema.OperatorCodeT()
    made.builtinCode = getattr(schema.BuiltinOperator, kind)
    made.deprecatedBuiltinCode = min(made.builtinCode, 127)  # what old readers look at
    made.version = version
    return made


def _operator(schema: Any, op: Op, code: int, numbers: dict[int, int]) -> Any:
    made = schema.OperatorT()
    made.opcodeIndex = code
    made.inputs = [numbers[id(tensor)] for tensor in op.inputs]
    made.outputs = [numbers[id(op.output)]]
    if (name := _OPTIONS.get(op.kind)) is not None:
        options = getattr(schema, f"{name}OptionsT")()
        for key, value in op.options.items():
            assert hasattr(options, key), f"{op.kind} has no option {key}"
            setattr(options, key, _number(schema, key, value))
        made.builtinOptionsType = getattr(schema.BuiltinOptions, f"{name}Options")
        made.builtinOptions = options
    return made


def _number(schema: Any, key: str, value: Any) -> Any:
    """What the schema writes for a name."""
    if key == "padding":
        return getattr(schema.Padding, value)
    if key == "fusedActivationFunction":
        return getattr(schema.ActivationFunctionType, value)
    return value
