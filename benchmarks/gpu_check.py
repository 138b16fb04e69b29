"""What one NVIDIA GPU shows in at most ten minutes, without a network.

    python benchmarks/gpu_check.py [--only STEP ...] [--wheels FOLDER] [--smsr CHECKPOINT] [--busy]

Each step runs in a process of its own and within its time. What a machine lacks is skipped by
name; packages that it lacks may lie as wheels in ``wheels/`` (``make gpu-wheels`` fills it
elsewhere). With a GPU, the page ``gpu-check`` is written. The exit code is the number of steps that
failed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PACKAGES = ROOT / "runs" / "gpu" / "packages"
RUNNING = ("torch", "numpy", "PIL", "pydantic", "yaml", "safetensors", "typer")
"""Modules that every step needs."""

ROUNDS = 15
DENSITIES = (0.1, 0.35, 0.7)
SIZES = ((180, 320), (360, 640))


@dataclass(frozen=True)
class Step:
    """A part of the check.

    Attributes:
        name: To choose it by.
        what: For people.
        seconds: It is ended then.
        needs: Modules beside :data:`RUNNING`.
        command: Arguments of Python; None: a function of :data:`MEASURED`, in a process.
    """

    name: str
    what: str
    seconds: int
    needs: tuple[str, ...] = ()
    command: tuple[str, ...] | None = None


STEPS = (
    Step("tests", "tests marked gpu", 150, ("pytest", "onnx"),
         ("-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider")),
    Step("sessions", "ONNX Runtime, TensorRT and TensorRT-RTX", 150, ("onnx", "onnxsim")),
    Step("sparse", "SMSR sparse against dense, fp16", 90, ("triton",)),
    Step("training", "training against an eager loop", 80, (),
         ("benchmarks/train_speed.py", "--seconds", "30", "--busy")),
    Step("compiled", "the same with torch.compile", 130, ("triton",),
         ("benchmarks/train_speed.py", "--seconds", "30", "--busy", "--compile")),
)  # fmt: skip
"""600 seconds at most, all together."""


@dataclass
class Outcome:
    """What became of a step: ``passed``, ``skipped`` or ``failed``; why; and what it measured."""

    step: Step
    state: str
    told: str
    seconds: float = 0.0
    rows: Sequence[Sequence[Any]] = ()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=[step.name for step in STEPS])
    parser.add_argument("--wheels", type=Path, default=ROOT / "wheels", help="folder of wheels")
    parser.add_argument("--smsr", type=Path, help="published SMSR x2 weights; default: random ones")
    parser.add_argument("--step", choices=MEASURED, help=argparse.SUPPRESS)  # in its process
    asked = parser.parse_args(
        [word for word in sys.argv[1:] if word != "--busy"]
    )  # quiet() reads it
    if asked.step:
        print(json.dumps(MEASURED[asked.step](asked.smsr)))
        return
    unpack(asked.wheels)
    lacking = nothing_to_run_on()
    if not lacking:
        from results_io import quiet

        quiet()
    found = [
        tried(step, lacking, asked.smsr)
        for step in STEPS
        if asked.only is None or step.name in asked.only
    ]
    if not lacking:
        report(found)
    sys.exit(sum(one.state == "failed" for one in found))


def unpack(wheels: Path) -> None:
    """Make wheels of packages that Python lacks importable, beside what it has."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(PACKAGES)])
    files = sorted(wheels.glob("*.whl"))
    if files and not PACKAGES.exists():
        install = ["-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
        command = [sys.executable, *install, "--target", str(PACKAGES), *map(str, files)]
        subprocess.run(command, check=True)
    sys.path[1:1] = [str(ROOT), str(PACKAGES)]


def nothing_to_run_on() -> str:
    """Why no step can run here; empty where they can."""
    missing = [name for name in RUNNING if importlib.util.find_spec(name) is None]
    if missing:
        return f"Python lacks {', '.join(missing)}"
    import torch

    if not torch.cuda.is_available():
        return f"torch {torch.__version__} finds no NVIDIA GPU"
    return ""


def tried(step: Step, lacking: str, smsr: Path | None) -> Outcome:
    """Run a step, and tell about it."""
    missing = [name for name in step.needs if importlib.util.find_spec(name) is None]
    if lacking or missing:
        why = lacking or f"Python lacks {', '.join(missing)}"
        outcome = Outcome(step, "skipped", why)
    else:
        outcome = run(step, smsr)
    print(
        f"{step.name:<10} {outcome.state:<8} {outcome.seconds:5.0f} s  {outcome.told}", flush=True
    )
    return outcome


def run(step: Step, smsr: Path | None) -> Outcome:
    own = [__file__, "--step", step.name, *(["--smsr", str(smsr)] if smsr else [])]
    started = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, *(step.command or own)], cwd=ROOT, capture_output=True, text=True,
            timeout=step.seconds, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Outcome(step, "failed", f"not finished within {step.seconds} s", step.seconds)
    seconds = time.monotonic() - started
    lines = [line for line in (done.stdout or done.stderr).splitlines() if line.strip()]
    last = lines[-1] if lines else "it said nothing"
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.strip()]
        return Outcome(step, "failed", (errors or [last])[-1][:300], seconds)
    if step.command:
        told = next((line for line in reversed(lines) if line.startswith("Ours is")), last)
        return Outcome(step, "passed", told[:300], seconds)
    rows = json.loads(last)
    return Outcome(step, "passed", f"{len(rows)} rows", seconds, rows)


