"""The table of export targets: what a network can be turned into, where, and what that needs.

One row per target. The command line's help and validation, ``srdeploy targets``, ``doctor``,
``bench`` (through the row's runtime) and ``export/TARGETS.md`` are all read off it. Looking at it
imports nothing heavy; a row's options are imported when they are asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srdeploy.errors import UserError, unknown_name
from srdeploy.runtime.table import (
    COREMLTOOLS,
    LITERT,
    NCNN,
    NVIDIA_PLATFORMS,
    ONNX,
    ONNXRUNTIME,
    ONNXSIM,
    PNNX,
    RUNTIMES,
    TENSORRT,
    TENSORRT_RTX,
    TORCH,
    Availability,
    Module,
    Runtime,
    nvidia_driver,
    platform_availability,
)
from srdeploy.util.plugins import Table, code_of

if TYPE_CHECKING:
    from srdeploy.exporting.options import Option

PIXEL_SHUFFLES = ("crd", "reshape", "deconv")
"""Forms of PixelShuffle, see :mod:`srdeploy.exporting.onnx.lower`."""

AUTO = "auto"

EXPORTERS = ("trace", "dynamo")
"""torch's ways to ONNX, see :mod:`srdeploy.exporting.onnx.graph`."""

ONNX_PRECISIONS = ("fp32", "fp16", "bf16", "int8", "mixed")
"""What :func:`srdeploy.exporting.onnx.export.export_onnx` writes; TensorRT builds what it reads."""

LITERT_PRECISIONS = ("fp32", "fp16", "dynamic", "int8", "mixed")
"""What :func:`srdeploy.exporting.litert.export.export_litert` writes."""

PRECISIONS = tuple(dict.fromkeys((*ONNX_PRECISIONS, *LITERT_PRECISIONS)))
"""What any target has."""

NO_BF16 = {
    "coreml": "coremltools converts to float32 and float16 only; use fp16",
    "litert": "LiteRT's operations have no bfloat16; use fp16",
    "ncnn": "its files store 32 or 16 bits; devices choose bf16 themselves",
}
"""Why a target has no bf16."""

NO_ONNX = {
    "coreml": "coremltools reads no ONNX since its version 6",
    "sparse-runner": "it holds SMSR's weights split by its masks",
}
"""Why a target cannot start from an ONNX file."""


