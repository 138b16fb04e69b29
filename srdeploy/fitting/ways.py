"""The ways to run a network that are tried on a device unless told otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from srdeploy.fitting.conditions import Way, check_way
from srdeploy.fitting.probe import PRECISIONS
from srdeploy.measure.measurement import DeviceFacts
from srdeploy.runtime.table import RUNTIMES

Pair = tuple[str | None, str]

USUAL: dict[str, tuple[Pair, ...]] = {
    "local": (
        ("onnxruntime", "fp32"),
        ("onnxruntime", "int8"),
        ("openvino", "bf16"),
        ("openvino", "int8"),
    ),
    "ssh": ((None, "fp32"), (None, "fp16"), (None, "int8")),
}
"""Runtimes and precisions by kind of device."""

ELSEWHERE: tuple[Pair, ...] = ((None, "fp32"), (None, "int8"))
"""Those of all other kinds."""

BF16 = {"avx512_bf16", "amx_bf16", "bf16"}
"""CPU features without which bf16 is no faster than fp32, as Linux names them; any one will do."""


def ways_on(
    kind: str,
    facts: DeviceFacts,
    runtimes: Sequence[str],
    precisions: Sequence[str],
    pixel_shuffles: Sequence[str],
    *,
    here: bool = True,
) -> list[Way]:
    """What to try on a device.

    Args:
        kind: Of the device.
        facts: What it is.
        runtimes: Those that were asked for; empty: the usual ones.
        precisions: Likewise.
        pixel_shuffles: Forms of PixelShuffle.
        here: This host reaches the device, so that what is installed here counts there.

    Raises:
        UserError: a runtime or precision in which layers cannot be timed.
    """
    usual = USUAL.get(kind, ELSEWHERE)
    able = [pair for pair in usual if _may_run(pair, facts, here)]
    if runtimes:
        known: dict[str | None, list[str]] = {}
        for runtime, precision in usual:
            known.setdefault(runtime, []).append(precision)
        pairs: list[Pair] = [
            (runtime, precision)
            for runtime in runtimes
            for precision in precisions or known.get(runtime, ["fp32", "int8"])
        ]
    elif precisions:
        pairs = list(product(dict.fromkeys(runtime for runtime, _ in able), precisions))
    else:
        pairs = able
    found = [Way(*pair, form) for pair in pairs for form in pixel_shuffles]
    for way in found:
        check_way(way)
    return sorted(found, key=lambda way: PRECISIONS.index(way.precision))


def _may_run(pair: Pair, facts: DeviceFacts, here: bool) -> bool:
    runtime, precision = pair
    if here and runtime is not None and not RUNTIMES[runtime].availability():
        return False
    return precision != "bf16" or bool(BF16 & set(facts.cpu_features))
