"""How files of QuickSRNet are recognised and read."""

from __future__ import annotations

from srdeploy.errors import UserError
from srdeploy.models.importing.layouts import (
    Importer,
    Layout,
    Tensors,
    has,
    image_channels,
    shuffle_scale,
)


def recognises(tensors: Tensors) -> bool:
    """A chain of convolutions, and a last one outside it."""
    return has(tensors, r"cnn\.0\.") and has(tensors, r"conv_last\.(weight|bias)$")


def lay_out(layout: Layout) -> None:
    """Every layer but the last may have another width; the last one shows the scale.

    Raises:
        UserError: among others, the network upscales by 1.5.
    """
    if layout.channels("conv_last.weight", 2) == 1:
        raise UserError(
            f"'{layout.source}' is a QuickSRNet that upscales by 1.5, as its 1x1 last convolution "
            "shows; give one of a whole factor."
        )
    n_layers = (layout.count(r"cnn\.(\d+)\.") + 1) // 2
    channels = image_channels(layout, layout.channels("cnn.0.weight", 1))
    scale = shuffle_scale(layout, "conv_last.weight", channels)
    anchored = has(layout.tensors, r"anchor\.")
    layout.config |= {
        "n_layers": n_layers, "channels": channels, "anchor": anchored, "scale": scale,
    }  # fmt: skip
    before: int | str = channels
    for i in range(n_layers):
        layout.conv(f"cnn.{2 * i}", f"layer{i}", before)
        before = f"layer{i}"
    layout.conv("conv_last", channels * scale**2, before)
    if anchored:
        layout.conv("anchor.net", channels * scale**2, channels, kernel=1)


QUICKSRNET = Importer(recognises, lay_out)
