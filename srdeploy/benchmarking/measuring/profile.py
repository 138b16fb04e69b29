"""Time per layer inside onnxruntime, from its own profiler.

Several files take turns, one run each, so that a machine that slows down slows all of them.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from srdeploy.errors import UserError
from srdeploy.exporting.layers import layer_name
from srdeploy.runtime.patience import patience, within

CONVOLUTIONS = {"Conv", "FusedConv", "QLinearConv", "NhwcFusedConv", "ConvTranspose"}
"""Operators of onnxruntime that are a layer of their own; the rest are counted by operator."""

_SUFFIX = "_kernel_time"
_DECORATION = re.compile(r"(_nchwc|_token_\d+|_nhwc|/duplicated)+$")


@dataclass(frozen=True)
class LayerTime:
    """One convolution as onnxruntime ran it.

    Attributes:
        layer: Its name, see :func:`srdeploy.exporting.layers.layer_name`.
        inputs: Input channels.
        outputs: Output channels.
        macs: Multiply-accumulates of the mathematics, without padding.
        ms: Median time.
        bytes: Tensors and weights read, result written, as the runtime lays them out.
        computed: Output channels that the runtime computes, padding included.
        operator: What it ran as; ``QLinearConv`` computes in 8 bits.
    """

    layer: str
    inputs: int
    outputs: int
    macs: int
    ms: float
    bytes: int
    computed: int
    operator: str


@dataclass(frozen=True)
class Profile:
    """Median times of one file.

    Attributes:
        layers: Its convolutions, in the order run.
        others: Milliseconds of everything else, by operator.
    """

    layers: list[LayerTime]
    others: dict[str, float] = field(default_factory=dict)

    @property
    def ms(self) -> float:
        """All operators together."""
        return sum(layer.ms for layer in self.layers) + sum(self.others.values())

    @property
    def macs(self) -> int:
        """All convolutions together."""
        return sum(layer.macs for layer in self.layers)


def profile(
    files: Sequence[tuple[Path, NDArray[np.float32]]],
    *,
    threads: int,
    warmup: int = 3,
    runs: int = 20,
) -> list[Profile]:
    """Profile ONNX files in turns.

    Args:
        files: Each with its input.
        threads: CPU threads of one operator.
        warmup: Runs of each thrown away, and
        runs: runs of each that count.

    Raises:
        UserError: onnxruntime cannot run a file.
    """
    with tempfile.TemporaryDirectory() as folder:
        # A number for each: files of one name, opened within a second, would share a journal.
        sessions = [
            _session(path, threads, Path(folder) / str(number))
            for number, (path, _) in enumerate(files)
        ]
        for number in range(warmup + runs):
            turn = list(zip(sessions, files, strict=True))
            for session, (path, x) in turn if number % 2 == 0 else reversed(turn):
                given = session.get_inputs()[0]
                feed = x.astype(np.float16) if given.type == "tensor(float16)" else x
                _run(session, {given.name: feed}, path, in_time=number == 0)
        found = [json.loads(Path(s.end_profiling()).read_text()) for s in sessions]
    return [
        summarise(events, onnx.load(str(path)), x.shape, warmup)
        for events, (path, x) in zip(found, files, strict=True)
    ]


def _session(path: Path, threads: int, journal: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 4
    options.enable_profiling = True
    options.profile_file_prefix = str(journal)
    with _profiled(path):
        return within(
            patience(),
            lambda: ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]),
            f"'{path}' was not opened",
        )


def _run(
    session: ort.InferenceSession, feed: dict[str, np.ndarray], path: Path, in_time: bool
) -> None:
    with _profiled(path):
        if not in_time:  # it has shown that it ends, and a thread of its own would cost time
            session.run(None, feed)
            return
        options = ort.RunOptions()
        options.log_severity_level = 4
        within(
            patience(),
            lambda: session.run(None, feed, options),
            f"'{path}' did not finish its first run",
            lambda: setattr(options, "terminate", True),
        )


@contextmanager
def _profiled(path: Path) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # onnxruntime's errors share no base class
        detail = " ".join(str(error).split())[:200]
        raise UserError(f"'{path}' cannot be profiled in onnxruntime ({detail}).") from error


def summarise(
    events: list[dict[str, Any]], model: onnx.ModelProto, shape: tuple[int, ...], warmup: int
) -> Profile:
    """Medians over runs from the profiler's events.

    Args:
        events: As onnxruntime writes them; ``model_run`` closes each run.
        model: The file they come from: it knows layers and widths where fused operators do not.
        shape: Shape of the input.
        warmup: Runs to leave out.
    """
    times: dict[str, list[float]] = defaultdict(list)
    seen: dict[str, dict[str, Any]] = {}
    number = 0
    for event in events:
        if event.get("cat") == "Session" and event["name"] == "model_run":
            number += 1
        elif event.get("cat") == "Node" and event["name"].endswith(_SUFFIX) and number >= warmup:
            times[event["name"]].append(event["dur"] / 1e3)
            seen.setdefault(event["name"], event["args"])
    facts = _convolution_facts(model, shape)
    owners = _owners(model, facts)
    layers: list[LayerTime] = []
    others: dict[str, float] = defaultdict(float)
    for name, args in seen.items():
        ms, operator = float(np.median(times[name])), args["op_name"]
        layer = owners.get(_DECORATION.sub("", name.removesuffix(_SUFFIX)))
        if operator not in CONVOLUTIONS or layer is None:
            others[operator] += ms
            continue
        inputs, outputs, macs = facts[layer]
        moved = sum(int(args.get(k, 0)) for k in ("activation_size", "output_size"))
        layers.append(
            LayerTime(
                layer=layer,
                inputs=inputs,
                outputs=outputs,
                macs=macs,
                ms=ms,
                bytes=moved + int(args.get("parameter_size", 0)),
                computed=_computed(name, args, outputs),
                operator=operator,
            )
        )
    return Profile(layers, dict(others))


def _computed(name: str, args: dict[str, Any], outputs: int) -> int:
    """Output channels including the padding of blocked layouts, which its shape shows."""
    if "_nchwc" not in name:
        return outputs
    (shape,) = args["output_type_shape"][0].values()
    return max(outputs, int(shape[1]))


def _convolution_facts(
    model: onnx.ModelProto, shape: tuple[int, ...]
) -> dict[str, tuple[int, int, int]]:
    """Input channels, output channels and MACs of every convolution, by layer."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for dim, size in zip(fixed.graph.input[0].type.tensor_type.shape.dim, shape, strict=True):
        dim.Clear()
        dim.dim_value = size
    fixed.graph.output[0].type.tensor_type.ClearField("shape")  # as the input makes it
    graph = onnx.shape_inference.infer_shapes(fixed, data_prop=True).graph
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.input, *graph.output)
    }
    shapes |= {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    facts = {}
    for node in graph.node:
        if node.op_type not in ("Conv", "ConvTranspose"):
            continue
        weight = shapes[node.input[1]]
        group = next((a.i for a in node.attribute if a.name == "group"), 1)
        transposed = node.op_type == "ConvTranspose"
        inputs, outputs = (
            (weight[0], weight[1] * group) if transposed else (weight[1] * group, weight[0])
        )
        pixels = shapes[node.input[0] if transposed else node.output[0]][2:]
        facts[layer_name(node)] = inputs, outputs, int(np.prod(weight) * np.prod(pixels))
    return facts


def _owners(model: onnx.ModelProto, facts: dict[str, Any]) -> dict[str, str]:
    """Convolution by every name that onnxruntime may give it.

    It is called after its node, or, once an activation or addition was fused into it, after that
    node or after the tensor that the two together make.
    """
    owner_of_tensor: dict[str, str] = {}
    owners: dict[str, str] = {}
    for node in model.graph.node:
        layer = layer_name(node)
        if node.op_type in ("Conv", "ConvTranspose") and layer in facts:
            owner = layer
        elif node.op_type in ("Relu", "LeakyRelu", "Clip", "Sigmoid", "Tanh", "Add"):
            # Of the two sides of an addition, the later one is what it is fused into.
            found = [owner_of_tensor[name] for name in node.input if name in owner_of_tensor]
            if not found:
                continue
            owner = found[-1]
        else:
            continue
        owners.setdefault(node.name, owner)
        for name in node.output:
            owner_of_tensor[name] = owner
            owners.setdefault(name, owner)
    return owners
