"""How files of RRDBNet are recognised and read: our names are BasicSR's, as Real-ESRGAN's are.

ESRGAN's own files have two other namings: that of its code of 2018, where the whole network is one
``Sequential``, and that of its later code.
"""

from __future__ import annotations

import math
import re

import torch

from srdeploy.errors import UserError
from srdeploy.models.importing.layouts import (
    Importer,
    Layout,
    Tensors,
    has,
    image_channels,
)
from srdeploy.models.importing.namings import Naming

_FIRST, _LAST = "conv_first.weight", "conv_last.weight"
_GREY = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64).view(1, 3, 1, 1)  # BT.601


def recognises(tensors: Tensors) -> bool:
    """The blocks have three dense blocks each, under BasicSR's names or those of 2018."""
    return has(tensors, r"body\.\d+\.rdb[123]\.conv") or _is_sequential(tensors)


def _is_sequential(tensors: Tensors) -> bool:
    return has(tensors, r"model\.1\.sub\.\d+\.RDB[123]\.conv")


def lay_out(layout: Layout) -> None:
    """The dense blocks may all have widths of their own; what they are added to has one."""
    _read_grey(layout)
    n_blocks = layout.count(r"body\.(\d+)\.rdb")
    doublings = layout.count(r"conv_up(\d+)\.") - 1 if has(layout.tensors, "conv_up") else 0
    plus = has(layout.tensors, r"body\.\d+\.rdb[123]\.conv1x1\.")
    channels, unshuffle = _image(layout)
    scale, rest = divmod(2**doublings, unshuffle)
    if rest:
        raise UserError(
            f"'{layout.source}' reduces its input {unshuffle} times and enlarges {2**doublings} "
            "times; srdeploy runs no network that makes a smaller image."
        )
    layout.config |= {
        "scale": scale,
        "n_blocks": n_blocks,
        "unshuffle": unshuffle,
        "channels": channels,
        "plus": plus,
    }
    if doublings == 1:  # the one of a network of factor 3 has the same tensors
        layout.assumed.append("its one upsampling is by 2")
    layout.conv("conv_first", "trunk", channels * unshuffle**2)
    for block in range(n_blocks):
        for number in (1, 2, 3):
            _dense_block(layout, f"body.{block}.rdb{number}", plus)
    layout.conv("conv_body", "trunk", "trunk")
    before = "trunk"
    for i in range(doublings):
        layout.conv(f"conv_up{i + 1}", f"up{i + 1}", before)
        before = f"up{i + 1}"
    layout.conv("conv_hr", "hr", before)
    layout.conv("conv_last", channels, "hr")


def _read_grey(layout: Layout) -> None:
    """A network that makes colours of grey becomes one that takes colours, and reads their grey."""
    weight, last = (layout.tensors.get(name) for name in (_FIRST, _LAST))
    if weight is None or last is None or weight.dim() != 4 or last.dim() < 1:
        return
    if (weight.shape[1], last.shape[0]) == (1, 3) and weight.is_floating_point():
        colours = (weight.double() * _GREY).to(weight.dtype)
        layout.tensors = {**layout.tensors, _FIRST: colours}
        layout.assumed.append("the network reads the grey (0.299 R + 0.587 G + 0.114 B) of colours")


def _image(layout: Layout) -> tuple[int, int]:
    """Channels of the image, and the pixel unshuffle of the input."""
    n_in, n_out = layout.channels(_FIRST, 1), layout.channels(_LAST, 0)
    unshuffle = math.isqrt(n_in // max(n_out, 1))
    if n_in != n_out * unshuffle**2 or unshuffle not in (1, 2, 4):
        raise UserError(
            f"'{layout.source}' takes {n_in} channels ('{_FIRST}') and makes {n_out} ('{_LAST}'); "
            "srdeploy runs networks that make as many as they take, or take them unshuffled: 4 or "
            "16 times as many."
        )
    return image_channels(layout, n_out), unshuffle


def _dense_block(layout: Layout, name: str, plus: bool) -> None:
    n_in = layout.channels(_FIRST, 0)
    for i in range(1, 5):
        width = f"growth.{name}.{2 if plus and i == 4 else i}"  # the fourth is added to the second
        layout.conv(f"{name}.conv{i}", width, "trunk" if i == 1 else n_in)
        n_in += layout.channels(f"{name}.conv{i}.weight", 0)
    layout.conv(f"{name}.conv5", "trunk", n_in)
    if plus:
        layout.conv(f"{name}.conv1x1", f"growth.{name}.2", "trunk", kernel=1, bias=False)


def rename_sequential(tensors: Tensors) -> Tensors:
    """The tensors of the ``Sequential`` under our names; those of another file are left.

    Behind the blocks, each doubling takes three places (nearest neighbour, convolution, leaky
    ReLU), and the last two convolutions have a leaky ReLU between them.
    """
    if not _is_sequential(tensors):
        return tensors
    outside = [int(m[1]) for name in tensors if (m := re.match(r"model\.(\d+)\.weight$", name))]
    inside = [int(m[1]) for name in tensors if (m := re.match(r"model\.1\.sub\.(\d+)\.w", name))]
    last = max(outside, default=0)
    places = {f"model.{3 * i}": f"conv_up{i}" for i in range(1, (last - 4) // 3 + 1)}
    places |= {f"model.{last}": "conv_last", f"model.{last - 2}": "conv_hr"}
    places |= {"model.0": "conv_first", f"model.1.sub.{max(inside, default=0)}": "conv_body"}
    renamed: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        layer, _, kind = name.rpartition(".")
        if match := re.fullmatch(
            r"model\.1\.sub\.(\d+)\.RDB([123])\.(conv\d)\.0|"
            r"model\.1\.sub\.(\d+)\.RDB([123])\.(conv1x1)",
            layer,
        ):
            block, number, conv = (part for part in match.groups() if part is not None)
            layer = f"body.{block}.rdb{number}.{conv}"
        ours = f"{places.get(layer, layer)}.{kind}"
        renamed[name if ours in tensors else ours] = tensor
    return renamed


RRDBNET = Importer(
    recognises,
    lay_out,
    namings=(
        Naming(
            "ESRGAN's RRDBNet",
            has=("conv_first.weight", "trunk_conv.weight", "conv_last.weight"),
            lacks=(),
            rules=(
                (r"RRDB_trunk\.(\d+)\.RDB([123])\.(conv\w+)", r"body.\1.rdb\2.\3"),
                (r"trunk_conv", "conv_body"),
                (r"upconv(\d+)", r"conv_up\1"),
                (r"HRconv", "conv_hr"),
            ),
        ),
    ),
    prepare=rename_sequential,
    widths={"n_feats": "trunk|up|hr", "growth": "growth"},
)
