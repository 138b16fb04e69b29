"""PixelShuffle in other words: the same movement of pixels by operators that a target runs well.

Three forms, all exact to the bit on finite values:

* ``crd``: one ``DepthToSpace`` in CRD order, what the exporters write.
* ``reshape``: three Reshapes and two Transposes that never leave four dimensions, for runtimes
  without DepthToSpace(CRD) or with a limit of four dimensions (the textbook form needs six).
* ``deconv``: one transposed convolution with fixed weights of ones and zeros, each channel its own
  group, for accelerators that run convolutions and little else. Every product is one value times
  one, plus zeros, so nothing is rounded; infinities would become NaN.

Source of the operation: Shi et al., CVPR 2016 (sub-pixel convolution); channel ``c*r*r + i*r + j``
goes to row ``h*r + i``, column ``w*r + j`` of channel ``c``.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from srdeploy.errors import SrdeployError, unknown_name
from srdeploy.exporting.probe import INPUT
from srdeploy.exporting.targets import AUTO, PIXEL_SHUFFLES

_MARGIN = 0.95
"""A form must need at most this share of the default's time to be preferred over it: timings of
equal programs scatter by a few percent, and a choice should not."""

_ROUNDS = 7


@dataclass(frozen=True)
class LoweringChoice:
    """Which form was taken, and why.

    Attributes:
        form: ``crd``, ``reshape`` or ``deconv``.
        milliseconds: Median time of the whole network per form, where it was measured.
        size: Input height and width of the measurement.
    """

    form: str
    milliseconds: dict[str, float]
    size: tuple[int, int] | None

    def note(self) -> str:
        """For the export's report."""
        if self.size is None:
            return f"PixelShuffle as {self.form}: the target's default, its runtime is not here"
        height, width = self.size
        times = ", ".join(f"{form} {ms:.2f} ms" for form, ms in self.milliseconds.items())
        return (
            f"PixelShuffle as {self.form}, measured in onnxruntime on one thread at "
            f"{width}x{height}: {times}; another machine may choose otherwise"
        )


