"""Native code that may never return: it gets its time, and then the caller goes on without it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn, TypeVar

from srdeploy.errors import UserError

VARIABLE = "SRDEPLOY_PATIENCE"
"""Environment variable with the seconds that opening a file may take."""

SECONDS = 120.0
GRACE = 5.0  # seconds after it was asked to stop

Result = TypeVar("Result")

_left_behind: list[threading.Thread] = []


def patience() -> float:
    """Seconds that opening a file may take.

    Raises:
        UserError: the environment names no such number.
    """
    text = os.environ.get(VARIABLE, str(SECONDS))
    with suppress(ValueError):
        if 0 < (seconds := float(text)) < threading.TIMEOUT_MAX:
            return seconds
    raise UserError(f"{VARIABLE} is '{text}'; give a number of seconds, for instance 600.")


def within(
    seconds: float, work: Callable[[], Result], what: str, stop: Callable[[], Any] | None = None
) -> Result:
    """The result of ``work``, if it comes in time.

    Work that does not heed ``stop`` goes on in a thread of its own until the process ends; the
    command line ends with :func:`end_process`.

    Args:
        seconds: How long to wait.
        work: Called in a thread, with the interpreter let go most of the time.
        what: Begins the sentence: ``'net.onnx' was not opened``.
        stop: Asks the work to end early.

    Raises:
        UserError: it did not come in time.
    """
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # told where it was asked for
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True, name="patience")
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        if stop is not None:
            stop()
            thread.join(GRACE)
        _left_behind.append(thread)
        raise UserError(
            f"{what} within {seconds:.3g} s; its graph may be made to run for ever. If you trust "
            f"it, give it more time: {VARIABLE}={seconds * 10:.0f}."
        )
    if errors:
        raise errors[0]
    return results[0]


def end_process(code: int) -> NoReturn:
    """End this process with an exit code, whatever was left behind: that would meet its libraries
    being taken down, and crash.
    """
    if any(thread.is_alive() for thread in _left_behind):
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
    sys.exit(code)
