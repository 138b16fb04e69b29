"""What works on the super-resolution architectures of the library spandrel, each at a small size.

    python benchmarks/spandrel_architectures.py [NAME ...]

Of each: its class makes a network with random weights, whose checkpoint is opened as a stranger's.
It must compute what the class computes, also after it was saved and opened again; it is pruned at
.3 by l1, and the pruned network, saved and opened again, must compute what the dense one does with
the removed channels set to zero: in float64, on images of two sizes, compared here. No times.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from results_io import write
from torch import nn

from srdeploy.compacting.run import prune_oneshot
from srdeploy.errors import SrdeployError
from srdeploy.models.load import load_network
from srdeploy.models.network import Network
from srdeploy.models.spandrel_library import library
from srdeploy.models.store import save_network
from srdeploy.pruning.options import PruneOptions
from srdeploy.pruning.plan import apply_masks
from srdeploy.util.quiet import quiet

_WINDOW: dict[str, Any] = {"upscale": 2, "window_size": 8, "mlp_ratio": 2.0}
_PLAIN: dict[str, Any] = {"depths": [2], "num_heads": [2], **_WINDOW}
CLASSES: dict[str, tuple[str, dict[str, Any]]] = {
    "ATD": ("ATD", {"embed_dim": 12, **_PLAIN, "upsampler": "pixelshuffledirect", "img_size": 16,
                    "num_tokens": 8, "category_size": 256, "reducted_dim": 4}),
    "CRAFT": ("CRAFT", {"embed_dim": 32, "depths": [2], "num_heads": [2], "split_size_0": 4,
                        "split_size_1": 16, "upscale": 2}),
    "DAT": ("DAT", {"embed_dim": 32, "depth": [2], "num_heads": [2], "split_size": [8, 8],
                    "upscale": 2, "upsampler": "pixelshuffledirect", "expansion_factor": 2.0}),
    "DCTLSA": ("DCTLSA", {"nf": 20, "num_head": 2, "upscale": 2}),
    "DITN": ("DITN", {"dim": 12, "upscale": 2, "ITL_blocks": 1, "SAL_blocks": 1}),
    "DRCT": ("DRCT", {"embed_dim": 16, **_PLAIN, "upsampler": "pixelshuffle", "img_size": 16,
                      "gc": 8, "mlp_ratio": 2}),
    "FDAT": ("FDAT", {"embed_dim": 16, "scale": 2, "num_groups": 1, "depth_per_group": 2,
                      "num_heads": 2}),
    "GRL": ("GRL", {"embed_dim": 12, "depths": [2], "num_heads_window": [2],
                    "num_heads_stripe": [2], "upscale": 2, "upsampler": "pixelshuffledirect",
                    "img_size": 16, "window_size": 8, "stripe_size": [8, 8]}),
    "HAT": ("HAT", {"embed_dim": 12, **_PLAIN, "upsampler": "pixelshuffle", "compress_ratio": 3,
                    "squeeze_factor": 3}),
    "MoESR": ("MoESR", {"dim": 16, "scale": 2}),
    "MoSR": ("MoSR", {"n_block": 2, "dim": 16, "upscale": 2}),
    "OmniSR": ("OmniSR", {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 16, "block_num": 1,
                          "pe": True, "window_size": 8, "res_num": 1, "up_scale": 2,
                          "bias": True}),
    "RealCUGAN": ("UpCunet2x", {"in_channels": 3, "out_channels": 3}),
    "RGT": ("RGT", {"embed_dim": 32, "depth": [2], "num_heads": [2], "upscale": 2,
                    "split_size": [8, 8]}),
    "SeemoRe": ("SeemoRe", {"scale": 2, "embedding_dim": 12, "num_layers": 1}),
    "SwiftSRGAN": ("SwiftSRGAN", {"num_channels": 8, "num_blocks": 2, "upscale_factor": 2}),
    "Swin2SR": ("Swin2SR", {"embed_dim": 12, **_PLAIN, "upsampler": "pixelshuffledirect",
                            "img_size": 16}),
    "SwinIR": ("SwinIR", {"embed_dim": 12, **_PLAIN, "upsampler": "pixelshuffledirect",
                          "img_size": 16}),
}  # fmt: skip
"""By architecture, the class and its arguments. What has a row of our own is left out."""

SIZES = ((32, 48), (40, 32))
RATIO = 0.3


@dataclass
class Found:
    """What came of one architecture.

    Attributes:
        name: Of the architecture.
        opened: How its file was recognised, or why not.
        equal: Largest difference to the class, also after saving, of values in about 0..1.
        kept: Parameters of the pruned network over those of the dense one.
        pruned: Largest difference of the pruned network to the masked one, over the output's range.
        why: Why it could not be opened, or not be pruned.
    """

    name: str
    opened: bool = False
    equal: float | None = None
    kept: float | None = None
    pruned: float | None = None
    why: str = ""


def made(name: str) -> nn.Module:
    """A network with random weights, none of which is zero."""
    kind, arguments = CLASSES[name]
    torch.manual_seed(0)
    with quiet():
        module = getattr(import_module(f"spandrel.architectures.{name}"), kind)(**arguments).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return module


def difference(one: nn.Module, other: nn.Module, dtype: torch.dtype) -> float:
    """The largest difference of two modules on random images, over the range of the output."""
    found = 0.0
    one, other = (module.to(dtype).eval() for module in (one, other))
    for height, width in SIZES:
        x = torch.rand(1, 3, height, width, dtype=dtype)
        with torch.no_grad():
            wanted, given = one(x.clone()), other(x.clone())
        span = max(1.0, float(wanted.abs().max()))
        found = max(found, float((wanted - given).abs().max()) / span)
    return found


def examine(name: str, folder: Path) -> Found:
    """All steps of one architecture."""
    found = Found(name)
    module = made(name)
    torch.save({"params_ema": module.state_dict()}, folder / "net.pth")
    try:
        network = load_network(folder / "net.pth")
        found.opened = True
        save_network(network, folder / "net.safetensors")
        again = load_network(folder / "net.safetensors")
        found.equal = max(difference(module, one.module, torch.float32) for one in (network, again))
        small, report = prune_oneshot(again, PruneOptions(ratio=RATIO))
        save_network(small, folder / "small.safetensors")
        masked = Network(load_network(folder / "net.safetensors").module, network.card)
        apply_masks(masked.module, report.plan)
        reopened = load_network(folder / "small.safetensors")
        found.kept = report.after.params / report.before.params
        found.pruned = difference(masked.module, reopened.module, torch.float64)
    except SrdeployError as error:
        found.why = str(error)
    return found


def row(one: Found) -> str:
    """A line of the table."""
    cells = [
        one.name,
        "yes" if one.opened else "no",
        "" if one.equal is None else f"{one.equal:.0e}",
        "" if one.kept is None else f"{100 * (1 - one.kept):.0f} %",
        "" if one.pruned is None else f"{one.pruned:.0e}",
        one.why,
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    names = sys.argv[1:] or list(CLASSES)
    version = library().__version__  # before any of its modules: torchvision may not fit
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            results.append(examine(name, Path(folder)))
            print(row(results[-1]), flush=True)
    opened = sum(one.opened for one in results)
    pruned = sum(one.pruned is not None and one.pruned < 1e-10 for one in results)
    text = [
        f"spandrel {version}, torch {torch.__version__.split('+')[0]}. Of "
        f"{len(results)} architectures without a row of our own, {opened} open and {pruned} are "
        f"pruned at {RATIO:g} with an output equal to the masked network's.",
        "",
        "| architecture | opens | difference to its class | weights removed | difference to the "
        "masked network (float64) | why not |",
        "|---|---|---|---|---|---|",
        *map(row, results),
        "",
        "Networks are small and have random weights: how much of a published size can be pruned "
        "differs. Little is removed where attention is frozen.",
    ]
    if len(names) == len(CLASSES):
        write(
            "spandrel-architectures",
            "Architectures of spandrel",
            "\n".join(text),
            [asdict(one) for one in results],
            "python benchmarks/spandrel_architectures.py",
        )


if __name__ == "__main__":
    main()
