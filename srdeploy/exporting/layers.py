"""Looking inside: what every layer of a network or ONNX file computes, by the layer's name.

Layers are called as torch calls them (``body.0.body.2``). Our exporter names an ONNX node after
the modules around it (``/body/body.0/body/body.2/Conv``), so the name can be read back; so do
other files traced by torch. A graph that names its nodes otherwise keeps its own names, which
match those of its relatives only. In a CoreML package the weights are called after their module.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srdeploy.errors import UserError
from srdeploy.runtime.patience import patience, within
from srdeploy.runtime.table import split_runtime

Activations = dict[str, NDArray[np.float32]]
"""Outputs of layers by name, in the order computed."""

_NOT_LAYERS = {"QuantizeLinear", "DequantizeLinear", "Cast", "Constant", "Identity", "Shape"}
_WEIGHT = re.compile(r"(?:network_)?(\w+?)_weight(?:_to_fp16|_quantized|_palettized|_\d+)*$")
_AGAIN = re.compile(r"_(\d+)$")


def module_of(node: str) -> str | None:
    """The torch module that an ONNX node's name tells of; None where it tells of none.

    A name lists the modules from outside in, and containers repeat their own name in that of
    their children: ``/body/body.0/body/body.2/Conv`` is ``body.0.body.2``.

    >>> module_of("/residual_layer.0/conv/Conv")
    'residual_layer.0.conv'
    """
    parts = node.split("/")
    if len(parts) < 3 or parts[0]:
        return None
    path: list[str] = []
    for part in parts[1:-1]:
        if path and part.startswith(path[-1] + "."):
            path[-1] = part
        else:
            path.append(part)
    return ".".join(path)


def layer_name(node: Any) -> str:
    """What to call an ONNX node: its module where its operator is the module's own.

    A second call of one module, and an operator beside its modules (the addition of a residual
    block), keep the operator in the name: ``body.0 Add``.
    """
    name = node.name or (node.output[0] if node.output else "")
    operator = name.rpartition("/")[2]
    module = module_of(name)
    if module is None:
        return name
    own = node.op_type in ("Conv", "ConvTranspose", "Gemm", "DepthToSpace", "Relu", "PRelu")
    return module if own and not _AGAIN.search(operator) else f"{module} {operator}"


def onnx_activations(path: str | Path, x: NDArray[np.float32], threads: int = 1) -> Activations:
    """Every layer's output of an ONNX file, computed by onnxruntime.

    The intermediate tensors are added to the graph's outputs, so nothing is fused across them:
    what is seen is the graph as written, before the runtime rearranges it.

    Args:
        path: The file.
        x: Its input, float32.
        threads: CPU threads.

    Raises:
        UserError: not a readable ONNX file, or onnxruntime cannot run it.
    """
    import onnx
    import onnxruntime as ort

    from srdeploy.runtime.onnx.reference import UNROUNDED, widen
    from srdeploy.runtime.onnx.session import holds_bfloat16

    try:
        model = onnx.load(str(path))
        if holds_bfloat16(model):  # onnxruntime has no kernels for it
            model = widen(model)
        producers = {
            node.output[0].removesuffix(UNROUNDED): node
            for node in model.graph.node
            if node.output and node.op_type not in _NOT_LAYERS
        }
        known = {value.name for value in model.graph.output}
        model.graph.output.extend(
            onnx.ValueInfoProto(name=name) for name in producers if name not in known
        )
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 4
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        content = model.SerializeToString()
        session = within(
            patience(),
            lambda: ort.InferenceSession(content, options, providers=["CPUExecutionProvider"]),
            f"'{path}' was not opened",
        )
        given = session.get_inputs()[0]
        feed = x.astype(np.float16) if given.type == "tensor(float16)" else x
        given_back = {value.name for value in session.get_outputs()}
        names = [name for name in producers if name in given_back]  # in the order computed
        found = within(
            patience(),
            lambda: session.run(names, {given.name: feed}),
            f"'{path}' did not finish its first run",
        )
    except UserError:
        raise
    except Exception as error:  # onnx's and onnxruntime's errors share no base class
        detail = " ".join(str(error).split())[:200]
        raise UserError(f"The layers of '{path}' cannot be read ({detail}).") from error
    return {
        layer_name(producers[name]): np.asarray(values, np.float32)
        for name, values in zip(names, found, strict=True)
        if np.issubdtype(np.asarray(values).dtype, np.floating) and np.ndim(values) == 4
    }


def torch_activations(network: Any, x: NDArray[np.float32]) -> Activations:
    """The output of every leaf module of a network; of a module called twice, of its first call.

    Args:
        network: A :class:`srdeploy.models.network.Network`.
        x: Its input, float32.
    """
    import torch

    from srdeploy.models.probes import run

    seen: Activations = {}
    with _hooked(network.module, seen):
        run(network.module, torch.from_numpy(x))
    return seen


@contextmanager
def _hooked(module: Any, seen: Activations) -> Iterator[None]:
    import torch

    def keep(name: str) -> Callable[[Any, Any, Any], None]:
        def hook(_module: Any, _given: Any, output: Any) -> None:
            if name not in seen and isinstance(output, torch.Tensor) and output.ndim == 4:
                seen[name] = output.float().numpy().copy()  # an in-place ReLU may follow

        return hook

    leaves = [(n, m) for n, m in module.named_modules() if n and not list(m.children())]
    handles = [leaf.register_forward_hook(keep(name)) for name, leaf in leaves]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def package_activations(path: str | Path, x: NDArray[np.float32]) -> Activations:
    """Every result of a CoreML package's program, computed by srdeploy's interpreter.

    Convolutions are called as torch calls their modules; other results keep the program's names,
    which match those of another package of the same network.

    Args:
        path: The package.
        x: Its input, float32; of any size, as nothing is timed.

    Raises:
        UserError: not a readable package, or one whose operations are unknown.
    """
    from srdeploy.runtime.coreml.reference import CoremlReferenceSession

    seen: Activations = {}
    with CoremlReferenceSession(path, threads=1, any_size=True) as session:
        modules = {name.replace(".", "_"): name for name in session.card.widths}
        weights = session.program.weight_names

        def keep(name: str, operation: str, values: Any) -> None:
            if operation == "input" or values.ndim != 4:
                return
            called = name.removesuffix("_cast_fp16")
            if (told := _WEIGHT.match(weights.get(name, ""))) and told[1] in modules:
                called = modules[told[1]]
            while called in seen:  # a module that runs again
                called += "'"
            seen[called] = values.numpy().copy()

        session.watch = keep
        session.run(x)
    return seen


def activations_of(
    source: str, x: NDArray[np.float32], *, arch: str | None = None, scale: int | None = None
) -> Activations:
    """The layers of a network file, ONNX file or CoreML package.

    Raises:
        UserError: the file is of a kind that shows nothing of its inside, or unreadable.
    """
    source, _ = split_runtime(source)
    suffix = Path(source).suffix.lower()
    if suffix == ".onnx":
        return onnx_activations(source, x)
    if suffix == ".mlpackage":
        return package_activations(source, x)
    if suffix in {".engine", ".tflite"}:
        raise UserError(f"'{source}' shows nothing of its layers; compare the ONNX or the network.")
    from srdeploy.models.load import load_network

    return torch_activations(load_network(source, arch=arch, scale=scale), x)
