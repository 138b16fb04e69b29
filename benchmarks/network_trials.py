"""What srdeploy makes of a network: pruned with proof, exported, and read by TensorRT's parser.

Pages on many networks share this. Each network runs in a process of its own, each step of it within
a limit of processor time; what is found is kept in a folder, and only what is missing, or asked for
again, is run another time.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import resource
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from srdeploy.data.builtin import BENCHMARK_IMAGES
from srdeploy.exporting.portable import StableSorts
from srdeploy.models.network import Network

RATIO = 0.3
LIMIT, IDLE = 400, 10
"""Seconds of processor time for one step; how many times as long the whole step may take."""

SIZES = ((40, 32), (32, 48))
"""Heights and widths that are looked at."""

STEPS = ("prune", "onnx", "onnx_pruned", "coreml", "tensorrt")
"""What is done with every network."""

HEADER = ("MACs", "stays", "check", "ONNX", "pruned", "Core ML", "TensorRT")
"""Titles of the columns that :func:`cells` fills."""

COLUMNS = (
    f"*MACs*: before and after `l1` took {RATIO:.0%} of the channels of each group. *Stays*: share "
    "of the MACs in layers that nothing can be removed from. *Check*: the removed channels were "
    "zeroed in the network's own module, filter by filter, in float64; largest difference between "
    "its output and the pruned one's, relative to the largest output, on a photograph of two "
    "sizes; in brackets how far the zeros changed it. The pruned network was written and read "
    "back, its output the same to the bit unless noted. *ONNX*: largest difference between "
    "onnxruntime and torch, relative to the value range or the largest output; *fixed*: the file "
    "takes one size, as no file of any size computes what the network does; *single*: one image at "
    "a time; *torch.export*: torch's newer exporter wrote it; *order*: the network sorts and "
    "leaves open in which order equal values come, so that it is compared with itself keeping "
    "their order. *TensorRT*: its parser reads both ONNX files. Nothing was trained after pruning: "
    "some networks then have features far outside of their range, in which float32 is coarse."
)
"""What the columns mean, for the page."""

Facts = dict[str, Any]


class Trial:
    """What is done with one network.

    Args:
        network: It, as srdeploy opened it.
        place: For files.
    """

    def __init__(self, network: Network, place: Path) -> None:
        self.network, self.place = network, place

    def prune(self) -> Facts:
        """Remove a share of all that can go, check it by hand, write it and read it back."""
        from srdeploy.compacting.run import prune_oneshot
        from srdeploy.models.store import save_network
        from srdeploy.pruning.options import PruneOptions

        small, report = prune_oneshot(self.network, PruneOptions(ratio=RATIO))
        save_network(small, self.place / "pruned.safetensors")
        again = self._pruned()
        pictures = [picture(small.card.value_range, *size) for size in SIZES]
        with torch.no_grad():
            pairs = [[n.module(x.clone()) for n in (again, small)] for x in pictures]
        return {
            "dense_macs": report.before.macs_720p, "macs": report.after.macs_720p,
            "proof": report.proof, "same_from_file": all(torch.equal(*pair) for pair in pairs),
            **by_hand(self.network.module, small.module, report.plan, pictures),
            "unprunable": report.unprunable.to_dict(),
        }  # fmt: skip

    def onnx(self) -> Facts:
        """Export the dense network, and run the file."""
        return self._exported(self.network, "dense")

    def onnx_pruned(self) -> Facts:
        """Export the pruned one, and run the file."""
        return self._exported(self._pruned(), "pruned")

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

    def _pruned(self) -> Network:
        from srdeploy.models.store import read_network

        file = self.place / "pruned.safetensors"
        if not file.exists():
            raise ValueError("there is no pruned network")
        return read_network(file, arch=self.network.make or self.network.card.arch)

    def _exported(self, network: Network, form: str) -> Facts:
        import onnxruntime

        from srdeploy.exporting.run import export

        file = self.place / f"{form}.onnx"
        report = export(network, "onnx", file)
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        (given,) = session.get_inputs()
        free = SIZES[0]
        fixed = [n if isinstance(n, int) else m for n, m in zip(given.shape[2:], free, strict=True)]
        x = picture(network.card.value_range, *fixed)
        with torch.no_grad(), StableSorts():
            wanted = network.module(x.clone()).numpy()
        (got,) = session.run(None, {given.name: x.numpy()})
        reach = max(network.card.value_range, float(np.abs(wanted).max()))
        return {"notes": report.notes, "difference": float(np.abs(got - wanted).max()) / reach}


def by_hand(dense: nn.Module, small: nn.Module, plan: Any, pictures: list[Tensor]) -> Facts:
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
        difference = changed = 0.0
        try:
            for x in pictures:
                with torch.no_grad():
                    was, wanted, got = (m(x.to(dtype, copy=True)) for m in (before, zeroed, part))
                reach = max(float(wanted.abs().max()), 1e-3)
                difference = max(difference, float((wanted - got).abs().max()) / reach)
                changed = max(changed, float((wanted - was).abs().max()) / reach)
        except RuntimeError:
            if dtype == torch.float32:
                raise
            continue
        precision = str(dtype).removeprefix("torch.")
        return {"difference": difference, "changed": changed, "precision": precision}
    raise AssertionError


def picture(value_range: float, height: int, width: int) -> Tensor:
    """A piece of a shipped image, float32 ``[1, 3, height, width]``, as a network takes it.

    Beyond the image it is mirrored.
    """
    file = sorted(Path(BENCHMARK_IMAGES).rglob("*.png"))[0]
    pixels = np.asarray(Image.open(file).convert("RGB"), np.float32)[:height, :width]
    missing = [(0, wanted - n) for wanted, n in zip((height, width), pixels.shape, strict=False)]
    pixels = np.pad(pixels, [*missing, (0, 0)], mode="symmetric")
    return torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy()) * (value_range / 255.0)


def options(text: str, names: Iterable[str], steps: tuple[str, ...]) -> argparse.ArgumentParser:
    """The command line that such a page has; more can be added."""
    known = list(names)
    found = argparse.ArgumentParser(description=text)
    found.add_argument("--only", nargs="*", default=[], choices=known, metavar="NAME")
    found.add_argument("--again", nargs="*", default=[], choices=[*steps, "all"])
    found.add_argument("--steps", nargs="*", default=list(steps), choices=steps)
    found.add_argument("--page-only", action="store_true", help="of what was found before")
    place = Path(tempfile.gettempdir()) / Path(sys.argv[0]).stem
    found.add_argument("--work", type=Path, default=place)
    found.add_argument("--one", help=argparse.SUPPRESS)
    return found


def told_by(start: Callable[[], Any], wanted: Iterable[str]) -> None:
    """In a network's own process: do its steps, and print a line of JSON for each.

    Args:
        start: Makes what has a method for each step.
        wanted: The steps.
    """
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)

    def told(step: str, run: Callable[[], Any]) -> Any:
        used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        resource.setrlimit(resource.RLIMIT_CPU, (int(used) + LIMIT, resource.RLIM_INFINITY))
        try:
            facts = run()
        except Exception as error:  # whatever it is, it is told
            if os.environ.get("TRIALS_DEBUG"):
                traceback.print_exc()
            text = " ".join(str(error).split()) or type(error).__name__
            print(json.dumps({step: {"failed": text[:800]}}), flush=True)
            return None
        if step != "start":
            print(json.dumps({step: facts}), flush=True)
        return facts

    steps = told("start", start)
    for step in wanted if steps is not None else ():
        told(step, getattr(steps, step))


def run_all(
    asked: argparse.Namespace, names: Iterable[str], words: Iterable[Any] = ()
) -> dict[str, Facts]:
    """What is known of each network, after running what is missing.

    Args:
        asked: By :func:`options`.
        names: All networks.
        words: Arguments that the script needs before its options.
    """
    asked.work.mkdir(parents=True, exist_ok=True)
    names = list(names)
    for name in () if asked.page_only else asked.only or names:
        file = asked.work / f"{name}.json"
        known: Facts = json.loads(file.read_text()) if file.exists() else {}
        again = asked.steps if "all" in asked.again else asked.again
        missing = [step for step in asked.steps if step not in known or step in again]
        if not missing or ("start" in known and not again):
            continue
        (asked.work / name).mkdir(exist_ok=True)
        known = {step: facts for step, facts in known.items() if step not in ("start", *missing)}
        while missing and "start" not in known:
            command = [sys.executable, sys.argv[0], *map(str, words), "--one", name]
            command += ["--work", str(asked.work), "--steps", *missing]
            known |= _of_one(command, missing)
            missing = [step for step in missing if step not in known]
        file.write_text(json.dumps(known, indent=1))
        done = {step: "failed" not in known.get(step, {"failed": 0}) for step in asked.steps}
        print(name, done, flush=True)
    files = {name: asked.work / f"{name}.json" for name in names}
    return {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}


def _of_one(command: list[str], missing: list[str]) -> Facts:
    """What a network's process says; where it ends before its time, why, of the step it was at."""
    here = str(Path(__file__).parent.resolve())
    paths = os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        command, env=os.environ | {"PYTHONPATH": paths},
        stdout=subprocess.PIPE, stderr=sys.stderr, text=True,
    ) as process:  # fmt: skip
        try:
            said, _ = process.communicate(timeout=LIMIT * IDLE)
            why = f"the process ended with {process.returncode}"
        except subprocess.TimeoutExpired:
            process.kill()
            said, _ = process.communicate()
            why = f"not done after {LIMIT * IDLE} seconds"
    if process.returncode == -24:  # SIGXCPU
        why = f"not done after {LIMIT} seconds of processor time"
    found: Facts = {}
    for line in said.splitlines():
        if line.startswith("{"):
            found |= json.loads(line)
    left = [step for step in missing if step not in found]
    if left and "start" not in found:
        found[left[0]] = {"failed": why}
    return found


