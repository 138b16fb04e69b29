"""A LiteRT program before it is a file: tensors, and operations that each make one of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srdeploy.errors import UserError

RANK = 4
"""Dimensions of a tensor that delegates take at most."""


class NotInLitert(UserError):
    """A network has what LiteRT, or the operations that delegates accept, cannot say."""

    def __init__(self, operation: str, layer: str, reason: str = "") -> None:
        why = f" ({reason})" if reason else ""
        super().__init__(
            f"The operation {operation} of layer '{layer}' cannot be written for LiteRT's "
            f"delegates{why}; replace it in the network's code, or export to ONNX or ncnn."
        )


@dataclass(frozen=True)
class Grid:
    """Where the steps of 8 or 32 bits lie: ``value = scale * (step - zero)``.

    Attributes:
        scale: One for all, or one for each place along ``axis``.
        zero: Likewise.
        axis: Of tensors with several scales.
    """

    scale: tuple[float, ...]
    zero: tuple[int, ...]
    axis: int = 0

    def steps(self, values: NDArray, low: int, high: int, dtype: type) -> NDArray:
        """The nearest step of each value, within ``low`` to ``high``."""
        shape = [-1 if axis == self.axis else 1 for axis in range(values.ndim)]
        scale = np.reshape(np.asarray(self.scale, np.float64), shape if values.ndim else ())
        zero = np.reshape(np.asarray(self.zero), shape if values.ndim else ())
        return np.clip(np.rint(values / scale) + zero, low, high).astype(dtype)


@dataclass(eq=False)
class Tensor:
    """A tensor of a program.

    Attributes:
        name: Unique in its program.
        shape: As it lies in memory; images are ``[N, H, W, C]``.
        dtype: ``float32``, ``float16``, ``int8`` or ``int32``.
        data: Values of a stored one; None: it is computed.
        grid: Of 8 bits, and of the 32-bit biases beside them.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    data: NDArray | None = None
    grid: Grid | None = None

    @property
    def size(self) -> int:
        """Number of values."""
        return int(np.prod(self.shape, dtype=np.int64))


@dataclass(eq=False)
class Op:
    """An operation.

    Attributes:
        kind: LiteRT's name of it, ``CONV_2D``.
        inputs: What it reads, in LiteRT's order.
        output: What it makes.
        options: Fields of its options in LiteRT's schema.
        layer: What the network calls it.
    """

    kind: str
    inputs: list[Tensor]
    output: Tensor
    options: dict[str, Any] = field(default_factory=dict)
    layer: str = ""

    def computed(self) -> list[Tensor]:
        """Inputs that are not stored."""
        return [tensor for tensor in self.inputs if tensor.data is None]


@dataclass
class Program:
    """A whole program of one input and one output."""

    input: Tensor
    output: Tensor
    ops: list[Op]

    def tensors(self) -> Iterator[Tensor]:
        """All of them, each once, the input first."""
        seen: dict[int, Tensor] = {id(self.input): self.input}
        for op in self.ops:
            for tensor in (*op.inputs, op.output):
                seen.setdefault(id(tensor), tensor)
        yield from seen.values()

    def readers(self) -> Counter[int]:
        """How many operations read each tensor, by ``id``; the result counts as read."""
        counted = Counter(id(tensor) for op in self.ops for tensor in op.inputs)
        counted[id(self.output)] += 1
        return counted

    def without_unread(self) -> Program:
        """The same without operations whose results nothing reads."""
        needed, kept = {id(self.output)}, []
        for op in reversed(self.ops):
            if id(op.output) in needed:
                kept.append(op)
                needed.update(map(id, op.inputs))
        return Program(self.input, self.output, kept[::-1])
