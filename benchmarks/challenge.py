"""The networks of the NTIRE 2022 Efficient SR challenge: loaded, pruned with proof, and exported.

python benchmarks/challenge.py FOLDER DATA [--only NAME...] [--steps STEP...] [--again STEP...]

FOLDER is a checkout of the challenge's repository (github.com/ofsoundof/NTIRE2022_ESR), DATA holds
benchmark/Set5. Each network runs in a process of its own; what is found is kept in --work, and only
what is missing, or asked for with --again, is run another time.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import challenge_networks
import numpy as np
import torch
from results_io import own_command, table, write
from torch import Tensor, nn

RATIO, SCALE = 0.3, 4
LIMIT = 1500
"""Seconds for all steps of one network."""

Facts = dict[str, Any]


class Steps:
    """What is done with one network.

    Args:
        name: In :data:`challenge_networks.NETWORKS`.
        folder: The challenge's.
        data: With the benchmark set.
        place: For files.
    """

    def __init__(self, name: str, folder: Path, data: Path, place: Path) -> None:
        from srdeploy.models.importing.live_module import wrap
        from srdeploy.models.load import load_network

        self.name, self.data, self.place = name, data, place
        self.direct = challenge_networks.build(name)
        weights = challenge_networks.weights_of(name, folder)
        if weights is None:
            self.network = wrap(self.direct)
        else:
            self.network = load_network(str(weights), arch=f"challenge_networks:{name}")

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

    def prune(self) -> Facts:
        """Remove a share of all that can go, check it by hand, write it and read it back."""
        from srdeploy.compacting.run import prune_oneshot
        from srdeploy.models.store import read_network, save_network
        from srdeploy.pruning.options import PruneOptions

        small, report = prune_oneshot(self.network, PruneOptions(ratio=RATIO))
        file = self.place / "pruned.safetensors"
        save_network(small, file)
        again = read_network(file, arch=small.make or small.card.arch)
        x = picture(self.data, small.card.value_range, 40, 32)
        with torch.no_grad():
            same = torch.equal(again.module(x.clone()), small.module(x.clone()))
        checked = by_hand(self.network.module, small.module, report.plan, x)
        return {
            "dense_macs": report.before.macs_720p, "macs": report.after.macs_720p,
            "proof": report.proof, "same_from_file": same,
            **checked, "unprunable": report.unprunable.to_dict(),
        }  # fmt: skip

    def onnx(self) -> Facts:
        """Export the dense network, and run the file."""
        return self._exported(self.network, "dense")

    def onnx_pruned(self) -> Facts:
        """Export the pruned one, and run the file."""
        from srdeploy.models.store import read_network

        arch = self.network.make or self.network.card.arch
        return self._exported(read_network(self.place / "pruned.safetensors", arch=arch), "pruned")

    def coreml(self) -> Facts:
        """Convert the dense network for Core ML."""
        from srdeploy.exporting.run import export

        report = export(self.network, "coreml", self.place / "dense.mlpackage")
        return {"notes": report.notes}

    def tensorrt(self) -> Facts:
        """Give the exported files to TensorRT's parser."""
        from srdeploy.exporting.tensorrt.accept import accepts

        found: Facts = {}
        for form in ("dense", "pruned"):
            file = self.place / f"{form}.onnx"
            if not file.exists():
                raise ValueError(f"there is no ONNX file of the {form} network")
            verdict = accepts(file.read_bytes())
            found["parser"] = verdict.parser
            if not verdict.accepted:
                raise ValueError("; ".join(verdict.reasons))
        return found

    def _exported(self, network: Any, form: str) -> Facts:
        import onnxruntime

        from srdeploy.exporting.run import export

        file = self.place / f"{form}.onnx"
        report = export(network, "onnx", file)
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        (given,) = session.get_inputs()
        fixed = [side if isinstance(side, int) else 40 for side in given.shape[2:]]
        x = picture(self.data, network.card.value_range, *fixed)
        with torch.no_grad():
            wanted = network.module(x.clone()).numpy()
        (got,) = session.run(None, {given.name: x.numpy()})
        reach = max(network.card.value_range, float(np.abs(wanted).max()))
        return {"notes": report.notes, "difference": float(np.abs(got - wanted).max()) / reach}


STEPS = ("prune", "onnx", "onnx_pruned", "coreml", "tensorrt", "load")


def direct_psnr(module: nn.Module, folder: Path) -> float:
    """Mean PSNR on Y of a module's own output, by code that shares nothing with the package's."""
    from PIL import Image

    found = []
    for file in sorted((folder / "HR").glob("*.png")):
        hr = np.asarray(Image.open(file).convert("RGB"), np.float64)
        (low,) = (folder / f"LR_bicubic/X{SCALE}").glob(f"{file.stem}*")
        lr = np.asarray(Image.open(low).convert("RGB"), np.float32)
        x = torch.from_numpy(lr.transpose(2, 0, 1)[None] * (module.value_range / 255.0))  # type: ignore[operator]
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