def lower_pixel_shuffle(model: onnx.ModelProto, form: str) -> onnx.ModelProto:
    """A copy of the model with every ``DepthToSpace`` in CRD order written in ``form``.

    Node names and output names stay, so that layers can be found; helpers are named after them.

    Args:
        model: Any ONNX model whose shuffles have a known number of channels.
        form: A name from :data:`PIXEL_SHUFFLES`.

    Raises:
        UserError: there is no such form.
        SrdeployError: a shuffle's channels cannot be inferred.
    """
    if form not in PIXEL_SHUFFLES:
        raise unknown_name("form of PixelShuffle", form, [*PIXEL_SHUFFLES, AUTO])
    lowered = onnx.ModelProto()
    lowered.CopyFrom(model)
    if form == "crd":
        return lowered
    write: Callable[..., list[onnx.NodeProto]] = {"reshape": _reshape, "deconv": _deconv}[form]
    types = _tensor_types(model)
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if not _is_crd(node):
            nodes.append(node)
            continue
        channels, kind = types.get(node.input[0], (None, TensorProto.FLOAT))
        block = _attribute(node, "blocksize")
        if not channels:
            raise SrdeployError(
                f"The channels that '{node.name}' shuffles cannot be inferred, so it cannot be "
                f"written as {form}; use crd, and report this network."
            )
        nodes += write(lowered.graph, node, channels // block**2, block, kind)
    del lowered.graph.node[:]
    lowered.graph.node.extend(nodes)
    return lowered


def choose_form(
    model: onnx.ModelProto,
    forms: Sequence[str],
    size: tuple[int, int],
    *,
    measure: bool = True,
    clock: Callable[[], float] = time.perf_counter,
) -> LoweringChoice:
    """The fastest form in onnxruntime on one thread; ``forms[0]`` unless another clearly wins.

    The forms take turns, after one unmeasured run each, and medians decide.

    Args:
        model: With its shuffles as ``DepthToSpace``.
        forms: What the target reads, its default first.
        size: Input height and width to measure at.
        measure: False where the target's runtime is not here: the default is taken.
        clock: Seconds.
    """
    if not measure or not any(_is_crd(node) for node in model.graph.node):
        return LoweringChoice(forms[0], {}, None)
    runs = {form: _runner(lower_pixel_shuffle(model, form), size) for form in forms}
    for run in runs.values():
        run()
    samples: dict[str, list[float]] = {form: [] for form in forms}
    for _ in range(_ROUNDS):
        for form, run in runs.items():
            started = clock()
            run()
            samples[form].append((clock() - started) * 1e3)
    times = {form: statistics.median(taken) for form, taken in samples.items()}
    best = min(times, key=lambda form: times[form])
    if times[best] > _MARGIN * times[forms[0]]:
        best = forms[0]
    return LoweringChoice(best, times, size)


def _runner(model: onnx.ModelProto, size: tuple[int, int]) -> Callable[[], Any]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    channels = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    x = np.random.default_rng(0).random((1, channels, *size), np.float32)
    return lambda: session.run(None, {INPUT: x})


def _reshape(
    graph: onnx.GraphProto, node: onnx.NodeProto, channels: int, r: int, kind: int
) -> list[onnx.NodeProto]:
    # Columns first: [N*C*i, j, H, W] -> [.., H, W, j] = [.., H, W*r]; then the rows alike. Heights
    # and widths are read off the input, so that any size runs and fixed sizes fold away.
    del kind
    name, x, y = node.name or node.output[0], node.input[0], node.output[0]
    made: list[onnx.NodeProto] = []

    def step(operator: str, inputs: list[str], out: str, **attributes: Any) -> str:
        made.append(
            helper.make_node(
                operator, inputs, [out], name=f"{name}/{out[len(y) + 1 :]}", **attributes
            )
        )
        return out

    def constant(tag: str, *values: int) -> str:
        graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), f"{y}.{tag}"))
        return f"{y}.{tag}"

    shape = step("Shape", [x], f"{y}.shape")
    sides = step("Slice", [shape, constant("two", 2), constant("four", 4)], f"{y}.sides")
    wide = step("Mul", [sides, constant("widen", 1, r)], f"{y}.wide")
    full = step("Mul", [sides, constant("grow", r, r)], f"{y}.full")
    rows = step("Concat", [constant("rows_head", -1, r), wide], f"{y}.rows", axis=0)
    image = step("Concat", [constant("image_head", -1, channels), full], f"{y}.image", axis=0)
    columns = constant("columns", -1, r, 0, 0)  # a zero keeps the input's size there
    a = step("Reshape", [x, columns], f"{y}.split_columns")
    a = step("Transpose", [a], f"{y}.columns_last", perm=[0, 2, 3, 1])
    a = step("Reshape", [a, rows], f"{y}.split_rows")
    a = step("Transpose", [a], f"{y}.rows_inside", perm=[0, 2, 1, 3])
    made.append(helper.make_node("Reshape", [a, image], [y], name=name))
    return made


def _deconv(
    graph: onnx.GraphProto, node: onnx.NodeProto, channels: int, r: int, kind: int
) -> list[onnx.NodeProto]:
    one = np.eye(r * r).reshape(r * r, 1, r, r)
    weight = np.tile(one, (channels, 1, 1, 1)).astype(helper.tensor_dtype_to_np_dtype(kind))
    name = f"{node.output[0]}.weight"
    graph.initializer.append(numpy_helper.from_array(weight, name))
    return [
        helper.make_node(
            "ConvTranspose",
            [node.input[0], name],
            [node.output[0]],
            name=node.name,
            strides=[r, r],
            kernel_shape=[r, r],
            group=channels,
        )
    ]


def _is_crd(node: onnx.NodeProto) -> bool:
    return node.op_type == "DepthToSpace" and _attribute(node, "mode") == b"CRD"


def _attribute(node: onnx.NodeProto, name: str) -> Any:
    found = [a for a in node.attribute if a.name == name]
    return helper.get_attribute_value(found[0]) if found else None


def _tensor_types(model: onnx.ModelProto) -> dict[str, tuple[int, int]]:
    """Channels and element type of every tensor, by shape inference."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    return {
        value.name: (
            value.type.tensor_type.shape.dim[1].dim_value,
            value.type.tensor_type.elem_type,
        )
        for value in (*inferred.value_info, *inferred.input, *inferred.output)
        if len(value.type.tensor_type.shape.dim) == 4
    }
