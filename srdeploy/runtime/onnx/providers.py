"""Execution providers of onnxruntime: the hardware it can hand a graph to, and what they took.

onnxruntime leaves to the CPU whatever a provider does not take, and all of it where the provider
cannot start, without a word. Here that is read back from the session, and refused or reported.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from srdeploy.errors import UserError, unknown_name

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
}
"""What ``provider=`` takes, and onnxruntime's own names."""

REMEDIES = {
    "cuda": "pip install onnxruntime-gpu in place of onnxruntime",
    "tensorrt": "pip install onnxruntime-gpu in place of onnxruntime, and TensorRT",
    "openvino": "pip install onnxruntime-openvino in place of onnxruntime",
    "coreml": "onnxruntime has it on macOS",
    "directml": "pip install onnxruntime-directml in place of onnxruntime, on Windows",
}
"""How to get a provider. The packages share one folder: uninstall ``onnxruntime`` first."""

CONVOLUTIONS = ("Conv", "ConvTranspose", "FusedConv", "QLinearConv", "ConvInteger")

_ASSIGNMENT = "get_provider_graph_assignment_info"  # of sessions, from onnxruntime 1.24 on


def provider_list(name: str | None) -> list[str]:
    """Providers for a session, best first; the CPU takes what the first cannot. None: the CPU.

    Raises:
        UserError: no such provider, or this onnxruntime was built without it.
    """
    name = name or "cpu"
    if name not in PROVIDERS:
        raise unknown_name("provider", name, PROVIDERS)
    import onnxruntime as ort

    if PROVIDERS[name] not in ort.get_available_providers():
        raise UserError(f"The onnxruntime installed here has no {name} provider: {REMEDIES[name]}.")
    return list(dict.fromkeys((PROVIDERS[name], PROVIDERS["cpu"])))


def provider_name(ort_name: str) -> str:
    """Our name of a provider of onnxruntime's."""
    return next((ours for ours, theirs in PROVIDERS.items() if theirs == ort_name), ort_name)


def with_options(providers: Sequence[str], threads: int) -> list[tuple[str, dict[str, str]]]:
    """Providers with the settings that make them comparable: threads, where they have their own."""
    own = {PROVIDERS["openvino"]: {"device_type": "CPU", "num_of_threads": str(threads)}}
    return [(name, own.get(name, {})) for name in providers]


def ask_for_placement(options: Any) -> None:
    """Have a session note which provider takes each node (``onnxruntime.SessionOptions``).

    Versions that cannot tell are told to fail rather than leave anything to the CPU.
    """
    import onnxruntime as ort

    if hasattr(ort.InferenceSession, _ASSIGNMENT):
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    else:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")


def check_placement(session: Any, asked: str, path: Path) -> tuple[str, ...]:
    """See that a provider really took a network; see :func:`ask_for_placement`.

    Args:
        session: An ``onnxruntime.InferenceSession``.
        asked: The provider, by onnxruntime's name.
        path: The file, for the sentence.

    Returns:
        Notes on what it left to others; empty when it took everything.

    Raises:
        UserError: it could not start, or took no convolution.
    """
    ours = provider_name(asked)
    if asked not in session.get_providers():
        raise UserError(
            f"onnxruntime could not start its {ours} provider (a driver or a library that it "
            f"needs is missing) and would have run '{path.name}' on "
            f"{', '.join(provider_name(name) for name in session.get_providers())}; "
            "see `srdeploy doctor`, or leave the provider out."
        )
    if not hasattr(session, _ASSIGNMENT):
        return ()  # it would have failed
    taken: Counter[str] = Counter()
    left: Counter[str] = Counter()
    for part in getattr(session, _ASSIGNMENT)():
        mine = taken if part.ep_name == asked else left
        mine.update(node.op_type for node in part.get_nodes())
    convolutions = sum(left[name] for name in CONVOLUTIONS)
    if convolutions and not any(taken[name] for name in CONVOLUTIONS):
        raise UserError(
            f"onnxruntime's {ours} provider takes none of the {convolutions} convolutions of "
            f"'{path.name}'; leave the provider out, or export the network otherwise."
        )
    if not left:
        return ()
    nodes = ", ".join(f"{count} {name}" for name, count in left.most_common())
    return (f"{ours} takes {taken.total()} of {taken.total() + left.total()} nodes, not {nodes}",)
