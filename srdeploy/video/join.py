"""Finished stretches to a file, with the sound, the subtitles and all else of the source."""

from __future__ import annotations

import heapq
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

from srdeploy.errors import SrdeployError, shown
from srdeploy.util.files import atomic_path, is_full
from srdeploy.video.codecs import container_of
from srdeploy.video.container import chosen_video, opened_file
from srdeploy.video.encode import Packing
from srdeploy.video.library import pyav
from srdeploy.video.parts import Stretch
from srdeploy.video.verify import verify

_STALE = ("BPS", "NUMBER_OF", "_STATISTICS", "DURATION", "ENCODER", "VENDOR_ID", "CREATION_TIME")
"""How keys of metadata begin that describe the file which was read, not the video."""

_OF_THE_CONTAINER = ("MAJOR_BRAND", "MINOR_VERSION", "COMPATIBLE_BRANDS", "ENCODER", "DURATION")

_TAGGED = ("mp4", "mov")  # containers in which a codec's letters matter to players


def join(
    stretches: Sequence[Stretch], packing: Packing, target: Path, source: Path | None
) -> list[str]:
    """Write the result, whole or not at all.

    Args:
        stretches: All, in order.
        packing: How they were packed.
        target: The result.
        source: The file whose other streams, chapters and texts are copied; None for none.

    Returns:
        What was left out or changed, in sentences.

    Raises:
        SrdeployError: stretches that do not fit together, a container that does not keep the
            frames' times, or a full disk.
    """
    av = pyav()
    if any(one.extradata != stretches[0].extradata for one in stretches):
        raise SrdeployError(
            f"The stretches beside '{target}' were packed by different encoders; run again with "
            "--overwrite."
        )
    kind = container_of(target)
    with ExitStack() as stack:
        temporary = stack.enter_context(atomic_path(target))
        given = stack.enter_context(opened_file(source)) if source else None
        out = stack.enter_context(av.open(str(temporary), "w", format=kind))
        video = out.add_stream(packing.choice.codec.encoder, rate=packing.rate)
        packing.dress(video.codec_context)
        if packing.choice.codec.tag and kind in _TAGGED:
            video.codec_context.codec_tag = packing.choice.codec.tag
        video.codec_context.flags |= av.codec.context.Flags.global_header
        video.time_base = packing.time_base
        streams: dict[int, Any] = {}
        notes: list[str] = []
        if given is not None:
            streams, notes = _copied(given, out, kind, video)
        with _writing(target):
            out.start_encoding()
            _check_extradata(video, stretches[0])
            copied = _others(given, streams) if given is not None and streams else iter(())
            for _, stream, packet in heapq.merge(
                _video_packets(stretches, packing, av), copied, key=lambda one: one[0]
            ):
                packet.stream = video if stream is None else stream
                out.mux_one(packet)
            out.close()
        times = sorted(pts for one in stretches for pts in one.times)
        notes += verify(temporary, packing, times)
    return notes


def fitting_streams(source: Path, target: Path) -> list[str]:
    """What of a source a result's container does not hold, in sentences."""
    with (
        opened_file(source) as given,
        pyav().open(io.BytesIO(), "w", format=container_of(target)) as out,
    ):
        return _copied(given, out, container_of(target), None)[1]


def _copied(given: Any, out: Any, kind: str, video: Any) -> tuple[dict[int, Any], list[str]]:
    """Streams of the result by the source's number, with everything that is no packet."""
    chosen = chosen_video(given)
    streams: dict[int, Any] = {}
    left: list[str] = []
    for stream in given.streams:
        if stream.index == chosen.index:
            if video is not None:
                video.metadata.update(_kept(stream.metadata, _STALE))
                video.disposition = stream.disposition
            continue
        try:
            copy = out.add_stream_from_template(stream, opaque=True)
        except (ValueError, pyav().error.FFmpegError):
            name = getattr(stream.codec_context, "name", None) or stream.name or "unknown"
            left.append(f"{stream.type} ({name})")
            continue
        copy.metadata.update(_kept(stream.metadata, _STALE))
        copy.disposition = stream.disposition
        if stream.type != "attachment":
            streams[stream.index] = copy
    out.metadata.update(_kept(given.metadata, _OF_THE_CONTAINER))
    if chapters := given.chapters():
        out.set_chapters(chapters)
    note = f"{kind} does not hold, so left out: {', '.join(left)}; .mkv holds most"
    return streams, [note] if left else []


def _kept(metadata: Mapping[str, str], without: tuple[str, ...]) -> dict[str, str]:
    return {key: value for key, value in metadata.items() if not key.upper().startswith(without)}


def _video_packets(
    stretches: Sequence[Stretch], packing: Packing, av: Any
) -> Iterator[tuple[Fraction, None, Any]]:
    """All packets in the order of decoding, with times of decoding that never run backwards.

    Encoders begin anew with each stretch and know nothing of the frames before. So the times of
    decoding are those of showing, sorted, and as much earlier as packets are ever out of order.
    """
    delay = max(one.delay for one in stretches)
    times = sorted(pts for one in stretches for pts in one.times)
    step = times[1] - times[0] if len(times) > 1 else 1
    number = 0
    for stretch in stretches:
        for packed in stretch.packets():
            place = number - delay
            packet = av.Packet(packed.data)
            packet.pts = packed.pts
            packet.dts = times[place] if place >= 0 else times[0] + place * step
            packet.duration = packed.duration
            packet.time_base = packing.time_base
            packet.is_keyframe = packed.key
            yield packet.dts * packing.time_base, None, packet
            number += 1


def _others(given: Any, streams: Mapping[int, Any]) -> Iterator[tuple[Fraction, Any, Any]]:
    """Packets of the source's other streams, as they come."""
    wanted = [stream for stream in given.streams if stream.index in streams]
    packets = given.demux(wanted)
    while True:
        try:
            packet = next(packets, None)
        except pyav().error.FFmpegError:  # the end of a file that breaks off, of which reading told
            return
        if packet is None:
            return
        when = packet.dts if packet.dts is not None else packet.pts
        if packet.size == 0 or when is None:
            continue
        yield when * Fraction(packet.time_base), streams[packet.stream.index], packet


def _check_extradata(video: Any, first: Stretch) -> None:
    made = bytes(video.codec_context.extradata or b"")
    if made != first.extradata:
        raise SrdeployError(
            "The encoder describes its packets otherwise than when they were packed; run again "
            "with --overwrite."
        )


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    """FFmpeg's errors as one sentence; a full disk is told by who made the temporary file."""
    try:
        yield
    except pyav().error.FFmpegError as error:
        if is_full(error, target.parent):
            raise
        reason = shown(error.strerror or error)
        raise SrdeployError(
            f"'{target}' cannot be written ({reason}); try another ending, for instance .mkv: what "
            "is upscaled stays."
        ) from error
