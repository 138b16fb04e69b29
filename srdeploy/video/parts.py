"""Finished stretches of a result, beside it until it is whole: where an interrupted run goes on."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from srdeploy.errors import SrdeployError, UserError
from srdeploy.util.files import atomic_path, discard
from srdeploy.video.encode import Encoder, Packed, Packing
from srdeploy.video.frames import Planes

_PACKET = struct.Struct("<qqBI")
_LENGTH = struct.Struct("<I")
_STATE = "parts.json"


@dataclass(frozen=True)
class Stretch:
    """A finished stretch of one track.

    Attributes:
        path: Its file: packets, then the other attributes.
        extradata: Of its encoder.
        delay: By how many places a packet may stand behind where its time would have it.
        times: ``pts`` of its frames, in the order of its packets.
    """

    path: Path
    extradata: bytes
    delay: int
    times: list[int]

    def packets(self) -> Iterator[Packed]:
        """Its packets, one at a time."""
        with open(self.path, "rb") as stream:
            for _ in self.times:
                pts, duration, key, size = _PACKET.unpack(stream.read(_PACKET.size))
                yield Packed(stream.read(size), pts, duration, bool(key))


class Parts:
    """The folder of a result's finished stretches.

    A stretch is so many frames, whatever they hold, so that a run that was interrupted packs
    exactly what one that was not would have packed. What is there is whole.

    Attributes:
        frames: Of every stretch but the last.
        state: What was found out while reading, once all frames are there; None before.
    """

    def __init__(
        self,
        target: Path,
        made_from: Any,
        frames: int,
        tracks: Sequence[str],
        replace: bool = False,
    ) -> None:
        """Open the folder of a result, or make it.

        Args:
            target: The result.
            made_from: What it depends on, as plain data.
            frames: Of a stretch.
            tracks: Names of what is packed beside one another.
            replace: Remove stretches of a result that was made otherwise.

        Raises:
            UserError: there are such stretches.
        """
        self.folder = target.with_name(f"{target.name}.parts")
        self.frames, self._tracks, self._target = frames, list(tracks), target
        self._made_from = json.loads(json.dumps([made_from, frames, self._tracks]))
        found = self._read_state()
        if found is None and self.folder.exists():
            raise UserError(
                f"'{self.folder}' is no folder of an unfinished video; move it away, or choose "
                "another -o."
            )
        if found is not None and found["made_from"] != self._made_from:
            if not replace:
                raise UserError(
                    f"'{self.folder}' holds an unfinished result that was made otherwise; give "
                    "--overwrite, or another -o."
                )
            self.remove(target)
            found = None
        self.state: dict[str, Any] | None = None if found is None else found["state"]
        if found is None:
            self._write_state()

    @staticmethod
    def remove(target: Path) -> None:
        """Remove a result's stretches, if there are any."""
        folder = target.with_name(f"{target.name}.parts")
        if (folder / _STATE).is_file():
            discard(folder, target.parent)

    @property
    def done(self) -> int:
        """Stretches that are finished in all tracks, from the first on."""
        number = 0
        while all(self._path(number, track).is_file() for track in self._tracks):
            number += 1
        return number

    def finish(self, state: dict[str, Any]) -> None:
        """All frames are there."""
        self.state = state
        self._write_state()

    def stretches(self, track: str) -> list[Stretch]:
        """All finished ones of a track, in order."""
        return [_read_tail(self._path(number, track)) for number in range(self.done)]

    def writer(self, number: int, packings: Sequence[Packing]) -> StretchWriter:
        """For a stretch that is not finished; one packing per track."""
        paths = [self._path(number, track) for track in self._tracks]
        return StretchWriter(paths, packings)

    def _path(self, number: int, track: str) -> Path:
        return self.folder / f"{number:06d}.{track}"

    def _read_state(self) -> dict[str, Any] | None:
        try:
            found = json.loads((self.folder / _STATE).read_text(encoding="utf-8"))
            return {"made_from": found["made_from"], "state": found["state"]}
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _write_state(self) -> None:
        self.folder.mkdir(exist_ok=True)
        text = json.dumps({"made_from": self._made_from, "state": self.state}, indent=1)
        with atomic_path(self.folder / _STATE) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")


class StretchWriter:
    """Packs the frames of one stretch, all tracks at a time, into files that are there when it is
    finished.
    """

    def __init__(self, paths: Sequence[Path], packings: Sequence[Packing]) -> None:
        self.frames = 0
        self._tracks: list[_Track] = []
        with ExitStack() as stack:
            for path, packing in zip(paths, packings, strict=True):
                temporary = stack.enter_context(atomic_path(path))
                stream = stack.enter_context(open(temporary, "wb"))
                self._tracks.append(_Track(Encoder(packing), stream))
            self._stack = stack.pop_all()

    def add(self, tracks: Sequence[Planes], pts: int, duration: int) -> None:
        """A frame, as every track has it."""
        for track, planes in zip(self._tracks, tracks, strict=True):
            track.write(track.encoder.add(planes, pts, duration))
        self.frames += 1

    def finish(self) -> None:
        """Pack what is left, and give the files their names.

        Raises:
            SrdeployError: an encoder left frames out, or the disk is full.
        """
        with self._stack:
            for track in self._tracks:
                track.finish(self.frames)

    def abandon(self) -> None:
        """Remove what there is of it."""
        with suppress(_Abandoned), self._stack:
            raise _Abandoned


class _Abandoned(Exception):
    """A stretch is not to be finished."""


class _Track:
    """One encoder and the file that its packets go to."""

    def __init__(self, encoder: Encoder, stream: BinaryIO) -> None:
        self.encoder, self._stream = encoder, stream
        self._times: list[int] = []

    def write(self, packets: Sequence[Packed]) -> None:
        for one in packets:
            self._times.append(one.pts)
            self._stream.write(_PACKET.pack(one.pts, one.duration, one.key, len(one.data)))
            self._stream.write(one.data)

    def finish(self, frames: int) -> None:
        self.write(self.encoder.finish())
        times = self._times
        if len(times) != frames:
            raise SrdeployError(
                f"The encoder gave {len(times)} packets for {frames} frames; choose another "
                "--codec."
            )
        rank = {pts: place for place, pts in enumerate(sorted(times))}
        delay = max((place - rank[pts] for place, pts in enumerate(times)), default=0)
        told = {"extradata": self.encoder.extradata.hex(), "delay": delay, "times": times}
        tail = json.dumps(told).encode()
        self._stream.write(tail)
        self._stream.write(_LENGTH.pack(len(tail)))


def _read_tail(path: Path) -> Stretch:
    with open(path, "rb") as stream:
        end = stream.seek(-_LENGTH.size, os.SEEK_END)
        (length,) = _LENGTH.unpack(stream.read(_LENGTH.size))
        stream.seek(end - length)
        told = json.loads(stream.read(length))
    return Stretch(path, bytes.fromhex(told["extradata"]), told["delay"], told["times"])
