"""How files of ESPCN are recognised and read."""

from __future__ import annotations

from srdeploy.models.importing.layouts import (
    Importer,
    Layout,
    Tensors,
    has,
    image_channels,
    shuffle_scale,
)
from srdeploy.models.importing.namings import Naming


def recognises(tensors: Tensors) -> bool:
    """A first and a last part, which is a convolution before a PixelShuffle."""
    return has(tensors, r"first_part\.0\.") and has(tensors, r"last_part\.0\.")


def lay_out(layout: Layout) -> None:
    """Every layer but the last may have another width; the last one shows the scale."""
    n_layers = (layout.count(r"first_part\.(\d+)\.") + 1) // 2
    channels = image_channels(layout, layout.channels("first_part.0.weight", 1))
    scale = shuffle_scale(layout, "last_part.0.weight", channels)
    layout.config |= {"n_layers": n_layers, "channels": channels, "scale": scale}
    layout.conv("first_part.0", "first", channels, kernel=5)
    before = "first"
    for i in range(1, n_layers):
        layout.conv(f"first_part.{2 * i}", f"hidden{i}", before)
        before = f"hidden{i}"
    layout.conv("last_part.0", channels * scale**2, before)


ESPCN = Importer(
    recognises,
    lay_out,
    namings=(
        Naming(
            "ESPCN with feature_maps and sub_pixel",
            has=("feature_maps.0.weight", "sub_pixel.0.weight"),
            lacks=(),
            rules=((r"feature_maps\.(\d+)", r"first_part.\1"), (r"sub_pixel\.0", "last_part.0")),
        ),
    ),
    widths={"n_feats": "first", "n_hidden": "hidden"},
    unseen={"tanh": (True, False)},
)
