"""Three steps of a line of work in three threads, with short queues between them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

A = TypeVar("A")
B = TypeVar("B")

DEPTH = 2
"""Items that may wait between two steps."""

_END = object()
_PATIENCE = 0.1  # seconds between two looks at whether another step has failed


class _Stopped(Exception):
    """Another step has failed, or the caller was interrupted."""


def overlap(
    source: Iterable[A],
    work: Callable[[A], B],
    sink: Callable[[B], None],
    depth: int = DEPTH,
) -> None:
    """Have items come, be worked on and go, each step in its own thread and in order.

    The work is done in the caller's thread. At most ``depth`` items wait before it and ``depth``
    behind it, however fast the others are.

    Args:
        source: Gives items; iterated in a thread of its own.
        work: What is done with each.
        sink: Takes what the work gives, in a thread of its own.
        depth: Of each queue.

    Raises:
        BaseException: whatever a step raised; the others have ended then.
    """
    before: queue.Queue[Any] = queue.Queue(depth)
    behind: queue.Queue[Any] = queue.Queue(depth)
    stop = threading.Event()
    failures: list[BaseException] = []

    def fill() -> None:
        for item in source:
            _put(before, item, stop)
        _put(before, _END, stop)

    def drain() -> None:
        for item in _items(behind, stop):
            sink(item)

    def guarded(step: Callable[[], None]) -> None:
        try:
            step()
        except _Stopped:
            pass
        except BaseException as error:
            failures.append(error)
            stop.set()

    threads = [
        threading.Thread(target=guarded, args=(step,), name=f"video-{step.__name__}", daemon=True)
        for step in (fill, drain)
    ]
    for thread in threads:
        thread.start()
    try:
        for item in _items(before, stop):
            _put(behind, work(item), stop)
        _put(behind, _END, stop)
    except _Stopped:
        pass
    except BaseException:
        stop.set()
        raise
    finally:
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]


def _put(line: queue.Queue[Any], item: Any, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            line.put(item, timeout=_PATIENCE)
            return
        except queue.Full:
            continue
    raise _Stopped


def _items(line: queue.Queue[Any], stop: threading.Event) -> Iterator[Any]:
    while not stop.is_set():
        try:
            item = line.get(timeout=_PATIENCE)
        except queue.Empty:
            continue
        if item is _END:
            return
        yield item
    raise _Stopped
