"""How files of FSRCNN are recognised and read."""

from __future__ import annotations

import re

import torch

from srdeploy.models.importing.layouts import Importer, Layout, Tensors, has, image_channels

_STAGES = {
    "feature_extraction": ("first_part", 0),
    "shrink": ("mid_part", 0),
    "map": ("mid_part", 2),
}


def recognises(tensors: Tensors) -> bool:
    """A first, a middle and a last part, or the paper's names of the stages."""
    parts = all(has(tensors, rf"{part}\.\d+\.") for part in ("first_part", "mid_part"))
    stages = all(has(tensors, rf"{stage}\.\d+\.") for stage in (*_STAGES, "expand"))
    return parts or (stages and has(tensors, r"deconv\."))


def number_stages(tensors: Tensors) -> dict[str, torch.Tensor]:
    """The paper's names of the stages, turned into numbers in the middle part."""
    if has(tensors, r"mid_part\."):
        return dict(tensors)
    maps = [int(m[1]) for name in tensors if (m := re.match(r"map\.(\d+)\.weight", name))]
    places = {**_STAGES, "expand": ("mid_part", max(maps, default=-1) + 3)}

    def ours(name: str) -> str:
        stage, _, rest = name.partition(".")
        number, _, leaf = rest.partition(".")
        if stage == "deconv":
            return f"last_part.{rest}"
        if stage not in places or not number.isdecimal():
            return name
        part, first = places[stage]
        return f"{part}.{first + int(number)}.{leaf}"

    return {ours(name): tensor for name, tensor in tensors.items()}


def lay_out(layout: Layout) -> None:
    """Every layer but the last may have another width. Nothing shows the scale."""
    n_layers = max((layout.count(r"mid_part\.(\d+)\.") + 1) // 2 - 2, 0)
    channels = image_channels(layout, layout.channels("first_part.0.weight", 1))
    layout.config |= {"n_layers": n_layers, "channels": channels}
    layout.conv("first_part.0", "first", channels, kernel=5)
    layout.shapes["first_part.1.weight"] = ("first",)
    before = "first"
    for i in range(n_layers + 2):
        kind = "expanded" if i == n_layers + 1 else f"shrunk{i}"
        layout.conv(f"mid_part.{2 * i}", kind, before, kernel=3 if 0 < i <= n_layers else 1)
        layout.shapes[f"mid_part.{2 * i + 1}.weight"] = (kind,)
        before = kind
    layout.shapes["last_part.weight"] = (before, channels, 9, 9)  # transposed
    layout.shapes["last_part.bias"] = (channels,)


FSRCNN = Importer(
    recognises,
    lay_out,
    prepare=number_stages,
    widths={"n_feats": "first|expanded", "n_shrunk": "shrunk"},
    unseen={"scale": (2, 3, 4)},
)
