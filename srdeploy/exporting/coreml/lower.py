"""What coremltools refuses or gets wrong, mended while one network is converted.

coremltools keeps a table of functions, one for each operation of torch. A few are replaced:

* ``int(x.shape[2])`` becomes a cast of an array with one element, which numpy 2.4 no longer turns
  into a number (coremltools 9.0 calls ``int(array)``).
* Interpolation: :mod:`srdeploy.exporting.coreml.interpolate`.
* Padding by computed amounts: :mod:`srdeploy.exporting.coreml.padding`.
* Sorts, in which equal values keep their order: :mod:`srdeploy.exporting.coreml.sorting`.
* Tensors of more than five dimensions: :mod:`srdeploy.exporting.coreml.ranks`.

A refusal that is left names the operation and its layer (:class:`Unconvertible`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from srdeploy.exporting.coreml.interpolate import (
    SYSTEM_OF_RESIZE,
    NeedsNewerSystem,
    computed_size,
    interpolations,
)
from srdeploy.exporting.coreml.padding import paddings
from srdeploy.exporting.coreml.ranks import lower_ranks
from srdeploy.exporting.coreml.sorting import sorts
from srdeploy.exporting.fallback import NotThisWay


class Unconvertible(NotThisWay):
    """coremltools cannot convert a network.

    Attributes:
        needs: The oldest system that could run it, where that is the reason; else empty.
    """

    def __init__(
        self, operation: str, layer: str, reason: str, needs: str = "", remedy: str = ""
    ) -> None:
        self.needs = needs
        where = f" of layer '{layer}'" if layer else ""
        what = f"the operation {operation}{where}" if operation else "this network"
        super().__init__(
            f"coremltools cannot convert {what} ({reason})",
            f"coremltools cannot convert {what} ({reason})",
            remedy=remedy or (_REMEDY.format(needs=needs) if needs else _REPLACE),
        )


_REMEDY = "raise --minimum-deployment to {needs}, or export for one size (--input 480x270)"
_REPLACE = "export for one size (--input 480x270), or replace it in the network's code"


@contextmanager
def mended() -> Iterator[None]:
    """Coremltools with the replacements.

    Raises:
        Unconvertible: for whatever is raised meanwhile.
    """
    from coremltools.converters.mil.frontend.torch import ops
    from coremltools.converters.mil.frontend.torch.ssa_passes import (
        torch_upsample_to_core_upsample as upsampling,
    )
    from coremltools.converters.mil.frontend.torch.torch_op_registry import _TORCH_OPS_REGISTRY
    from coremltools.converters.mil.mil.passes.defs import optimize_tensor_operation

    ranks = optimize_tensor_operation.expand_high_rank_reshape_and_transpose
    at: list[tuple[str, str]] = []  # operation and layer that are being converted

    def noting(convert: Callable[..., None]) -> Callable[..., None]:
        def convert_noted(context: Any, node: Any) -> None:
            at.append((str(node.kind).partition(".")[0], _layer_of_node(node)))
            convert(context, node)
            at.pop()

        return convert_noted

    def resizing(known: Callable[[Any], bool]) -> Callable[[Any], bool]:
        def resize(op: Any) -> bool:
            at.append(("interpolate", _layer_of_operation(op)))
            done = computed_size(op, known)
            at.pop()
            return done

        return resize

    def lowering(apply: Callable[..., None]) -> Callable[..., None]:
        def apply_and_lower(self: Any, program: Any) -> None:
            apply(self, program)
            before = len(at)
            lower_ranks(program, lambda op: at.append((str(op.op_type), _layer_of_operation(op))))
            del at[before:]

        return apply_and_lower

    table = _TORCH_OPS_REGISTRY.name_to_func_mapping
    with ExitStack() as stack:
        for holder, name, wrapper in (
            (ops, "convert_single_node", noting),
            (ops, "_cast", _casting),
            (upsampling, "_try_replace_with_core_upsample", resizing),
            (ranks, "apply", lowering),
        ):
            stack.callback(setattr, holder, name, getattr(holder, name))
            setattr(holder, name, wrapper(getattr(holder, name)))
        before = dict(table)
        stack.callback(lambda: (table.clear(), table.update(before)))
        table.update(interpolations(before) | paddings(before) | sorts())
        try:
            yield
        except Exception as error:
            operation, layer = at[-1] if at else ("", "")
            needs = SYSTEM_OF_RESIZE if isinstance(error, NeedsNewerSystem) else ""
            lines = str(error).strip().splitlines()
            reason = (lines or [repr(error)])[0].rstrip(".")
            raise Unconvertible(operation, layer, reason, needs) from error


def _layer_of_node(node: Any) -> str:
    """The module that an operation is called in; '' for the network itself."""
    if node.meta is None:
        return _joined(node.get_scope_info()[0])
    modules = list((node.meta.get("nn_module_stack") or {}).values())  # of torch.export
    return str(modules[-1][0]).removeprefix("L['self']").lstrip(".") if modules else ""


def _layer_of_operation(op: Any) -> str:
    """The same of an operation of Core ML, which remembers where it came from."""
    for source, names in getattr(op, "scopes", {}).items():
        if source.name == "TORCHSCRIPT_MODULE_NAME":
            return _joined(names)
    return ""


def _joined(names: list[str]) -> str:
    """Names from outside in, of which the last is the result's."""
    return ".".join(str(name) for name in names[:-1] if name)


def _casting(cast: Callable[..., None]) -> Callable[..., None]:
    """``int()`` and ``bool()`` of a known array with one element."""

    def cast_known(context: Any, node: Any, dtype: type, dtype_name: str) -> None:
        from coremltools.converters.mil.mil import Builder as mb

        x = context[node.inputs[0]]
        value = getattr(x, "val", None)
        if value is None or np.size(value) != 1:
            cast(context, node, dtype, dtype_name)
        else:
            context.add(mb.const(val=dtype(np.asarray(value).item()), name=node.name), node.name)

    return cast_known
