"""Which CPU runtime, and which of its options: onnxruntime, OpenVINO and ncnn in turns.

One network, dense and pruned by half, in every precision we write; each variant's PSNR is that of
what really ran. Three stages, so that the timing alone needs a quiet machine:

    python benchmarks/runtimes_study.py NETWORK --data DIR_WITH_Set5 --work FOLDER --stage prepare
    python benchmarks/runtimes_study.py NETWORK --work FOLDER --stage time
    python benchmarks/runtimes_study.py --work FOLDER --stage write

ncnn takes part where its Python package and pnnx are installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from results_io import LOAD_AT_START, quiet, srdeploy, table, write

from srdeploy.benchmarking.measuring.inputs import choose_image
from srdeploy.benchmarking.measuring.stats import Latency, Ratio, paired_speedup
from srdeploy.measure.machine import machine_facts
from srdeploy.models.card import Card
from srdeploy.quality.evaluate import evaluate
from srdeploy.runtime.card_of import read_card_of
from srdeploy.runtime.onnx.session import OnnxSession
from srdeploy.runtime.openvino_session import OpenvinoSession
from srdeploy.runtime.pixels import network_input
from srdeploy.runtime.session import Session
from srdeploy.runtime.sizes import parse_size

THREADS = 2
PAUSE = 0.05  # both runtimes' threads spin for a while after a run
RATIO = 0.5
PRECISIONS = ("fp32", "fp16", "bf16", "int8")
Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class Tried(Session):
    """A variant as a session, so that its quality is measured as everybody's is."""

    runtime = "study"

    def __init__(self, card: Card, run: Run) -> None:
        super().__init__(card, THREADS)
        self._call = run

    def _run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.array(self._call(x), np.float32)


def onnxruntime(
    path: Path,
    x: NDArray[np.float32],
    *,
    level: str | None = None,
    fixed: bool = False,
    entries: dict[str, str] | None = None,
    **options: Any,
) -> Run:
    """A session of onnxruntime with some of its options changed."""
    import onnxruntime as ort

    settings = ort.SessionOptions()
    settings.intra_op_num_threads, settings.inter_op_num_threads = THREADS, 1
    settings.log_severity_level = 3
    if level:
        settings.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    if fixed:
        for name, size in zip("NHW", (x.shape[0], *x.shape[2:]), strict=True):
            settings.add_free_dimension_override_by_name(name, size)
    for name, value in (entries or {}).items():
        settings.add_session_config_entry(name, value)
    for name, value in options.items():
        setattr(settings, name, value)
    session = ort.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    return lambda given: session.run(None, {"lr": given})[0]


