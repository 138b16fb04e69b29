"""How files of VDSR are recognised and read: names and shapes are the published ones."""

from __future__ import annotations

from srdeploy.models.importing.layouts import Importer, Layout, Tensors, has


def recognises(tensors: Tensors) -> bool:
    """Inner layers are called ``residual_layer``."""
    return has(tensors, r"residual_layer\.\d+\.conv\.")


def lay_out(layout: Layout) -> None:
    """Every layer may have another width. The weights serve any scale."""
    n_inner = layout.count(r"residual_layer\.(\d+)\.")
    bias = "input.bias" in layout.tensors
    layout.config |= {"n_layers": n_inner + 2, "bias": bias}
    layout.conv("input", "input", 1, bias=bias)
    before = "input"
    for i in range(n_inner):
        layout.conv(f"residual_layer.{i}.conv", f"inner{i}", before, bias=bias)
        before = f"inner{i}"
    layout.conv("output", 1, before, bias=bias)


VDSR = Importer(recognises, lay_out)
