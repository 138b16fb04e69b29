"""What pnnx cannot put into ncnn's layers, in operations that it can.

* Normalisation over groups of channels: a mean over a group is the mean of its channels' means, so
  a global pooling and a 1x1 convolution that averages within groups find it at any size, without
  the shape arithmetic that brings the channels back.
* Interpolation to the size of another tensor (ESA's coarse grid, laid over the image), or a crop to
  it (SMSR's masks at odd sizes): ncnn's ``Interp`` and ``Crop`` follow the size of a second tensor,
  which pnnx does not know. So pnnx is given a stand-in that has the right shape at every size: one
  channel of that tensor and the global mean of the other, joined by an operation that no network
  joins two such things by.
* Comparisons of which 0 or 1 becomes: a difference, made large and clipped. It is made large in
  steps that half floats hold, and is exact for what differs by more than 1e-13.
* A part of no channels (of a split that leaves none) is not concatenated, and what nobody reads is
  not split off.
* Means over windows that reach over the edge count what is there, without padding too: ncnn would
  count what is not there if padding were counted.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, shape_inference

from srdeploy.exporting.precision.graph import constant, drop_unread, store, with_outputs
from srdeploy.runtime.ncnn.param import Layer, Param

_RESIZES = {
    ("nearest", "asymmetric"): ("Max", 4, 1),
    ("linear", "half_pixel"): ("Pow", 6, 2),
    ("linear", "pytorch_half_pixel"): ("Pow", 6, 2),
    ("cubic", "half_pixel"): ("Min", 5, 3),
    ("cubic", "pytorch_half_pixel"): ("Min", 5, 3),
}
"""By ``mode`` and ``coordinate_transformation_mode`` of a Resize: the operation that stands for it,
what that is among ncnn's ``BinaryOp``, and what the mode is in ncnn's ``Interp``."""

_CROP = ("Pow", 6)
"""Stands for a crop, the mean first."""

_SIZE_INPUT = {"Resize": 3, "Slice": 2}
"""Which input of an operation is a size."""

_LARGER, _TIMES = 2.0**15, 3
"""A difference is made so much larger, so many times."""

PROBES = ((64, 128), (192, 64))
"""Heights and widths that networks are run on, to see which tensors have the size of which;
multiples of what windows are wide."""


def lower_for_pnnx(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that pnnx converts, after which :func:`with_sizes_followed` is due.

    Args:
        model: float32, with one input.
    """
    lowered = onnx.ModelProto()
    lowered.CopyFrom(model)
    _drop_empty(lowered)
    _cut_what_is_read(lowered.graph)
    _lower_group_norms(lowered)
    _stand_in(lowered)
    _lower_comparisons(lowered)
    for node in lowered.graph.node:
        told = {one.name: one for one in node.attribute}
        padded = "pads" in told and any(told["pads"].ints)
        if node.op_type == "AveragePool" and "count_include_pad" in told and not padded:
            told["count_include_pad"].i = 0
    read = {value.name for value in lowered.graph.output}
    kept = list[onnx.NodeProto]()
    for node in reversed(lowered.graph.node):
        if read.intersection(node.output):
            kept.append(node)
            read.update(node.input)
    del lowered.graph.node[:]
    lowered.graph.node.extend(reversed(kept))
    drop_unread(lowered.graph)
    return lowered


def with_sizes_followed(structure: Param) -> Param:
    """A structure that pnnx made of a lowered graph, with layers in place of their stand-ins."""
    modes = {operation: mode for _, operation, mode in _RESIZES.values()}
    makers = {name: line for line in structure.layers for name in line.outputs}
    lines = list[Layer]()
    for line in structure.layers:
        sides = [side for name in line.inputs if (side := _maker(name, makers)) is not None]
        operation = line.number(0) if line.kind == "BinaryOp" else None
        match [side.kind for side in sides]:
            case ["Crop", "Pooling"] if operation in modes:
                ends = (sides[1].inputs[0], line.inputs[0])
                settings = (f"0={modes[operation]}", "5=1", "6=0")
                line = Layer("Interp", line.name, ends, line.outputs, settings)
            case ["Pooling", "Crop"] if operation == _CROP[1]:
                ends = (sides[0].inputs[0], line.inputs[1])
                line = Layer("Crop", line.name, ends, line.outputs)
        lines.append(line)
    return _split(_read_layers(lines, structure.outputs))


