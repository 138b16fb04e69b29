"""A ``.param`` file: the structure of a network in ncnn's words, one layer a line.

After a magic number and the numbers of layers and tensors ("blobs"), each line has a layer's kind
and name, how many tensors it reads and writes, their names, and numbered settings
(https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure). ncnn believes what it reads,
so a stranger's file is looked at here before it gets there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from srdeploy.errors import UserError
from srdeploy.util.files import require_file

MAGIC = "7767517"
SUFFIX = ".param"
LARGEST = 16 << 20
"""Bytes of a ``.param`` file; one of a thousand layers has 100,000."""

WEIGHTS = {
    "Convolution": 6,
    "ConvolutionDepthWise": 6,
    "Deconvolution": 6,
    "DeconvolutionDepthWise": 6,
    "InnerProduct": 2,
}
"""Kinds that have weights, and the setting that says how many."""

_BLOB = re.compile(r"[!-~]{1,256}")


@dataclass(frozen=True)
class Layer:
    """One line.

    Attributes:
        kind: In ncnn's words.
        name: Its own.
        inputs: Tensors that it reads,
        outputs: and those that it writes.
        settings: The rest of the line, by number.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    settings: tuple[str, ...] = ()

    def number(self, setting: int) -> int:
        """A whole number among the settings; 0 where it is not told."""
        told = dict(part.partition("=")[::2] for part in self.settings)
        try:
            return int(told.get(str(setting), "0"))
        except ValueError:
            return 0


@dataclass(frozen=True)
class Param:
    """All of a file."""

    layers: tuple[Layer, ...]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Tensors that are given."""
        return tuple(
            name for layer in self.layers if layer.kind == "Input" for name in layer.outputs
        )

    @property
    def outputs(self) -> tuple[str, ...]:
        """Tensors that no layer reads."""
        read = {name for layer in self.layers for name in layer.inputs}
        made = [name for layer in self.layers for name in layer.outputs]
        return tuple(name for name in made if name not in read)

    @property
    def channels(self) -> int | None:
        """Channels of the image, where the first convolution that reads it tells."""
        for layer in self.layers:
            if layer.kind == "Convolution" and set(layer.inputs) & _straight(self):
                width = layer.number(1)
                taps = width * (layer.number(11) or width) * layer.number(0)
                return layer.number(6) // taps if taps else None
        return None

    @property
    def weights(self) -> int:
        """Numbers that the layers say they store, without biases."""
        return sum(
            layer.number(WEIGHTS[layer.kind]) for layer in self.layers if layer.kind in WEIGHTS
        )

    def renamed(self, names: Mapping[str, str]) -> Param:
        """With other names for tensors.

        Raises:
            ValueError: a name is taken by another tensor already.
        """
        made = {name for layer in self.layers for name in layer.outputs}
        if taken := made.intersection(names.values()).difference(names):
            raise ValueError(f"tensors called {', '.join(sorted(taken))} are there already")

        def told(tensors: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(names.get(name, name) for name in tensors)

        return Param(
            tuple(
                replace(layer, inputs=told(layer.inputs), outputs=told(layer.outputs))
                for layer in self.layers
            )
        )

    def text(self) -> str:
        """As ncnn reads it."""
        tensors = {name for layer in self.layers for name in layer.outputs}
        lines = [MAGIC, f"{len(self.layers)} {len(tensors)}"]
        for layer in self.layers:
            counts = f"{len(layer.inputs)} {len(layer.outputs)}"
            words = (counts, *layer.inputs, *layer.outputs, *layer.settings)
            lines.append(f"{layer.kind:<24} {layer.name:<24} {' '.join(words)}")
        return "\n".join(lines) + "\n"


def read_param(path: Path) -> Param:
    """Read a file.

    Raises:
        UserError: no such file, binary, damaged, or not ncnn's.
    """
    if require_file(path).st_size > LARGEST:
        raise UserError(f"'{path}' is too large for the structure of a network.")
    try:
        lines = path.read_bytes().decode("ascii").splitlines()
    except UnicodeDecodeError:
        lines = []
    if not lines or lines[0].strip() != MAGIC:
        raise UserError(
            f"'{path}' is no ncnn network: the text of a .param file begins with {MAGIC} (binary "
            "ones, .param.bin, are not read)."
        )
    try:
        layers, tensors = (int(part) for part in lines[1].split())
        found = Param(tuple(_layer(line) for line in lines[2:] if line.strip()))
    except (ValueError, IndexError):
        raise UserError(f"'{path}' is damaged; convert the network again.") from None
    made = [name for layer in found.layers for name in layer.outputs]
    known: set[str] = set()
    for layer in found.layers:
        if not known.issuperset(layer.inputs):
            raise UserError(f"'{path}' is damaged: '{layer.name}' reads what no layer has made.")
        known.update(layer.outputs)
    if (len(found.layers), len(made)) != (layers, tensors) or len(known) != len(made):
        raise UserError(
            f"'{path}' is truncated or damaged: it announces {layers} layers and {tensors} tensors "
            f"and has {len(found.layers)} and {len(known)}; convert the network again."
        )
    return found


def foreign_layers(param: Param) -> list[str]:
    """What a converter could not express in ncnn's layers: kind and name of each.

    It leaves such parts under the names of ONNX or PyTorch, which hold a dot or a colon; ncnn's
    own have neither.
    """
    lost = [layer for layer in param.layers if not re.fullmatch(r"\w+", layer.kind)]
    return [f"{layer.kind} ('{layer.name}')" for layer in lost]


def _layer(line: str) -> Layer:
    kind, name, inputs, outputs, *rest = line.split()
    a, b = int(inputs), int(outputs)
    if not (0 <= a <= len(rest) and 0 <= b <= len(rest) - a):
        raise ValueError(line)
    tensors, settings = rest[: a + b], tuple(rest[a + b :])
    if not all(map(_BLOB.fullmatch, tensors)) or not all("=" in part for part in settings):
        raise ValueError(line)
    return Layer(kind, name, tuple(tensors[:a]), tuple(tensors[a:]), settings)


def _straight(param: Param) -> set[str]:
    """The image, and its copies."""
    found = set(param.inputs)
    for layer in param.layers:
        if layer.kind == "Split" and found.issuperset(layer.inputs):
            found.update(layer.outputs)
    return found
