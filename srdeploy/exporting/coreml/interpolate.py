"""Interpolation as Core ML has it, for all that coremltools refuses.

coremltools knows whole factors. Besides them:

* ``interpolate(x, size=y.shape[-2:])``, bilinear: Core ML's resize. Where the size is known while
  converting it is written into the operation (iOS 15), else the program computes it (iOS 17).
* Nearest neighbours: rows and columns are gathered.
* Bicubic by a whole factor: every pixel of the output is a sum over 5x5 pixels of the input with
  weights that depend on its place within a pixel of the input, hence one convolution and a
  PixelShuffle; borders are repeated.
* All else at a known size: a product with a constant matrix per axis, as interpolation is linear
  and separable. The matrix is what torch makes of the unit matrix.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

SYSTEM_OF_RESIZE = "iOS17"
"""The oldest system that resizes to a size which the program computes."""

_MODES = {
    "upsample_nearest2d": ("nearest", False),
    "_upsample_nearest_exact2d": ("nearest-exact", False),
    "upsample_bilinear2d": ("bilinear", False),
    "_upsample_bilinear2d_aa": ("bilinear", True),
    "upsample_bicubic2d": ("bicubic", False),
    "_upsample_bicubic2d_aa": ("bicubic", True),
}
"""Mode and antialiasing of torch's operations."""

_BY_COREMLTOOLS = {"nearest": "upsample_nearest2d", "nearest-exact": "upsample_nearest2d",
                   "bilinear": "upsample_bilinear2d"}  # fmt: skip

_FAR = 5
"""Pixels from the border at which bicubic weights know nothing of it; they reach two pixels."""

Converter = Callable[[Any, Any], None]


class NeedsNewerSystem(Exception):
    """Core ML has what is needed, from :data:`SYSTEM_OF_RESIZE` on."""


def interpolations(table: dict[str, Any]) -> dict[str, Converter]:
    """Functions for all of torch's 2-D interpolations, by their names in coremltools' table.

    Args:
        table: coremltools' own functions, which still do what they can.
    """
    return {
        alias: _converter(mode, smooth, table.get(_BY_COREMLTOOLS.get(mode, "")))
        for name, (mode, smooth) in _MODES.items()
        for alias in (name, f"{name}.vec")
    }


def _converter(mode: str, smooth: bool, original: Converter | None) -> Converter:
    def convert(context: Any, node: Any) -> None:
        x, size, aligned, factors = _arguments(context, node, mode)
        sides = [int(n) if isinstance(n, (int, np.integer)) else 0 for n in x.shape[-2:]]
        fixed = all(sides)
        exact = factors is None  # the factor is that of the sizes
        if size is not None and factors is None and fixed and not aligned:
            factors = [n / side for n, side in zip(size, sides, strict=True)]
        elif factors is not None and fixed:
            size = [int(side * f) for side, f in zip(sides, factors, strict=True)]
            exact = all(n == side * f for n, side, f in zip(size, sides, factors, strict=True))
        whole = factors is not None and all(f == int(f) >= 1 for f in factors)
        plain = not smooth or whole  # nothing is left to be smoothed where it grows
        if original is not None and plain and (whole or (size is None and factors is None)):
            original(context, node)
        elif factors is not None and mode == "bicubic" and whole and not aligned and _same(factors):
            context.add(_bicubic(x, int(factors[0]), node.name))
        elif mode == "bilinear" and size is not None and plain and exact:
            context.add(_bilinear(x, size, aligned, node.name))
        elif size is not None and fixed:
            axis = _Axis(mode, aligned, smooth)
            given = None if exact else factors
            context.add(_at_known_size(x, sides, size, given, axis, node.name))
        else:
            how = f"by {factors[0]:g}" if factors else f"to {size or 'a size that is computed'}"
            raise NotImplementedError(f"{mode} {how}, while its input has no known size")

    return convert


def _same(factors: list[float]) -> bool:
    return factors[0] == factors[1]


