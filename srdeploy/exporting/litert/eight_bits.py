"""Eight bits for a LiteRT program: ranges found on images, and the fewest layers to spare.

Images and methods are those of ONNX files in 8 bits (:mod:`srdeploy.exporting.precision.write`);
what is watched is the program itself, run by LiteRT's interpreter on patches.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srdeploy.exporting.litert.convert import Source
from srdeploy.exporting.litert.flatbuffer import to_bytes
from srdeploy.exporting.litert.graph import Program
from srdeploy.exporting.litert.quantise import WEIGHTED, Quantiser
from srdeploy.exporting.precision.quantise_ranges import choose_range, statistics_of
from srdeploy.exporting.precision.quantise_search import Cost, spare_fewest
from srdeploy.exporting.precision.request import PrecisionRequest
from srdeploy.models.card import Card
from srdeploy.models.quantised import Range
from srdeploy.runtime.inputs import network_inputs
from srdeploy.runtime.litert_session import interpreter_of
from srdeploy.runtime.sizes import InputSizes
from srdeploy.util.progress import track

USUAL_METHOD = "minmax"
"""Unlike in ONNX files, sums and the long skip are rounded, too, and what is clipped of them is
missing in the picture: half of EDSR-S loses 2.8 dB on Set5 by mse, and 0.3 dB so."""

_SEEN = 4
"""Patches that a layer's cost is measured on."""


@dataclass
class EightBits:
    """A network in 8 bits.

    Attributes:
        source: Its graphs.
        card: Its card.
        request: Images and method.
        ends: Input and result are 8 bits, too.
    """

    source: Source
    card: Card
    request: PrecisionRequest
    ends: bool = False
    notes: list[str] = field(default_factory=list)

    @cached_property
    def inputs(self) -> list[NDArray[np.float32]]:
        """Patches for calibration, ``[1, C, h, w]``."""
        size, _ = self.source.small()
        images = self.request.calibration or "builtin"
        if size != self.source.size:
            side = size[0] // self.source.factor
            found = network_inputs(images, self.card, side=side)
            if whole := [x for x in found if x.shape[2:] == size]:
                return whole
        return network_inputs(images, self.card, sizes=InputSizes((size,)))

    @cached_property
    def ranges(self) -> dict[str, Range]:
        """Of every computed tensor, by name."""
        _, program = self.source.small()
        names = [tensor.name for tensor in program.tensors() if tensor.data is None]
        run = _watched(program, names)
        method = self.request.method or USUAL_METHOD
        found = {
            name: choose_range(entry, method)
            for name, entry in statistics_of(run, names, self.inputs).items()
        }
        given = found[program.input.name]
        found[program.input.name] = Range(
            min(given.low, 0.0), max(given.high, self.card.value_range)
        )
        self.notes.append(
            f"ranges by {method} from {len(self.inputs)} patches of "
            f"{self.request.calibration or 'the training images that come with srdeploy'}"
        )
        return found

    def layers(self) -> list[str]:
        """Layers that can be spared: those with weights, and sums."""
        kinds = {*WEIGHTED, "ADD"}
        return list(dict.fromkeys(op.layer for op in self.source.program().ops if op.kind in kinds))

    def written(self, spared: Collection[str] = ()) -> tuple[Program, list[dict[str, Any]]]:
        """The program, and for each operation's layer what it is computed in."""
        writer = self._writer(self.source.program(), spared)
        made = writer.written()
        floats = {id(op) for op in writer.float_ops()}
        rows: dict[str, dict[str, Any]] = {}
        for op in self.source.program().ops:
            precision = "fp32" if id(op) in floats else "int8"
            row = rows.setdefault(op.layer, {"layer": op.layer, "precision": precision})
            if precision == "int8":
                interval = self.ranges[op.output.name]
                row |= {"low": interval.low, "high": interval.high}
        return made, list(rows.values())

    def costs(self) -> list[Cost]:
        """What each layer costs when it alone is in 8 bits, the dearest first."""
        _, program = self.source.small()
        seen = self.inputs[:: -(-len(self.inputs) // _SEEN)]
        run = _runner(program)
        expected = [run(x) for x in seen]
        names, found = self.layers(), []
        with track("sensitivity", total=len(names)) as bar:
            for name in names:
                others = {op.layer for op in program.ops} - {name}
                alone = _runner(self._writer(program, others).written())
                apart = [alone(x) - y for x, y in zip(seen, expected, strict=True)]
                noise = float(np.mean([(d.astype(np.float64) ** 2).mean() for d in apart]))
                found.append(Cost(name, noise * (255 / self.card.value_range) ** 2))
                bar.update(1)
        return sorted(found, key=lambda cost: -cost.noise)

    def search(
        self, costs: list[Cost], drop_of: Callable[[Program], float], limit: float
    ) -> tuple[list[str], float] | None:
        """The fewest layers to spare so that no more than the limit is lost, and what is lost.

        None: sparing all but the cheapest loses more.
        """
        return spare_fewest(
            costs, lambda spared: drop_of(self.written(spared)[0]), limit, len(costs) - 1
        )

    def _writer(self, program: Program, spared: Collection[str]) -> Quantiser:
        return Quantiser(
            program,
            self.ranges,
            value_range=self.card.value_range,
            spared=spared,
            ends=self.ends and program is self.source.program(),
        )


def _runner(program: Program) -> Callable[[NDArray], NDArray]:
    interpreter = interpreter_of(to_bytes(program))
    return lambda x: _run(interpreter, x)


def _watched(program: Program, names: list[str]) -> Callable[[NDArray], dict[str, NDArray]]:
    """A function from an input to the tensors of a program, each as it lies in memory."""
    interpreter = interpreter_of(to_bytes(program), watched=True)
    wanted = set(names)
    places = {
        told["name"]: told["index"]
        for told in interpreter.get_tensor_details()
        if told["name"] in wanted
    }

    def run(x: NDArray) -> dict[str, NDArray]:
        _run(interpreter, x)
        return {name: interpreter.get_tensor(index) for name, index in places.items()}

    return run


def _run(interpreter: Any, x: NDArray) -> NDArray:
    """One run of a program with float32 ends on an image ``[1, C, H, W]``."""
    (given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.set_tensor(given["index"], np.ascontiguousarray(x.transpose(0, 2, 3, 1)))
    interpreter.invoke()
    found: NDArray = interpreter.get_tensor(made["index"])
    return found