def ok(facts: Facts, step: str) -> bool:
    """Whether a step was done, and well."""
    return step in facts and "failed" not in facts[step]


def counted(found: dict[str, Facts], step: str) -> str:
    """``3 of 4``: how many a step worked for, of those it was tried on."""
    tried = [facts for facts in found.values() if step in facts]
    return f"{sum(ok(facts, step) for facts in tried)} of {len(tried)}"


def untried(found: dict[str, Facts], names: Iterable[str]) -> str:
    """A sentence on what was not tried; empty where all was."""
    left = [name for name in names if name not in found]
    return f"**Not tried yet: {', '.join(left)}.** " if left else ""


def cells(facts: Facts) -> list[str]:
    """A network's part of the table, under :data:`HEADER`."""
    found = ["-"] * 3
    pruned = facts.get("prune", {})
    if ok(facts, "prune"):
        found[0] = f"{pruned['dense_macs'] / 1e9:.3g} G to {pruned['macs'] / 1e9:.3g} G"
        found[1] = f"{pruned['unprunable']['macs_share']:.0%}"
        found[2] = f"{pruned['difference']:.0e} ({pruned['changed']:.0e})"
        found[2] += ", float32" if pruned["precision"] == "float32" else ""
        found[2] += "" if pruned["same_from_file"] else ", another from the file"
    elif "prune" in facts:
        found[2] = "no"
    for step in STEPS[1:]:
        found.append(_exported(facts[step]) if step in facts else "-")
    return found


