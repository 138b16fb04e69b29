"""Vulkan's devices as ncnn sees them, asked in a process of its own: drivers are other people's."""

from __future__ import annotations

import json
import re
import subprocess
import sys

from srdeploy.errors import SrdeployError
from srdeploy.util.strict import Strict

KINDS = ("discrete", "integrated", "virtual", "software")
"""Kinds of devices, by Vulkan's number."""

NO_DEVICE = (
    "ncnn finds no Vulkan device: install the GPU's driver (Debian's mesa-vulkan-drivers has one "
    "in software), or take the runtime ncnn."
)
"""Where Vulkan's loader is, and nothing that it could load."""

_PATIENCE = 60.0
"""Seconds that drivers get to answer."""


_ABLE = re.compile(
    r"^\[\d+ (.*)\]  fp16-p/s/u/a=(\d)/(\d)/\d/(\d)  int8-p/s/u/a=(\d)/(\d)/\d/(\d)", re.M
)
"""What ncnn writes of a device when it opens it; its Python module does not offer that."""


class Gpu(Strict):
    """One device.

    Attributes:
        name: As its driver says it.
        kind: One of :data:`KINDS`.
        fp16_storage: It reads and writes tensors in 16 bits; None where ncnn does not tell,
        fp16_arithmetic: and computes in them.
        int8_storage: Likewise in 8 bits,
        int8_arithmetic: also.
    """

    name: str
    kind: str
    fp16_storage: bool | None = None
    fp16_arithmetic: bool | None = None
    int8_storage: bool | None = None
    int8_arithmetic: bool | None = None

    def __str__(self) -> str:
        """In words."""
        able = [
            f"{bits} {'computed' if computes else 'stored only' if stores else 'not supported'}"
            for bits, stores, computes in (
                ("fp16", self.fp16_storage, self.fp16_arithmetic),
                ("int8", self.int8_storage, self.int8_arithmetic),
            )
            if stores is not None
        ]
        where = "" if self.kind == KINDS[3] else f" ({self.kind})"
        return "; ".join(
            [f"{gpu_told(self.name, self.kind)}{where}", *filter(None, [", ".join(able)])]
        )


def gpu_told(name: str, kind: str) -> str:
    """A device's name; of one in software, what its times are worth."""
    return f"{name}, in software: its speed is no GPU's" if kind == KINDS[3] else name


def find_gpus() -> list[Gpu]:
    """The devices that the runtime ``ncnn-vulkan`` could run on, by ncnn's number.

    Raises:
        SrdeployError: a driver ended the process that asked, or never answered.
    """
    command = [sys.executable, "-m", "srdeploy.runtime.ncnn.gpus"]
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=_PATIENCE, check=True, text=True, errors="replace"
        )
        able = _abilities(done.stderr)
        found = json.loads(done.stdout)
        return [Gpu(name=name, kind=kind, **able.get(name, {})) for name, kind in found]
    except (subprocess.SubprocessError, OSError, ValueError, TypeError) as error:
        raise SrdeployError(
            "Vulkan's devices cannot be listed: a driver failed when it was asked "
            f"({str(error).splitlines()[0][-100:]}); update the GPU's driver."
        ) from error


def _abilities(log: str) -> dict[str, dict[str, bool]]:
    """By a device's name."""
    return {
        name: {
            "fp16_storage": "1" in (half_packed, half),
            "fp16_arithmetic": half_computed == "1",
            "int8_storage": "1" in (byte_packed, byte),
            "int8_arithmetic": byte_computed == "1",
        }
        for name, half_packed, half, half_computed, byte_packed, byte, byte_computed in (
            _ABLE.findall(log)
        )
    }


def _asked() -> list[tuple[str, str]]:
    """Names and kinds, in the process that asks."""
    import ncnn

    found = map(ncnn.get_gpu_info, range(ncnn.get_gpu_count()))
    return [(info.device_name(), KINDS[info.type()]) for info in found]


if __name__ == "__main__":
    print(json.dumps(_asked()))
