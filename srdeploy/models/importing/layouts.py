"""What the tensors of each architecture look like, with widths as unknowns.

A layout lists every tensor of an architecture by name, its shape written in named widths: the two
ends of a residual block are both ``"trunk"``, its inside has a name of its own. Matching a file
against a layout solves for the widths, so an intact network and one whose channels somebody already
removed are read the same way, and a channel count that contradicts another one is found.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch

from srdeploy.errors import UserError

Dim = int | str | tuple[str, int]
"""A fixed size, a width by name, or a width times a factor (what feeds a PixelShuffle)."""

Tensors = Mapping[str, torch.Tensor]


@dataclass
class Layout:
    """Names and symbolic shapes of an architecture at one configuration (widths left open)."""

    arch: str
    config: dict[str, Any]
    shapes: dict[str, tuple[Dim, ...]] = field(default_factory=dict)

    def conv(self, name: str, n_out: Dim, n_in: Dim, *, kernel: int = 3, bias: bool = True) -> None:
        """Add a convolution's weight and bias."""
        self.shapes[f"{name}.weight"] = (n_out, n_in, kernel, kernel)
        if bias:
            self.shapes[f"{name}.bias"] = (n_out,)


def find_layout(tensors: Tensors, source: str, arch: str | None = None) -> Layout:
    """The layout of an architecture, with everything but widths read off names and shapes.

    Args:
        tensors: Under our names.
        source: The file, for messages.
        arch: A name in :data:`LAYOUTS`; None to recognise it.

    Raises:
        UserError: no architecture has such names, or one that cannot be imported has.
    """
    refuse_known_others(tensors, source)
    arch = arch or recognise(tensors)
    if arch is None:
        example = next(iter(tensors))
        raise UserError(
            f"'{source}' fits no architecture srdeploy knows ({', '.join(LAYOUTS)}): it has "
            f"{len(tensors)} tensors named like '{example}'; pass --arch package.module:callable "
            "naming the code that builds the network."
        )
    return LAYOUTS[arch](tensors, source)


def recognise(tensors: Tensors) -> str | None:
    """Name of the architecture whose tensors are named like these."""
    if _indices(tensors, r"residual_layer\.(\d+)\.conv\."):
        return "vdsr"
    if _indices(tensors, r"body\.(\d+)\.spa_mask\."):
        return "smsr"
    if _indices(tensors, r"body\.(\d+)\.body\.\d+\.body\.\d+\."):
        return "rirsr"
    if _indices(tensors, r"body\.(\d+)\.body\.[02]\."):
        return "edsr" if _indices(tensors, r"tail\.0\.(\d+)\.") else "ledsr"
    return None


def refuse_known_others(tensors: Tensors, source: str) -> None:
    """Say what the file is when it is a known network without an importer.

    Raises:
        UserError: it is RCAN with its channel attention.
    """
    attention = any(".conv_du." in name for name in tensors)
    if attention and not any(".spa_mask." in name for name in tensors):
        raise UserError(
            f"'{source}' is RCAN with channel attention, not RIRSR; pass "
            "--arch package.module:callable naming the code that builds it."
        )


# One function per architecture


def _vdsr(tensors: Tensors, source: str) -> Layout:
    n_inner = _count(tensors, r"residual_layer\.(\d+)\.")
    bias = "input.bias" in tensors
    layout = Layout("vdsr", {"n_layers": n_inner + 2, "bias": bias})
    layout.conv("input", "input", 1, bias=bias)
    before = "input"
    for i in range(n_inner):
        layout.conv(f"residual_layer.{i}.conv", f"inner{i}", before, bias=bias)
        before = f"inner{i}"
    layout.conv("output", 1, before, bias=bias)
    return layout


def _edsr(tensors: Tensors, source: str) -> Layout:
    n_blocks = _count(tensors, r"body\.(\d+)\.body\.")
    layout = Layout("edsr", {"n_blocks": n_blocks})
    _edsr_body(layout, tensors, n_blocks)
    _upsampler_tail(layout, tensors, source)
    return layout


def _ledsr(tensors: Tensors, source: str) -> Layout:
    n_blocks = _count(tensors, r"body\.(\d+)\.body\.")
    layout = Layout("ledsr", {"n_blocks": n_blocks})
    _edsr_body(layout, tensors, n_blocks)
    layout.conv("tail.0", _lite_tail(layout, tensors, source), "trunk")
    return layout


