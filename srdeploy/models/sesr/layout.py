"""How files of SESR are recognised and read, before and after collapsing."""

from __future__ import annotations

from srdeploy.models.importing.layouts import (
    Dim,
    Importer,
    Layout,
    Tensors,
    has,
    image_channels,
    shuffle_scale,
)


def recognises(tensors: Tensors) -> bool:
    """Ends and middle are collapsible blocks, collapsed or not."""
    return has(tensors, r"conv_first\.conv_expand\.") and has(tensors, r"residual_block\.\d+\.")


def lay_out(layout: Layout) -> None:
    """Expanded, blocks are in skips, so that all but their insides are equally wide. Collapsed,
    each block may have a width of its own, but for the two that the long skip adds.
    """
    n_blocks = layout.count(r"residual_block\.(\d+)\.")
    channels = image_channels(layout, layout.channels("conv_first.conv_expand.weight", 1))
    expanded = has(layout.tensors, r".*\.conv_squeeze\.")
    prelu = has(layout.tensors, r".*\.activation\.")
    last = "conv_squeeze" if expanded else "conv_expand"
    scale = shuffle_scale(layout, f"conv_last.{last}.weight", channels)
    layout.config |= {
        "n_blocks": n_blocks, "channels": channels, "expanded": expanded, "prelu": prelu,
        "scale": scale,
    }  # fmt: skip
    layout.conv("anchor.net", channels * scale**2, channels, kernel=1)
    _block(layout, "conv_first", channels, "trunk", 5)
    before: Dim = "trunk"
    for i in range(n_blocks):
        after = "trunk" if expanded or i == n_blocks - 1 else f"inner{i}"
        _block(layout, f"residual_block.{i}", before, after, 3)
        before = after
    _block(layout, "conv_last", before, channels * scale**2, 5, activated=False)


def _block(
    layout: Layout, name: str, n_in: Dim, n_out: Dim, side: int, activated: bool = True
) -> None:
    if layout.config["expanded"]:
        layout.conv(f"{name}.conv_expand", f"expanded {name}", n_in, kernel=side, bias=False)
        layout.conv(f"{name}.conv_squeeze", n_out, f"expanded {name}", kernel=1)
    else:
        layout.conv(f"{name}.conv_expand", n_out, n_in, kernel=side)
    if activated and layout.config["prelu"]:
        layout.shapes[f"{name}.activation.weight"] = (1,)


SESR = Importer(recognises, lay_out, widths={"n_feats": "trunk|inner", "n_expanded": "expanded"})