def _maker(name: str, makers: dict[str, Layer]) -> Layer | None:
    """The layer that computes a tensor, past what copies it or gives it its dimensions back."""
    found = makers.get(name)
    while found is not None and found.kind in ("Split", "Reshape"):
        found = makers.get(found.inputs[0])
    return found


def _read_layers(lines: list[Layer], ends: tuple[str, ...]) -> list[Layer]:
    """Without layers, and copies, that nothing reads."""
    read, kept = set(ends), list[Layer]()
    for line in reversed(lines):
        outputs = tuple(name for name in line.outputs if name in read)
        if outputs or line.kind == "Input":
            kept.append(replace(line, outputs=outputs) if line.kind == "Split" else line)
            read.update(line.inputs)
    return kept[::-1]


def _split(lines: list[Layer]) -> Param:
    """With a copy for each reader of a tensor: ncnn gives a tensor away with its first reader."""
    count = Counter(name for line in lines for name in line.inputs)
    copies = {name: [f"{name}_{n}" for n in range(times)] for name, times in count.items()}
    found = list[Layer]()
    for line in lines:
        inputs = tuple(copies[name].pop() if count[name] > 1 else name for name in line.inputs)
        found.append(replace(line, inputs=inputs))
        for name in line.outputs:
            if count[name] > 1:
                outputs = tuple(reversed(copies[name]))
                found.append(Layer("Split", f"split_{name}", (name,), outputs))
    return Param(tuple(found))


def _drop_empty(model: onnx.ModelProto) -> None:
    """Concatenate nothing of no channels."""
    graph = model.graph
    makers = {name: node.op_type for node in graph.node for name in node.output}
    joins = [node for node in graph.node if node.op_type == "Concat"]
    cut = {name for node in joins for name in node.input if makers.get(name) in ("Slice", "Split")}
    empty = {name for name, found in _shapes(model, cut).items() if 0 in found[0]} if cut else set()
    for node in joins:
        kept = [name for name in node.input if name not in empty]
        if 0 < len(kept) < len(node.input):
            del node.input[:]
            node.input.extend(kept)
            if len(kept) == 1:
                node.op_type = "Identity"
                del node.attribute[:]


def _cut_what_is_read(graph: onnx.GraphProto) -> None:
    """Slices for a split of which not all is read: pnnx takes the rest for outputs."""
    read = {value.name for value in graph.output}.union(*(node.input for node in graph.node))
    stored = {tensor.name for tensor in graph.initializer}
    nodes = list[onnx.NodeProto]()
    for node in graph.node:
        known = node.op_type == "Split" and stored.issuperset(node.input[1:2] or [""])
        if not known or read.issuperset(node.output):
            nodes.append(node)
            continue
        axis = next((one.i for one in node.attribute if one.name == "axis"), 0)
        ends = np.cumsum(constant(graph, node.input[1]))
        for name, low, high in zip(node.output, (0, *ends), ends, strict=False):
            if name in read:
                sizes = [
                    store(graph, f"{name}.{part}", np.array([value]))
                    for part, value in (("from", low), ("to", high), ("axis", axis))
                ]
                nodes.append(helper.make_node("Slice", [node.input[0], *sizes], [name]))
    del graph.node[:]
    graph.node.extend(nodes)


