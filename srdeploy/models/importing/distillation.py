"""Parts of the layouts of IMDN and its successors RFDN and RLFN."""

from __future__ import annotations

from srdeploy.models.importing.layouts import Layout, shuffle_scale


def lay_out_frame(layout: Layout, first: str, last: str, joined: int | None = None) -> None:
    """List the tensors of :class:`srdeploy.models.distillation.DistillationNetwork` but its blocks.

    Args:
        layout: To be filled.
        first: Width of the first convolution, which the one after the blocks is added to.
        last: Width of what comes out of the last block.
        joined: Channels of all blocks' outputs together, where they are fused.
    """
    scale = shuffle_scale(layout, "upsampler.0.weight", 3)
    layout.config["scale"] = scale
    layout.conv("fea_conv", first, 3)
    read = last
    if joined is not None:
        layout.conv("c.0", read := "fused", joined, kernel=1)
    layout.conv("LR_conv", first, read)
    layout.conv("upsampler.0", 3 * scale**2, first)


def joined_channels(layout: Layout, layers: list[str]) -> int:
    """Output channels of several convolutions together.

    Raises:
        UserError: one is missing.
    """
    return sum(layout.channels(f"{layer}.weight", 0) for layer in layers)


def lay_out_spatial_attention(layout: Layout, name: str, trunk: str, own: str, deep: bool) -> None:
    """List the tensors of :class:`srdeploy.models.attention.SpatialAttention`.

    Args:
        layout: To be filled.
        name: Of the attention.
        trunk: Width of what it reads and multiplies.
        own: Its own widths begin with this.
        deep: As of the class.
    """
    layout.conv(f"{name}.conv1", f"{own}a", trunk, kernel=1)
    layout.conv(f"{name}.conv_f", f"{own}f", f"{own}a", kernel=1)
    layout.conv(f"{name}.conv2", f"{own}b", f"{own}a")
    if deep:
        layout.conv(f"{name}.conv_max", f"{own}c", f"{own}b")
        layout.conv(f"{name}.conv3", f"{own}d", f"{own}c")
        layout.conv(f"{name}.conv3_", f"{own}f", f"{own}d")
    else:
        layout.conv(f"{name}.conv3", f"{own}f", f"{own}b")
    layout.conv(f"{name}.conv4", trunk, f"{own}f", kernel=1)
