"""One word for one concept: the options of all commands, and what each stands for."""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import typer

from srdeploy.cli.main import app
from srdeploy.cli.typed import understood

CONCEPTS = {
    # what is worked on
    "--arch": "architecture of a foreign file",
    "--scale": "upscaling factor",
    "--value-range": "largest value of a foreign file's pixels",
    "--recipe": "settings in a file",
    "--set": "a setting that replaces the recipe's",
    "--allow-code": "let a recipe import code",
    "--schema": "what recipes may hold",
    "--res-scale": "residual scaling that weights do not show",
    "--to": "another project's form of weights",
    "--groups": "coupled channels",
    # images
    "--eval-data": "images that quality is measured on",
    "--train-data": "images to train on",
    "--calibration": "images that a network is run on to fit it",
    "--hr": "originals of pictures to compare with",
    "--input": "size of the low-resolution input",
    # where results go
    "--output": "where the result goes",
    "--run-dir": "folder of a run",
    "--store": "file of measurements",
    "--markdown": "as Markdown",
    "--json": "as JSON",
    "--fresh": "start over",
    "--overwrite": "make finished results anew",
    "--renew": "replace certificates",
    "--leave": "leave the result on the board",
    "--emit-script": "script that builds an engine elsewhere",
    "--dry-run": "say what would be done",
    "--all": "everything that is known",
    # pruning
    "--ratio": "share of channels to remove",
    "--macs": "multiply-accumulates to keep within",
    "--params": "parameters to keep within",
    "--rotate": "another basis of linear streams",
    "--nni-config": "another tool's list of ratios",
    "--refit": "least-squares fit of what is left",
    "--network-wise": "steps towards the dense network's output",
    "--layer-ratio": "the same, of some layers",
    "--method": "pruning method",
    "--criterion": "score of filters",
    "--common-set": "how coupled layers agree",
    "--remove-block": "residual blocks that go",
    "--exclude": "layers to leave alone",
    "--default-exclude": "the published choice of such layers",
    "--round-to": "block of channels",
    "--for": "what the block is of",
    # training
    "--iterations": "steps of training",
    "--batch": "patches of a step",
    "--patch": "size of a patch",
    "--lr": "learning rate",
    "--eval-every": "steps between measurements",
    "--seed": "seed of what is random",
    "--teacher": "network to learn from",
    "--lr-data": "images without originals to learn from",
    "--dense": "network that was pruned or quantised",
    "--threads": "CPU threads",
    # export
    "--target": "what a network becomes",
    "--budget": "milliseconds to keep within",
    "--fps": "images per second to reach",
    "--max-mb": "memory to keep within",
    "--max-mj": "energy to keep within",
    "--min-psnr": "PSNR to reach",
    "--recover": "recovery of what was chosen",
    "--tile": "pieces in which an image is run",
    "--precision": "what is computed in",
    "--quantise": "8-bit rounding to learn, or to store",
    "--palettize": "weights from a palette",
    "--opset": "ONNX operator set",
    "--exporter": "torch's way to ONNX",
    "--pixel-shuffle": "form of PixelShuffle",
    "--sm": "compute capabilities",
    "--workspace": "scratch memory of an engine",
    "--tf32": "rounding of fp32 factors",
    "--sparse": "form of SMSR",
    "--check": "whose parser must accept",
    "--images": "image ends",
    "--calibration-method": "how many extremes are clipped",
    "--activations": "type of 8-bit inputs",
    "--blobs": "names of the ends of a network",
    "--quantised-ends": "8-bit input and output",
    "--max-drop": "loss of quality that is accepted",
    "--minimum-deployment": "oldest system",
    # measuring
    "--runtime": "what runs an artifact",
    "--device": "where to run",
    "--devices": "devices of a farm",
    "--scenario": "conditions of a measurement",
    "--protocol": "protocol of quality",
    "--quality": "whether quality is measured; of a picture file, how it is packed",
    "--runs": "samples",
    "--seconds": "time of samples",
    "--repeats": "fresh starts",
    "--time": "measure latency",
    "--why": "time per layer",
    "--max-slowdown": "loss of speed that is accepted",
    "--allow-noisy": "accept what cannot be told",
    "--baseline": "older results",
    "--kernel": "what computes listed pixels",
    "--sides": "sizes of square images",
    "--dispatch": "file that says which form is fastest",
    "--artifact": "which artifacts to list",
    "--failed": "whether failures are listed",
    "--samples": "raw samples",
    # farms
    "--farm": "file of a farm",
    "--job-limit": "longest job",
    "--apart": "spread artifacts over devices",
    "--hosts": "hosts of a farm",
    "--scheduler": "host of the scheduler",
    "--days": "life of certificates",
    "--listen": "address to listen on",
    "--tags": "what jobs ask for",
    "--name": "what results call a device",
    "--labgrid": "labgrid place",
    "--back": "have a device back",
    "--wait": "until jobs are over",
    "--reason": "why a device is set aside",
    "--release": "have it back, failures forgiven",
    # pictures and pages
    "--compare": "side by side",
    "--with": "another version",
    "--format": "format of pictures",
    "--bits": "bits of pictures",
    "--memory": "memory limit",
    "--overlap": "overlap of tiles",
    "--title": "title of a page",
    # videos
    "--codec": "what a video is packed with",
    "--crf": "constant rate factor of a codec",
    "--codec-option": "setting of an encoder",
    "--frame-rate": "frames per second of pictures and raw frames",
    "--pixel-format": "layout of raw frames",
    "--matrix": "matrix of luma and chroma",
    # of srdeploy itself
    "--version": "version",
    "--quiet": "say less",
    "--verbose": "say more",
}
"""A new option has its line here; one that means what another does takes that one's name."""


