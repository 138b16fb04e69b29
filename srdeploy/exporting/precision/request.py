"""What may be asked of a precision."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from srdeploy.data.builtin import BUILTIN
from srdeploy.errors import UserError, unknown_name
from srdeploy.exporting.options import flag
from srdeploy.exporting.targets import ONNX_PRECISIONS
from srdeploy.models.calibration import CALIBRATION_METHODS
from srdeploy.models.quantised import ACTIVATIONS, Activations, Method


@dataclass(frozen=True)
class PrecisionRequest:
    """What to write, and how.

    Of a network that was fine-tuned for 8 bits (``srdeploy finetune --quantise int8``) the layers
    and ranges of its card are written, unless ``calibration`` or ``method`` is given.

    Attributes:
        precision: One of :data:`ONNX_PRECISIONS`.
        calibration: Images that ranges are found on: a benchmark folder; ``builtin``: for 8 bits
            the training images that come with srdeploy. None: ``builtin``; for fp16, ``data``.
        method: How many extremes 8 bits leave out (:mod:`srdeploy.models.calibration`);
            None: mse.
        activations: ``uint8`` (asymmetric, fastest in onnxruntime), or ``int8`` (symmetric: what
            TensorRT reads); None: uint8.
        max_drop: dB of PSNR that may be lost on ``data``; None: no limit (``mixed``: 0.05).
        data: Benchmark set that the loss is measured on.
    """

    precision: str = "fp32"
    calibration: str | None = None
    method: Method | None = None
    activations: Activations | None = None
    max_drop: float | None = None
    data: str = BUILTIN

    @property
    def calibrates(self) -> bool:
        """Whether ranges are to be found on images although fine-tuning has learned them."""
        return self.calibration is not None or self.method is not None

    def check(self, precisions: Sequence[str] = ONNX_PRECISIONS) -> None:
        """Raise UserError unless all of it is offered, for files of these precisions."""
        for kind, name, known in (
            ("precision of ONNX files", self.precision, precisions),
            ("calibration method", self.method, CALIBRATION_METHODS),
            ("type of activations", self.activations, ACTIVATIONS),
        ):
            if name is not None and name not in known:
                raise unknown_name(kind, name, known)
        if self.max_drop is not None and not self.max_drop > 0:
            raise UserError(f"--max-drop is a loss in dB above 0, not {self.max_drop:g}.")


def request_of(
    precision: str,
    *,
    accept: str | None = None,
    precisions: Sequence[str] = ONNX_PRECISIONS,
    **given: Any,
) -> PrecisionRequest:
    """A checked request; fields given as None keep their defaults.

    Args:
        precision: What to write.
        accept: The parser that will read it: TensorRT's reads ``int8`` activations alone.
        precisions: Those that the format has.
        given: Fields of :class:`PrecisionRequest`.

    Raises:
        UserError: something that is not offered, or does not go with the precision.
    """
    asked = {name: value for name, value in given.items() if value is not None}
    if accept is not None and precision in ("int8", "mixed"):
        asked.setdefault("activations", "int8")
    if precision == "fp32" and asked:
        raise UserError(
            f"{_flags(asked)} goes with another precision than fp32; give --precision too."
        )
    if precision in ("fp16", "bf16", "dynamic") and (
        only := asked.keys() & {"method", "activations"}
    ):
        raise UserError(f"{_flags(only)} goes with int8 and mixed; leave it out for {precision}.")
    if precision == "dynamic" and "calibration" in asked:
        raise UserError(
            "dynamic finds ranges while it runs: there is nothing to calibrate; leave "
            "--calibration out."
        )
    if precision == "bf16" and "calibration" in asked:
        raise UserError(
            "bf16 reaches as far as fp32: there is nothing to calibrate; leave --calibration out."
        )
    request = PrecisionRequest(precision, **asked)
    request.check(precisions)
    return request


def _flags(names: Iterable[str]) -> str:
    keywords = ("calibration_method" if name == "method" else name for name in sorted(names))
    return ", ".join(flag(keyword) for keyword in keywords)
