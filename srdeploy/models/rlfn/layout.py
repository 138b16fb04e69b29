"""How files of RLFN are recognised and read: our names are those of the NTIRE 2022 challenge."""

from __future__ import annotations

from srdeploy.models.importing.distillation import lay_out_frame, lay_out_spatial_attention
from srdeploy.models.importing.layouts import Importer, Layout, Tensors, has
from srdeploy.models.importing.namings import Naming


def recognises(tensors: Tensors) -> bool:
    """Blocks with layers that refine, each one convolution, and none that distil."""
    refine = has(tensors, r"B\d+\.c1_r\.(weight|bias)$") and has(tensors, r"B\d+\.esa\.conv1\.")
    return refine and not has(tensors, r"B\d+\.(c\d_d|c4)\.")


def lay_out(layout: Layout) -> None:
    """Each block may make another width than it reads."""
    n_blocks = layout.count(r"B(\d+)\.") - 1
    layout.config["n_blocks"] = n_blocks
    for number in range(1, n_blocks + 1):
        name, read, made = f"B{number}", f"trunk{number}", f"trunk{number + 1}"
        layout.conv(f"{name}.c1_r", f"mid{number}.1", read)
        layout.conv(f"{name}.c2_r", f"mid{number}.2", f"mid{number}.1")
        layout.conv(f"{name}.c3_r", read, f"mid{number}.2")
        layout.conv(f"{name}.c5", made, read, kernel=1)
        lay_out_spatial_attention(layout, f"{name}.esa", made, f"esa{number}", deep=False)
    lay_out_frame(layout, "trunk1", f"trunk{n_blocks + 1}")


RLFN = Importer(
    recognises,
    lay_out,
    namings=(
        Naming(
            "RLFN",
            has=("conv_1.weight", "block_1.c1_r.weight", "conv_2.weight"),
            lacks=("conv_cat.weight",),  # SPAN's
            rules=(
                (r"conv_1", "fea_conv"),
                (r"block_(\d+)\.(.*)", r"B\1.\2"),
                (r"conv_2", "LR_conv"),
            ),
        ),
    ),
    widths={"n_feats": "trunk", "mid_feats": "mid", "esa_feats": "esa"},
)
