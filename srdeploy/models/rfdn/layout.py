"""How files of RFDN are recognised and read: names and shapes are the published ones."""

from __future__ import annotations

from srdeploy.models.importing.distillation import (
    joined_channels,
    lay_out_frame,
    lay_out_spatial_attention,
)
from srdeploy.models.importing.layouts import Importer, Layout, Tensors, has


def recognises(tensors: Tensors) -> bool:
    """Blocks with layers that distil and layers that refine, each one convolution."""
    return has(tensors, r"B\d+\.c1_d\.(weight|bias)$") and has(
        tensors, r"B\d+\.c1_r\.(weight|bias)$"
    )


def lay_out(layout: Layout) -> None:
    """Each block may make another width than it reads; what it keeps may differ by layer.

    So may the layers that refine, but for those that add their input.
    """
    n_blocks = layout.count(r"B(\d+)\.") - 1
    layout.config["n_blocks"] = n_blocks
    refine = [f"B{number}.c{i}_r.weight" for number in range(1, n_blocks + 1) for i in (1, 2, 3)]
    if any(layout.channels(name, 0) != layout.channels(name, 1) for name in refine):
        layout.config["residual"] = False
    for number in range(1, n_blocks + 1):
        _block(layout, f"B{number}", number)
    joined = joined_channels(layout, [f"B{number}.c5" for number in range(1, n_blocks + 1)])
    lay_out_frame(layout, "trunk1", f"trunk{n_blocks + 1}", joined)


def _block(layout: Layout, name: str, number: int) -> None:
    read, made = f"trunk{number}", f"trunk{number + 1}"
    residual = layout.config.get("residual", True)
    for i in (1, 2, 3):
        refined = read if residual else f"trunk{number}.{i}"
        layout.conv(f"{name}.c{i}_d", f"distilled{number}.{i}", read, kernel=1)
        layout.conv(f"{name}.c{i}_r", refined, read)
        read = refined
    layout.conv(f"{name}.c4", f"distilled{number}.4", read)
    kept = joined_channels(layout, [*(f"{name}.c{i}_d" for i in (1, 2, 3)), f"{name}.c4"])
    layout.conv(f"{name}.c5", made, kept, kernel=1)
    lay_out_spatial_attention(layout, f"{name}.esa", made, f"esa{number}", deep=True)


RFDN = Importer(
    recognises,
    lay_out,
    widths={"n_feats": "trunk|fused", "n_distilled": "distilled", "esa_feats": "esa"},
    unseen={"residual": (True, False), "dilated": (False, True), "value_range": (255.0, 1.0)},
)
