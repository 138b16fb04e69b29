"""How files of IMDN are recognised and read: names and shapes are the published ones."""

from __future__ import annotations

from srdeploy.errors import UserError
from srdeploy.models.importing.distillation import lay_out_frame
from srdeploy.models.importing.layouts import Importer, Layout, Tensors, has


def recognises(tensors: Tensors) -> bool:
    """Blocks are called ``IMDB``, and have contrast-aware attention."""
    return has(tensors, r"IMDB\d+\.c1\.(weight|bias)") and has(tensors, r"IMDB\d+\.cca\.")


def lay_out(layout: Layout) -> None:
    """All blocks share the trunk's width; each layer inside may have another width, and keep
    another part of it: what the next one does not read.
    """
    n_blocks = layout.count(r"IMDB(\d+)\.") - 1
    layout.config["n_blocks"] = n_blocks
    for number in range(1, n_blocks + 1):
        _block(layout, f"IMDB{number}", str(number))
    joined = n_blocks * layout.channels("fea_conv.weight", 0)
    lay_out_frame(layout, "trunk", "trunk", joined)
    kept = layout.channels("IMDB1.c5.weight", 1)
    narrow = max(layout.channels("IMDB1.cca.conv_du.0.weight", 0), 1)
    layout.config["reduction"] = max(kept // narrow, 1)


def _block(layout: Layout, name: str, own: str) -> None:
    kept = layout.channels(f"{name}.c4.weight", 0)
    read = "trunk"
    for i in (1, 2, 3):
        layer, reader = f"{name}.c{i}", f"{name}.c{i + 1}.weight"
        layout.conv(layer, f"layer{own}.{i}", read)
        made, read = layout.channels(f"{layer}.weight", 0), f"rest{own}.{i}"
        rest = layout.channels(reader, 1)
        if rest >= made:
            raise UserError(
                f"Tensor '{reader}' in '{layout.source}' reads {rest} channels, but '{layer}' "
                f"makes {made} and keeps some of them."
            )
        kept += made - rest
    layout.conv(f"{name}.c4", f"distilled{own}", read)
    layout.conv(f"{name}.cca.conv_du.0", f"narrow{own}", kept, kernel=1)
    layout.conv(f"{name}.cca.conv_du.2", kept, f"narrow{own}", kernel=1)
    layout.conv(f"{name}.c5", "trunk", kept, kernel=1)


IMDN = Importer(
    recognises,
    lay_out,
    widths={"n_feats": "trunk|layer", "n_distilled": "distilled"},
    others={r"fea_conv\.\d+\.": "IMDN_AS, which first makes the image smaller"},
)
