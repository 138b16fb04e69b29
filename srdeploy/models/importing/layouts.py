"""What the tensors of an architecture look like, with widths as unknowns.

A layout lists every tensor of an architecture by name, its shape written in named widths: the two
ends of a residual block are both ``"trunk"``, its inside has a name of its own. Matching a file
against a layout solves for the widths, so an intact network and one whose channels somebody already
removed are read the same way, and a channel count that contradicts another one is found.

Each architecture states its own in an :class:`Importer`, in ``layout.py`` of its folder.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Any

import torch

from srdeploy.errors import SrdeployError, UserError
from srdeploy.models import spandrel_library
from srdeploy.models.importing.namings import Naming
from srdeploy.models.registry import ARCHITECTURES

log = logging.getLogger(__name__)

Dim = int | str | tuple[str, int]
"""A fixed size, a width by name, or a width times a factor (what feeds a PixelShuffle)."""

Tensors = Mapping[str, torch.Tensor]


@dataclass
class Layout:
    """Names and symbolic shapes of an architecture at one configuration (widths left open).

    Attributes:
        arch: The architecture's name.
        tensors: What is laid out, under our names.
        source: The file, for messages.
        config: Arguments of the architecture's class that names and shapes show, widths excepted.
            Without a ``scale`` in it, the weights serve any.
        shapes: Shape of every tensor that there must be.
        assumed: What the tensors cannot show and is taken to be as published, in words.
    """

    arch: str
    tensors: Tensors
    source: str
    config: dict[str, Any] = field(default_factory=dict)
    shapes: dict[str, tuple[Dim, ...]] = field(default_factory=dict)
    assumed: list[str] = field(default_factory=list)

    def conv(self, name: str, n_out: Dim, n_in: Dim, *, kernel: int = 3, bias: bool = True) -> None:
        """Add a convolution's weight and bias."""
        self.shapes[f"{name}.weight"] = (n_out, n_in, kernel, kernel)
        if bias:
            self.shapes[f"{name}.bias"] = (n_out,)

    def count(self, pattern: str) -> int:
        """One more than the largest index that a pattern's group finds in the names.

        Gaps then show up as missing tensors, by name. An index beyond the number of tensors is no
        layer of theirs; the layer is left unexpected.
        """
        found = _indices(self.tensors, pattern)
        return max((i for i in found if i < len(self.tensors)), default=-1) + 1

    def channels(self, name: str, dim: int) -> int:
        """Size of a convolution's weight in one of its four dimensions.

        Raises:
            UserError: there is no such tensor, or it is no convolution's weight.
        """
        if name not in self.tensors:
            raise UserError(
                f"Tensor '{name}' is missing from '{self.source}', which looks like {self.arch}; "
                "if the network is another one, pass --arch package.module:callable naming its "
                "code."
            )
        shape = self.tensors[name].shape
        if len(shape) != 4:
            raise UserError(
                f"Tensor '{name}' in '{self.source}' has shape {list(shape)}, "
                "but a convolution's weight has four dimensions."
            )
        return shape[dim]


@dataclass(frozen=True)
class Importer:
    """How files of one architecture are read.

    Attributes:
        recognises: Whether tensors, named as ours or as published, are this architecture's. No
            other row's may be (:func:`has` asks for names).
        lay_out: Fills an empty layout for its tensors.
        namings: Other projects' names for the same tensors.
        prepare: Brings recognised tensors into the form that the layout lists, where it is not the
            published one.
        widths: The options of the class that count channels, each with a pattern of the layout's
            widths: the option is the largest of those.
        unseen: Options of the class that neither names nor shapes show, with the values they may
            have, the usual one first. What the network makes of a photograph tells which it is; a
            scale that this does not tell is asked for, any other option has its usual value. An
            unlisted ``value_range`` is 1 or 255, usually the class's, where no mean shift tells.
        others: Networks without an importer whose files have these names and more: a pattern of
            such a name, and what the network is.
    """

    recognises: Callable[[Tensors], bool]
    lay_out: Callable[[Layout], None]
    namings: tuple[Naming, ...] = ()
    prepare: Callable[[Tensors], Tensors] | None = None
    widths: Mapping[str, str] = field(default_factory=lambda: {"n_feats": ""})
    unseen: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    others: Mapping[str, str] = field(default_factory=dict)


def find_layout(tensors: Tensors, source: str, arch: str | None = None) -> Layout:
    """The layout of an architecture, with everything but widths read off names and shapes.

    Args:
        tensors: Under our names.
        source: The file, for messages.
        arch: An architecture; None to recognise it.

    Raises:
        UserError: no architecture has such names, or one that cannot be imported has.
    """
    recognised = recognise(tensors)
    if recognised is not None:
        _refuse_others(recognised, tensors, source)
    arch = arch or recognised
    if arch is None:
        example = next(iter(tensors))
        more = "" if spandrel_library.installed() else f"{spandrel_library.INSTALL} for more, or "
        raise UserError(
            f"'{source}' fits no architecture srdeploy knows ({', '.join(ARCHITECTURES)}): it has "
            f"{len(tensors)} tensors named like '{example}'; {more}pass "
            "--arch package.module:callable naming the code that builds the network."
        )
    importer = ARCHITECTURES[arch].read_by()
    layout = Layout(arch, importer.prepare(tensors) if importer.prepare else tensors, source)
    importer.lay_out(layout)
    return layout