def by_hand(dense: nn.Module, small: nn.Module, plan: Any, x: Tensor) -> Facts:
    """Zero the removed channels in the network itself, filter by filter, and compare.

    Returns:
        ``difference``: the largest, relative to the largest output; ``changed``: the same between
        the network as it was and with the zeros; ``precision``: float64, or float32 where the
        network's own code holds on to that.
    """
    for dtype in (torch.float64, torch.float32):
        before, zeroed, part = (copy.deepcopy(m).eval().to(dtype) for m in (dense, dense, small))
        tensors = dict(zeroed.named_parameters()) | dict(zeroed.named_buffers())
        for name, dims in plan.zero.items():
            tensor = tensors[name].data
            for dim, lost in dims.items():
                for channel in lost:
                    tensor[(slice(None),) * int(dim) + (channel,)] = 0.0
        try:
            with torch.no_grad():
                was, wanted, got = (m(x.to(dtype)) for m in (before, zeroed, part))
        except RuntimeError:
            if dtype == torch.float32:
                raise
            continue
        reach = max(float(wanted.abs().max()), 1e-3)
        return {
            "difference": float((wanted - got).abs().max()) / reach,
            "changed": float((wanted - was).abs().max()) / reach,
            "precision": str(dtype).removeprefix("torch."),
        }
    raise AssertionError


def picture(data: Path, value_range: float, height: int, width: int) -> Tensor:
    """A piece of one of the low-resolution images, as a network takes it."""
    from PIL import Image

    file = sorted((data / f"benchmark/Set5/LR_bicubic/X{SCALE}").glob("*.png"))[0]
    pixels = np.asarray(Image.open(file).convert("RGB"), np.float32)[20:, 20:][:height, :width]
    assert pixels.shape[:2] == (height, width)
    return torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy()) * (value_range / 255.0)


def one(name: str, folder: Path, data: Path, place: Path, wanted: list[str]) -> None:
    """All wanted steps of one network; a line of JSON for each."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)

    def told(step: str, run: Callable[[], Any]) -> Any:
        try:
            facts = run()
        except Exception as error:  # whatever it is, it is told
            if os.environ.get("CHALLENGE_DEBUG"):
                traceback.print_exc()
            text = " ".join(str(error).split()) or type(error).__name__
            print(json.dumps({step: {"failed": text[:600]}}), flush=True)
            return None
        if step != "start":
            print(json.dumps({step: facts}), flush=True)
        return facts

    steps = told("start", lambda: Steps(name, folder, data, place))
    for step in wanted if steps is not None else ():
        told(step, getattr(steps, step))


def run_all(args: argparse.Namespace) -> dict[str, Facts]:
    """What is known of each network, after running what is missing."""
    args.work.mkdir(parents=True, exist_ok=True)
    for name in args.only or challenge_networks.NETWORKS:
        file = args.work / f"{name}.json"
        known: Facts = json.loads(file.read_text()) if file.exists() else {}
        missing = [s for s in args.steps or STEPS if s not in known or s in args.again]
        if not missing or ("start" in known and not args.again):
            continue
        place = args.work / name
        place.mkdir(exist_ok=True)
        command = [sys.executable, __file__, args.folder, args.data, "--one", name]
        command += ["--place", place]
        environment = os.environ | {"CHALLENGE": str(args.folder.resolve())}
        environment["PYTHONPATH"] = os.pathsep.join(
            [str(Path(__file__).parent.resolve()), os.environ.get("PYTHONPATH", "")]
        )
        known.pop("start", None)
        try:
            done = subprocess.run(
                [*map(str, command), "--steps", *missing], env=environment, timeout=LIMIT,
                stdout=subprocess.PIPE, stderr=sys.stderr, text=True,
            )  # fmt: skip
            lines = done.stdout.splitlines()
        except subprocess.TimeoutExpired as expired:
            lines = (expired.stdout or b"").decode().splitlines()
        for line in lines:
            if line.startswith("{"):
                known |= json.loads(line)
        for step in missing if "start" not in known else ():
            known.setdefault(step, {"failed": f"not done after {LIMIT} seconds"})
        file.write_text(json.dumps(known, indent=1))
        print(name, {s: "failed" not in known.get(s, {"failed": 0}) for s in STEPS}, flush=True)
    names = challenge_networks.NETWORKS
    files = {name: args.work / f"{name}.json" for name in names}
    return {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}


def page(found: dict[str, Facts]) -> str:
    """The page's text."""
    runs = {name: facts for name, facts in found.items() if "start" not in facts}
    tried = {step: [facts for facts in runs.values() if step in facts] for step in STEPS}
    counts = {s: f"{sum(_ok(f, s) for f in all_)} of {len(all_)}" for s, all_ in tried.items()}
    right = sum(
        _ok(facts, "load") and abs(facts["load"]["psnr"] - facts["load"]["direct"]) < 0.0005
        for facts in runs.values()
    )
    text = (
        f"{len(challenge_networks.NETWORKS)} networks are in the repository; {len(found)} were "
        f"tried here, and the code of {len(runs)} runs on a CPU. Steps that were done, of those "
        f"that were tried: {right} of {len(tried['load'])} measure on Set5 "
        "what their own module, fed by hand, measures; "
        f"{counts['prune']} were pruned (`l1`, {RATIO:.0%} of the channels of each group); "
        f"{counts['onnx']} were exported to ONNX, {counts['onnx_pruned']} pruned; "
        f"{counts['coreml']} were converted for Core ML; of {counts['tensorrt']} TensorRT's parser "
        "accepts both ONNX files.\n\n"
        "PSNR in dB, our own way and the module fed *by hand*; `random` where the weights are not "
        "in the repository. *Stays*: share of the MACs in layers that nothing can be removed "
        "from. *Check*: the removed channels were zeroed in the network's own module, filter by "
        "filter, in float64; largest difference between its output and the pruned one's, relative "
        "to the largest output, on a photograph; in brackets how far the zeros changed it. The "
        "pruned network was written and read back, its output the same to the bit unless noted. "
        "*ONNX*: largest difference between onnxruntime and torch, relative to the value range or "
        "the largest output. Nothing was trained after pruning: some networks then have features "
        "far outside of their range, in which float32 is coarse.\n\n"
    )
    header = ["network", "parameters", "PSNR Set5", "by hand", "MACs", "stays", "check"]
    header += ["ONNX", "pruned", "Core ML", "TensorRT"]
    text += table(header, [_row(name, facts) for name, facts in runs.items()])
    text += "\n\n## What did not work\n\n"
    failures = [
        f"- {name}, {step.replace('_', ', ')}: {facts[step]['failed']}"
        for name, facts in found.items()
        for step in ("start", *STEPS)
        if "failed" in facts.get(step, {})
    ]
    text += "\n".join(failures) or "Nothing."
    text += "\n\n## What was kept whole\n\n"
    kept = [f"- {name}: {_kept(facts)}" for name, facts in runs.items() if _kept(facts)]
    return text + ("\n".join(kept) or "Nothing.")


