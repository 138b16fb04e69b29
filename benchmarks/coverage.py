"""How many networks of the largest public collection srdeploy opens, and how many it prunes.

    python benchmarks/coverage.py COLLECTION   # a checkout of OpenModelDB/open-model-database

The collection names an architecture for each of its networks. Each of these architectures that
srdeploy has, itself or through spandrel, is tried on a small network of random weights: it is
written as a bare state dict, read without ``--arch``, pruned at .5 by L1, and proven. Nothing of
the collection is downloaded, and only counts of it are kept.
"""

from __future__ import annotations

import json
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from results_io import table, write

from srdeploy.compacting.run import prune_oneshot
from srdeploy.errors import SrdeployError
from srdeploy.models.load import load_network
from srdeploy.models.registry import ARCHITECTURES, architecture_of, create
from srdeploy.models.spandrel_library import base_module, library
from srdeploy.pruning.options import PruneOptions

NAME = "coverage"
GOALS = {"srdeploy": 73, "with spandrel": 95, "prunable": 77}


@dataclass(frozen=True)
class Kind:
    """An architecture of the collection, as srdeploy has it.

    Attributes:
        arch: A row of the table, or ``spandrel:`` and the name of spandrel's architecture.
        config: Of a small network of it.
    """

    arch: str
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def native(self) -> bool:
        """Whether it is a row of our table."""
        return self.arch in ARCHITECTURES


_RRDB = {"n_blocks": 2, "n_feats": 16, "growth": 8}
_SMALL = {"embed_dim": 16, "num_heads": [2, 2], "depths": [2, 2], "window_size": 8, "upscale": 2}
_DIRECT = {"upsampler": "pixelshuffledirect"}
KINDS: dict[str, Kind] = {
    "esrgan": Kind("rrdbnet", _RRDB),
    "esrgan+": Kind("rrdbnet", _RRDB | {"plus": True}),
    "compact": Kind("srvggnet", {"n_layers": 3, "n_feats": 16}),
    "span": Kind("span", {"n_feats": 16}),
    "rcan": Kind("rcan", {"n_groups": 2, "n_blocks": 2, "n_feats": 16, "reduction": 4}),
    "sr-res-net": Kind("srresnet", {"n_blocks": 2, "n_feats": 16}),
    "edsr": Kind("edsr", {"n_blocks": 2, "n_feats": 16}),
    "realplksr": Kind("realplksr", {"n_blocks": 2, "n_feats": 16}),
    "realplksr-dysample": Kind(
        "spandrel:PLKSR.RealPLKSR",
        {"dim": 16, "n_blocks": 2, "kernel_size": 5, "upscaling_factor": 2, "dysample": True},
    ),
    "dat": Kind(
        "spandrel:DAT",
        {"embed_dim": 64, "split_size": [2, 4], "depth": [1], "num_heads": [2], "upscale": 2}
        | _DIRECT,
    ),
    "swinir": Kind("spandrel:SwinIR", _SMALL | _DIRECT),
    "omnisr": Kind("spandrel:OmniSR", {"num_feat": 16, "up_scale": 2}),
    "hat": Kind("spandrel:HAT", _SMALL | {"compress_ratio": 4, "squeeze_factor": 4}),
    "rgt": Kind("spandrel:RGT", {"embed_dim": 64, "depth": [2], "num_heads": [2], "upscale": 2}),
    "drct": Kind("spandrel:DRCT", _SMALL | {"upsampler": "pixelshuffle", "gc": 8}),
    "atd": Kind("spandrel:ATD", _SMALL | _DIRECT | {"category_size": 64, "num_tokens": 8}),
    "mosr": Kind("spandrel:MoSR", {"upscale": 2, "n_block": 2, "dim": 16}),
    "cugan": Kind("spandrel:RealCUGAN.UpCunet2x"),
    "real-cugan": Kind("spandrel:RealCUGAN.UpCunet2x"),
    "swift-srgan": Kind(
        "spandrel:SwiftSRGAN.Generator",
        {"num_channels": 16, "num_blocks": 2, "upscale_factor": 2},
    ),
    "ditn": Kind(
        "spandrel:DITN.DITN_Real",
        {"dim": 16, "ITL_blocks": 1, "SAL_blocks": 1, "upscale": 2},
    ),
    "grl": Kind(
        "spandrel:GRL",
        {"embed_dim": 16, "depths": [2], "num_heads_window": [2], "num_heads_stripe": [2],
         "upscale": 2} | _DIRECT,
    ),
    "craft": Kind("spandrel:CRAFT", {"embed_dim": 48, "depths": [1], "num_heads": [6]}),
    "dctlsa": Kind("spandrel:DCTLSA", {"nf": 10, "num_head": 2, "upscale": 2}),
}  # fmt: skip


