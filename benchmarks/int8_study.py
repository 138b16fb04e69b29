r"""What 8 bits gain and lose in ONNX Runtime, and which part of the recipe matters.

Exports a network in fp32, fp16 and int8, and in variants of int8 that each leave one idea out;
measures PSNR on benchmark sets and times fp32 and int8 in turns. With ``--trained`` also the
network that fine-tuning for 8 bits made of it, held against the fp32 of the one before.

    srdeploy finetune edsr-s-x2 --recipe configs/train/int8.yaml -o trained.safetensors
    python benchmarks/int8_study.py --network edsr-s-x2 --trained trained.safetensors \
        --data DIR_WITH_Set5_AND_B100
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
from results_io import RESULTS, quiet, shown, table, write

from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.exporting.precision.graph import layers_of
from srdeploy.exporting.precision.quantise_graph import quantise
from srdeploy.exporting.precision.quantise_ranges import watch
from srdeploy.exporting.precision.quantise_search import ranges_of, usual_layers
from srdeploy.models.load import load_network
from srdeploy.models.network import Network
from srdeploy.quality.evaluate import evaluate
from srdeploy.runtime.inputs import network_inputs
from srdeploy.runtime.onnx.session import OnnxSession
from srdeploy.util.files import sha256

SETS = ("Set5", "B100")
HEADLINE = (
    "fp32",
    "fp16",
    "int8",
    "int8-trained",
)  # measured on every set; the variants on the first alone
TIMED = ("fp32", "int8", "int8-trained", "no-sums", "everything")
SIZE = "480x270"


def variants(
    network: Network, trained: Network | None, folder: Path
) -> dict[str, tuple[str, Path]]:
    """Description and file of every artifact, the reference first."""
    made: dict[str, tuple[str, Path]] = {}

    def export(name: str, told: str, source: Network = network, **options: Any) -> Path:
        path = folder / f"{name}.onnx"
        export_onnx(source, path, check=False, **options)
        made[name] = (told, path)
        return path

    plain = export("fp32", "float32")
    export("fp16", "float16", precision="fp16")
    export(
        "int8", "`--precision int8`: ranges by mse, long skip and ends in fp32", precision="int8"
    )
    if trained is not None:
        export(
            "int8-trained", "after fine-tuning for 8 bits, ranges as learned",
            trained, precision="int8",
        )  # fmt: skip
    for method in ("minmax", "percentile", "entropy"):
        export(
            f"int8-{method}", f"the same, ranges by {method}",
            precision="int8", calibration_method=method,
        )  # fmt: skip
    export(
        "int8-symmetric", "the same, symmetric int8 activations (TensorRT)",
        precision="int8", activations="int8",
    )  # fmt: skip
    model = onnx.load(plain)
    layers = layers_of(model)
    statistics = watch(
        model,
        [tensor for layer in layers for tensor in (*layer.inputs, layer.output)],
        network_inputs("builtin", network.card),
    )
    usual = set(usual_layers(model))
    convolutions = {layer.name for layer in layers if not layer.is_sum}
    for name, told, chosen, method in (
        ("no-sums", "mse, every sum in fp32", usual & convolutions, "mse"),
        ("everything", "minmax, all layers in int8", {x.name for x in layers}, "minmax"),
    ):  # fmt: skip
        ranges = ranges_of(
            model, statistics, method, symmetric=False, value_range=network.card.value_range
        )
        path = folder / f"{name}.onnx"
        onnx.save(quantise(model, chosen, ranges), path)
        made[name] = (told, path)
    return made


def measured(
    made: dict[str, tuple[str, Path]], folder: Path, scale: int
) -> dict[str, dict[str, float]]:
    """PSNR of every artifact on every set that it is measured on."""
    found: dict[str, dict[str, float]] = {}
    for key, (_, path) in made.items():
        with OnnxSession(path, threads=2) as session:
            found[key] = {
                each: evaluate(session, folder / each, scale).psnr
                for each in (SETS if key in HEADLINE else SETS[:1])
            }
    return found


def kept(name: str) -> dict[str, dict[str, float]]:
    """PSNR of an earlier run."""
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))["data"]["quality"]


def tuning(network: Network) -> str:
    """What the latest step on a card was."""
    step = network.card.history[-1]
    return ", ".join(f"{key} {value}" for key, value in step.items() if key != "step")


def bench(launcher: str, *arguments: str) -> list[dict[str, Any]]:
    """Rows of ``srdeploy bench``, started by ``launcher``."""
    command = [*shlex.split(launcher), sys.executable, "-m", "srdeploy", "-q", "bench", *arguments]
    done = subprocess.run([*command, "--json"], check=True, stdout=subprocess.PIPE, text=True)
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    if untimed := [row for row in rows[1:] if row.get("speedup") is None or row.get("error")]:
        raise SystemExit(f"Not timed: {untimed}")
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", required=True, help="a network file or a shipped name")
    parser.add_argument("--name", help="what the page calls it; default: the network's name")
    parser.add_argument("--trained", type=Path, help="the network fine-tuned for 8 bits from it")
    parser.add_argument(
        "--launcher", default="", help="what starts the timing, e.g. 'taskset -c 0,1'"
    )
    parser.add_argument(
        "--retime",
        action="store_true",
        help="measure the times anew, of PSNR only what the page lacks",
    )
    parser.add_argument("--data", required=True, type=Path, help="folder of Set5 and B100")
    parser.add_argument("--seconds", default="2", help="timing per artifact and turn")
    options = parser.parse_args(argv)
    name = options.name or Path(options.network).stem
    network = load_network(options.network)
    trained = load_network(options.trained) if options.trained else None
    scale = network.card.scale
    stem = f"int8-{name}-onnxruntime-cpu-2threads"
    with tempfile.TemporaryDirectory() as folder:
        made = variants(network, trained, Path(folder))
        timed = [made[key][1] for key in TIMED if key in made]
        conditions = ("--input", SIZE, "--no-quality", "--threads", "2", "--runs", "16")
        rows = bench(options.launcher, *map(str, timed), *conditions, "--seconds", options.seconds)
        latency = {path.stem: row for path, row in zip(timed, rows, strict=True)}
        quality = kept(f"{stem}.json") if options.retime else {}
        missing = {key: entry for key, entry in made.items() if key not in quality}
        quality |= measured(missing, options.data, scale)
        sizes = {key: path.stat().st_size for key, (_, path) in made.items()}
    lines = []
    for key, (told, _) in made.items():
        timed_as = latency.get(key)
        losses = [
            f"{found:.3f} ({found - quality['fp32'][each]:+.3f})"
            if (found := quality[key].get(each)) is not None
            else ""
            for each in SETS
        ]
        p50 = f"{timed_as['p50_ms']:.0f}" if timed_as else ""
        ratio = (
            f"{timed_as['speedup']:.2f} [{timed_as['speedup_low']:.2f}, "
            f"{timed_as['speedup_high']:.2f}]"
            if timed_as and key != "fp32"
            else ""
        )
        lines.append((key, told, *losses, p50, ratio, f"{sizes[key] / 1024:.0f}"))
    header = (
        "artifact",
        "what",
        *(f"{s} dB" for s in SETS),
        "p50 ms",
        "times faster [95 %]",
        "KiB",
    )
    text = (
        f"PSNR of Y, border {scale}, 8-bit output, MATLAB's luma; in brackets the change from "
        "fp32. Ranges were found on the training images that come with srdeploy. "
        f"Latency: {SIZE} input, two threads, artifacts in turns "
        f"(`{shown('bench', '...', *conditions)}`).\n\n"
        + table(header, lines)
        + (f"\n\nFine-tuning: {tuning(trained)}." if trained else "")
    )
    own = f"--network {Path(options.network).name}" + (f" --name {name}" if options.name else "")
    own += " --trained TRAINED" if trained else ""
    repeat = f"python benchmarks/int8_study.py {own} --data DIR"
    data = {
        "network": {"name": name, "sha256": sha256(Path(options.network))}
        if Path(options.network).is_file()
        else {"name": name},
        "trained": trained.card.history[-1] if trained else None,
        "quality": quality,
        "latency": latency,
        "bytes": sizes,
        "what": {key: told for key, (told, _) in made.items()},
    }
    write(stem, f"{name} x{scale} in 8 bits", text, data, repeat)


if __name__ == "__main__":
    quiet()
    main()