def _ok(facts: Facts, step: str) -> bool:
    return step in facts and "failed" not in facts[step]


def _row(name: str, facts: Facts) -> list[str]:
    load, pruned = facts.get("load", {}), facts.get("prune", {})
    cells = [name, *["-"] * 6]
    if _ok(facts, "load"):
        shown = [f"{load['psnr']:.3f}", f"{load['direct']:.3f}"]
        cells[1:4] = [f"{load['params']:,}", *(shown if load["published"] else ["random"] * 2)]
    if _ok(facts, "prune"):
        dense = pruned.get("dense_macs") or load.get("macs")
        fewer = f"{dense / 1e9:.1f} G to " if dense else ""
        fewer += f"{pruned['macs'] / 1e9:.1f} G"
        check = f"{pruned['difference']:.0e} ({pruned['changed']:.0e})"
        check += ", float32" if pruned["precision"] == "float32" else ""
        check += "" if pruned["same_from_file"] else ", another from the file"
        cells[4:7] = [fewer, f"{pruned['unprunable']['macs_share']:.0%}", check]
    for step in ("onnx", "onnx_pruned", "coreml", "tensorrt"):
        mark = "yes" if _ok(facts, step) else "no"
        if mark == "yes" and "difference" in facts[step]:
            mark = f"{facts[step]['difference']:.0e}"
        cells.append(mark if step in facts else "-")
    return cells


def _kept(facts: Facts) -> str:
    listed = facts.get("prune", {}).get("unprunable", {}).get("not_followed", [])
    told = dict.fromkeys(f"{entry['operation']} ({entry['why']})" for entry in listed)
    return ", ".join(told)


def main() -> None:
    """Run what is missing and write the page."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    options.add_argument("folder", type=Path)
    options.add_argument("data", type=Path)
    options.add_argument("--only", nargs="*", default=[], metavar="NAME")
    options.add_argument("--again", nargs="*", default=[], choices=[*STEPS, "all"])
    options.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "challenge")
    options.add_argument("--one", help=argparse.SUPPRESS)
    options.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    options.add_argument("--steps", nargs="*", choices=STEPS, help="default: all")
    args = options.parse_args()
    if args.one:
        one(args.one, args.folder, args.data, args.place, args.steps)
        return
    if "all" in args.again:
        args.again = list(STEPS)
    found = run_all(args)
    title = "The networks of the NTIRE 2022 Efficient SR challenge"
    write("challenge", title, page(found), found, own_command(args.data))


if __name__ == "__main__":
    main()
