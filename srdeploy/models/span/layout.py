"""How files of SPAN are recognised and read: names are the published ones, but for convolutions of
three branches, which are folded.

A published convolution is the sum of a chain (1x1, 3x3, 1x1) and a 1x1 convolution. Its input is
padded before the chain, so that one 3x3 convolution equals it everywhere, at the borders too. Files
may hold that one as well, as ``eval_conv``: the published code computes it anew from the branches,
as the copy in a file may be old.
"""

from __future__ import annotations

import math
import re

import torch
from torch import Tensor

from srdeploy.errors import UserError
from srdeploy.models.importing.layouts import (
    Dim,
    Importer,
    Layout,
    Tensors,
    has,
    image_channels,
)
from srdeploy.models.span.network import UNNORMALISED, normalisation

_BRANCHES = ("sk", "conv.0", "conv.1", "conv.2")


def recognises(tensors: Tensors) -> bool:
    """Blocks of three convolutions, and one that joins four results."""
    return has(tensors, r"block_\d+\.c1_r\.") and "conv_cat.weight" in tensors


def lay_out(layout: Layout) -> None:
    """The chain of blocks has one width, as each adds its input; the rest may have others."""
    n_blocks = layout.count(r"block_(\d+)\.") - 1
    conv_1 = "conv_1.sk.weight" if "conv_1.sk.weight" in layout.tensors else "conv_1.weight"
    channels = image_channels(layout, layout.channels(conv_1, 1))
    n_out = layout.channels("upsampler.0.weight", 0)
    scale = math.isqrt(n_out // channels)
    if channels * scale**2 != n_out:
        raise UserError(
            f"Tensor 'upsampler.0.weight' in '{layout.source}' has {n_out} output channels, but "
            f"SPAN for images of {channels} channels has {channels}*scale^2."
        )
    norm = UNNORMALISED not in layout.tensors
    layout.config |= {"scale": scale, "n_blocks": n_blocks, "channels": channels, "norm": norm}
    if norm:
        layout.shapes |= {"mean": (1, channels, 1, 1), "img_range": (1,)}
        layout.assumed.append("the input is normalised as published (DIV2K mean, times 255)")
    else:
        layout.shapes[UNNORMALISED] = (1,)
    _convolution(layout, "conv_1", "trunk", channels)
    for i in range(1, n_blocks + 1):
        _convolution(layout, f"block_{i}.c1_r", f"first{i}", "trunk")
        _convolution(layout, f"block_{i}.c2_r", f"second{i}", f"first{i}")
        _convolution(layout, f"block_{i}.c3_r", "trunk", f"second{i}")
    _convolution(layout, "conv_2", "end", "trunk")
    joined = ("conv_1", "conv_2", "block_1.c3_r", f"block_{n_blocks}.c1_r")
    n_in = sum(_n_out(layout, name) for name in joined)
    layout.conv("conv_cat", "joined", n_in, kernel=1)
    layout.conv("upsampler.0", n_out, "joined")


def _convolution(layout: Layout, name: str, n_out: Dim, n_in: Dim) -> None:
    """One convolution; the branches of one that could not be folded, for the error to name."""
    if not has(layout.tensors, re.escape(name) + r"\.(sk|conv)\."):
        layout.conv(name, n_out, n_in)
        return
    layout.conv(f"{name}.sk", n_out, n_in, kernel=1)
    layout.conv(f"{name}.conv.0", f"{name} inside", n_in, kernel=1)
    layout.conv(f"{name}.conv.1", f"{name} outside", f"{name} inside")
    layout.conv(f"{name}.conv.2", n_out, f"{name} outside", kernel=1)


def _n_out(layout: Layout, name: str) -> int:
    branch = f"{name}.sk.weight"
    return layout.channels(branch if branch in layout.tensors else f"{name}.weight", 0)


def fold_branches(tensors: Tensors) -> Tensors:
    """Single convolutions in place of branches, and the published normalisation.

    A convolution with branches that are missing or do not fit together is left, to be refused with
    the others.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        owner = re.sub(r"\.(sk|conv\.[012]|eval_conv)\.(weight|bias)$", "", name)
        if owner == name or f"{owner}.weight" in tensors:
            found[name] = tensor
        elif (folded := _fold(tensors, owner)) is not None:
            found |= {f"{owner}.{kind}": part for kind, part in folded.items()}
        elif has(tensors, re.escape(owner) + r"\.(sk|conv)\."):
            found |= {} if ".eval_conv." in name else {name: tensor}
        else:  # nothing but the convolution that runs
            found[f"{owner}.{name.rpartition('.')[2]}"] = tensor
    if UNNORMALISED not in tensors and _is_of_colours(found.get("conv_1.weight")):
        found = {**normalisation(3), **found}
    return found


def _is_of_colours(weight: Tensor | None) -> bool:
    return weight is not None and weight.dim() == 4 and weight.shape[1] == 3


def _fold(tensors: Tensors, name: str) -> dict[str, Tensor] | None:
    """Weight and bias of the convolution that equals four branches, computed in float64."""
    wanted = [f"{name}.{branch}.{kind}" for branch in _BRANCHES for kind in ("weight", "bias")]
    if not all(one in tensors and tensors[one].is_floating_point() for one in wanted):
        return None
    skip, skip_bias, first, bias_1, middle, bias_2, last, bias_3 = given = [
        tensors[one].double() for one in wanted
    ]
    if [one.dim() for one in given] != [4, 1] * len(_BRANCHES):
        return None
    (n_out, n_in), inside, outside = skip.shape[:2], first.shape[0], middle.shape[0]
    if [tuple(one.shape) for one in given] != [
        *((n_out, n_in, 1, 1), (n_out,), (inside, n_in, 1, 1), (inside,)),
        *((outside, inside, 3, 3), (outside,), (n_out, outside, 1, 1), (n_out,)),
    ]:
        return None
    kernel = torch.einsum("om,mnhw,ni->oihw", last[..., 0, 0], middle, first[..., 0, 0])
    kernel = kernel.contiguous()
    kernel[:, :, 1, 1] += skip[..., 0, 0]
    bias = last[..., 0, 0] @ (middle.sum((2, 3)) @ bias_1 + bias_2) + bias_3 + skip_bias
    return {"weight": kernel.float(), "bias": bias.float()}


SPAN = Importer(
    recognises,
    lay_out,
    prepare=fold_branches,
    widths={"n_feats": "trunk|first|second|end|joined"},
)
