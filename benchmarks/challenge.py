"""The networks of the NTIRE 2022 Efficient SR challenge: loaded, pruned with proof, and exported.

python benchmarks/challenge.py FOLDER DATA [--only NAME...] [--steps STEP...] [--again STEP...]

FOLDER is a checkout of the challenge's repository (github.com/ofsoundof/NTIRE2022_ESR), DATA holds
benchmark/Set5. What is found is kept in --work, and only what is missing, or asked for with
--again, is run another time; the page is written when nothing is left out.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import challenge_networks
import network_trials as trials
import numpy as np
import torch
from results_io import table, write
from torch import nn

from srdeploy.models.importing.live_module import wrap
from srdeploy.models.load import load_network

SCALE = 4
STEPS = ("load", *trials.STEPS)

Facts = dict[str, Any]


class Steps(trials.Trial):
    """What is done with one network.

    Args:
        name: In :data:`challenge_networks.NETWORKS`.
        folder: The challenge's.
        data: With the benchmark set.
        place: For files.
    """

    def __init__(self, name: str, folder: Path, data: Path, place: Path) -> None:
        self.data = data
        self.direct = challenge_networks.build(name)
        weights = challenge_networks.weights_of(name, folder)
        arch = f"challenge_networks:{name}"
        network = load_network(str(weights), arch=arch) if weights else wrap(self.direct)
        super().__init__(network, place)

    def load(self) -> Facts:
        """Our way to Set5's PSNR, and the network's own module fed by hand."""
        from srdeploy.models.count import count
        from srdeploy.quality.evaluate import evaluate

        sizes, card = count(self.network), self.network.card
        ours = evaluate(self.network, self.data / "benchmark/Set5", SCALE)
        theirs = direct_psnr(self.direct, self.data / "benchmark/Set5")
        return {
            "published": bool(self.direct.published), "psnr": ours.psnr, "direct": theirs,
            "protocol": str(ours.protocol), "params": sizes.params, "macs": sizes.macs_720p,
            "value_range": card.value_range,
        }  # fmt: skip


def direct_psnr(module: nn.Module, folder: Path) -> float:
    """Mean PSNR on Y of a module's own output, by code that shares nothing with the package's."""
    from PIL import Image

    found = []
    for file in sorted((folder / "HR").glob("*.png")):
        hr = np.asarray(Image.open(file).convert("RGB"), np.float64)
        (low,) = (folder / f"LR_bicubic/X{SCALE}").glob(f"{file.stem}*")
        lr = np.asarray(Image.open(low).convert("RGB"), np.float32)
        planes = np.ascontiguousarray(lr.transpose(2, 0, 1)[None])
        x = torch.from_numpy(planes * (module.value_range / 255.0))  # type: ignore[operator]
        with torch.no_grad():
            y = module(x)[0].double().numpy().transpose(1, 2, 0) * (255.0 / module.value_range)  # type: ignore[operator]
        height, width = y.shape[:2]
        pair = (np.clip(np.rint(y), 0, 255), hr[:height, :width])
        a, b = (luma(image)[SCALE:-SCALE, SCALE:-SCALE] for image in pair)
        found.append(10 * np.log10(255.0**2 / np.mean((a - b) ** 2)))
    return float(np.mean(found))


def luma(image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """BT.601 luma in 16..235 of an RGB image in 0..255, as MATLAB's ``rgb2ycbcr``."""
    return image @ np.array([65.481, 128.553, 24.966]) / 255.0 + 16.0


def page(found: dict[str, Facts]) -> str:
    """The page's text."""
    runs = {name: facts for name, facts in found.items() if "start" not in facts}
    counts = {step: trials.counted(runs, step) for step in STEPS}
    measured = [facts["load"] for facts in runs.values() if trials.ok(facts, "load")]
    right = sum(abs(load["psnr"] - load["direct"]) < 0.0005 for load in measured)
    text = (
        f"{trials.untried(found, challenge_networks.NETWORKS)}"
        f"{len(challenge_networks.NETWORKS)} networks are in the repository; {len(found)} were "
        f"tried here, and the code of {len(runs)} runs on a CPU. Steps that were done, of those "
        f"that were tried: {counts['load']} were loaded and measured, and {right} of them measure "
        "on Set5 what their own module, fed by hand, measures; "
        f"{counts['prune']} were pruned; {counts['onnx']} were exported to ONNX, and "
        f"{counts['onnx_pruned']} pruned; {counts['coreml']} were converted for Core ML; of "
        f"{counts['tensorrt']} TensorRT's parser accepts both ONNX files.\n\n"
        "PSNR in dB, our own way and the module fed *by hand*, in the value range that the "
        "challenge's script names; `random` where the checkout has no weights. "
        f"{trials.COLUMNS}\n\n"
    )
    header = ["network", "parameters", "PSNR Set5", "by hand", *trials.HEADER]
    text += table(header, [_row(name, facts) for name, facts in runs.items()])
    return f"{text}\n\n{trials.appendix(found, STEPS)}"


def _row(name: str, facts: Facts) -> list[str]:
    load, found = facts.get("load", {}), ["-"] * 3
    if trials.ok(facts, "load"):
        shown = [f"{load['psnr']:.3f}", f"{load['direct']:.3f}"]
        found = [f"{load['params']:,}", *(shown if load["published"] else ["random"] * 2)]
    return [name, *found, *trials.cells(facts)]


def main() -> None:
    """Run what is missing and write the page."""
    names = challenge_networks.NETWORKS
    options = trials.options(__doc__.splitlines()[0], names, STEPS)  # type: ignore[union-attr]
    options.add_argument("folder", type=Path)
    options.add_argument("data", type=Path)
    args = options.parse_args()
    os.environ["CHALLENGE"] = str(args.folder.resolve())
    if args.one:
        place = args.work / args.one
        trials.told_by(lambda: Steps(args.one, args.folder, args.data, place), args.steps)
        return
    found = trials.run_all(args, names, [args.folder, args.data])
    if args.only or args.steps != list(STEPS):
        return
    title = "The networks of the NTIRE 2022 Efficient SR challenge"
    write(
        "challenge", title, page(found), found, "python benchmarks/challenge.py NTIRE2022_ESR DATA"
    )


if __name__ == "__main__":
    main()
