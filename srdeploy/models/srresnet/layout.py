"""How files of SRResNet are recognised and read: our names are those of ESRGAN's code of 2018."""

from __future__ import annotations

from itertools import pairwise

from srdeploy.errors import UserError
from srdeploy.models.importing.layouts import Importer, Layout, Tensors, has, image_channels


def recognises(tensors: Tensors) -> bool:
    """One ``Sequential`` with residual blocks of convolutions inside a skip."""
    return has(tensors, r"model\.1\.sub\.\d+\.res\.[02]\.")


def lay_out(layout: Layout) -> None:
    """Each block has a width of its own inside; what they are added to has one."""
    n_blocks = layout.count(r"model\.1\.sub\.(\d+)\.res\.")
    channels = image_channels(layout, layout.channels("model.0.weight", 1))
    n_stages = max(layout.count(r"model\.(\d+)\.") - 5, 0) // 3
    names = [f"model.{2 + 3 * i}" for i in range(n_stages + 1)]
    factors = {
        layout.channels(f"{name}.weight", 0) / max(layout.channels(f"{after}.weight", 1), 1)
        for name, after in pairwise(names)
    }
    if factors not in (set(), {4.0}) and (factors != {9.0} or n_stages > 1):
        raise UserError(
            f"The layers 'model.2' to '{names[-1]}' in '{layout.source}' are no upsampler of "
            "SRResNet: each PixelShuffle needs 4 times as many channels as the next layer takes, "
            "or a single one 9 times."
        )
    factor = 9 if factors == {9.0} else 4
    scale = 3 if factor == 9 else 2**n_stages
    layout.config |= {"scale": scale, "n_blocks": n_blocks, "channels": channels}
    layout.conv("model.0", "trunk", channels)
    for i in range(n_blocks):
        layout.conv(f"model.1.sub.{i}.res.0", f"inner{i}", "trunk")
        layout.conv(f"model.1.sub.{i}.res.2", "trunk", f"inner{i}")
    layout.conv(f"model.1.sub.{n_blocks}", "trunk", "trunk")
    before = "trunk"
    for i, name in enumerate(names[:-1]):
        layout.conv(name, (f"up{i}", factor), before)
        before = f"up{i}"
    layout.conv(names[-1], "end", before)
    layout.conv(f"model.{4 + 3 * n_stages}", channels, "end")


SRRESNET = Importer(recognises, lay_out)
