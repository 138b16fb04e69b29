"""trtexec of TensorRT 8.5 to 11: its version and options, what to tell it, and what it answers.

Building is :func:`srdeploy.exporting.tensorrt.script.trtexec_arguments`. Timing here is the same on
all: data transfers counted, no CUDA graph, no spinning; TensorRT 11 made the opposite its default.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from srdeploy.devices.answers import Implausible, read_json
from srdeploy.devices.errors import DeviceError, DeviceFull, DeviceUnfit
from srdeploy.devices.protocol import Shape, Turn
from srdeploy.errors import SrdeployError
from srdeploy.exporting.tensorrt.script import check_word

PASSED = "&&&& PASSED TensorRT.trtexec"
_BANNER = re.compile(r"\[TensorRT v(\d{4,6})\]")
_UNIFORM = ("--includeDataTransfers", "--noCudaGraph", "--noSpinWait")
_SECONDS = re.compile(r"Engine (built|loaded|deserialized) in ([\d.]+) sec")
_ERROR = re.compile(r"\[E\] (?:Error\[\d+\]: )?(.*)")


@dataclass(frozen=True)
class Trtexec:
    """The program on a device.

    Attributes:
        path: Where it is.
        version: Major, minor, patch of its TensorRT.
        options: All that its help names.
    """

    path: str
    version: tuple[int, int, int]
    options: frozenset[str]


def parse_version(number: str) -> tuple[int, int, int]:
    """Version from the banner's number: ``8502`` is 8.5.2, ``100300`` is 10.3.0."""
    value = int(number)
    # NV_TENSORRT_VERSION: major * 1000 + minor * 100 + patch before 10, wider since.
    width = 1000 if value < 10000 else 10000
    return value // width, value % width // 100, value % 100


def parse_help(path: str, text: str) -> Trtexec:
    """Read ``trtexec --help``.

    Raises:
        DeviceUnfit: it did not start: a library of its own is missing, or it is another program.
    """
    banner = _BANNER.search(text)
    if banner is None:
        last = (text.strip().splitlines() or ["nothing"])[-1]
        raise DeviceUnfit(f"'{path}' is there but does not start as trtexec; it says: {last[:200]}")
    return Trtexec(path, parse_version(banner[1]), frozenset(re.findall(r"--[A-Za-z][\w-]*", text)))


def timing_arguments(
    program: Trtexec,
    *,
    engine: str,
    input_name: str,
    tensor: str,
    shape: Shape | None,
    seconds: float,
    warmup_ms: float,
    times: str | None = None,
    output: str | None = None,
) -> list[str]:
    """What to tell trtexec to run an engine.

    Args:
        program: The one on the device.
        engine: The engine there.
        input_name: Name of its input.
        tensor: File of the input there, raw.
        shape: Shape of the input; None for an engine without free sizes.
        seconds: How long to measure; 0 for a single run.
        warmup_ms: How long to warm up before that.
        times: Where to write every time,
        output: and the output tensor, as JSON.

    Raises:
        UserError: a name that trtexec would take apart.
    """
    check_word(input_name, "The network's input")
    check_word(tensor, "The file")
    arguments = [
        f"--loadEngine={engine}",
        f"--loadInputs={input_name}:{tensor}",
        f"--warmUp={round(warmup_ms)}",
        f"--duration={seconds:g}",
        "--iterations=1",
        "--avgRuns=1",
    ]
    if shape is not None:
        arguments.append(f"--shapes={input_name}:{'x'.join(map(str, shape))}")
    arguments += [option for option in _UNIFORM if option in program.options]
    if times is not None:
        arguments.append(f"--exportTimes={times}")
    if output is not None:
        arguments.append(f"--exportOutput={output}")
    return arguments


def check_passed(said: str, code: int, device: str, doing: str) -> None:
    """See that trtexec succeeded.

    Raises:
        DeviceFull: it ran out of disk.
        DeviceError: it ran out of memory, or died: another device may do better.
        SrdeployError: it refuses the network; the sentence holds its own first reason.
    """
    if PASSED in said and code == 0:
        return
    if "No space left" in said:
        raise DeviceFull(f"No space is left on '{device}' for trtexec ({doing}).")
    if re.search(r"out of memory|Cuda Runtime \(out of memory\)|CUDA_ERROR_OUT", said, re.I):
        raise DeviceError(
            f"trtexec ran out of memory on '{device}' ({doing}); close what runs there, or give a "
            "smaller input."
        )
    if code in (126, 127) and "&&&&" not in said:
        last = (said.strip().splitlines() or ["no such file"])[-1]
        raise DeviceUnfit(f"trtexec does not start on '{device}': {last[:200]}.")
    if code > 128:
        raise DeviceError(f"trtexec was killed on '{device}' by signal {code - 128} ({doing}).")
    reasons = _ERROR.findall(said)
    reason = " ".join(reasons[0].split())[:300] if reasons else f"exit code {code}"
    raise SrdeployError(f"trtexec on '{device}' failed ({doing}): {reason.rstrip('.')}.")


def told_seconds(said: str) -> dict[str, float]:
    """Seconds that it says building and loading took: keys ``built`` and ``loaded``."""
    found = {verb: float(value) for verb, value in _SECONDS.findall(said)}
    if "deserialized" in found:
        found.setdefault("loaded", found.pop("deserialized"))
    return found


def read_times(text: str | bytes, device: str = "the board") -> Turn:
    """The samples of ``--exportTimes``: end to end with transfers, and the GPU alone.

    Raises:
        DeviceError: it is no such file, or has no sample.
    """
    rows = read_json(text, device, "The times by trtexec")
    try:
        turn = Turn(
            [float(row["latencyMs"]) for row in rows], [float(row["computeMs"]) for row in rows]
        )
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise Implausible(f"The times by trtexec of '{device}' cannot be read ({error}).") from None
    if not turn.samples_ms:
        raise DeviceError(f"trtexec measured no run on '{device}'; ask for more seconds.")
    return turn


def read_output(text: str | bytes, device: str = "the board") -> NDArray[np.float32]:
    """The tensor of ``--exportOutput``, printed by trtexec with six digits.

    Raises:
        DeviceError: it is no such file, or holds several tensors.
    """
    found = read_json(text, device, "The output by trtexec", numbers_only=False)
    try:
        (tensor,) = found
        values = np.asarray(tensor["values"], np.float32)
        return values.reshape([int(n) for n in tensor["dimensions"].split("x")])
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise Implausible(
            f"The output by trtexec of '{device}' cannot be read ({error})."
        ) from None
