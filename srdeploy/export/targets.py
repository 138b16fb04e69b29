"""The table of export targets: what a network can be turned into, and whether it can be here."""

from __future__ import annotations

from dataclasses import dataclass

from srdeploy.errors import unknown_name
from srdeploy.runtime.table import (
    COREMLTOOLS,
    ONNX,
    ONNXRUNTIME,
    ONNXSIM,
    TENSORRT,
    TENSORRT_RTX,
    Availability,
    Module,
)


@dataclass(frozen=True)
class Target:
    """One row of the table.

    Attributes:
        name: What ``--target`` calls it.
        title: One line for lists.
        suffix: Ending of the artifact.
        precisions: What it can be written in.
        needs: Modules that must be installed to build it.
        runs_on: Where the artifact runs, for people.
        exporter: ``module:function`` taking (network, path, **options), or None while srdeploy
            cannot build it.
        options: Keyword arguments the exporter takes.
        instead: What to do while there is no exporter.
    """

    name: str
    title: str
    suffix: str
    precisions: tuple[str, ...]
    needs: tuple[Module, ...]
    runs_on: str
    exporter: str | None = None
    options: tuple[str, ...] = ()
    instead: str = ""

    def availability(self) -> Availability:
        """Whether this machine can build it. Imports nothing."""
        if self.exporter is None:
            return Availability(False, f"srdeploy does not build it yet: {self.instead}")
        found = [module.availability() for module in self.needs]
        if lacking := [a.reason for a in found if not a]:
            return Availability(False, "; ".join(lacking))
        return Availability(True, ", ".join(a.reason for a in found))


TARGETS: dict[str, Target] = {
    row.name: row
    for row in (
        Target(
            "onnx",
            "ONNX, dynamic sizes",
            ".onnx",
            ("fp32",),
            (ONNX, ONNXSIM, ONNXRUNTIME),
            "ONNX Runtime anywhere; input of TensorRT, OpenVINO, ncnn",
            exporter="srdeploy.export.onnx:export_onnx",
            options=("opset",),
        ),
        Target(
            "coreml",
            "CoreML mlprogram",
            ".mlpackage",
            ("fp32",),
            (COREMLTOOLS,),
            "iOS 16, macOS 13 and later",
            exporter="srdeploy.export.coreml:export_coreml",
            options=("size",),
        ),
        Target(
            "trt",
            "TensorRT engine",
            ".engine",
            (),
            (TENSORRT,),
            "the NVIDIA GPU it was built on",
            instead="export to onnx and build on the device with trtexec --onnx=FILE",
        ),
        Target(
            "trt-rtx",
            "TensorRT-RTX engine",
            ".engine",
            (),
            (TENSORRT_RTX,),
            "RTX GPUs of Windows and Linux PCs",
            instead="export to onnx and build with tensorrt_rtx --onnx=FILE",
        ),
    )
}


def find_target(name: str) -> Target:
    """The row of that name.

    Raises:
        UserError: there is none; the nearest name is offered.
    """
    if name not in TARGETS:
        raise unknown_name("export target", name, TARGETS)
    return TARGETS[name]
