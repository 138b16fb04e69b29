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

_CONVOLUTIONS = WEIGHTS.keys() - {"InnerProduct"}

_AS_MANY = (
    "Split", "ReLU", "PReLU", "Clip", "Sigmoid", "TanH", "GELU", "Swish", "Mish", "HardSwish",
    "HardSigmoid", "UnaryOp", "Interp", "BinaryOp", "Eltwise",
)  # fmt: skip
"""Kinds that write as many channels as all that they read have."""

_INT8 = {"Convolution": 8, "ConvolutionDepthWise": 8, "InnerProduct": 8}
"""Kinds that may compute in 8 bits, and the setting that says so."""

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

    def number(self, setting: int, otherwise: int = 0) -> int:
        """A whole number among the settings; ``otherwise`` where it is not told."""
        told = dict(part.partition("=")[::2] for part in self.settings)
        try:
            return int(told.get(str(setting), otherwise))
        except ValueError:
            return 0

    @property
    def taps(self) -> int:
        """Of a convolution, elements of its kernel."""
        return self.number(1) * (self.number(11) or self.number(1))


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
                each = layer.taps * layer.number(0)
                return layer.number(6) // each if each else None
        return None

    @property
    def weights(self) -> int:
        """Numbers that the layers say they store, without biases."""
        return sum(
            layer.number(WEIGHTS[layer.kind]) for layer in self.layers if layer.kind in WEIGHTS
        )

    def misfit(self) -> str | None:
        """The first convolution whose weights are not for what it reads; None where all fit.

        ncnn takes the channels of a convolution's input from its weights and reads that many,
        whether they are there or not. What goes through layers of other kinds is not followed.
        """
        known: dict[str, int | None] = dict.fromkeys(self.inputs, self.channels)
        for layer in self.layers:
            read = [known.get(name) for name in layer.inputs]
            if layer.kind in _CONVOLUTIONS and read[:1] != [None]:
                groups = layer.number(7) if "DepthWise" in layer.kind else 1
                if layer.number(6) * groups != (read[0] or 0) * layer.number(0) * layer.taps:
                    return layer.name
            if layer.kind != "Input":
                known.update(dict.fromkeys(layer.outputs, _channels(layer, read)))
        return None

    @property
    def in_8_bits(self) -> bool:
        """Whether some layer computes in 8 bits."""
        able = [layer for layer in self.layers if layer.kind in _INT8]
        return any(layer.number(_INT8[layer.kind]) for layer in able)

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


def _channels(layer: Layer, read: list[int | None]) -> int | None:
    """Channels that a layer writes, from those that it reads; None where that is not followed."""
    if layer.kind in _CONVOLUTIONS:
        return layer.number(0)
    if layer.kind == "PixelShuffle" and read[0] is not None and layer.number(0):
        return read[0] // layer.number(0) ** 2
    if layer.kind in _AS_MANY and len(set(read)) == 1:
        return read[0]
    return None


def _straight(param: Param) -> set[str]:
    """The image, and its copies."""
    found = set(param.inputs)
    for layer in param.layers:
        if layer.kind == "Split" and found.issuperset(layer.inputs):
            found.update(layer.outputs)
    return found
