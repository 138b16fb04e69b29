"""How files of RIRSR are recognised and read: our names are EDSR-PyTorch's, as SRP's are."""

from __future__ import annotations

from collections.abc import Callable

from srdeploy.models.importing.layouts import (
    Importer,
    Layout,
    Tensors,
    has,
    mean_shifts,
    upsampler_tail,
)


def has_groups(tensors: Tensors) -> bool:
    """Blocks within residual groups."""
    return has(tensors, r"body\.\d+\.body\.\d+\.body\.[02]\.")


def recognises(tensors: Tensors) -> bool:
    """Groups of blocks, and no attention in them."""
    return has_groups(tensors) and not has(tensors, r".*\.conv_du\.")


def lay_out(layout: Layout) -> None:
    """Groups of residual blocks."""
    lay_out_groups(layout, residual_block)


def residual_block(layout: Layout, name: str, own: str) -> None:
    """Two convolutions: the trunk's width outside, one of its own inside."""
    layout.conv(f"{name}.body.0", f"inner{own}", "trunk")
    layout.conv(f"{name}.body.2", "trunk", f"inner{own}")


def lay_out_groups(
    layout: Layout, block: Callable[[Layout, str, str], None], head: str = "head.0", n_in: int = 3
) -> None:
    """Groups of blocks, which all share the trunk's width.

    Args:
        layout: To be filled.
        block: Adds one block; it is told the block's name, and its number for names of widths.
        head: Name of the first convolution.
        n_in: Channels that it reads.
    """
    n_groups = layout.count(r"body\.(\d+)\.body\.")
    n_blocks = layout.count(r"body\.\d+\.body\.(\d+)\.body\.")
    layout.config |= {"n_groups": n_groups, "n_blocks": n_blocks}
    mean_shifts(layout)
    layout.conv(head, "trunk", n_in)
    for g in range(n_groups):
        if len(layout.shapes) > len(layout.tensors):
            break  # some tensor is missing already; numbers of layers may be anything
        for b in range(n_blocks):
            block(layout, f"body.{g}.body.{b}", f"{g}.{b}")
        layout.conv(f"body.{g}.body.{n_blocks}", "trunk", "trunk")
    layout.conv(f"body.{n_groups}", "trunk", "trunk")
    upsampler_tail(layout)


RIRSR = Importer(recognises, lay_out)