def _arguments(
    context: Any, node: Any, mode: str
) -> tuple[Any, list[int] | None, bool, list[float] | None]:
    """Input, size if it is known, align_corners, and factors if they are given."""
    from coremltools.converters.mil.frontend.torch.ops import _get_inputs, _get_kwinputs

    given = list(_get_inputs(context, node))
    x, size = given[0], _known(given[1] if len(given) > 1 else None)
    rest = given[2:]
    aligned = False
    if not mode.startswith("nearest"):
        aligned = bool(_known(rest[0])[0]) if rest and rest[0] is not None else False
        rest = rest[1:]
    factors = _known(rest[0] if len(rest) < 2 and rest else rest or None)
    if factors is None:
        named = [_get_kwinputs(context, node, f"scales_{side}", [None])[0] for side in "hw"]
        factors = _known(named)
    return x, None if size is None else [int(n) for n in size], aligned, factors


def _known(value: Any) -> Any:
    """Numbers of a constant or of a list of them; None where one is not known."""
    if value is None:
        return None
    if isinstance(value, (list, tuple)):
        parts = [_known(part) for part in value]
        return None if None in parts else [number for part in parts for number in part]
    value = getattr(value, "val", value)
    return None if value is None else [float(n) for n in np.ravel(value)]


class _Axis:
    """One axis of an interpolation, as torch does it."""

    def __init__(self, mode: str, aligned: bool, smooth: bool) -> None:
        self.mode, self.smooth = mode, smooth
        self.aligned = aligned if mode in ("bilinear", "bicubic") else None

    def matrix(self, side: int, wanted: int, factor: float | None) -> NDArray[np.float32]:
        """``[wanted, side]``: what it makes of each unit vector."""
        target: dict[str, Any] = {"size": (wanted, side)}
        if factor is not None:
            target = {"scale_factor": (factor, 1.0), "recompute_scale_factor": False}
        found = F.interpolate(
            torch.eye(side)[None, None],
            mode=self.mode,
            align_corners=self.aligned,
            antialias=self.smooth,
            **target,
        )
        return np.ascontiguousarray(found[0, 0].numpy())


def _at_known_size(
    x: Any,
    sides: list[int],
    size: list[int],
    factors: list[float] | None,
    axis: _Axis,
    name: str,
) -> Any:
    from coremltools.converters.mil.mil import Builder as mb

    rows, columns = (
        axis.matrix(side, wanted, factors[i] if factors else None)
        for i, (side, wanted) in enumerate(zip(sides, size, strict=True))
    )
    if axis.mode.startswith("nearest"):
        x = mb.gather(x=x, indices=rows.argmax(1).astype(np.int32), axis=2)
        return mb.gather(x=x, indices=columns.argmax(1).astype(np.int32), axis=3, name=name)
    x = mb.matmul(x=rows[None, None], y=x)
    return mb.matmul(x=x, y=np.ascontiguousarray(columns.T)[None, None], name=name)


def _bilinear(x: Any, size: list[int], aligned: bool, name: str) -> Any:
    from coremltools.converters.mil.mil import Builder as mb

    height, width = size
    mode = _sampling(aligned)
    if _has_resize():
        shape = np.array(size, np.int32)
        return _resize(mb, x, shape, mode, name=name)
    return mb.resize_bilinear(
        x=x,
        target_size_height=height,
        target_size_width=width,
        sampling_mode=mode,
        name=name,
    )


def _sampling(aligned: bool) -> str:
    return "STRICT_ALIGN_CORNERS" if aligned else "UNALIGN_CORNERS"


def _has_resize() -> bool:
    from coremltools.converters.mil._deployment_compatibility import AvailableTarget
    from coremltools.converters.mil.mil.block import is_current_opset_version_compatible_with

    return bool(is_current_opset_version_compatible_with(AvailableTarget.iOS17))


