"""How files of PLKSR and RealPLKSR are recognised and read."""

from __future__ import annotations

from srdeploy.errors import UserError
from srdeploy.models.importing.layouts import Importer, Layout, Tensors, has, shuffle_scale

NORM_GROUPS = 4
"""Of all published configurations; weights do not show it."""


def recognises_plksr(tensors: Tensors) -> bool:
    """The mixers' name has the slip of the published code, and the large kernel is square."""
    rectangular = has(tensors, r"feats\.\d+\.lk\.(mn|nm|nn)_conv\.")
    return has(tensors, r"feats\.\d+\.channe_mixer\.") and not rectangular


def recognises_realplksr(tensors: Tensors) -> bool:
    """The mixers' name has no slip, and PixelShuffle, not DySample, makes the image."""
    return has(tensors, r"feats\.\d+\.channel_mixer\.") and not has(tensors, r"to_img\.")


def lay_out_plksr(layout: Layout) -> None:
    """Blocks with any of the three mixers."""
    n_blocks = max(layout.count(r"feats\.(\d+)\.") - 2, 1)
    for option, name in (("first", "channe_mixer.0"), ("last", "channe_mixer.2")):
        layout.config[option] = _side(layout, f"feats.1.{name}.weight")
    _frame(layout, n_blocks, n_blocks + 1, "channe_mixer")


def lay_out_realplksr(layout: Layout) -> None:
    """Blocks with a normalisation, of one of two kinds; a place without tensors is behind them."""
    n_blocks = max(layout.count(r"feats\.(\d+)\.") - 3, 1)
    layer_norm = has(layout.tensors, r"feats\.\d+\.layer_norm\.")
    layout.config["layer_norm"] = layer_norm
    if layer_norm:
        layout.config["norm_groups"] = NORM_GROUPS  # of none
    _frame(layout, n_blocks, n_blocks + 2, "channel_mixer")
    width = layout.channels("feats.0.weight", 0)
    if not layer_norm and width % NORM_GROUPS:
        raise UserError(
            f"Tensor 'feats.0.weight' in '{layout.source}' has {width} output channels, which "
            f"RealPLKSR's normalisation in {NORM_GROUPS} groups cannot divide."
        )
    for i in range(1, n_blocks + 1):
        for kind in ("weight", "bias"):
            name = f"feats.{i}.{'layer_norm' if layer_norm else 'norm'}.{kind}"
            layout.shapes[name] = ("trunk",)


def _frame(layout: Layout, n_blocks: int, last: int, mixer: str) -> None:
    side = _side(layout, "feats.1.lk.conv.weight")
    attention = has(layout.tensors, r"feats\.\d+\.attn\.")
    scale = shuffle_scale(layout, f"feats.{last}.weight", 3)
    layout.config |= {"n_blocks": n_blocks, "side": side, "attention": attention, "scale": scale}
    layout.conv("feats.0", "trunk", 3)
    for i in range(1, n_blocks + 1):
        if len(layout.shapes) > len(layout.tensors):
            break  # some tensor is missing already
        _block(layout, f"feats.{i}", mixer, i)
    layout.conv(f"feats.{last}", 3 * scale**2, "trunk")


def _block(layout: Layout, name: str, mixer: str, i: int) -> None:
    first, last = layout.config.get("first", 3), layout.config.get("last", 3)
    mixed = layout.channels(f"{name}.{mixer}.2.weight", 0)
    made, seen = (layout.channels(f"{name}.lk.conv.weight", dim) for dim in (0, 1))
    if seen > mixed:
        raise UserError(
            f"Tensor '{name}.lk.conv.weight' in '{layout.source}' takes {seen} channels, but there "
            f"are {mixed}."
        )
    joined = mixed - seen + made
    layout.conv(f"{name}.{mixer}.0", f"inner{i}", "trunk", kernel=first)
    layout.conv(f"{name}.{mixer}.2", f"mixed{i}", f"inner{i}", kernel=last)
    layout.conv(f"{name}.lk.conv", f"made{i}", f"partial{i}", kernel=layout.config["side"])
    if layout.config["attention"]:
        layout.conv(f"{name}.attn.f.0", joined, joined)
    layout.conv(f"{name}.refine", "trunk", joined, kernel=1)


def _side(layout: Layout, name: str) -> int:
    """Of an odd kernel.

    Raises:
        UserError: there is no such tensor, or its kernel is even.
    """
    side = layout.channels(name, 2)
    if side % 2 == 0:
        raise UserError(
            f"Tensor '{name}' in '{layout.source}' has a kernel of side {side}, but only odd ones "
            "keep the size of the image."
        )
    return side


WIDTHS = {"n_feats": "trunk|mixed", "n_partial": "made|partial"}

PLKSR = Importer(
    recognises_plksr,
    lay_out_plksr,
    widths=WIDTHS,
    # Not even spandrel can tell how far apart the samples of such kernels are.
    others={r"feats\.\d+\.lk\.convs\.": "a PLKSR with several sparse kernels in parallel"},
)

REALPLKSR = Importer(
    recognises_realplksr,
    lay_out_realplksr,
    widths=WIDTHS,
    unseen={"norm_groups": (NORM_GROUPS,)},
)
