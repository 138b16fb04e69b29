"""Run a local program whose output somebody else writes: it is read up to a bound."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from io import BufferedReader
from typing import IO

Ended = subprocess.CompletedProcess[bytes]

MOST_TEXT = 32 << 20
"""Bytes that a command may print, unless its caller expects more; a million samples are less."""

_MOST_COMPLAINTS = 4 << 20
_CHUNK = 65536
_GRACE_SECONDS = 5.0


class TooMuch(Exception):
    """A program printed more than it may; it was ended."""


def capture(
    command: Sequence[str], *, stdin: bytes = b"", timeout: float | None = None, most: int
) -> Ended:
    """Run a program to its end.

    Args:
        command: Program and arguments.
        stdin: What it reads.
        timeout: Seconds; None for any time.
        most: Bytes that it may print.

    Returns:
        Its exit code and what it printed; of stderr the first 4 MiB.

    Raises:
        TooMuch: it printed more.
        subprocess.TimeoutExpired: it did not end in time; it was ended.
    """
    process = subprocess.Popen(
        list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin is not None
    assert isinstance(process.stdout, BufferedReader)
    assert isinstance(process.stderr, BufferedReader)
    out, err, over = bytearray(), bytearray(), threading.Event()

    def burst() -> bool:
        over.set()
        process.kill()
        return False

    work: list[tuple[Callable[..., None], tuple[object, ...]]] = [
        (_feed, (process.stdin, stdin)),
        (_drain, (process.stdout, out, most, burst)),
        (_drain, (process.stderr, err, _MOST_COMPLAINTS, lambda: True)),
    ]
    threads = [threading.Thread(target=do, args=told, daemon=True) for do, told in work]
    end = None if timeout is None else time.monotonic() + timeout

    def left() -> float | None:
        return None if end is None else max(0.0, end - time.monotonic())

    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(left())
        code = process.wait(left())
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        for thread in threads:
            if thread.ident is not None:  # an interrupt may come before it was started
                thread.join(_GRACE_SECONDS)
    if over.is_set():
        raise TooMuch
    return subprocess.CompletedProcess(list(command), code, bytes(out), bytes(err))


def _feed(stream: IO[bytes], content: bytes) -> None:
    with contextlib.suppress(OSError), stream:  # it may end without having read it
        stream.write(content)


def _drain(stream: BufferedReader, into: bytearray, most: int, full: Callable[[], bool]) -> None:
    """Keep the first ``most`` bytes; when more come, ``full`` says whether to go on reading."""
    with stream:
        while chunk := stream.read1(_CHUNK):
            room = most - len(into)
            into += chunk[:room]
            if len(chunk) > room and not full():
                return  # a child of the program may write on for ever