_SHORT = {"one input size": "fixed", "one image at a time": "single", "dynamo": "torch.export",
          "order of equal values": "order"}  # fmt: skip
"""What an export's notes say, and how the table says it."""


def _exported(facts: Facts) -> str:
    if "failed" in facts:
        return "no"
    notes = " ".join(facts.get("notes", ()))
    short = [mark for words, mark in _SHORT.items() if words in notes]
    first = f"{facts['difference']:.0e}" if "difference" in facts else "yes"
    return ", ".join([first, *short])


def appendix(found: dict[str, Facts], steps: tuple[str, ...]) -> str:
    """What did not work, why, and what was kept whole, as two sections of the page."""
    failures = [
        f"- {name}, {step.replace('_', ', ')}: {facts[step]['failed']}"
        for name, facts in found.items()
        for step in ("start", *steps)
        if "failed" in facts.get(step, {})
    ]
    kept = [f"- {name}: {told}" for name, facts in found.items() if (told := _kept(facts))]
    parts = [("What did not work", failures), ("What was kept whole", kept)]
    return "\n\n".join(f"## {title}\n\n" + ("\n".join(some) or "Nothing.") for title, some in parts)


def _kept(facts: Facts) -> str:
    listed = facts.get("prune", {}).get("unprunable", {}).get("not_followed", [])
    told = dict.fromkeys(f"{entry['operation']} ({entry['why']})" for entry in listed)
    return ", ".join(told)
