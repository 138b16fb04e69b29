"""How files of RCAN are recognised and read: our names are EDSR-PyTorch's and the authors'."""

from __future__ import annotations

import math

from srdeploy.errors import UserError
from srdeploy.models.importing.layouts import Importer, Layout, Tensors, has
from srdeploy.models.importing.namings import Naming
from srdeploy.models.rirsr.layout import has_groups, lay_out_groups, residual_block


def recognises(tensors: Tensors) -> bool:
    """Groups of blocks that end in channel attention."""
    return has_groups(tensors) and has(tensors, r"body\.\d+\.body\.\d+\.body\.3\.conv_du\.")


def lay_out(layout: Layout) -> None:
    """Groups of blocks with attention; how narrow it is, is seen in the first one."""
    head = "head.1" if has(layout.tensors, r"head\.1\.") else "head.0"
    n_in = layout.channels(f"{head}.weight", 1) if head == "head.1" else 3
    unshuffle = math.isqrt(n_in // 3)
    lay_out_groups(layout, _block, head, 3 * unshuffle**2)
    scale, rest = divmod(layout.config["scale"], max(unshuffle, 1))
    if rest or unshuffle < 1:
        raise UserError(
            f"'{layout.source}' reduces its input {unshuffle} times and enlarges it "
            f"{layout.config['scale']} times; srdeploy runs no network that makes a smaller image."
        )
    layout.config |= {"scale": scale, "unshuffle": unshuffle}
    trunk = layout.channels(f"{head}.weight", 0)
    narrow = max(layout.channels("body.0.body.0.body.3.conv_du.0.weight", 0), 1)
    layout.config["reduction"] = max(trunk // narrow, 1)


def _block(layout: Layout, name: str, own: str) -> None:
    residual_block(layout, name, own)
    layout.conv(f"{name}.body.3.conv_du.0", f"narrow{own}", "trunk", kernel=1)
    layout.conv(f"{name}.body.3.conv_du.2", "trunk", f"narrow{own}", kernel=1)


RCAN = Importer(
    recognises,
    lay_out,
    namings=(
        Naming(
            "BasicSR RCAN",
            has=("conv_first.weight", "body.0.residual_group.0.rcab.0.weight", "conv_last.weight"),
            lacks=(),
            rules=(
                (r"conv_first", "head.0"),
                (r"body\.(\d+)\.residual_group\.(\d+)\.rcab\.([02])", r"body.\1.body.\2.body.\3"),
                (
                    r"body\.(\d+)\.residual_group\.(\d+)\.rcab\.3\.attention\.1",
                    r"body.\1.body.\2.body.3.conv_du.0",
                ),
                (
                    r"body\.(\d+)\.residual_group\.(\d+)\.rcab\.3\.attention\.3",
                    r"body.\1.body.\2.body.3.conv_du.2",
                ),
                (r"body\.(\d+)\.conv", r"body.\1.body.{m}"),
                (r"conv_after_body", "body.{n}"),
                (r"upsample\.(\d+)", r"tail.0.\1"),
                (r"conv_last", "tail.1"),
            ),
            mean_outside=True,
        ),
    ),
    widths={"n_feats": "(?!narrow)"},
    unseen={"value_range": (1.0, 255.0)},  # what trainers that leave out the mean shift feed
)
