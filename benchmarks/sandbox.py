"""Children of a warm process that read hostile files: bounded in time and memory, with a canary.

A child is forked for some items, tells each outcome through a pipe, and is followed by another
where it hangs or dies. The canary is Python's audit hook: it sees every program started, every
connection and every write outside the folder, whoever asks for them.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from srdeploy.errors import SrdeployError

SECONDS = 20.0
MEMORY = 2 << 30
BATCH = 50
HELD = ("read", "refused", "as the original")
EXECUTED, HANGS, MEMORY_OVER, CRASHED, INTERNAL, ALTERED = (
    "executed", "hangs", "over 2 GB", "crashed", "internal error", "altered silently",
)  # fmt: skip
FAULTS = (EXECUTED, HANGS, MEMORY_OVER, CRASHED, INTERNAL, ALTERED)

_PROGRAMS = ("os.system", "subprocess.Popen", "os.posix_spawn", "os.exec")
_WRITING = ("w", "a", "x", "+")


def outcomes(
    count: int, item: Callable[[int, Path], str], seconds: float = SECONDS, batch: int = BATCH
) -> list[str]:
    """The outcome of each of ``count`` items: one of :data:`HELD`, or a fault and its details.

    Args:
        count: How many.
        item: Does number N in an empty folder of its own and says how it ended. An error of ours
            is a refusal, any other an internal error.
        seconds: Wall clock after which an item hangs.
        batch: Items per child.
    """
    found: list[str] = []
    while len(found) < count:
        begun = len(found)
        found += _child(range(begun, min(begun + batch, count)), item, seconds)
    return found


def _child(items: Sequence[int], item: Callable[[int, Path], str], seconds: float) -> list[str]:
    """Outcomes of the items up to one that ends the child, that one included."""
    with tempfile.TemporaryDirectory(prefix="hostile") as folder:
        ours, theirs = os.pipe()
        if (pid := os.fork()) == 0:
            _work(items, item, Path(folder), theirs)
        os.close(theirs)
        found: list[str] = []
        fault, rest = "", b""
        with os.fdopen(ours, "rb", buffering=0) as pipe:
            while len(found) < len(items):
                if not select.select([pipe], [], [], seconds)[0]:
                    fault = f"{HANGS}: {seconds:g} s"
                    break
                if not (told := pipe.read(1 << 16)):
                    break
                *lines, rest = (rest + told).split(b"\n")
                found += [line.decode(errors="replace") for line in lines]
        _kill(pid)
        status = os.waitpid(pid, 0)[1]
        if len(found) < len(items):
            found.append(fault or f"{CRASHED}: {_ended(status)}")
    return found


def _work(items: Sequence[int], item: Callable[[int, Path], str], folder: Path, pipe: int) -> None:
    """The child's life; does not return."""
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        limit = _virtual() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        canary = _canary(folder)
        for number in items:
            own = folder / str(number)
            own.mkdir()
            canary.clear()
            outcome = _outcome(item, number, own)
            if canary:
                outcome = f"{EXECUTED}: {canary[0]}"
            os.write(pipe, " ".join(outcome.split()).encode(errors="replace")[:400] + b"\n")
    finally:
        os._exit(0)


def _outcome(item: Callable[[int, Path], str], number: int, folder: Path) -> str:
    try:
        return item(number, folder)
    except SrdeployError:
        return "refused"
    except MemoryError as error:
        return f"{MEMORY_OVER}: {_where(error)}"
    except BaseException as error:
        told = f"{type(error).__name__}: {error} {_where(error)}"
        kind = MEMORY_OVER if "alloc" in told.lower() else INTERNAL
        return f"{kind}: {told}"


def _where(error: BaseException) -> str:
    """The last line of ours that an error passed."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if "/srdeploy/" in frame.filename:
            return f"({Path(frame.filename).name}:{frame.lineno})"
    return ""


def _canary(folder: Path) -> list[str]:
    """What a file made the process do that reading it never needs; filled as it happens."""
    seen: list[str] = []
    inside = (str(folder), tempfile.gettempdir(), os.devnull)

    def hook(event: str, given: tuple[Any, ...]) -> None:
        if event in _PROGRAMS:
            if str(given[0]) != sys.executable:  # our own workers
                seen.append(f"{event} {given[0]!s:.80}")
        elif event == "socket.connect":
            seen.append(f"{event} {given[1]!s:.80}")
        elif (
            event == "open"
            and isinstance(given[0], (str, bytes))
            and any(sign in str(given[1] or "") for sign in _WRITING)
            and not os.path.realpath(os.fsdecode(given[0])).startswith(inside)
        ):
            seen.append(f"writes {os.fsdecode(given[0]):.80}")

    sys.addaudithook(hook)
    return seen


def _virtual() -> int:
    """Bytes of address space that this process has."""
    pages = Path("/proc/self/statm").read_text().split()[0]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _kill(pid: int) -> None:
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue


def _ended(status: int) -> str:
    return signal.Signals(status & 127).name if status & 127 else f"exit {status >> 8}"