def _lower_group_norms(model: onnx.ModelProto) -> None:
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    found: dict[str, tuple[onnx.NodeProto, str]] = {}
    for node in graph.node:
        norm = makers.get(node.input[0]) if node.op_type == "Reshape" else None
        before = makers.get(norm.input[0]) if norm is not None else None
        if norm is None or norm.op_type != "InstanceNormalization":
            continue
        if before is not None and before.op_type == "Reshape" and _is_plain(norm, graph):
            found[node.output[0]] = norm, before.input[0]
    shapes = _shapes(model, {*found, *(x for _, x in found.values())})
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        y = node.output[0]
        norm, x = found.get(y, (node, ""))
        # What is reshaped into groups, and back: in between lies one mean for each of them.
        if y not in shapes or shapes[y] != shapes.get(x):
            nodes.append(node)
            continue
        channels, groups = shapes[y][0][1], len(constant(graph, norm.input[1]))
        epsilon = next((one.f for one in norm.attribute if one.name == "epsilon"), 1e-5)
        nodes += _group_norm(graph, x, y, channels, groups, epsilon)
    del graph.node[:]
    graph.node.extend(nodes)


def _is_plain(norm: onnx.NodeProto, graph: onnx.GraphProto) -> bool:
    """Whether it neither scales nor shifts."""
    if not {tensor.name for tensor in graph.initializer}.issuperset(norm.input[1:]):
        return False
    factor, shift = (constant(graph, name) for name in norm.input[1:])
    return bool((factor == 1).all() and not shift.any())


def _group_norm(
    graph: onnx.GraphProto, x: str, y: str, channels: int, groups: int, epsilon: float
) -> list[onnx.NodeProto]:
    """``(x - mean) / sqrt(variance + epsilon)`` of groups, at any height and width."""
    each = channels // groups
    average = np.kron(np.eye(groups), np.full((each, each), 1 / each)).astype(np.float32)
    weight = store(graph, f"{y}.average", average[:, :, None, None])
    small = store(graph, f"{y}.epsilon", np.full((1, 1, 1, 1), epsilon, np.float32))
    nodes: list[onnx.NodeProto] = []

    def step(operator: str, *inputs: str, out: str = "") -> str:
        name = out or f"{y}.{len(nodes)}"
        nodes.append(helper.make_node(operator, inputs, [name], name=name))
        return name

    centred = step("Sub", x, step("Conv", step("GlobalAveragePool", x), weight))
    squares = step("GlobalAveragePool", step("Mul", centred, centred))
    variance = step("Add", step("Conv", squares, weight), small)
    step("Div", centred, step("Sqrt", variance), out=y)
    return nodes


def _stand_in(model: onnx.ModelProto) -> None:
    """Replace interpolations and crops to another tensor's size.

    Which tensor: one whose shape their size is computed from, and that has their height and width
    at two sizes of the image.
    """
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    found: dict[str, list[str]] = {}
    for node in graph.node:
        computed = node.input[_SIZE_INPUT.get(node.op_type, 0) :][:1]
        if node.op_type in _SIZE_INPUT and computed and computed[0] in makers:
            found[node.output[0]] = _measured(computed[0], makers)
    shapes = _shapes(model, {*found, *(name for names in found.values() for name in names)})
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        y = node.output[0]
        own = shapes.get(y, [])
        tensors = [
            name
            for name in found.get(y, [])
            if name in shapes and [shape[2:] for shape in shapes[name]] == [s[2:] for s in own]
        ]
        nodes += (tensors and own and _stand_in_for(node, graph, tensors[0], own[0][1])) or [node]
    del graph.node[:]
    graph.node.extend(nodes)


