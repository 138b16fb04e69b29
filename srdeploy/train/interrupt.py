"""Ctrl-C and SIGTERM during training: finish the iteration, save, and say how to go on."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any

from srdeploy.errors import SrdeployError


class TrainingStopped(SrdeployError):
    """Training was interrupted and can be resumed; the command line exits with 130."""

    exit_code = 130


class StopRequest:
    """While entered, turns the first SIGINT or SIGTERM into ``requested = True``.

    A second one acts as usual, so an impatient user is never trapped. Outside the main thread,
    where Python allows no handlers, it does nothing.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        """Install the handlers."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Put the previous handlers back."""
        self._restore()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        if sys.stderr.isatty():
            # Past all buffers: the signal may have come in the middle of a print.
            os.write(2, b"\nFinishing this iteration and saving; once more stops at once.\n")
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()
