"""How files of RIRSR are recognised and read: our names are EDSR-PyTorch's, as SRP's are."""

from __future__ import annotations

from srdeploy.models.importing.layouts import (
    Importer,
    Layout,
    Tensors,
    has,
    mean_shifts,
    upsampler_tail,
)


def recognises(tensors: Tensors) -> bool:
    """Residual blocks within residual groups."""
    return has(tensors, r"body\.\d+\.body\.\d+\.body\.\d+\.")


def lay_out(layout: Layout) -> None:
    """Groups of blocks: all share the trunk's width, each block has one of its own inside."""
    n_groups = layout.count(r"body\.(\d+)\.body\.")
    n_blocks = layout.count(r"body\.\d+\.body\.(\d+)\.body\.")
    layout.config |= {"n_groups": n_groups, "n_blocks": n_blocks}
    mean_shifts(layout)
    layout.conv("head.0", "trunk", 3)
    for g in range(n_groups):
        if len(layout.shapes) > len(layout.tensors):
            break  # some tensor is missing already; numbers of layers may be anything
        for b in range(n_blocks):
            layout.conv(f"body.{g}.body.{b}.body.0", f"inner{g}.{b}", "trunk")
            layout.conv(f"body.{g}.body.{b}.body.2", "trunk", f"inner{g}.{b}")
        layout.conv(f"body.{g}.body.{n_blocks}", "trunk", "trunk")
    layout.conv(f"body.{n_groups}", "trunk", "trunk")
    upsampler_tail(layout)


RIRSR = Importer(recognises, lay_out, others={r".*\.conv_du\.": "RCAN with channel attention"})