@dataclass(frozen=True)
class Target:
    """One row of the table.

    Attributes:
        name: What ``--target`` calls it.
        title: One line for lists.
        suffix: Ending of the artifact.
        precisions: What it can be written in, the default first.
        needs: Modules that must be installed to build it.
        builds_on: Where it can be built, for people.
        runs_on: Where the artifact runs, for people.
        runtime: Name in :data:`srdeploy.runtime.table.RUNTIMES` of what runs it here.
        exporter: ``module:function`` taking (network, path, **options).
        converter: The same, taking an ONNX file in place of the network; empty where none can be
            taken (:data:`NO_ONNX`).
        option_class: ``module:class`` of its options (:mod:`srdeploy.exporting.options`), a field
            for each keyword of the exporter; empty: it has none. ``precision`` and ``sparse`` may
            be asked of every row, and reach exporters that can have them.
        pixel_shuffles: Forms of PixelShuffle it can be given, the default first; empty where the
            format has one of its own.
        platforms: Values of ``sys.platform`` it can be built on; empty for all.
        nvidia: Building needs an NVIDIA GPU.
        sparse: It can take SMSR's sparse form.
        sparse_only: It takes that form and nothing else.
        elsewhere: ``module:function`` that, asked for ``emit_script``, writes what builds the
            artifact on another machine, where this one cannot.
    """

    name: str
    title: str
    suffix: str
    precisions: tuple[str, ...]
    needs: tuple[Module, ...]
    builds_on: str
    runs_on: str
    runtime: str
    exporter: str
    converter: str = ""
    option_class: str = ""
    pixel_shuffles: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    nvidia: bool = False
    sparse: bool = False
    sparse_only: bool = False
    elsewhere: str | None = None

    def availability(self) -> Availability:
        """Whether this machine can build it: versions found, or reasons with remedies."""
        if not (here := platform_availability(self.platforms)):
            return Availability(False, here.reason.replace("runs on", "builds on"))
        found = [module.availability() for module in self.needs]
        if self.nvidia:
            found.append(nvidia_driver())
        if lacking := [a for a in found if not a]:
            remedies = tuple(remedy for a in lacking for remedy in a.remedies)
            return Availability(False, "; ".join(a.reason for a in lacking), remedies)
        return Availability(True, ", ".join(a.reason for a in found))

    def runtimes(self) -> list[Runtime]:
        """Every runtime that runs the artifact, the usual one first."""
        usual = RUNTIMES[self.runtime]
        if usual.nvidia:
            return [usual]  # engines end alike, but each is its own runtime's
        return [usual, *(r for r in RUNTIMES.values() if self.suffix in r.suffixes and r != usual)]

    @property
    def options(self) -> tuple[str, ...]:
        """Keyword arguments the exporter takes."""
        return tuple(self.own_options())

    def own_options(self) -> dict[str, Option]:
        """What is known of each of them."""
        if not self.option_class:
            return {}
        from srdeploy.exporting.options import options_of

        return options_of(code_of(self.option_class))

    def check_source(self, options: dict[str, Any], *, from_onnx: bool) -> None:
        """See that it can be made of a network, or of an ONNX file, and that the options fit that.

        Raises:
            UserError: the target takes no ONNX file, or an option is for the other.
        """
        if from_onnx and not self.converter:
            why = NO_ONNX.get(self.name, "its exporter follows torch modules")
            raise UserError(
                f"--target {self.name} starts from a network, not from an .onnx file ({why}): give "
                "the network that it was exported from, or its weights with --arch and the code "
                "that makes it."
            )
        from srdeploy.exporting.options import find_option

        own, source = self.own_options(), "onnx" if from_onnx else "network"
        for name in options:
            option = own.get(name) or find_option(name)
            if option.source not in (None, source):
                kind = "networks" if from_onnx else ".onnx files"
                raise UserError(f"{option.spelling} is for {kind}; leave it out here.")

    def check_options(self, options: dict[str, Any]) -> None:
        """See that the row offers what is asked.

        Raises:
            UserError: an option of another target, or a precision, exporter or form of PixelShuffle
                that this one does not have.
        """
        from srdeploy.exporting.options import Common, flag, options_of

        known = {*options_of(Common), *self.options}
        for name in options:
            if name not in known:
                raise UserError(
                    f"{flag(name)} does not apply to --target {self.name}; leave it out."
                )
        precision = options.get("precision", self.precisions[0])
        if precision == "bf16" and self.name in NO_BF16:
            raise UserError(f"--target {self.name} has no bf16: {NO_BF16[self.name]}.")
        if precision not in self.precisions:
            raise unknown_name(f"precision of --target {self.name}", precision, self.precisions)
        exporter = options.get("exporter", EXPORTERS[0])
        if exporter not in EXPORTERS:
            raise unknown_name("exporter", exporter, EXPORTERS)
        form = options.get("pixel_shuffle", AUTO)
        if form not in (AUTO, *self.pixel_shuffles):
            raise unknown_name(
                f"form of PixelShuffle for --target {self.name}", form, self.pixel_shuffles
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, this machine's state included, for JSON."""
        builds, runs = self.availability(), RUNTIMES[self.runtime].availability()
        return {
            "name": self.name,
            "title": self.title,
            "suffix": self.suffix,
            "precisions": list(self.precisions),
            "pixel_shuffles": list(self.pixel_shuffles),
            "needs": [module.name for module in self.needs],
            "builds_on": self.builds_on,
            "runs_on": self.runs_on,
            "runtime": self.runtime,
            "from_onnx": bool(self.converter),
            "builds_here": builds.ready,
            "builds_here_reason": builds.reason,
            "runs_here": runs.ready,
            "runs_here_reason": runs.reason,
            "runtimes": {
                row.name: {"here": can.ready, "reason": can.reason}
                for row in self.runtimes()
                for can in (row.availability(),)
            },
        }


def _check_plugin(row: Target) -> None:
    from srdeploy.exporting.options import check_plugin

    check_plugin(row)


TARGETS: Table[Target] = Table(
    "targets",
    (
        Target(
            "onnx",
            "ONNX, dynamic sizes",
            ".onnx",
            ONNX_PRECISIONS,
            (ONNX, ONNXSIM, ONNXRUNTIME),
            builds_on="anywhere",
            runs_on="ONNX Runtime anywhere; input of TensorRT, OpenVINO, ncnn",
            runtime="onnxruntime",
            exporter="srdeploy.exporting.onnx.export:export_onnx",
            converter="srdeploy.exporting.onnx.convert:convert_onnx",
            option_class="srdeploy.exporting.options:OnnxOptions",
            pixel_shuffles=PIXEL_SHUFFLES,
            sparse=True,
        ),
        Target(
            "trt",
            "TensorRT engine",
            ".engine",
            ONNX_PRECISIONS,
            (ONNX, ONNXSIM, ONNXRUNTIME, TENSORRT),
            builds_on="the NVIDIA GPU it will run on (Jetson: `--emit-script` and trtexec there)",
            runs_on="GPUs of the same compute capability, with the same TensorRT",
            runtime="tensorrt",
            exporter="srdeploy.exporting.tensorrt.export:export_trt",
            converter="srdeploy.exporting.tensorrt.export:export_trt",
            option_class="srdeploy.exporting.options:TensorrtOptions",
            pixel_shuffles=PIXEL_SHUFFLES,
            platforms=NVIDIA_PLATFORMS,
            nvidia=True,
            elsewhere="srdeploy.exporting.tensorrt.elsewhere:write_for_elsewhere",
        ),
        Target(
            "trt-rtx",
            "TensorRT-RTX engine",
            ".engine",
            ONNX_PRECISIONS,
            (ONNX, ONNXSIM, ONNXRUNTIME, TENSORRT_RTX),
            builds_on="Linux or Windows, no GPU needed",
            runs_on="RTX GPUs of PCs, compute capability 7.5 to 12.1",
            runtime="tensorrt_rtx",
            exporter="srdeploy.exporting.tensorrt.export:export_trt_rtx",
            converter="srdeploy.exporting.tensorrt.export:export_trt_rtx",
            option_class="srdeploy.exporting.options:TensorrtRtxOptions",
            pixel_shuffles=PIXEL_SHUFFLES,
            platforms=NVIDIA_PLATFORMS,
        ),
        Target(
            "coreml",
            "CoreML mlprogram",
            ".mlpackage",
            ("fp32", "fp16"),
            (COREMLTOOLS,),
            builds_on="macOS or Linux",
            runs_on="iPhones, iPads and Macs (iOS 15, macOS 12 and later)",
            runtime="coreml",
            exporter="srdeploy.exporting.coreml.export:export_coreml",
            option_class="srdeploy.exporting.options:CoremlOptions",
            platforms=("linux", "darwin"),
        ),
        Target(
            "litert",
            "LiteRT (TensorFlow Lite), fixed size",
            ".tflite",
            LITERT_PRECISIONS,
            (ONNX, ONNXSIM, ONNXRUNTIME, LITERT),
            builds_on="Linux or macOS",
            runs_on="phones' GPUs and NPUs through LiteRT's delegates, and any CPU",
            runtime="litert",
            exporter="srdeploy.exporting.litert.export:export_litert",
            converter="srdeploy.exporting.litert.export:convert_onnx_to_litert",
            option_class="srdeploy.exporting.options:LitertOptions",
            platforms=("linux", "darwin"),
        ),
        Target(
            "sparse-runner",
            "SMSR skipping pixels in C",
            ".smsr",
            ("fp32", "fp16", "bf16", "int8"),
            (TORCH,),
            builds_on="anywhere",
            runs_on="Android and Linux (`--device adb`, `ssh://...`), by the native runner",
            runtime="sparse",
            exporter="srdeploy.exporting.sparse_runner:export_sparse_runner",
            option_class="srdeploy.exporting.options:SparseRunnerOptions",
            sparse_only=True,
        ),
        Target(
            "ncnn",
            "ncnn network for Vulkan applications, with its .bin",
            ".param",
            ("fp32", "fp16", "int8"),
            (ONNX, ONNXSIM, PNNX, NCNN),
            builds_on="Linux, Windows or macOS",
            runs_on="Vulkan GPUs of PCs and phones (upscayl, video2x...), and any CPU",
            runtime="ncnn",
            exporter="srdeploy.exporting.ncnn.export:export_ncnn",
            converter="srdeploy.exporting.ncnn.export:export_ncnn",
            option_class="srdeploy.exporting.options:NcnnOptions",
        ),
    ),
    check=_check_plugin,
)


def find_target(name: str) -> Target:
    """The row of that name.

    Raises:
        UserError: there is none; the nearest name is offered.
    """
    if name not in TARGETS:
        raise unknown_name("export target", name, TARGETS)
    return TARGETS[name]


def target_for(path: str | Path, name: str | None = None) -> Target:
    """The target that an output's ending means, or the one of a name, whose ending it must be.

    Args:
        path: The artifact that is to be written.
        name: The target; None: the first whose ending fits (``.engine``: ``trt``).

    Raises:
        UserError: no target of that name, or an ending that is none of it or of any.
    """
    ending = Path(path).suffix.lower()
    fitting = [row for row in TARGETS.values() if row.suffix == ending]
    if name is None:
        if not fitting:
            endings = ", ".join(sorted({row.suffix for row in TARGETS.values()}))
            raise UserError(f"No target writes '{ending}' files; choose one of {endings}.")
        return fitting[0]
    row = find_target(name)
    if row not in fitting:
        other = f"; for {ending} it is --target {fitting[0].name}" if fitting else ""
        raise UserError(f"'{path}' must end in {row.suffix} to be exported to {name}{other}.")
    return row


def targets_markdown() -> str:
    """The table as it stands in ``export/TARGETS.md``: the same on every machine."""
    lines = [
        "# Export targets\n",
        "Written by `srdeploy targets --markdown`; a test compares it with the table in",
        "`srdeploy/exporting/targets.py`; `srdeploy targets` adds what a machine builds and runs.",
        "",
        "| target | artifact | precisions | PixelShuffle | builds on | needs | runs on |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in TARGETS.values():
        cells = (
            f"`{row.name}`",
            f"{row.title} (`{row.suffix}`)",
            ", ".join(row.precisions),
            ", ".join(row.pixel_shuffles) or "the format's own",
            row.builds_on,
            ", ".join(f"`{module.name}`" for module in row.needs),
            row.runs_on,
        )
        lines.append(f"| {' | '.join(cells)} |")
    able = ", ".join(f"`{row.name}`" for row in TARGETS.values() if row.converter)
    unable = "; ".join(f"`{name}`: {why}" for name, why in NO_ONNX.items())
    lines += ["", f"Of an ONNX file instead of a network: {able}. Not {unable}."]
    missing = {module.name: module for row in TARGETS.values() for module in row.needs}
    lines += ["", "| needs | install |", "|---|---|"]
    lines += [f"| `{m.name}` | {_typed(m.install)} |" for m in missing.values()]
    return "\n".join(lines) + "\n"


def _typed(install: str) -> str:
    command, _, remark = install.partition(" (")
    return f"`{command}`" + (f" ({remark}" if remark else "")