def _resize(mb: Any, x: Any, shape: Any, sampling: str, **place: Any) -> Any:
    return mb.resize(
        x=x,
        shape=shape,
        resized_dims=np.uint32(2),
        interpolation_mode="LINEAR",
        sampling_mode=sampling,
        **place,
    )


def _bicubic(x: Any, factor: int, name: str) -> Any:
    from coremltools.converters.mil.mil import Builder as mb

    channels = x.shape[1]
    side = 2 * _FAR + 1
    matrix = _Axis("bicubic", False, False).matrix(side, side * factor, float(factor))
    taps = matrix[_FAR * factor : (_FAR + 1) * factor, _FAR - 2 : _FAR + 3]  # [phase, pixel]
    kernels = np.einsum("pi,qj->pqij", taps, taps).reshape(factor**2, 1, 5, 5)
    weight = np.tile(kernels, (channels, 1, 1, 1)).astype(np.float32)
    x = mb.pad(x=x, pad=[0, 0, 0, 0, 2, 2, 2, 2], mode="replicate", constant_val=0.0)
    x = mb.conv(x=x, weight=weight, pad_type="valid", groups=channels)
    return mb.pixel_shuffle(x=x, upscale_factor=factor, name=name)


def computed_size(op: Any, known: Callable[[Any], bool]) -> bool:
    """Replace an interpolation whose size the program computes; in coremltools' pass for them.

    Args:
        op: ``torch_upsample_bilinear`` or ``torch_upsample_nearest_neighbor`` of its dialect.
        known: coremltools' own replacement, by a factor. It is right only where the size is that
            of the operation's own input, times the factor.

    Raises:
        NeedsNewerSystem: the program is for an older system.
    """
    from coremltools.converters.mil.mil import Builder as mb

    if all(_origin(side) is op.x for side in (op.output_height, op.output_width)) and known(op):
        return True
    sides = [
        mb.cast(x=side, dtype="int32", before_op=op) for side in (op.output_height, op.output_width)
    ]
    if op.op_type == "torch_upsample_bilinear":
        if not _has_resize():
            raise NeedsNewerSystem(
                f"its size is computed by the program, for which Core ML needs {SYSTEM_OF_RESIZE}"
            )
        rows = [mb.expand_dims(x=side, axes=[0], before_op=op) for side in sides]
        shape = mb.concat(values=rows, axis=0, before_op=op)
        sampling = _sampling(bool(op.align_corners.val))
        new = _resize(mb, op.x, shape, sampling, name=op.name, before_op=op)
    else:
        new = _nearest(mb, op, sides)
    block = op.enclosing_block
    block.replace_uses_of_var_after_op(anchor_op=op, old_var=op.outputs[0], new_var=new)
    block.remove_ops([op])
    return True


def _origin(side: Any) -> Any:
    """The tensor of whose shape a size is made by one factor; None where it is another thing."""
    factors = 0
    while (op := side.op) is not None:
        if op.op_type == "shape":
            return op.x if factors <= 1 else None
        if op.op_type not in ("cast", "floor", "mul", "gather", "squeeze"):
            return None
        if op.op_type == "mul":
            factors += 1
            if op.y.val is None:
                return None
        side = op.x
    return None


def _nearest(mb: Any, op: Any, sides: list[Any]) -> Any:
    """Row ``i`` of ``n`` is row ``floor(i * height / n)`` of the input; so are columns."""
    x = op.x
    shape = mb.shape(x=x, before_op=op)
    for axis, side in zip((2, 3), sides, strict=True):
        length = mb.gather(x=shape, indices=axis, axis=0, before_op=op)
        places = mb.range_1d(start=0, end=side, step=1, before_op=op)
        places = mb.mul(x=places, y=length, before_op=op)
        indices = mb.floor_div(x=places, y=side, before_op=op)
        name = op.name if axis == 3 else None
        named = {} if name is None else {"name": name}
        x = mb.gather(x=x, indices=indices, axis=axis, before_op=op, **named)
    return x
