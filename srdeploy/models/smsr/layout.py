"""How files of SMSR are recognised and read: names and shapes are the published ones, but for the
channel masks.
"""

from __future__ import annotations

import torch

from srdeploy.models.importing.layouts import (
    Dim,
    Importer,
    Layout,
    Tensors,
    has,
    lite_tail,
    mean_shifts,
)


def recognises(tensors: Tensors) -> bool:
    """The modules of the body have spatial masks."""
    return has(tensors, r"body\.\d+\.spa_mask\.")


def lay_out(layout: Layout) -> None:
    """Each layer of each module may have another width, and masks of its own."""
    n_modules = layout.count(r"body\.(\d+)\.spa_mask\.")
    n_layers = layout.count(r"body\.\d+\.body\.body\.(\d+)\.")
    layout.config |= {"n_modules": n_modules, "n_layers": n_layers}
    mean_shifts(layout)
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
        joined = sum(layout.channels(layer, 0) for layer in layers)
        layout.conv(f"{name}.body.collect", "trunk", joined, kernel=1)
        layout.conv(f"{name}.ca.conv_du.0", f"narrow{m}", "trunk", kernel=1)
        layout.conv(f"{name}.ca.conv_du.2", "trunk", f"narrow{m}", kernel=1)
    trunk = layout.channels("head.2.weight", 0)
    layout.conv("collect.0", "collect", n_modules * trunk, kernel=1)
    layout.conv("collect.2", "trunk", "collect")
    lite_tail(layout)
    layout.config["mask_feats"] = layout.channels("body.0.spa_mask.0.weight", 0)
    narrow = max(layout.channels("body.0.ca.conv_du.0.weight", 0), 1)
    layout.config["reduction"] = trunk // narrow


def split_channel_masks(tensors: Tensors) -> dict[str, torch.Tensor]:
    """The published channel masks, ``[1, C, layers, 2]`` per module, as two per layer.

    Ours are ``[1, C, 1, 1]``, one tensor for "dense" and one for "sparse", so that each layer can
    be pruned by itself. Tensors of another shape are left, to be refused with the others.
    """
    split: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        if not name.endswith(".ch_mask") or tensor.dim() != 4 or tensor.shape[3] != 2:
            split[name] = tensor
            continue
        for layer in range(tensor.shape[2]):
            for kind, logits in zip(
                ("dense", "sparse"), tensor[:, :, layer].unbind(2), strict=True
            ):
                split[f"{name}.{layer}.{kind}"] = logits.clone()[:, :, None, None]
    return split


SMSR = Importer(
    recognises,
    lay_out,
    prepare=split_channel_masks,
    widths={"n_feats": "(?!mask|half|narrow)"},  # the mask branches and the attention are narrow
)
