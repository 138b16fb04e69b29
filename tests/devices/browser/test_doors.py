"""Who is let in, and who has to go."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tornado", reason="tornado is not installed: pip install 'srdeploy[browser]'")
pytest.importorskip("resource", reason="this system has no limits")

import resource

from tornado.iostream import SSLIOStream

from srdeploy.devices.browser.certificate import own_certificate
from srdeploy.devices.browser.doors import Doors, room


@pytest.mark.parametrize(
    ("descriptors", "connections"),
    [(20, 10), (11, 5), (8, 4), (6, 4), (0, 4), (510, 255), (512, 256), (100_000, 256),
     (resource.RLIM_INFINITY, 256)],
)  # fmt: skip
def test_room(monkeypatch: pytest.MonkeyPatch, descriptors: int, connections: int) -> None:
    monkeypatch.setattr(
        resource,
        "getrlimit",
        lambda what: {resource.RLIMIT_NOFILE: (descriptors, 1)}[what],
    )
    assert room() == connections


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen(100)
        one.setblocking(False)
        yield one


class Visit:
    """Doors of a loop, who came in by them, and who stands before them."""

    def __init__(self, listening: socket.socket, rooms: int, context: Any = None) -> None:
        self.listening = listening
        self.streams: list[Any] = []
        self.outside: list[socket.socket] = []
        loop = asyncio.get_running_loop()
        self.doors = Doors(loop, context, self._serve, 12345)
        self.doors._room = rooms
        self.doors.open([listening])

    def _serve(self, stream: Any, address: Any) -> None:
        assert address[0] == "127.0.0.1"
        self.streams.append(stream)

    async def come(self, count: int = 1) -> None:
        """Connect, and wait until the doors had a look."""
        for _ in range(count):
            self.outside.append(socket.create_connection(self.listening.getsockname(), 10))
        for _ in range(5):
            await asyncio.sleep(0.005)

    def inside(self) -> list[int]:
        """Numbers of the streams that are open."""
        return [n for n, stream in enumerate(self.streams) if not stream.closed()]

    def close(self) -> None:
        self.doors.close()
        for one in (*self.streams, *self.outside):
            one.close()


def visit(
    listening: socket.socket, rooms: int, story: Callable[[Visit], Any], context: Any = None
) -> None:
    async def tell() -> None:
        one = Visit(listening, rooms, context)
        try:
            await story(one)
        finally:
            one.close()

    asyncio.run(tell())


def test_the_oldest_stranger_goes_when_there_is_no_room(listening: socket.socket) -> None:
    async def story(visit: Visit) -> None:
        await visit.come(3)
        assert visit.inside() == [0, 1, 2]
        assert visit.streams[0].max_buffer_size == 12345
        visit.doors.knows(visit.streams[0])
        await visit.come()
        assert visit.inside() == [0, 2, 3]
        for stream in visit.streams[2:]:
            visit.doors.knows(stream)
        await visit.come()  # only pages are left, and these stay
        assert visit.inside() == [0, 2, 3]
        assert visit.outside[-1].recv(1) == b""
        visit.streams[2].close()
        await visit.come()
        assert visit.inside() == [0, 3, 4]

    visit(listening, 3, story)


def test_strangers_that_left_make_room(listening: socket.socket) -> None:
    async def story(visit: Visit) -> None:
        await visit.come(2)
        visit.streams[1].close()
        await visit.come()
        assert visit.inside() == [0, 2]
        visit.doors.knows(visit.streams[1])  # it is nobody any more
        assert visit.doors._known == set()

    visit(listening, 2, story)


def test_closed_doors_let_nobody_in(listening: socket.socket) -> None:
    async def story(visit: Visit) -> None:
        visit.doors.close()
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(address, 5)
        visit.doors.close()  # a second time is no matter

    address = listening.getsockname()
    visit(listening, 2, story)


def test_streams_are_secure_where_there_is_a_certificate(
    listening: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cryptography")
    monkeypatch.setenv("SRDEPLOY_CACHE", str(tmp_path))

    async def story(visit: Visit) -> None:
        await visit.come()  # and says nothing: the handshake waits for no one
        (stream,) = visit.streams
        assert isinstance(stream, SSLIOStream)
        assert stream.max_buffer_size == 12345
        assert stream.socket.server_side
        assert not stream.socket.getblocking()

    visit(listening, 2, story, own_certificate("127.0.0.1").context())


class Loop:
    """A loop that only writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def add_reader(self, *words: Any) -> None:
        self.told.append(("add", words[0]))

    def remove_reader(self, *words: Any) -> None:
        self.told.append(("remove", words[0]))

    def call_later(self, seconds: float, what: Callable[[], None]) -> None:
        self.told.append(("later", seconds))
        self.what = what


class Listening:
    """A socket at which somebody always waits, or an error does."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.accepted, self.closed = error, 0, 0

    def accept(self) -> Any:
        if self.error is not None:
            raise self.error
        self.accepted += 1
        return self, ("127.0.0.1", 1)

    def close(self) -> None:
        self.closed += 1


class Stream:
    """An open stream."""

    def __init__(self) -> None:
        self.gone = False

    def closed(self) -> bool:
        return self.gone

    def close(self) -> None:
        self.gone = True


def doors(listening: Listening, begin: Callable[..., None] | None = None) -> tuple[Doors, Loop]:
    loop = Loop()
    made = Doors(loop, None, lambda *words: None, 1)  # type: ignore[arg-type]
    made.open([listening])  # type: ignore[list-item]
    made._begin = begin or (lambda *words: None)  # type: ignore[method-assign]
    loop.told.clear()
    return made, loop


def test_a_crowd_is_let_in_by_and_by() -> None:
    listening = Listening()
    made, _ = doors(listening)
    made._accept(listening)  # type: ignore[arg-type]
    assert listening.accepted == 64
    assert listening.closed == 0


def test_where_there_is_no_room_at_all_they_are_sent_away() -> None:
    listening = Listening()
    made, _ = doors(listening)
    made._room = 0
    made._accept(listening)  # type: ignore[arg-type]
    assert (listening.accepted, listening.closed) == (64, 64)


def test_one_that_is_gone_already_is_no_matter() -> None:
    def gone(*words: Any) -> None:
        raise ConnectionResetError

    listening = Listening()
    made, _ = doors(listening, gone)
    made._accept(listening)  # type: ignore[arg-type]
    assert listening.accepted == 64


@pytest.mark.parametrize("error", [BlockingIOError(), InterruptedError(), ConnectionAbortedError()])
def test_nobody_waits(error: Exception) -> None:
    listening = Listening(error)
    made, loop = doors(listening)
    made._strangers[stranger := Stream()] = None  # type: ignore[index]
    made._accept(listening)  # type: ignore[arg-type]
    assert loop.told == []
    assert not stranger.gone


def test_without_descriptors_a_stranger_goes_or_all_wait() -> None:
    listening = Listening(OSError(24, "Too many open files"))
    made, loop = doors(listening)
    first, second = Stream(), Stream()
    made._strangers.update({first: None, second: None})  # type: ignore[dict-item]
    made._accept(listening)  # type: ignore[arg-type]
    assert (first.gone, second.gone, loop.told) == (True, False, [])
    made._accept(listening)  # type: ignore[arg-type]
    made._accept(listening)  # type: ignore[arg-type]
    assert second.gone
    assert loop.told == [("remove", listening), ("later", 0.5)]
    loop.what()
    assert loop.told[2:] == [("add", listening)]
    made.close()
    loop.what()
    assert loop.told[3:] == [("remove", listening)]
    assert listening.closed == 1