def recognise(tensors: Tensors) -> str | None:
    """Name of the architecture whose tensors are named like these."""
    return next((name for name, importer in _importers() if importer.recognises(tensors)), None)


def find_naming(names: Mapping[str, object]) -> Naming | None:
    """The convention of another project that the names follow; None: they may be ours already."""
    namings = (naming for _, importer in _importers() for naming in importer.namings)
    return next((naming for naming in namings if naming.fits(names)), None)


def _importers() -> Iterator[tuple[str, Importer]]:
    """Of all architectures; that of a plug-in which cannot be imported is left out, and told."""
    for row in ARCHITECTURES.values():
        try:
            importer = row.read_by()
        except SrdeployError as error:
            _tell(str(error))
        else:
            yield row.name, importer


@cache
def _tell(sentence: str) -> None:
    log.warning(sentence)


def _refuse_others(arch: str, tensors: Tensors, source: str) -> None:
    """Say what the file is when it is a known network without an importer."""
    for pattern, title in ARCHITECTURES[arch].read_by().others.items():
        if has(tensors, pattern):
            raise UserError(
                f"'{source}' is {title}, not {arch.upper()}; pass "
                "--arch package.module:callable naming the code that builds it."
            )


def has(tensors: Mapping[str, object], pattern: str) -> bool:
    """Whether a name begins with what a pattern describes."""
    return any(re.match(pattern, name) for name in tensors)


def _indices(tensors: Tensors, pattern: str) -> set[int]:
    return {int(m[1]) for name in tensors if (m := re.match(pattern, name))}


# Parts that several architectures have


def mean_shifts(layout: Layout) -> None:
    """The frozen convolutions ``sub_mean`` and ``add_mean``, if there are any."""
    names = ("sub_mean", "add_mean")
    present = any(name.startswith(names) for name in layout.tensors)
    layout.config["mean_shift"] = present
    if present:
        for name in names:
            layout.conv(name, 3, 3, kernel=1)


def image_channels(layout: Layout, n: int) -> int:
    """The channels of the image that a network takes and makes.

    Raises:
        UserError: neither 1 nor 3 nor 4.
    """
    if n not in (1, 3, 4):
        raise UserError(
            f"'{layout.source}' takes images of {n} channels; srdeploy runs networks of 1, 3 or 4: "
            "grey, colour, or colour and opacity."
        )
    return n


def lite_tail(layout: Layout) -> None:
    """One convolution ``tail.0`` and a PixelShuffle; sets the scale."""
    scale = shuffle_scale(layout, "tail.0.weight", 3)
    layout.config["scale"] = scale
    layout.conv("tail.0", 3 * scale**2, "trunk")


def shuffle_scale(layout: Layout, name: str, channels: int) -> int:
    """The scale that a convolution before the only PixelShuffle shows.

    Args:
        layout: Says which tensors there are.
        name: The convolution's weight.
        channels: Of the image.

    Raises:
        UserError: there is no such tensor, or its outputs are no ``channels * scale^2``.
    """
    n_out = layout.channels(name, 0)
    scale = math.isqrt(n_out // channels)
    if scale < 1 or channels * scale**2 != n_out:
        usual = [str(channels * factor**2) for factor in (2, 3, 4)]
        raise UserError(
            f"Tensor '{name}' in '{layout.source}' has {n_out} output channels, but the last "
            f"convolution of {layout.arch} has {channels}*scale^2 ({', '.join(usual)}...)."
        )
    return scale


def upsampler_tail(layout: Layout) -> None:
    """Stages ``tail.0.{0,2,4}`` of a convolution and a PixelShuffle, then ``tail.1``."""
    stages = sorted(_indices(layout.tensors, r"tail\.0\.(\d+)\.weight")) or [0]
    names = [f"tail.0.{i}.weight" for i in stages] + ["tail.1.weight"]
    channels = [
        (layout.channels(name, 0), layout.channels(after, 1)) for name, after in pairwise(names)
    ]
    factors = {n_out / max(n_in, 1) for n_out, n_in in channels}
    if len(stages) == 1 and factors == {9.0}:
        factor, scale = 9, 3
    elif factors == {4.0}:
        factor, scale = 4, 2 ** len(stages)
    else:
        raise UserError(
            f"The tail of '{layout.source}' is no EDSR upsampler: '{names[0]}' has "
            f"{channels[0][0]} output channels and '{names[1]}' takes {channels[0][1]}, which is "
            "neither x2 nor x3."
        )
    layout.config["scale"] = scale
    before = "trunk"
    for i in range(len(stages)):
        layout.conv(f"tail.0.{2 * i}", (f"up{i}", factor), before)
        before = f"up{i}"
    layout.conv("tail.1", 3, before)


# Matching


def solve_widths(layout: Layout) -> dict[str, int]:
    """Match every tensor against its layout and return the widths that the layout names.

    Raises:
        UserError: a tensor is missing, unexpected, or has a shape that contradicts the layout or
            another tensor; the sentence names it.
    """
    tensors, source = layout.tensors, layout.source
    for name in layout.shapes:
        if name not in tensors:
            raise UserError(
                f"Tensor '{name}' is missing from '{source}', which looks like "
                f"{_described(layout)}; if the network is another one, pass "
                "--arch package.module:callable naming its code."
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