def main() -> None:
    models = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(Path(sys.argv[1], "data", "models").glob("*.json"))
    ]
    counts = Counter(model["architecture"] for model in models)
    found = []
    for name, count in sorted(counts.items(), key=lambda one: (-one[1], one[0])):
        row = {"architecture": name, "models": count, **trial(name)}
        found.append(row)
        print(" | ".join(line(row)), flush=True)
    shares = {
        "srdeploy": share(found, lambda row: row["by"] == "srdeploy"),
        "with spandrel": share(found, lambda row: bool(row["by"])),
        "prunable": share(found, lambda row: row["proven"]),
    }
    summary = [
        [key, f"{number} of {len(models)}", f"{100 * number / len(models):.1f} %",
         f"{GOALS[key]} %"]
        for key, number in shares.items()
    ]  # fmt: skip
    text = (
        f"The collection OpenModelDB lists {len(models)} networks and the architecture of each. "
        "*Opened*: a small network of this architecture, with random weights, is read from its "
        "bare tensors without `--arch`, by srdeploy itself or through spandrel "
        f"{library().__version__}. *Parameters*: of that network, after pruning at .5 by L1 over "
        "before, where the compact network is proven equal to the masked one; channels that an "
        "unknown operation reads are kept. The files themselves are not downloaded: some may be "
        "variants that their architecture's name does not tell.\n\n"
        + table(["", "networks", "share", "goal"], summary)
        + "\n\n"
        + table(["architecture", "networks", "opened", "parameters", "proof"], map(line, found))
    )
    write(NAME, "Networks of a public collection that srdeploy opens", text,
          {"shares": shares, "networks": len(models), "architectures": found},
          "python benchmarks/coverage.py COLLECTION")  # fmt: skip


def share(rows: list[dict[str, Any]], holds: Any) -> int:
    """How many networks are of an architecture of which something holds."""
    return sum(row["models"] for row in rows if holds(row))


def line(row: dict[str, Any]) -> list[str]:
    """A row of the table, for people."""
    kept = "" if row["kept"] is None else f"{100 * row['kept']:.0f} %"
    proof = row["reason"] or f"{row['difference']:.0e} of the value range"
    return [row["architecture"], str(row["models"]), row["by"] or "no", kept, proof]


def trial(name: str) -> dict[str, Any]:
    """Whether a small network of an architecture is opened, and pruned with a proof."""
    result: dict[str, Any] = {"by": "", "proven": False, "kept": None, "difference": None}
    kind = KINDS.get(name)
    if kind is None:
        return result | {"reason": "no such architecture"}
    torch.manual_seed(0)
    try:
        module = create(kind.arch, **kind.config).module if kind.native else made(kind)
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            file = Path(folder, "network.pth")
            torch.save(module.state_dict(), file)
            network = load_network(file)
        if network.card.arch != kind.arch:
            return result | {"reason": f"opened as {network.card.arch}"}
        result["by"] = "srdeploy" if kind.native else "spandrel"
        row = architecture_of(network.card)
        small, report = prune_oneshot(network, PruneOptions(ratio=0.5, exclude=row.leave_alone))
    except SrdeployError as error:
        return result | {"reason": str(error)}
    proof = small.card.proof or {}
    return result | {
        "proven": "max_difference" in proof and report.after.params < report.before.params,
        "kept": report.after.params / report.before.params,
        "difference": proof.get("max_difference"),
        "reason": "",
    }


def made(kind: Kind) -> torch.nn.Module:
    """A network of spandrel's with random weights."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return base_module(kind.arch, kind.config)


if __name__ == "__main__":
    main()
