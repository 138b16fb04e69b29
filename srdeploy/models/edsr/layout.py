"""How files of EDSR and LEDSR are recognised and read: our names are EDSR-PyTorch's."""

from __future__ import annotations

from srdeploy.models.importing.layouts import (
    Importer,
    Layout,
    Tensors,
    has,
    lite_tail,
    mean_shifts,
    upsampler_tail,
)
from srdeploy.models.importing.namings import Naming


def recognises_edsr(tensors: Tensors) -> bool:
    """Residual blocks, and a tail with an upsampler."""
    return _has_blocks(tensors) and _has_upsampler(tensors)


def recognises_ledsr(tensors: Tensors) -> bool:
    """Residual blocks, and a tail without an upsampler."""
    return _has_blocks(tensors) and not _has_upsampler(tensors)


def _has_blocks(tensors: Tensors) -> bool:
    in_groups = has(tensors, r"body\.\d+\.body\.\d+\.body\.\d+\.")
    return has(tensors, r"body\.\d+\.body\.[02]\.") and not in_groups


def _has_upsampler(tensors: Tensors) -> bool:
    return has(tensors, r"tail\.0\.\d+\.")


def lay_out_edsr(layout: Layout) -> None:
    """The body, and the upsampler's stages."""
    _body(layout)
    upsampler_tail(layout)


def lay_out_ledsr(layout: Layout) -> None:
    """The body, and one convolution."""
    _body(layout)
    lite_tail(layout)


def _body(layout: Layout) -> None:
    n_blocks = layout.count(r"body\.(\d+)\.body\.")
    layout.config["n_blocks"] = n_blocks
    mean_shifts(layout)
    layout.conv("head.0", "trunk", 3)
    for i in range(n_blocks):
        layout.conv(f"body.{i}.body.0", f"inner{i}", "trunk")
        layout.conv(f"body.{i}.body.2", "trunk", f"inner{i}")
    layout.conv(f"body.{n_blocks}", "trunk", "trunk")


EDSR = Importer(
    recognises_edsr,
    lay_out_edsr,
    namings=(
        Naming(
            "BasicSR EDSR",
            has=("conv_first.weight", "body.0.conv1.weight", "conv_last.weight"),
            lacks=(),
            rules=(
                (r"conv_first", "head.0"),
                (r"body\.(\d+)\.conv1", r"body.\1.body.0"),
                (r"body\.(\d+)\.conv2", r"body.\1.body.2"),
                (r"conv_after_body", "body.{n}"),
                (r"upsample\.(\d+)", r"tail.0.\1"),
                (r"conv_last", "tail.1"),
            ),
            mean_outside=True,
        ),
    ),
)

LEDSR = Importer(
    recognises_ledsr,
    lay_out_ledsr,
    namings=(
        Naming(
            "MLPerf Mobile EDSR",
            has=("head.weight", "bc.weight", "tail.weight"),
            lacks=(),
            rules=(
                (r"head", "head.0"),
                (r"body\.(\d+)\.([02])", r"body.\1.body.\2"),
                (r"bc", "body.{n}"),
                (r"tail", "tail.0"),
            ),
        ),
        Naming(
            "EDSR with a nested lite tail",
            has=("head.0.weight", "tail.0.0.weight"),
            lacks=("tail.1.weight", "tail.1.bias", "tail.0.2.weight"),
            rules=((r"tail\.0\.0", "tail.0"),),
        ),
    ),
)