def openvino(path: Path, x: NDArray[np.float32], *, fixed: bool = False, **config: Any) -> Run:
    """A network compiled by OpenVINO with settings of its own."""
    import openvino as ov

    core = ov.Core()
    model = core.read_model(str(path))
    if fixed:
        model.reshape(list(x.shape))
    base = {"INFERENCE_NUM_THREADS": THREADS, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(model, "CPU", base | config).create_infer_request()
    return lambda given: request.infer([given], share_inputs=True)[0]


def ncnn(path: Path, x: NDArray[np.float32], *, bf16: bool = False) -> Run:
    """A network in ncnn, converted by pnnx."""
    import ncnn as library

    from srdeploy.devices.native_build import native_model

    param, weights = native_model(path)
    net = library.Net()
    net.opt.num_threads = THREADS
    net.opt.use_bf16_storage = bf16
    net.load_param(str(param))
    net.load_model(str(weights))
    source, result = net.input_names()[0], net.output_names()[0]

    def run(given: NDArray[np.float32]) -> NDArray[np.float32]:
        with net.create_extractor() as extractor:
            extractor.input(source, library.Mat(given[0]))
            _, found = extractor.extract(result)
            return np.array(found)[None]

    return run


def ours(session: type[OnnxSession] | type[OpenvinoSession]) -> Callable[..., Run]:
    """A session of srdeploy's, as `--runtime` opens it."""
    return lambda path, x: session(path, threads=THREADS).run


FASTMATH = {"mlas.enable_gemm_fastmath_arm64_bfloat16": "1"}
NO_PREPACKING = {"session.disable_prepacking": "1"}
NO_SPINNING = {"session.intra_op.allow_spinning": "0"}

VARIANTS: list[tuple[str, str, Callable[..., Run], dict[str, Any]]] = [
    ("onnxruntime (as srdeploy runs it)", "fp32", ours(OnnxSession), {}),
    ("onnxruntime, fixed size", "fp32", onnxruntime, {"fixed": True}),
    ("onnxruntime, no NCHWc layout", "fp32", onnxruntime, {"level": "ORT_ENABLE_EXTENDED"}),
    ("onnxruntime, no fusions", "fp32", onnxruntime, {"level": "ORT_DISABLE_ALL"}),
    ("onnxruntime, bf16 fast math", "fp32", onnxruntime, {"entries": FASTMATH}),
    ("onnxruntime, no prepacking", "fp32", onnxruntime, {"entries": NO_PREPACKING}),
    ("onnxruntime, threads do not spin", "fp32", onnxruntime, {"entries": NO_SPINNING}),
    ("onnxruntime, no memory arena", "fp32", onnxruntime, {"enable_cpu_mem_arena": False}),
    ("onnxruntime", "fp16", ours(OnnxSession), {}),
    ("onnxruntime", "int8", ours(OnnxSession), {}),
    ("openvino (as srdeploy runs it)", "fp32", ours(OpenvinoSession), {}),
    ("openvino, fixed size", "fp32", openvino, {"fixed": True, "INFERENCE_PRECISION_HINT": "f32"}),
    ("openvino, left alone", "fp32", openvino, {}),
    ("openvino", "fp16", ours(OpenvinoSession), {}),
    ("openvino", "bf16", ours(OpenvinoSession), {}),
    ("openvino", "int8", ours(OpenvinoSession), {}),
    ("openvino, rest in bf16", "int8", openvino, {"INFERENCE_PRECISION_HINT": "bf16"}),
    ("ncnn", "fp32", ncnn, {}),
    ("ncnn, bf16 storage", "fp32", ncnn, {"bf16": True}),
]
PRUNED = {  # the pruned network shows what carries over; options were settled on the dense one
    *("onnxruntime (as srdeploy runs it)", "onnxruntime", "openvino (as srdeploy runs it)"),
    *("openvino, left alone", "openvino", "ncnn"),
}


def variants(width: str) -> list[tuple[str, str, Callable[..., Run], dict[str, Any]]]:
    """What is tried on the dense or the pruned network."""
    here = all(importlib.util.find_spec(name) for name in ("ncnn", "pnnx"))
    return [
        one
        for one in VARIANTS
        if (here or one[2] is not ncnn) and (width == "dense" or one[0] in PRUNED)
    ]


def prepare(network: str, name: str, data: Path, work: Path) -> None:
    """Export every precision of both networks, and measure every variant's quality."""
    pruned = work / f"{name}-pruned.safetensors"
    srdeploy("prune", network, "--ratio", str(RATIO), "--no-quality", "-o", str(pruned))
    quality: dict[str, dict[str, float]] = {}
    for width, source in (("dense", network), ("pruned", str(pruned))):
        for precision in PRECISIONS:
            path = artifact(work, name, width, precision)
            srdeploy("export", source, "--precision", precision, "-o", str(path))
        quality[width] = {}
        for label, precision, make, options in variants(width):
            path = artifact(work, name, width, precision)
            card = read_card_of(path)
            lr = choose_image(data, card.scale, (32, 32))
            x = network_input(card, lr, card.scale)
            options = {key: value for key, value in options.items() if key != "fixed"}
            session = Tried(card, make(path, x, **options))
            found = evaluate(session, data, card.scale, progress=False)
            quality[width][f"{label}|{precision}"] = found.psnr
            print(f"{width} {label} {precision}: {found.psnr:.4f}", flush=True)
    (work / f"{name}-quality.json").write_text(json.dumps(quality))


def artifact(work: Path, name: str, width: str, precision: str) -> Path:
    return work / f"{name}-{width}-{precision}.onnx"


def measure(name: str, work: Path, size: tuple[int, int], seconds: float) -> None:
    """Time all variants of both networks in turns for about so long."""
    runs: dict[str, tuple[Run, NDArray[np.float32]]] = {}
    for width in ("dense", "pruned"):
        for label, precision, make, options in variants(width):
            path = artifact(work, name, width, precision)
            card = read_card_of(path)
            x = network_input(card, choose_image("builtin", card.scale, size), card.scale)
            runs[f"{width}|{label}|{precision}"] = make(path, x, **options), x
    for run, x in runs.values():
        run(x)
    rounds: dict[str, list[list[float]]] = {key: [] for key in runs}
    loads = [round(LOAD_AT_START, 2)]
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        forward = len(loads) % 2 == 1  # a drift of the machine favours nobody
        for key in runs if forward else reversed(runs):
            run, x = runs[key]
            time.sleep(PAUSE)
            run(x)  # the caches are the other variants'
            samples = []
            for _ in range(2):
                started = time.perf_counter()
                run(x)
                samples.append((time.perf_counter() - started) * 1e3)
            rounds[key].append(samples)
        loads.append(machine_facts()["load_1min"])
    shape = next(iter(runs.values()))[1].shape
    document = {"rounds": rounds, "input": shape, "machine": machine_facts(), "loads": loads}
    (work / f"{name}-times.json").write_text(json.dumps(document))
    print(f"{name}: {len(loads) - 1} rounds of {len(runs)} variants")


def interval(ratio: Ratio) -> str:
    spread = "" if ratio.low is None else f" [{ratio.low:.2f}, {ratio.high:.2f}]"
    return f"{ratio.value:.2f}{spread}"


def page(work: Path) -> None:
    """One page of all networks that were timed."""
    parts, data = [], {}
    for file in sorted(work.glob("*-times.json")):
        name = file.name.removesuffix("-times.json")
        timed = json.loads(file.read_text())
        quality = json.loads((work / f"{name}-quality.json").read_text())
        data[name] = {**timed, "psnr": quality}
        rounds = timed["rounds"]
        base = {w: next(key for key in rounds if key.startswith(w)) for w in ("dense", "pruned")}
        rows = []
        for key, taken in rounds.items():
            width, label, precision = key.split("|")
            p = Latency.of([sample for one in taken for sample in one])
            own, dense = (paired_speedup(rounds[base[w]], taken) for w in (width, "dense"))
            assert own is not None
            assert dense is not None
            psnr = quality[width][f"{label}|{precision}"]
            lost = psnr - quality[width][base[width].partition("|")[2]]
            rows.append(
                (
                    width, label, precision, f"{p.p50_ms:.1f} ({p.iqr_ms:.1f})",
                    f"{p.min_ms:.1f}",
                    "" if key == base[width] else interval(own),
                    f"{dense.value:.2f}" if width == "pruned" else "",
                    f"{psnr:.3f}" + (f" ({lost:+.3f})" if abs(lost) >= 5e-4 else ""),
                )
            )  # fmt: skip
        header = (
            "width", "runtime and options", "file", "p50 ms (IQR)", "least", "times faster [95 %]",
            "than dense", "Set5 dB",
        )  # fmt: skip
        shape = "x".join(str(n) for n in timed["input"])
        count, load = len(next(iter(rounds.values()))), timed["loads"][0]
        parts.append(
            f"## {name}\n\nInput {shape}, {count} rounds of two samples, load {load:g} at the "
            f"start.\n\n{table(header, rows)}"
        )
    versions = {"openvino": version("openvino").split("-")[0]}
    for extra in ("ncnn", "pnnx"):
        if importlib.util.find_spec(extra):
            versions[extra] = str(importlib.import_module(extra).__version__)
    told = ", ".join(f"{tool} {number}" for tool, number in versions.items())
    text = (
        f"Two threads; all variants of a network loaded in one process, in turns, their order "
        "turned round every round; each ratio is the median over rounds of paired medians against "
        "onnxruntime's fp32 of the same width, with its bootstrap interval, and under *than dense* "
        "against the dense one. PSNR (Y, border 2, 8-bit output; luma networks unrounded) is that "
        "of the very variant. Pruned: half of the channels by L1, not fine-tuned, so its PSNR "
        "shows only that runtimes agree. Beside other processes a session of onnxruntime may run "
        "up to three times slower for many rounds, its two threads on one core: where the median "
        f"is far above the least time, read the latter. {told}.\n\n" + "\n\n".join(parts)
    )
    study = "python benchmarks/runtimes_study.py"
    each = "for s in prepare time; do %s NETWORK --data DATA/benchmark --work WORK --stage $s; done"
    repeat = f"{each % study}; {study} --work WORK --stage write"
    before = max(timed["loads"][0] for timed in data.values())
    write("runtimes-cpu-2threads", "CPU runtimes and their options", text, data, repeat,
          before=before)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", nargs="?", help="a network file or a shipped network")
    parser.add_argument("--name", help="what to call it; default: its own name")
    parser.add_argument("--data", type=Path, help="folder that holds Set5")
    parser.add_argument("--work", type=Path, required=True, help="folder between the stages")
    parser.add_argument("--stage", choices=("prepare", "time", "write"), required=True)
    parser.add_argument("--input", default="240x135", help="LR width x height to time at")
    parser.add_argument("--seconds", type=float, default=100.0, help="of timing")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.stage == "write":
        page(options.work)
        return
    name = options.name or Path(options.network).stem
    if options.stage == "prepare":
        prepare(options.network, name, options.data / "Set5", options.work)
        return
    size = parse_size(options.input)
    measure(name, options.work, size, options.seconds)


if __name__ == "__main__":
    if "time" in sys.argv:
        quiet()
    main()
