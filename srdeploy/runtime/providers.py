"""Execution providers of onnxruntime: the hardware it can hand a graph to."""

from __future__ import annotations

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

_PACKAGES = {
    "cuda": "onnxruntime-gpu",
    "tensorrt": "onnxruntime-gpu",
    "openvino": "onnxruntime-openvino",
    "coreml": "onnxruntime on macOS",
    "directml": "onnxruntime-directml on Windows",
}


def provider_list(name: str | None) -> list[str] | None:
    """Providers for a session, best first; the CPU takes what the first cannot.

    Raises:
        UserError: no such provider, or this onnxruntime was built without it.
    """
    if name is None:
        return None
    if name not in PROVIDERS:
        raise unknown_name("provider", name, PROVIDERS)
    import onnxruntime as ort

    if PROVIDERS[name] not in ort.get_available_providers():
        raise UserError(
            f"The onnxruntime installed here has no {name} provider; it comes with "
            f"{_PACKAGES[name]}."
        )
    return list(dict.fromkeys((PROVIDERS[name], PROVIDERS["cpu"])))


def provider_name(ort_name: str) -> str:
    """Our name of a provider of onnxruntime's."""
    return next((ours for ours, theirs in PROVIDERS.items() if theirs == ort_name), ort_name)