def _rirsr(tensors: Tensors, source: str) -> Layout:
    n_groups = _count(tensors, r"body\.(\d+)\.body\.")
    n_blocks = _count(tensors, r"body\.\d+\.body\.(\d+)\.body\.")
    layout = Layout("rirsr", {"n_groups": n_groups, "n_blocks": n_blocks})
    _mean_shifts(layout, tensors)
    layout.conv("head.0", "trunk", 3)
    for g in range(n_groups):
        if len(layout.shapes) > len(tensors):
            break  # some tensor is missing already; numbers of layers may be anything
        for b in range(n_blocks):
            layout.conv(f"body.{g}.body.{b}.body.0", f"inner{g}.{b}", "trunk")
            layout.conv(f"body.{g}.body.{b}.body.2", "trunk", f"inner{g}.{b}")
        layout.conv(f"body.{g}.body.{n_blocks}", "trunk", "trunk")
    layout.conv(f"body.{n_groups}", "trunk", "trunk")
    _upsampler_tail(layout, tensors, source)
    return layout


def _smsr(tensors: Tensors, source: str) -> Layout:
    n_modules = _count(tensors, r"body\.(\d+)\.spa_mask\.")
    n_layers = _count(tensors, r"body\.\d+\.body\.body\.(\d+)\.")
    layout = Layout("smsr", {"n_modules": n_modules, "n_layers": n_layers})
    _mean_shifts(layout, tensors)
    layout.conv("head.0", "head", 3)
    layout.conv("head.2", "trunk", "head")
    for m in range(n_modules):
        name = f"body.{m}"
        layout.conv(f"{name}.spa_mask.0", f"mask{m}", "trunk")
        layout.conv(f"{name}.spa_mask.3", f"half{m}", f"mask{m}")
        layout.shapes[f"{name}.spa_mask.5.weight"] = (f"half{m}", 2, 3, 3)  # transposed
        layout.shapes[f"{name}.spa_mask.5.bias"] = (2,)
        before: Dim = "trunk"
        for i in range(n_layers):
            layout.conv(f"{name}.body.body.{i}", f"layer{m}.{i}", before, bias=False)
            before = f"layer{m}.{i}"
            for kind in ("dense", "sparse"):
                layout.shapes[f"{name}.body.ch_mask.{i}.{kind}"] = (1, before, 1, 1)
        layers = [f"{name}.body.body.{i}.weight" for i in range(n_layers)]
        joined = sum(_channels(tensors, layer, 0, source) for layer in layers)
        layout.conv(f"{name}.body.collect", "trunk", joined, kernel=1)
        layout.conv(f"{name}.ca.conv_du.0", f"narrow{m}", "trunk", kernel=1)
        layout.conv(f"{name}.ca.conv_du.2", "trunk", f"narrow{m}", kernel=1)
    joined = n_modules * _channels(tensors, "head.2.weight", 0, source)
    layout.conv("collect.0", "collect", joined, kernel=1)
    layout.conv("collect.2", "trunk", "collect")
    layout.conv("tail.0", _lite_tail(layout, tensors, source), "trunk")
    layout.config["mask_feats"] = _channels(tensors, "body.0.spa_mask.0.weight", 0, source)
    narrow = max(_channels(tensors, "body.0.ca.conv_du.0.weight", 0, source), 1)
    layout.config["reduction"] = _channels(tensors, "head.2.weight", 0, source) // narrow
    return layout


LAYOUTS: dict[str, Callable[[Tensors, str], Layout]] = {
    "vdsr": _vdsr,
    "edsr": _edsr,
    "ledsr": _ledsr,
    "rirsr": _rirsr,
    "smsr": _smsr,
}


def _edsr_body(layout: Layout, tensors: Tensors, n_blocks: int) -> None:
    _mean_shifts(layout, tensors)
    layout.conv("head.0", "trunk", 3)
    for i in range(n_blocks):
        layout.conv(f"body.{i}.body.0", f"inner{i}", "trunk")
        layout.conv(f"body.{i}.body.2", "trunk", f"inner{i}")
    layout.conv(f"body.{n_blocks}", "trunk", "trunk")


def _mean_shifts(layout: Layout, tensors: Tensors) -> None:
    names = ("sub_mean", "add_mean")
    present = any(name.startswith(names) for name in tensors)
    layout.config["mean_shift"] = present
    if present:
        for name in names:
            layout.conv(name, 3, 3, kernel=1)