def _options() -> dict[str, set[str]]:
    """Long spellings that help shows, and the names that commands know them by."""
    found: dict[str, set[str]] = defaultdict(set)

    def walk(command: Any) -> None:
        for one in command.params:
            if one.param_type_name == "option" and not one.hidden:
                for flag in one.opts:
                    if flag.startswith("--"):
                        found[flag].add(one.name)
        for inner in getattr(command, "commands", {}).values():
            walk(inner)

    walk(typer.main.get_command(app))
    return {flag: names for flag, names in found.items() if "completion" not in flag}


def test_no_concept_has_two_spellings() -> None:
    assert sorted(_options()) == sorted(CONCEPTS)
    assert len(set(CONCEPTS.values())) == len(CONCEPTS)


def test_no_option_has_two_spellings() -> None:
    def walk(command: Any) -> None:
        for one in command.params:
            if one.param_type_name == "option":
                assert len([flag for flag in one.opts if flag.startswith("--")]) <= 1, one.opts
        for inner in getattr(command, "commands", {}).values():
            walk(inner)

    walk(typer.main.get_command(app))


def test_what_commands_call_by_one_name_is_spelled_in_one_way() -> None:
    spelled: dict[str, set[str]] = defaultdict(set)
    for flag, names in _options().items():
        for name in names:
            spelled[name].add(flag)
    assert {name: flags for name, flags in spelled.items() if len(flags) > 1} == {}


ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))),
    *(ROOT / "export" / "README.md", ROOT / "configs" / "README.md"),
    *sorted((ROOT / "srdeploy" / "cli").glob("*.py")),
]


def _command_lines(text: str) -> list[str]:
    """Those that a page or a docstring prints, in code spans and in blocks."""
    text = text.replace("\\\n", " ")
    spans = re.findall(r"(?<!`)`(srdeploy [^`]+)`(?!`)", text)
    blocks = re.findall(r"^ *(?:\$ )?(srdeploy [^`\n]*)$", text, re.MULTILINE)
    return [" ".join(line.split()) for line in (*spans, *blocks)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_and_help_use_our_words(page: Path) -> None:
    root = typer.main.get_command(app)
    for line in _command_lines(page.read_text(encoding="utf-8")):
        try:
            words = shlex.split(line, comments=True)[1:]
        except ValueError:  # no command, but a sentence with an apostrophe
            continue
        if words and words[0] in root.commands:  # type: ignore[attr-defined]
            assert understood(root, words) == words, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_name_no_option_by_an_old_word(page: Path) -> None:
    old = {"--data", "--eval", "--on", "--finetune", "--quantize"}
    assert not old & set(CONCEPTS)
    named = re.findall(r"`(--[\w-]+)[^`]*`", page.read_text(encoding="utf-8"))
    assert not old & set(named)


def test_command_lines_are_found() -> None:
    page = "Type `srdeploy eval\nx --data y`.\n\n    srdeploy zoo --time   # slow\n\nsrdeploy.x"
    assert _command_lines(page) == ["srdeploy eval x --data y", "srdeploy zoo --time # slow"]
