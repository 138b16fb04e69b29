"""Was built what was asked? Layers of a finished engine, read and held against the request.

TensorRT lists an engine's layers in two places. The engine inspector reads the finished engine,
which takes a GPU and its driver; the builder itself, asked for details, logs the same list when it
is done, which works anywhere. The JSON of TensorRT 8 to 10 puts data type and format into one
field (``"Format/Datatype": "Row major linear FP32"``), later ones and the log keep them apart.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from srdeploy.errors import SrdeployError

PRECISIONS = {
    "float": "fp32",
    "fp32": "fp32",
    "half": "fp16",
    "fp16": "fp16",
    "bfloat16": "bf16",
    "bf16": "bf16",
    "int8": "int8",
    "fp8": "fp8",
}
"""TensorRT's names of data types that convolutions compute in, in lower case."""

_WORDS = re.compile(rf"\b({'|'.join(sorted(PRECISIONS, key=len, reverse=True))})\b", re.IGNORECASE)
_TENSOR = re.compile(r"\{ Name: (?P<name>[^,]+), .*?Datatype: (?P<type>\w+)")


@dataclass(frozen=True)
class BuiltLayer:
    """One layer of an engine: its name, and the precisions it reads and writes."""

    name: str
    precisions: frozenset[str]


def layers_of_log(text: str) -> list[BuiltLayer]:
    """Read the list that a builder logs at the end of a detailed build."""
    layers = []
    for line in text.splitlines():
        if line.startswith("Name: "):
            name = line.removeprefix("Name: ").split(", LayerType:")[0]
            found = [PRECISIONS.get(m["type"].lower()) for m in _TENSOR.finditer(line)]
            layers.append(BuiltLayer(name, frozenset(p for p in found if p)))
    return layers


def layers_of_json(text: str) -> list[BuiltLayer]:
    """Read the engine inspector's JSON, of any version.

    Raises:
        SrdeployError: it is no such JSON.
    """
    try:
        entries = json.loads(text)["Layers"]
    except (ValueError, KeyError, TypeError) as error:
        raise SrdeployError("TensorRT's engine inspector answered without layers.") from error
    layers = []
    for entry in entries:
        if isinstance(entry, str):  # built without details: a bare name
            layers.append(BuiltLayer(entry, frozenset()))
            continue
        tensors = [*entry.get("Inputs", []), *entry.get("Outputs", [])]
        tensors += [c for c in entry.get("Constants", []) if isinstance(c, dict)]
        words = " ".join(_datatype(tensor) for tensor in tensors)
        found = {PRECISIONS[word.lower()] for word in _WORDS.findall(words)}
        layers.append(BuiltLayer(str(entry.get("Name", "")), frozenset(found)))
    return layers


def count_layers(layers: list[BuiltLayer]) -> dict[str, int]:
    """Layers by precisions, e.g. ``{"fp32": 9, "fp16+fp32": 2}``; shape layers have none."""
    names = ("+".join(sorted(layer.precisions)) for layer in layers if layer.precisions)
    return dict(sorted(Counter(names).items()))


def contradiction(layers: list[BuiltLayer], asked: Mapping[str, int]) -> str | None:
    """What in the built layers cannot come from a network whose convolutions are ``asked``.

    Args:
        layers: With details.
        asked: Convolutions by precision, as the parser read them from the ONNX.

    Returns:
        A sentence's part, or None when they agree.
    """
    built = frozenset().union(*(layer.precisions for layer in layers))
    # Inputs, outputs, sums of int8 products and scales may be fp32 (or fp16 in a mixed network).
    if surplus := built - set(asked) - {"fp32"}:
        return f"the engine computes in {', '.join(sorted(surplus))}, which nobody asked for"
    lost = set(asked) - built - {"fp32"}
    if lost or not built:
        return f"no layer of the engine is in {', '.join(sorted(lost or asked))}"
    return None


def _datatype(tensor: Mapping[str, Any]) -> str:
    for key in ("Datatype", "DataType", "Format/Datatype"):
        if key in tensor:
            return str(tensor[key])
    return ""
