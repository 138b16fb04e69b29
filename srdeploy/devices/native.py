"""The native runner: a static program that times one network and needs nothing on its device.

It is the same program on Android, boards and servers; ``assets/native/`` holds what it is made of.
This module is its interface: the command line it takes, and the text it answers with.

    srdeploy-runner --param FILE --bin FILE --input FILE --shape N,C,H,W --threads T
                    --precision fp32|fp16|bf16 --warmup-runs R --warmup-seconds S
                    --min-runs R --min-seconds S [--output FILE]
    srdeploy-runner --net FILE ... [--kernel NAME]
    srdeploy-runner --version
    srdeploy-runner-vulkan ...

``--version`` prints ``srdeploy-runner VERSION ncnn DATE``. ``--param`` and ``--bin`` name the two
files of ncnn; ``--net`` names a model file of SMSR (:mod:`srdeploy.sparse.model_file`), which C
code of ours runs inside its masks only, in the precision of the file, by the kernel named or by the
quickest that the processor has. Of such a network the answer has lines ``kernel NAME`` and, per
module, ``module DENSITY FORM``: the share of pixels inside its mask, and what its masked layers
did.

The precision asked for is a wish: the answer's is read back from what the convolutions put out
(``fp16`` on a processor without half precision runs as ``fp32``, or as ``fp32 (fp16 storage)``).

Inputs and outputs are raw little-endian float32 in NCHW order; ``--min-runs 0`` times nothing. It
prints one ``key value`` per line and, as the last line, ``end ok``: a transport that lost the
device half-way cannot fake that (``adb shell`` exits with 0 then)::

    runtime ncnn 20260113
    precision fp16
    threads 4
    load_ms 12.31
    first_ms 45.02
    sample_ms 31.20          (one line per sample, in the order taken)
    peak_mb 61.3
    output 1,3,540,960
    end ok

and for SMSR ``runtime sparse VERSION``, ``kernel neon``, ``module 0.4312 rows``.

``srdeploy-runner-vulkan`` takes and answers the same, runs ncnn's networks on the GPU (fp32 and
fp16), and says ``runtime ncnn-vulkan VERSION`` and on which: ``gpu KIND NAME``, a kind of
:data:`srdeploy.runtime.ncnn.gpus.KINDS`. A run ends when its output is in the host's memory.

What fails ends with a line ``error SENTENCE`` and exit code 2, without ``end ok``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from srdeploy.devices.errors import DeviceError, DeviceFull, DeviceLost, DeviceUnfit
from srdeploy.devices.protocol import Completed, Shape
from srdeploy.errors import SrdeployError
from srdeploy.runtime.ncnn.gpus import KINDS, gpu_told

PROGRAM = "srdeploy-runner"
VERSION = 3
"""Of the command line and the answer; the program's own is compared with it by its tests."""
END = "end ok"
PRECISIONS = ("fp32", "fp16", "bf16", "int8")
"""What may be asked for; of ncnn the last is asked for by a network that is in int8."""
NCNN, VULKAN, SPARSE = "ncnn", "ncnn-vulkan", "sparse"
RUNTIMES = (NCNN, VULKAN, SPARSE)
"""What the programs run networks by."""
ON_GPUS = ("fp32", "fp16")
"""What may be asked for of :data:`VULKAN`."""
FORMS = ("rows",)
"""What a module's masked layers do: compute at the listed pixels inside its mask."""
FULL = "No space left on device"


@dataclass(frozen=True)
class NativeNetwork:
    """A network for the program.

    Attributes:
        runtime: One of :data:`RUNTIMES`.
        files: By the option that names each: ``param`` and ``bin``, or ``net``.
    """

    runtime: str
    files: Mapping[str, Path]


@dataclass(frozen=True)
class ModuleReport:
    """What one module of SMSR did.

    Attributes:
        density: Share of pixels inside its mask, 0..1.
        form: One of :data:`FORMS`.
    """

    density: float
    form: str


@dataclass(frozen=True)
class Report:
    """What a run of the program answered; times in milliseconds."""

    runtime: str
    version: str
    precision: str
    threads: int
    load_ms: float
    first_ms: float
    samples_ms: list[float] = field(default_factory=list)
    peak_mb: float | None = None
    output: Shape | None = None
    kernel: str | None = None
    gpu: str | None = None
    modules: list[ModuleReport] = field(default_factory=list)


