"""How files of SAFMN are recognised and read: names and shapes are the published ones."""

from __future__ import annotations

from srdeploy.errors import UserError
from srdeploy.models.importing.layouts import Importer, Layout, Tensors, has, shuffle_scale


def recognises(tensors: Tensors) -> bool:
    """Blocks with a norm, a modulation and a mixer of one 3x3 and one 1x1 convolution."""
    parts = (r"norm1\.", r"safm\.mfr\.\d+\.", r"ccm\.ccm\.2\.")
    return all(has(tensors, rf"feats\.\d+\.{part}") for part in parts)


def lay_out(layout: Layout) -> None:
    """All blocks share the trunk's width; each mixer has one of its own inside."""
    n_blocks = layout.count(r"feats\.(\d+)\.")
    n_levels = layout.count(r"feats\.\d+\.safm\.mfr\.(\d+)\.")
    trunk = layout.channels("to_feat.weight", 0)
    if trunk % n_levels:
        raise UserError(
            f"Tensor 'to_feat.weight' in '{layout.source}' has {trunk} output channels, which "
            f"cannot be shared out evenly to {n_levels} levels of pooling."
        )
    scale = shuffle_scale(layout, "to_img.0.weight", 3)
    layout.config |= {"scale": scale, "n_blocks": n_blocks, "n_feats": trunk, "n_levels": n_levels}
    layout.conv("to_feat", trunk, 3)
    for i in range(n_blocks):
        name = f"feats.{i}"
        for norm in ("norm1", "norm2"):
            layout.shapes |= {f"{name}.{norm}.{kind}": (trunk,) for kind in ("weight", "bias")}
        for level in range(n_levels):
            layout.conv(f"{name}.safm.mfr.{level}", trunk // n_levels, 1)
        layout.conv(f"{name}.safm.aggr", trunk, trunk, kernel=1)
        layout.conv(f"{name}.ccm.ccm.0", f"hidden{i}", trunk)
        layout.conv(f"{name}.ccm.ccm.2", trunk, f"hidden{i}", kernel=1)
    layout.conv("to_img.0", 3 * scale**2, trunk)


SAFMN = Importer(recognises, lay_out, widths={"hidden_feats": "hidden"})
