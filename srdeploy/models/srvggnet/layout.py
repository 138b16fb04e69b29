"""How files of SRVGGNetCompact are recognised and read: names and shapes are the published ones.

A file whose activations are ReLUs does not show them, nor whether they leak; such a file is not
recognised.
"""

from __future__ import annotations

import math
import re

from srdeploy.errors import UserError
from srdeploy.models.importing.layouts import Importer, Layout, Tensors, image_channels


def recognises(tensors: Tensors) -> bool:
    """One chain of layers ``body``, every other one a PReLU."""
    return (
        all(re.fullmatch(r"body\.\d+\.(weight|bias)", name) for name in tensors)
        and "body.0.weight" in tensors
        and tensors["body.0.weight"].dim() == 4
        and "body.1.weight" in tensors
        and tensors["body.1.weight"].dim() == 1
        and "body.1.bias" not in tensors
    )


def lay_out(layout: Layout) -> None:
    """Every layer but the last may have another width; the last one shows the scale."""
    last = layout.count(r"body\.(\d+)\.") - 1
    channels = image_channels(layout, layout.channels("body.0.weight", 1))
    n_out = layout.channels(f"body.{last}.weight", 0)
    scale = math.isqrt(n_out // channels)
    if channels * scale**2 != n_out:
        raise UserError(
            f"Tensor 'body.{last}.weight' in '{layout.source}' has {n_out} output channels, but "
            f"SRVGGNetCompact for images of {channels} channels has {channels}*scale^2."
        )
    layout.config |= {"scale": scale, "n_layers": last // 2 - 1, "channels": channels}
    before: str | int = channels
    for i in range(0, last, 2):
        layout.conv(f"body.{i}", f"layer{i}", before)
        layout.shapes[f"body.{i + 1}.weight"] = (f"layer{i}",)
        before = f"layer{i}"
    layout.conv(f"body.{last}", n_out, before)


SRVGGNET = Importer(recognises, lay_out, widths={"n_feats": "layer"})