def _lite_tail(layout: Layout, tensors: Tensors, source: str) -> int:
    """Channels of a tail of one convolution and a PixelShuffle; sets the scale."""
    n_out = _channels(tensors, "tail.0.weight", 0, source)
    scale = math.isqrt(n_out // 3)
    if 3 * scale**2 != n_out:
        raise UserError(
            f"Tensor 'tail.0.weight' in '{source}' has {n_out} output channels, but the lite tail "
            f"of {layout.arch.upper()} has 3*scale^2 (12, 27 or 48)."
        )
    layout.config["scale"] = scale
    return n_out


def _upsampler_tail(layout: Layout, tensors: Tensors, source: str) -> None:
    """Conv + PixelShuffle stages under tail.0.{0,2,4}, then the last convolution tail.1."""
    stages = sorted(_indices(tensors, r"tail\.0\.(\d+)\.weight")) or [0]
    names = [f"tail.0.{i}.weight" for i in stages] + ["tail.1.weight"]
    channels = [
        (_channels(tensors, name, 0, source), _channels(tensors, after, 1, source))
        for name, after in pairwise(names)
    ]
    factors = {n_out / max(n_in, 1) for n_out, n_in in channels}
    if len(stages) == 1 and factors == {9.0}:
        factor, scale = 9, 3
    elif factors == {4.0}:
        factor, scale = 4, 2 ** len(stages)
    else:
        raise UserError(
            f"The tail of '{source}' is no EDSR upsampler: '{names[0]}' has {channels[0][0]} "
            f"output channels and '{names[1]}' takes {channels[0][1]}, which is neither x2 nor x3."
        )
    layout.config["scale"] = scale
    before = "trunk"
    for i in range(len(stages)):
        layout.conv(f"tail.0.{2 * i}", (f"up{i}", factor), before)
        before = f"up{i}"
    layout.conv("tail.1", 3, before)


def _indices(tensors: Tensors, pattern: str) -> set[int]:
    return {int(m[1]) for name in tensors if (m := re.match(pattern, name))}


def _count(tensors: Tensors, pattern: str) -> int:
    """One more than the largest index: gaps then show up as missing tensors, by name.

    An index beyond the number of tensors is no layer of theirs; the layer is left unexpected.
    """
    return max((i for i in _indices(tensors, pattern) if i < len(tensors)), default=-1) + 1


def _channels(tensors: Tensors, name: str, dim: int, source: str) -> int:
    if name not in tensors:
        raise UserError(f"Tensor '{name}' is missing from '{source}'.")
    if tensors[name].dim() != 4:
        raise UserError(
            f"Tensor '{name}' in '{source}' has shape {list(tensors[name].shape)}, "
            "but a convolution's weight has four dimensions."
        )
    return tensors[name].shape[dim]


# Matching


def solve_widths(layout: Layout, tensors: Tensors, source: str) -> dict[str, int]:
    """Match every tensor against the layout and return the widths it names.

    Raises:
        UserError: a tensor is missing, unexpected, or has a shape that contradicts the layout or
            another tensor; the sentence names it.
    """
    for name in layout.shapes:
        if name not in tensors:
            raise UserError(
                f"Tensor '{name}' is missing from '{source}', which looks like "
                f"{_described(layout)}."
            )
    for name in tensors:
        if name not in layout.shapes:
            raise UserError(
                f"Tensor '{name}' in '{source}' is not part of {_described(layout)}; if the "
                "network is another one, pass --arch package.module:callable naming its code."
            )
    widths: dict[str, int] = {}
    origin: dict[str, str] = {}
    for name, symbolic in layout.shapes.items():
        shape = tuple(tensors[name].shape)
        if not tensors[name].is_floating_point():
            raise UserError(
                f"Tensor '{name}' in '{source}' holds whole numbers ({tensors[name].dtype}); "
                "quantised weights cannot be imported, save the network in float32."
            )
        if len(shape) != len(symbolic) or min(shape) < 1:
            raise UserError(
                f"Tensor '{name}' in '{source}' has shape {list(shape)}, but {layout.arch} has "
                f"{len(symbolic)} non-empty dimension(s) there."
            )
        for size, dim in zip(shape, symbolic, strict=True):
            expected = _bind(dim, size, name, widths, origin)
            if size != expected:
                because = f" to match '{origin[key]}'" if (key := _symbol(dim)) in origin else ""
                raise UserError(
                    f"Tensor '{name}' in '{source}' has shape {list(shape)}, "
                    f"but {expected} is needed where it has {size}{because}."
                )
    return widths


def _symbol(dim: Dim) -> str:
    return dim[0] if isinstance(dim, tuple) else str(dim)


def _bind(dim: Dim, size: int, name: str, widths: dict[str, int], origin: dict[str, str]) -> int:
    """The size the layout expects; the first tensor that shows a width decides it."""
    if isinstance(dim, int):
        return dim
    symbol, factor = dim if isinstance(dim, tuple) else (dim, 1)
    if symbol not in widths:
        widths[symbol] = max(size // factor, 1)
        origin[symbol] = name
    return widths[symbol] * factor


def _described(layout: Layout) -> str:
    counts = [f"{v} {k[2:]}" for k, v in layout.config.items() if k.startswith("n_")]
    return f"{layout.arch} ({', '.join(counts)})"
