"""A reference interpreter of CoreML programs: what a package computes, on a machine without CoreML.

It walks the saved program itself, constants decoded from the package, so a mistake of conversion
or compression shows. Each operation computes in float32 (sums included) and its result is rounded
to the type the program gives it: a float16 program is rounded to float16 after every operation.
Apple's devices may sum in float16, or fuse operations and round less often; they differ among
themselves by about as much as they differ from this. It says nothing about speed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srdeploy.errors import SrdeployError, UserError
from srdeploy.runtime.coreml.arguments import Arguments, Result
from srdeploy.runtime.coreml.constexpr import (
    affine_dequantize,
    blockwise_shift_scale,
    lut_to_dense,
)
from srdeploy.runtime.coreml.ops import TABLE
from srdeploy.runtime.coreml.package import Package
from srdeploy.runtime.coreml.values import Constant, decode

OPERATIONS: dict[str, Callable[[Arguments], Result]] = {
    **TABLE,
    "constexpr_affine_dequantize": affine_dequantize,
    "constexpr_blockwise_shift_scale": blockwise_shift_scale,
    "constexpr_lut_to_dense": lut_to_dense,
}

CONVOLUTIONS = ("conv", "conv_transpose")

_SIDES = {"reshape": ("shape", 2), "conv_transpose": ("output_shape", 2),
          "slice_by_index": ("end", 2), "resize": ("shape", 0)}  # fmt: skip
"""Where an operation's constants say heights and widths: the argument, and the first of them."""

Watch = Callable[[str, str, Tensor], None]
"""Called with the input and each result: its name, the operation, the values."""


class UnknownOperations(UserError):
    """A program has operations that the interpreter does not know.

    Attributes:
        operations: Their types.
    """

    def __init__(self, what: str, operations: list[str]) -> None:
        super().__init__(
            f"{what} uses {', '.join(operations)}, which srdeploy's reference interpreter does "
            "not know; run it on a Mac."
        )
        self.operations = operations


@dataclass(frozen=True)
class _Name:
    """An argument that an earlier operation computes."""

    name: str


@dataclass(frozen=True)
class _Step:
    """One operation, ready to run: where its arguments come from and where its results go."""

    name: str
    operation: str
    arguments: Mapping[str, Sequence[_Name | Constant]]
    outputs: list[str]
    half: list[bool]

    def reads(self) -> set[str]:
        """Names of the results it needs."""
        every = (value for values in self.arguments.values() for value in values)
        return {value.name for value in every if isinstance(value, _Name)}

    def names_a_side(self) -> bool:
        """Whether a height or width is among its constants."""
        if self.operation == "resize_bilinear":
            return True
        if self.operation == "matmul":  # a matrix for each row of a picture
            return isinstance(self.arguments["x"][0], np.ndarray)
        if self.operation == "gather":
            axis = self.arguments.get("axis", [np.array(0)])[0]
            indices = self.arguments["indices"][0]
            return isinstance(indices, np.ndarray) and indices.size > 1 and axis in (2, 3)
        places = _SIDES.get(self.operation)
        sizes = self.arguments.get(places[0], ["none"])[0] if places else None
        if places is None or not isinstance(sizes, np.ndarray):
            return False
        free = self.arguments.get("end_mask", [np.zeros(sizes.size, bool)])[0]
        assert isinstance(free, np.ndarray)
        return bool(((sizes > 0) & ~free.astype(bool))[places[1] :].any())

    def resolve(self, values: dict[str, Tensor]) -> Arguments:
        """Its arguments, the computed ones looked up."""
        return Arguments(
            {
                key: [values[v.name] if isinstance(v, _Name) else v for v in bound]
                for key, bound in self.arguments.items()
            }
        )


