"""What works on the super-resolution architectures of the library spandrel, each at a small size.

    python benchmarks/spandrel_architectures.py [--only NAME ...] [--again STEP ...]

Of each: its class makes a network with random weights, whose checkpoint is opened as a stranger's.
It must compute what the class computes, also after it was saved and opened again. Then it is
pruned, exported and converted as every network of :mod:`network_trials`. What is found is kept in
--work; the page is written when nothing is left out.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import network_trials as trials
import torch
from results_io import table, write
from torch import nn

from srdeploy.models.load import load_network
from srdeploy.models.spandrel_library import library
from srdeploy.models.store import save_network
from srdeploy.util.quiet import quiet

STEPS = ("opened", *trials.STEPS)

Facts = dict[str, Any]

_WINDOW: dict[str, Any] = {"upscale": 2, "window_size": 8, "mlp_ratio": 2.0}
_PLAIN: dict[str, Any] = {"depths": [2], "num_heads": [2], **_WINDOW}
CLASSES: dict[str, tuple[str, dict[str, Any]]] = {
    "ATD": ("ATD", {"embed_dim": 12, **_PLAIN, "upsampler": "pixelshuffledirect", "img_size": 16,
                    "num_tokens": 8, "category_size": 256, "reducted_dim": 4}),
    "CRAFT": ("CRAFT", {"embed_dim": 32, "depths": [2], "num_heads": [2], "split_size_0": 4,
                        "split_size_1": 16, "upscale": 2}),
    "DAT": ("DAT", {"embed_dim": 32, "depth": [2], "num_heads": [2], "split_size": [8, 8],
                    "upscale": 2, "upsampler": "pixelshuffledirect", "expansion_factor": 2.0}),
    "DCTLSA": ("DCTLSA", {"nf": 20, "num_head": 5, "upscale": 2}),
    "DITN": ("DITN", {"dim": 12, "upscale": 2, "ITL_blocks": 1, "SAL_blocks": 1}),
    "DRCT": ("DRCT", {"embed_dim": 16, **_PLAIN, "upsampler": "pixelshuffle", "img_size": 16,
                      "gc": 8, "mlp_ratio": 2}),
    "FDAT": ("FDAT", {"embed_dim": 16, "scale": 2, "num_groups": 1, "depth_per_group": 2,
                      "num_heads": 2}),
    "GRL": ("GRL", {"embed_dim": 12, "depths": [2], "num_heads_window": [2],
                    "num_heads_stripe": [2], "upscale": 2, "upsampler": "pixelshuffledirect",
                    "window_size": 32, "stripe_size": [64, 64], "stripe_shift": True,
                    "anchor_window_down_factor": 4}),
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
"""By architecture, the class and its arguments. What has a row of our own is left out.

Tensors do not show everything: GRL and DCTLSA have the sizes and heads that spandrel takes for
granted.
"""


WHY = {
    "SeemoRe": "the image decides which of its experts run, so that no trace sees all of them: "
    "what the others read could be removed unnoticed, and a file would hold the experts of one "
    "photograph for all.",
}
"""What lies behind failures."""


class Steps(trials.Trial):
    """What is done with one architecture: see :class:`network_trials.Trial`."""

    def __init__(self, name: str, place: Path) -> None:
        library()  # before any of its modules: torchvision may not fit
        self.own = made(name)
        torch.save({"params_ema": self.own.state_dict()}, place / "net.pth")
        super().__init__(load_network(place / "net.pth"), place)

    def opened(self) -> Facts:
        """How far the network is from its class, as it was opened and from a file of ours."""
        save_network(self.network, self.place / "net.safetensors")
        again = load_network(self.place / "net.safetensors")
        found = [difference(self.own, one.module) for one in (self.network, again)]
        params = sum(parameter.numel() for parameter in self.own.parameters())
        return {"difference": max(found), "params": params, "arch": self.network.card.arch}


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


def difference(one: nn.Module, other: nn.Module) -> float:
    """The largest difference of two modules on photographs, over the largest output or 1."""
    found = 0.0
    for size in trials.SIZES:
        x = trials.picture(1.0, *size)
        with torch.no_grad():
            wanted, given = one(x.clone()), other(x.clone())
        span = max(1.0, float(wanted.abs().max()))
        found = max(found, float((wanted - given).abs().max()) / span)
    return found


def page(found: dict[str, Facts]) -> str:
    """The page's text."""
    counts = {step: trials.counted(found, step) for step in STEPS}
    text = (
        f"{trials.untried(found, CLASSES)}"
        f"spandrel {library().__version__}: architectures without a row of our own. Networks are "
        f"small and have random weights. Of {len(found)}, {counts['opened'].split()[0]} open and "
        "run. Steps that were done, of those that were tried: "
        f"{counts['prune']} were pruned; {counts['onnx']} were exported to ONNX, and "
        f"{counts['onnx_pruned']} pruned; {counts['coreml']} were converted for Core ML; of "
        f"{counts['tensorrt']} TensorRT's parser accepts both ONNX files.\n\n"
        "*Class*: the largest difference to the network that the class itself makes, as the file "
        "was opened and after it was saved and opened again, in float32. How much of a published "
        "size can be pruned differs. What stays is for the most part the stream that blocks add "
        f"to, where LayerNorm normalises it over all channels. {trials.COLUMNS}\n\n"
    )
    header = ["architecture", "parameters", "class", *trials.HEADER]
    text += table(header, [_row(name, facts) for name, facts in found.items()])
    why = [f"- {name}: {told}" for name, told in WHY.items() if name in _failed(found)]
    behind = "\n\n## Why\n\n" + "\n".join(why) if why else ""
    return f"{text}\n\n{trials.appendix(found, STEPS)}{behind}"


def _failed(found: dict[str, Facts]) -> set[str]:
    steps = ("start", *STEPS)
    return {name for name, facts in found.items() for s in steps if "failed" in facts.get(s, {})}


def _row(name: str, facts: Facts) -> list[str]:
    opened, shown = facts.get("opened", {}), ["-", "-"]
    if trials.ok(facts, "opened"):
        shown = [f"{opened['params']:,}", f"{opened['difference']:.0e}"]
    return [name, *shown, *trials.cells(facts)]


def main() -> None:
    """Run what is missing and write the page."""
    args = trials.options(__doc__.splitlines()[0], CLASSES, STEPS).parse_args()  # type: ignore[union-attr]
    if args.one:
        trials.told_by(lambda: Steps(args.one, args.work / args.one), args.steps)
        return
    found = trials.run_all(args, CLASSES)
    if args.only or args.steps != list(STEPS):
        return
    repeat = "python benchmarks/spandrel_architectures.py"
    write("spandrel-architectures", "Architectures of spandrel", page(found), found, repeat)


if __name__ == "__main__":
    main()
