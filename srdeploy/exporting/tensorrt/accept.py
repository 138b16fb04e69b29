"""Would TensorRT take this ONNX file? Asked of NVIDIA's own parser, which needs no GPU."""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx
from google.protobuf.message import DecodeError

from srdeploy.errors import UserError, unknown_name
from srdeploy.exporting.tensorrt.toolkit import (
    MODULES,
    Toolkit,
    any_toolkit,
    parser_errors,
    refusal,
)

PARSERS = ("trt",)
"""What ``--check`` takes."""


@dataclass(frozen=True)
class Acceptance:
    """The parser's verdict.

    Attributes:
        accepted: It reads the whole graph.
        parser: Whose it is, e.g. ``tensorrt_rtx 1.7.1.116``.
        reasons: One line per node it refuses.
        layers: Layers of the parsed network.
    """

    accepted: bool
    parser: str
    reasons: list[str] = field(default_factory=list)
    layers: int = 0


def accepts(model: bytes, toolkit: Toolkit | None = None) -> Acceptance:
    """Ask the parser whether it supports every node, and let it build the network.

    Args:
        model: A serialised ONNX model.
        toolkit: Default: whichever TensorRT is installed, RTX first.

    Raises:
        UserError: no TensorRT is installed, or ``model`` is no ONNX.
    """
    toolkit = toolkit or any_toolkit()
    if toolkit is None:
        remedy = MODULES["tensorrt_rtx"].install
        raise UserError(f"NVIDIA's ONNX parser is not installed here: {remedy}.")
    require_onnx(model, "the model")
    builder = toolkit.api.Builder(toolkit.logger)
    asked = toolkit.create_network(builder)  # asking fills it, so parsing wants another
    parser = toolkit.parser(asked)
    ask = getattr(parser, "supports_model_v2", None) or parser.supports_model
    verdict = ask(model)
    supported = verdict[0] if isinstance(verdict, tuple) else verdict
    network = toolkit.create_network(builder)
    if supported:
        parser = toolkit.parser(network)
        supported = parser.parse(model)
    whole = bool(supported) and network.num_layers > 0
    return Acceptance(
        whole,
        f"{toolkit.name} {toolkit.version}",
        [] if whole else parser_errors(parser) or [toolkit.log.reason()],
        network.num_layers if whole else 0,
    )


def require_acceptance(model: bytes, parser: str, toolkit: Toolkit | None = None) -> str:
    """As :func:`accepts`, for exports; returns a line for their notes.

    Raises:
        UserError: an unknown parser, none installed, or ``model`` is no ONNX.
        SrdeployError: the parser refuses the model.
    """
    if parser not in PARSERS:
        raise unknown_name("parser to check with", parser, PARSERS)
    verdict = accepts(model, toolkit)
    if not verdict.accepted:
        raise refusal(verdict.parser, verdict.reasons)
    return f"accepted by TensorRT's parser ({verdict.parser}): {verdict.layers} layers"


def require_onnx(model: bytes, what: str) -> onnx.ModelProto:
    """Parse and check a serialised model.

    TensorRT's parser takes an empty file and some garbage for a model without nodes.

    Raises:
        UserError: it is empty, truncated or something else.
    """
    try:
        found = onnx.load_model_from_string(model)
        onnx.checker.check_model(found)
    except (DecodeError, onnx.checker.ValidationError, ValueError) as error:
        raise UserError(
            f"{what[:1].upper()}{what[1:]} is no complete ONNX model "
            f"({' '.join(str(error).split())[:120] or 'empty'}); it may be truncated or foreign."
        ) from error
    return found