def runner_arguments(
    network: Mapping[str, str],
    *,
    tensor: str,
    shape: Shape,
    threads: int,
    precision: str = "fp32",
    warmup: tuple[int, float] = (0, 0.0),
    minimum: tuple[int, float] = (0, 0.0),
    output: str | None = None,
) -> list[str]:
    """The program's arguments.

    Args:
        network: Its files on the device, as in :class:`NativeNetwork`.
        tensor: The input there, raw float32.
        shape: Its shape.
        threads: CPU threads.
        precision: What to compute in, one of :data:`PRECISIONS`.
        warmup: Runs after the first that do not count, and seconds they take at least.
        minimum: Runs that count, and seconds; (0, 0) for none.
        output: Where to write the result of the first run.
    """
    arguments = [
        *(word for name, path in network.items() for word in (f"--{name}", path)),
        *("--input", tensor),
        *("--shape", ",".join(map(str, shape))),
        *("--threads", str(threads)),
        *("--precision", precision),
        *("--warmup-runs", str(warmup[0])),
        *("--warmup-seconds", f"{warmup[1]:g}"),
        *("--min-runs", str(minimum[0])),
        *("--min-seconds", f"{minimum[1]:g}"),
    ]
    return arguments + (["--output", output] if output is not None else [])


def read_report(ended: Completed, device: str) -> Report:
    """Read what the program printed.

    Args:
        ended: The command.
        device: What to call the device in a sentence.

    Raises:
        DeviceLost: the answer has no end.
        DeviceFull: there was no room for the output.
        SrdeployError: the program said what is wrong.
    """
    lines = ended.stdout.replace("\r\n", "\n").splitlines()
    for line in [*lines, *ended.stderr.splitlines()]:
        if line.startswith("error "):
            kind = DeviceFull if FULL in line else SrdeployError
            raise kind(f"{device}: {line.removeprefix('error ')}")
    if not lines or lines[-1].strip() != END:
        if ended.code == 126 or "exec format" in ended.stderr.lower():
            raise DeviceError(f"{device} cannot run programs of this architecture.")
        if ended.code == 127 or "GLIBC_" in ended.stderr:
            raise DeviceUnfit(
                f"{device} cannot start the runner, which needs a newer GNU C library than it has, "
                "or one at all; --runtime ncnn takes its CPU and needs none."
            )
        last = (ended.stderr.strip() or ended.stdout.strip() or "nothing").splitlines()[-1]
        raise DeviceLost(
            f"{device} went away, or the runner died there (exit code {ended.code}; it last said: "
            f"{last[:200]})."
        )
    return _report(lines[:-1], device)


def _report(lines: Sequence[str], device: str) -> Report:
    pairs = [line.strip().partition(" ") for line in lines]
    told = {key: value for key, _, value in pairs}
    try:
        name, _, version = told["runtime"].partition(" ")
        shape = told.get("output")
        return Report(
            runtime=name,
            version=version,
            precision=told["precision"],
            threads=int(told["threads"]),
            load_ms=float(told["load_ms"]),
            first_ms=float(told["first_ms"]),
            samples_ms=[float(value) for key, _, value in pairs if key == "sample_ms"],
            peak_mb=float(told["peak_mb"]) if "peak_mb" in told else None,
            output=_shape(shape) if shape else None,
            kernel=told.get("kernel"),
            gpu=_gpu(told["gpu"]) if "gpu" in told else None,
            modules=[_module(value) for key, _, value in pairs if key == "module"],
        )
    except (KeyError, ValueError) as error:
        raise DeviceError(
            f"The runner on {device} answered what this srdeploy cannot read "
            f"({str(error)[:200]}); it is of another version."
        ) from None


def _gpu(text: str) -> str:
    kind, _, name = text.partition(" ")
    if kind not in KINDS or not name:
        raise ValueError(f"no GPU: {text}")
    return gpu_told(name, kind)


def _module(text: str) -> ModuleReport:
    density, _, form = text.partition(" ")
    found = ModuleReport(float(density), form)
    if not 0 <= found.density <= 1 or form not in FORMS:
        raise ValueError(f"no module: {text}")
    return found


def _shape(text: str) -> Shape:
    n, c, h, w = (int(part) for part in text.split(","))
    return n, c, h, w