class Program:
    """The program of a package.

    Attributes:
        operations: Types of its operations in order, constants left out.
        weight_names: The name of each convolution's weights, by that of its result. coremltools
            calls them after their module: ``body_0_body_2_weight_to_fp16_quantized``.
    """

    def __init__(self, package: Package) -> None:
        """Decode the constants and see that every operation is known.

        Raises:
            UnknownOperations: an operation the interpreter does not know.
            UserError: damaged weights.
        """
        self._package = package
        block = package.block
        self.operations = [op.type for op in block.operations if op.type != "const"]
        unknown = sorted({op for op in self.operations if op not in OPERATIONS})
        if unknown:
            raise UnknownOperations(f"'{package.path}'", unknown)
        self._constants: dict[str, Constant] = {}
        self._steps: list[_Step] = []
        try:
            self.weight_names = {
                op.outputs[0].name: op.inputs["weight"].arguments[0].name
                for op in block.operations
                if op.type in CONVOLUTIONS
            }
            self._load(block)
        except ValueError as error:
            raise UserError(f"'{package.path}' has {error}, which srdeploy cannot read.") from error
        except (SrdeployError, MemoryError):
            raise
        except Exception as error:  # a program can be wrong in every way
            raise UserError(
                f"'{package.path}' is damaged: its program cannot be read ({_clause(error)}); copy "
                "or export it again."
            ) from error

    def _load(self, block: Any) -> None:
        weights = self._package.weights
        for op in block.operations:
            bound = {key: self._bind(value.arguments) for key, value in op.inputs.items()}
            stored = {k: decode(v, weights) for k, v in op.attributes.items() if k != "name"}
            outputs = [out.name for out in op.outputs]
            half = [out.type.tensorType.dataType == _float16() for out in op.outputs]
            arguments = bound | {key: [value] for key, value in stored.items()}
            step = _Step(_own_name(op), op.type, arguments, outputs, half)
            if op.type == "const":
                self._constants[outputs[0]] = stored["val"]
            elif op.type.startswith("constexpr"):
                (found,) = _results(op.type, step.resolve({}))
                dtype = np.float16 if half[0] else np.float32
                self._constants[outputs[0]] = found.numpy().astype(dtype)
            else:
                self._steps.append(step)
        last_use = {name: i for i, step in enumerate(self._steps) for name in step.reads()}
        self._forget: list[list[str]] = [[] for _ in self._steps]
        for name, index in last_use.items():
            if name not in block.outputs:
                self._forget[index].append(name)

    def _bind(self, bindings: Any) -> list[_Name | Constant]:
        found: list[_Name | Constant] = []
        for binding in bindings:
            if binding.WhichOneof("binding") == "value":
                found.append(decode(binding.value, self._package.weights))
            else:
                found.append(self._constants.get(binding.name, _Name(binding.name)))
        return found

    def constant(self, name: str) -> Constant:
        """A constant or decoded weight by its name in the program; KeyError without it."""
        return self._constants[name]

    def convolutions(self) -> list[tuple[str, NDArray[Any]]]:
        """Name and weights of every convolution, in order."""
        found = []
        for step in self._steps:
            if step.operation in CONVOLUTIONS:
                weight = step.arguments["weight"][0]
                if isinstance(weight, np.ndarray):
                    found.append((step.name, weight))
        return found

    @property
    def is_sized(self) -> bool:
        """Whether a height or width is written into it: other inputs would be cut, or not fit."""
        return any(step.names_a_side() for step in self._steps)

    def run(self, x: NDArray[np.float32], watch: Watch | None = None) -> NDArray[np.float32]:
        """The program's output.

        Args:
            x: ``float32 [1, C, H, W]``: the tensor, or the 8-bit values of an image.
            watch: Sees every result.

        Returns:
            ``float32 [1, C, H', W']``, the values of the program's own output type.

        Raises:
            SrdeployError: an operation fails; the sentence names it.
        """
        try:
            return self._result(x, watch)
        except (SrdeployError, MemoryError):
            raise
        except Exception as error:  # names that nothing computes, results that are missing
            raise UserError(
                f"'{self._package.path}' is damaged: its program cannot be run ({_clause(error)}); "
                "copy or export it again."
            ) from error

    def _result(self, x: NDArray[np.float32], watch: Watch | None) -> NDArray[np.float32]:
        name = self._package.input.name
        half = self._package.inputs[name] == _float16()
        values: dict[str, Tensor] = {name: _rounded(torch.from_numpy(x), half)}
        if watch is not None:
            watch(name, "input", values[name])
        with torch.inference_mode():
            for step, forget in zip(self._steps, self._forget, strict=True):
                results = _results(step.operation, step.resolve(values))
                for output, half, result in zip(step.outputs, step.half, results, strict=True):
                    values[output] = _rounded(result, half)
                    if watch is not None:
                        watch(output, step.operation, values[output])
                for done in forget:
                    del values[done]
        return values[self._package.block.outputs[0]].contiguous().numpy()


def _results(operation: str, arguments: Arguments) -> tuple[Tensor, ...]:
    try:
        found = OPERATIONS[operation](arguments)
    except SrdeployError:
        raise
    except Exception as error:  # whatever torch says of shapes that do not fit
        raise SrdeployError(
            f"The operation {operation} of the program fails ({_clause(error)})."
        ) from error
    return found if isinstance(found, tuple) else (found,)


def _clause(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _own_name(operation: Any) -> str:
    """An operation has a name beside those of its results, mostly the same."""
    strings = operation.attributes["name"].immediateValue.tensor.strings.values
    return str(strings[0]) if strings else str(operation.outputs[0].name)


def _rounded(x: Tensor, half: bool) -> Tensor:
    return x.half().float() if half else x


def _float16() -> int:
    from coremltools.proto import MIL_pb2

    return MIL_pb2.DataType.Value("FLOAT16")