def _stand_in_for(
    node: onnx.NodeProto, graph: onnx.GraphProto, tensor: str, channels: int
) -> list[onnx.NodeProto]:
    """What stands for an interpolation or a crop to a tensor's size; nothing if ncnn has none."""
    image, y = node.input[0], node.output[0]

    def part(of: str, first: int, count: int, out: str) -> onnx.NodeProto:
        ends = [
            store(graph, f"{out}.{n}", np.array([v]))
            for n, v in enumerate((first, first + count, 1))
        ]
        return helper.make_node("Slice", [of, *ends], [out], name=out)

    made: list[onnx.NodeProto] = []
    if node.op_type == "Slice":
        stored = {one.name for one in graph.initializer}
        others = [name for n, name in enumerate(node.input) if n not in (0, 2)]
        if not stored.issuperset(others):
            return []
        first, axes, *steps = (constant(graph, name) for name in others)
        begins = dict(zip(axes.tolist(), first.tolist(), strict=True))
        if begins.get(2) or begins.get(3) or begins.get(0) or any((s != 1).any() for s in steps):
            return []
        if 1 in begins:
            made.append(part(image, begins[1], channels, f"{y}.part"))
            image = f"{y}.part"
        operation, count = _CROP[0], channels
    else:
        told = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        mode = told.get("mode", b"nearest").decode()
        place = told.get("coordinate_transformation_mode", b"half_pixel").decode()
        if (mode, place) not in _RESIZES:
            return []
        operation, count = _RESIZES[mode, place][0], 1
    joined = [f"{y}.channels", f"{y}.mean"]
    return [
        *made,
        part(tensor, 0, count, joined[0]),
        helper.make_node("GlobalAveragePool", [image], joined[1:], name=joined[1]),
        helper.make_node(
            operation, joined[::-1] if node.op_type == "Slice" else joined, [y], name=y
        ),
    ]


def _lower_comparisons(model: onnx.ModelProto) -> None:
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    one = store(graph, "comparison.one", np.array(1, np.float32))
    zero = store(graph, "comparison.zero", np.array(0, np.float32))
    larger = store(graph, "comparison.larger", np.array(_LARGER, np.float32))
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        to_float = node.op_type == "Cast" and any(
            one.name == "to" and one.i == onnx.TensorProto.FLOAT for one in node.attribute
        )
        compared = makers.get(node.input[0]) if to_float else None
        if compared is None or compared.op_type not in ("Greater", "Less"):
            nodes.append(node)
            continue
        y = node.output[0]
        sides = compared.input if compared.op_type == "Greater" else compared.input[::-1]
        nodes.append(helper.make_node("Sub", sides, [f"{y}.0"], name=f"{y}.0"))
        for n in range(1, _TIMES + 1):
            times, clipped = f"{y}.{n}.times", y if n == _TIMES else f"{y}.{n}"
            nodes.append(helper.make_node("Mul", [f"{y}.{n - 1}", larger], [times], name=times))
            nodes.append(helper.make_node("Clip", [times, zero, one], [clipped], name=clipped))
    del graph.node[:]
    graph.node.extend(nodes)


def _measured(size: str, makers: dict[str, onnx.NodeProto]) -> list[str]:
    """Tensors whose shapes a size is computed from."""
    waiting, seen, measured = [size], set[str](), list[str]()
    while waiting:
        node = makers.get(waiting.pop())
        if node is None or node.output[0] in seen:
            continue
        seen.add(node.output[0])
        if node.op_type == "Shape":
            measured.append(node.input[0])
        else:
            waiting += node.input
    return measured


def _shapes(model: onnx.ModelProto, tensors: set[str]) -> dict[str, list[tuple[int, ...]]]:
    """Of those that are images, float32 ``[N, C, H, W]``, at some sizes of the input.

    Empty where the network cannot run at them: pnnx then says what it cannot convert.
    """
    known = shape_inference.infer_shapes(model).graph
    asked = sorted(
        value.name
        for value in (*known.value_info, *known.input, *known.output)
        if value.name in tensors
        and value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        and len(value.type.tensor_type.shape.dim) == 4
    )
    if not asked:
        return {}
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(
        with_outputs(model, asked).SerializeToString(), options, ["CPUExecutionProvider"]
    )
    (image,) = session.get_inputs()
    found: dict[str, list[tuple[int, ...]]] = {name: [] for name in asked}
    for height, width in PROBES:
        try:
            x = np.full((1, image.shape[1], height, width), 0.5, np.float32)
            values = session.run(asked, {image.name: x})
        except Exception:  # onnxruntime's errors are of many classes
            return {}
        for name, value in zip(asked, values, strict=True):
            found[name].append(value.shape)
    return found
