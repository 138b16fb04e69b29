"""A graph of one size -> a LiteRT program, for networks and for ONNX files."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import onnx

from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.layers import layer_name
from srdeploy.exporting.litert.arrays import ARRAYS
from srdeploy.exporting.litert.graph import Program
from srdeploy.exporting.litert.images import IMAGES
from srdeploy.exporting.litert.lower import lower
from srdeploy.exporting.litert.pointwise import POINTWISE
from srdeploy.exporting.litert.resize import RESIZES
from srdeploy.exporting.litert.shuffles import SHUFFLES, permuted_shuffles
from srdeploy.exporting.onnx.graph import simplified_graph
from srdeploy.models.probes import Size

PATCH = 64
"""Side of the images that 8 bits are calibrated on, where the network takes any size."""


@dataclass
class Source:
    """Where graphs come from.

    Attributes:
        graph_at: Writes the float32 graph of a height and width.
        size: The one that the file shall have.
        multiple: What heights and widths must be multiples of.
        factor: What a low-resolution image is upscaled by before the network sees it.
    """

    graph_at: Callable[[Size], onnx.ModelProto]
    size: Size
    multiple: int = 1
    factor: int = 1
    _programs: dict[Size, Program] = field(default_factory=dict)

    def program(self, size: Size | None = None) -> Program:
        """The program of a size, by default the file's own.

        Raises:
            NotInLitert: an operation that cannot be written.
            SrdeployError: the network cannot be written as a graph of this size.
        """
        size = size or self.size
        if size not in self._programs:
            self._programs[size] = program_of(self.graph_at(size))
        return self._programs[size]

    def small(self) -> tuple[Size, Program]:
        """A program for patches, of the same operations; of the file's size where there is none."""
        step = math.lcm(self.multiple, self.factor)
        side = -(-PATCH * self.factor // step) * step
        whole = self.program()
        if side**2 < self.size[0] * self.size[1]:
            try:
                found = self.program((side, side))
            except (UserError, SrdeployError):
                return self.size, whole
            if _outline(found) == _outline(whole):
                return (side, side), found
        return self.size, whole


def _outline(program: Program) -> list[tuple[str, str]]:
    return [(op.kind, op.output.name) for op in program.ops]


def program_of(model: onnx.ModelProto) -> Program:
    """The program of a graph whose sizes are fixed; the graph is not changed.

    Raises:
        NotInLitert: an operation that cannot be written.
    """
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    permuted_shuffles(copied)
    return lower(copied, {**IMAGES, **SHUFFLES, **POINTWISE, **ARRAYS, **RESIZES}, layer_name)


def with_size(model: onnx.ModelProto, size: Size) -> onnx.ModelProto:
    """A copy of a graph for one image of a height and width."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    sides = fixed.graph.input[0].type.tensor_type.shape.dim
    for side, value in zip(sides, (1, None, *size), strict=True):
        if value is not None:
            side.dim_value = value
    for side in fixed.graph.output[0].type.tensor_type.shape.dim:
        side.ClearField("dim_param")
        side.ClearField("dim_value")
    del fixed.graph.value_info[:]
    return simplified_graph(fixed)
