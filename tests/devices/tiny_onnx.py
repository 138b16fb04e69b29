"""A network of one convolution as ONNX, made in a millisecond."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPTIONS = {"value_range": 255.0}
"""What opens it: it has no card."""


def tiny_onnx(path: Path, *, scale: int = 2, entry: str = "lr") -> Path:
    """Write one that upscales RGB by repeating pixels.

    Its weights are listed among the inputs, as older exporters do.

    Args:
        path: The file.
        scale: Upscaling factor.
        entry: What its input is called.
    """
    count = 3 * scale * scale
    weights = np.eye(3, dtype=np.float32).repeat(scale * scale, 0)[..., None, None]
    nodes = [
        helper.make_node("Conv", [entry, "w"], ["planes"]),
        helper.make_node("DepthToSpace", ["planes"], ["sr"], blocksize=scale, mode="CRD"),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            value(entry, TensorProto.FLOAT, ["N", 3, "H", "W"]),
            value("w", TensorProto.FLOAT, [count, 3, 1, 1]),
        ],
        [value("sr", TensorProto.FLOAT, ["N", 3, "HH", "WW"])],
        [numpy_helper.from_array(weights, "w")],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path
