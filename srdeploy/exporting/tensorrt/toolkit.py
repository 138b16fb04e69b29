"""TensorRT in its versions: one object that hides what changed between 8.6, 10, 11 and RTX.

What differs, and where it is met:

* 8.6 wants explicit batch as a flag and has no strong typing: precisions must be allowed by flags,
  and TensorRT may then choose others. From 10 on a network can be strongly typed, from 11 on it
  always is and the flags are gone.
* TensorRT-RTX builds without a GPU for a list of compute capabilities; its timing cache does
  nothing but ask for a GPU, so it is never used there.
* Its parser's ``supports_model_v2`` is called ``supports_model`` in 8.6.
"""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from srdeploy.errors import SrdeployError, UserError
from srdeploy.runtime.table import TENSORRT, TENSORRT_RTX, Module

MODULES: dict[str, Module] = {"tensorrt": TENSORRT, "tensorrt_rtx": TENSORRT_RTX}
"""Builders by the name that sidecars give them."""

RTX_CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
"""Compute capabilities TensorRT-RTX 1.7 builds for (no 9.0, no Orin's 8.7)."""

_KEPT = 4000


@dataclass
class Log:
    """What TensorRT said: errors and warnings whole, the rest while it is recent."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    layers: str = ""
    recent: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT))

    def reason(self) -> str:
        """The first error on one line, or what can be said without one."""
        first = self.errors[0] if self.errors else "TensorRT gave no reason"
        return " ".join(first.split())[:300].rstrip(".")


class Toolkit:
    """One imported TensorRT.

    Attributes:
        name: ``tensorrt`` or ``tensorrt_rtx``.
        api: The module.
        version: As it calls itself, e.g. ``10.3.0``.
        log: Everything it says through :attr:`logger`.
    """

    def __init__(self, name: str, api: Any) -> None:
        self.name = name
        self.api = api
        self.version: str = api.__version__
        self.log = Log()
        self.logger = _make_logger(api, self.log)

    @property
    def major(self) -> int:
        """Major version of TensorRT; RTX counts as the TensorRT whose rules it follows, 11."""
        return 11 if self.rtx else int(self.version.split(".")[0])

    @property
    def rtx(self) -> bool:
        """Whether this is TensorRT-RTX."""
        return self.name == "tensorrt_rtx"

    @property
    def strongly_typed(self) -> bool:
        """Whether networks take their precisions from the ONNX and nothing else."""
        return hasattr(self.api.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")

    def create_network(self, builder: Any) -> Any:
        """An empty network: explicit batch, strongly typed where there is such a thing.

        It bears a name of ours, because unnamed networks are numbered, and the number ends up in
        the engine.
        """
        flags = 0
        for flag in ("EXPLICIT_BATCH", "STRONGLY_TYPED"):
            bit = getattr(self.api.NetworkDefinitionCreationFlag, flag, None)
            if bit is not None and not (flag == "EXPLICIT_BATCH" and self.major >= 10):
                flags |= 1 << int(bit)
        network = builder.create_network(flags)
        if network is None:
            raise SrdeployError(f"{self.name} {self.version} gave no network: {self.log.reason()}.")
        network.name = "srdeploy"
        return network

    def parser(self, network: Any) -> Any:
        """An ONNX parser that fills ``network``."""
        return self.api.OnnxParser(network, self.logger)


def load_toolkit(name: str) -> Toolkit:
    """Import one of :data:`MODULES`.

    Raises:
        UserError: it is not installed, or its libraries cannot be loaded.
    """
    if not (found := MODULES[name].availability()):
        raise UserError(f"This needs {name}: {found.reason}.")
    try:
        api = importlib.import_module(name)
    except (ImportError, OSError, RuntimeError) as error:
        raise UserError(
            f"{name} is installed but cannot be loaded ({' '.join(str(error).split())[:200]})."
        ) from error
    return Toolkit(name, api)


def any_toolkit() -> Toolkit | None:
    """TensorRT-RTX, which needs no GPU, else TensorRT, else None."""
    for name in ("tensorrt_rtx", "tensorrt"):
        if MODULES[name].availability():
            return load_toolkit(name)
    return None


def parser_errors(parser: Any) -> list[str]:
    """One line per complaint: the node, its operator, and what is wrong with it."""
    lines = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        node, operator = (
            getattr(error, name)() if hasattr(error, name) else ""
            for name in ("node_name", "node_operator")
        )
        what = " ".join(error.desc().split())
        where = f"'{node}' ({operator}): " if node or operator else ""
        lines.append(f"{where}{what if what not in ('', 'false') else 'no such operator'}")
    return lines


def refusal(parser: str, reasons: Sequence[str]) -> SrdeployError:
    """What a parser's refusal of a network is told as.

    Args:
        parser: Whose it is, with its version.
        reasons: As :func:`parser_errors`.
    """
    told = "; ".join(reasons[:3]).rstrip(".")
    if "zero point" in told.lower():
        told = (
            "its 8-bit activations are asymmetric, and TensorRT reads symmetric ones; export it "
            f"with --activations int8 (the parser: {told})"
        )
    return SrdeployError(f"TensorRT's parser ({parser}) refuses the network: {told}.")


def _make_logger(api: Any, log: Log) -> Any:
    class Logger(api.ILogger):  # TensorRT prints to the terminal unless it is given one
        def __init__(self) -> None:
            api.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            name = str(severity).rsplit(".", 1)[-1]
            if name in ("ERROR", "INTERNAL_ERROR"):
                log.errors.append(message)
            elif name == "WARNING":
                log.warnings.append(message)
            elif message.startswith(("Layers:\nName:", "Engine Layer Information:")):
                log.layers = message
            else:
                log.recent.append(message)

    return Logger()