def sessions(smsr: Path | None) -> list[list[Any]]:
    """EDSR-S in every runtime of the GPU that is here: milliseconds and PSNR, or why not."""
    del smsr
    from srdeploy.errors import SrdeployError
    from srdeploy.exporting.run import export
    from srdeploy.models.load import load_network
    from srdeploy.quality.evaluate import evaluate
    from srdeploy.runtime.open import open_session
    from srdeploy.runtime.table import RUNTIMES

    network = load_network("edsr-s-x2")
    rows: list[list[Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for runtime, target, suffix in (
            ("onnxruntime-cuda", "onnx", "onnx"),
            ("onnxruntime-tensorrt", "onnx", "onnx"),
            ("tensorrt", "trt", "engine"),
            ("tensorrt_rtx", "trt-rtx", "engine"),
        ):
            can = RUNTIMES[runtime].availability()
            if not can:
                rows.append([runtime, "", "", "", can.reason])
                continue
            for precision in ("fp32", "fp16"):
                file = Path(folder) / f"{runtime}-{precision}.{suffix}"
                try:
                    export(network, target, file, precision=precision)
                    with open_session(file, runtime=runtime) as session:
                        times = [timed(session.run, size) for size in SIZES]
                        psnr = evaluate(session, "builtin", 2).psnr
                except SrdeployError as error:
                    rows.append([runtime, precision, "", "", str(error)])
                    continue
                rows.append([runtime, precision, *(f"{ms:.2f}" for ms in times), f"{psnr:.3f} dB"])
    return rows


def sparse(smsr: Path | None) -> list[list[Any]]:
    """SMSR in fp16, dense and sparse in turns, over sizes; random weights over densities, too.

    In Triton's interpreter it runs on the CPU, to try the code.
    """
    import torch

    from srdeploy.models.load import load_network
    from srdeploy.models.registry import create
    from srdeploy.models.smsr.dense import DenseMasks
    from srdeploy.sparse.gpu import GpuSMSR

    network = load_network(smsr) if smsr else create("smsr", scale=2)
    module: Any = network.module
    forms = {"dense": DenseMasks(module), "sparse": GpuSMSR(module)}
    device = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
    forms = {name: form.to(device, torch.float16).eval() for name, form in forms.items()}
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    rows: list[list[Any]] = []
    for height, width in SIZES:
        for density in (None,) if smsr else DENSITIES:
            for form in forms.values():
                body = form.frame.body if isinstance(form, GpuSMSR) else form.body
                for part in body if density is not None else ():
                    part.spa_mask.forward = masks_of(density)
            x = torch.rand(1, 3, height, width, device=device).half() * network.card.value_range
            x = x.contiguous(memory_format=torch.channels_last)
            outputs, times = {}, dict[str, list[float]]()
            with torch.inference_mode():
                for turn in range(ROUNDS + 3):
                    for name, form in forms.items():
                        wait()
                        begun = time.perf_counter()
                        outputs[name] = form(x)
                        wait()
                        if turn >= 3:
                            times.setdefault(name, []).append(1e3 * (time.perf_counter() - begun))
            apart = float((outputs["sparse"] - outputs["dense"]).abs().float().mean())
            dense, skipping = (statistics.median(times[name]) for name in forms)
            rows.append([
                "SMSR x2", f"{width}x{height}",
                "its own masks" if density is None else f"{density:.0%} of pixels",
                f"{dense:.2f}", f"{skipping:.2f}", f"{dense / skipping:.2f}; {apart:.3f}",
            ])  # fmt: skip
    return rows


def masks_of(density: float) -> Callable[[Any], Any]:
    """A mask branch that sets the same pixels for both forms."""
    import torch

    def mask(x: Any) -> Any:
        generator = torch.Generator().manual_seed(0)
        chosen = torch.rand(x.shape[0], 1, *x.shape[2:], generator=generator) < density
        return chosen.to(x.device, x.dtype)

    return mask


def timed(run: Callable[[Any], Any], size: tuple[int, int]) -> float:
    """Median milliseconds of a run that returns when its result is there."""
    import numpy as np

    x = np.random.default_rng(0).random((1, 3, *size), np.float32) * 255
    seconds = []
    for turn in range(ROUNDS + 3):
        begun = time.perf_counter()
        run(x)
        if turn >= 3:
            seconds.append(time.perf_counter() - begun)
    return 1e3 * statistics.median(seconds)


MEASURED: dict[str, Callable[[Path | None], list[list[Any]]]] = {
    "sessions": sessions,
    "sparse": sparse,
}


def report(found: Sequence[Outcome]) -> None:
    import torch
    from results_io import table, write

    lines = [
        [one.step.name, one.step.what, one.state, f"{one.seconds:.0f}", one.told] for one in found
    ]
    text = f"{torch.cuda.get_device_name()}, torch {torch.__version__}.\n\n"
    text += table(["step", "what", "", "s", "told"], lines)
    heads = {
        "sessions": ["runtime", "precision", *(f"{w}x{h}, ms" for h, w in SIZES), "PSNR"],
        "sparse": ["network", "LR", "masks", "dense ms", "sparse ms", "faster; mean difference"],
    }
    for one in found:
        if one.rows:
            text += f"\n\n## {one.step.what}\n\n" + table(heads[one.step.name], one.rows)
    raw = [{"step": o.step.name, "state": o.state, "told": o.told, "rows": o.rows} for o in found]
    write("gpu-check", "GPU check", text, raw, "make gpu-check")


if __name__ == "__main__":
    main()
