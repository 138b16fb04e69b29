"""The command that uses a network: upscale, for pictures and videos."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from srdeploy.cli import options as o
from srdeploy.cli.output import emit, note, say

if TYPE_CHECKING:
    from srdeploy.upscaling.compare import PictureComparison
    from srdeploy.upscaling.folder import PictureOutcome
    from srdeploy.upscaling.image import Upscaler
    from srdeploy.video.run import Version


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(upscale)


def upscale(
    file: o.Artifact,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="IN...", help="Pictures, folders, 'patterns*.png', videos; `-`: a pipe."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="Folder for the results; for one input also a file, for a video also "
            "'frames/%06d.png' or `-`.",
        ),
    ],
    compare: Annotated[
        bool,
        typer.Option(
            "--compare",
            help="Also draw bicubic, network and original where they differ most; of a video, "
            "whole frames side by side.",
        ),
    ] = False,
    versions: Annotated[
        list[str] | None,
        typer.Option(
            "--with", metavar="FILE", help="Another network in the comparison; repeatable."
        ),
    ] = None,
    hr: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Originals to compare with; default: HR/ of the set."),
    ] = None,
    scale: o.Scale = None,
    format: Annotated[
        str, typer.Option(help="png, jpeg, webp, tiff, or same: as the picture.")
    ] = "png",
    bits: Annotated[int | None, typer.Option(help="8 or 16; default: as the picture.")] = None,
    quality: Annotated[int, typer.Option(help="Of jpeg and webp, 1..100.")] = 95,
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="What the process may hold, e.g. 2GB (default; videos: half of what is free).",
        ),
    ] = None,
    overlap: Annotated[
        int | None,
        typer.Option(min=0, help="Of tiles, in pixels; default: the receptive field's half."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Make results anew that exist.")
    ] = False,
    codec: Annotated[
        str | None,
        typer.Option(
            help="Of a video: h264, hevc, vp9, av1, prores or ffv1 (lossless); default: the first "
            "that keeps its bits and chroma."
        ),
    ] = None,
    crf: Annotated[
        int | None,
        typer.Option(min=0, help="Constant rate factor of that codec; smaller is better."),
    ] = None,
    codec_option: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Of its encoder, e.g. preset=fast; repeatable."),
    ] = None,
    frame_rate: Annotated[
        str | None,
        typer.Option(metavar="RATE", help="Of a folder that becomes a video, and of raw frames."),
    ] = None,
    input_size: Annotated[
        str | None,
        typer.Option("--input", metavar="WxH", help="Of raw frames from a pipe or file."),
    ] = None,
    pixel_format: Annotated[
        str | None, typer.Option(help="Of raw frames, by FFmpeg's name; default: rgb24.")
    ] = None,
    matrix: Annotated[
        str | None,
        typer.Option(help="Of a video that does not tell its own: bt601, bt709 or bt2020."),
    ] = None,
    runtime: o.RuntimeName = None,
    threads: o.Threads = None,
    arch: o.Arch = None,
    value_range: o.ValueRange = None,
    json: o.AsJson = False,
) -> None:
    """Upscale pictures and videos: any size (in tiles that equal the whole), grey, alpha, 16 bits.

    A rerun skips what is finished, and a video goes on at its last finished stretch. A picture
    that cannot be read is reported and the others go on; the exit code is then 2.

    **Examples**

    `srdeploy upscale edsr-s-x2 photo.jpg -o photo_x2.png`

    `srdeploy upscale tuned.onnx holiday/ -o large --format jpeg --memory 1.5GB`

    `srdeploy upscale pruned.safetensors Set5/LR_bicubic/X2 -o seen --compare --with edsr-s-x2`

    `srdeploy upscale tuned.onnx holiday.mp4 -o holiday_x2.mp4 --runtime openvino`
    """
    from srdeploy.cli.video import VideoOptions, is_video, tell, upscale_videos
    from srdeploy.errors import UserError
    from srdeploy.runtime.open import open_session
    from srdeploy.upscaling.folder import Settings, find_pictures, name_results, upscale_pictures
    from srdeploy.upscaling.image import Upscaler
    from srdeploy.util.memory import available

    opening: dict[str, Any] = {"threads": threads, "scale": scale, "arch": arch}
    opening["value_range"] = value_range
    video = VideoOptions(
        codec, crf, codec_option or (), frame_rate, input_size, pixel_format, matrix
    )
    moving = is_video(inputs, output) or input_size is not None
    if moving:
        _require_usual(format, bits, hr)
    elif video.given():
        raise UserError(f"{video.given()[0]} is for videos, and none is named; leave it out.")
    pictures = [] if moving else find_pictures(inputs)
    with ExitStack() as stack:
        session = stack.enter_context(open_session(file, runtime=runtime, **opening))
        room = (available() or 0) // 2 if moving else None  # encoders hold many frames
        limits: dict[str, Any] = {"memory": parse_memory(memory) or room, "overlap": overlap}
        upscaler = Upscaler(session, scale, **limits)
        identity = f"{_identity(file)} {overlap}"
        if moving:
            shown = _versions(stack, file, upscaler, versions or [], compare, opening, limits)
            videos = upscale_videos(
                upscaler, inputs, output, video, identity, shown, overwrite, quality
            )
            tell(videos, json, file, upscaler)
            return
        settings = Settings(format, bits, quality, overwrite, identity)
        targets = name_results(pictures, output, upscaler.scale, settings)
        comparison = None
        if compare or versions or hr is not None:
            others = [
                (
                    name,
                    Upscaler(
                        stack.enter_context(open_session(name, **opening)), upscaler.scale, **limits
                    ),
                )
                for name in versions or []
            ]
            comparison = _comparison(file, upscaler, others, hr)
        outcomes = upscale_pictures(upscaler, targets, settings, comparison)
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    if json:
        emit(_document(file, upscaler, outcomes))
    else:
        _tell(outcomes, upscaler)
    for outcome in failed:
        note(f"srdeploy: {outcome.reason}")
    if failed:
        raise typer.Exit(2)


def _require_usual(format: str, bits: int | None, hr: Path | None) -> None:
    """Refuse what only pictures have."""
    from srdeploy.errors import UserError

    for name, given in (("--format", format != "png"), ("--bits", bits), ("--hr", hr)):
        if given:
            raise UserError(
                f"{name} is for pictures; of a video the ending of -o and --codec say how it is "
                "written."
            )


def _versions(
    stack: ExitStack,
    file: str,
    upscaler: "Upscaler",
    names: list[str],
    compare: bool,
    opening: dict[str, Any],
    limits: dict[str, Any],
) -> "list[Version]":
    """The networks of a video's comparison, bicubic first; none where it is not asked for."""
    from srdeploy.runtime.bicubic_session import NAME
    from srdeploy.runtime.open import open_session
    from srdeploy.upscaling.image import Upscaler
    from srdeploy.video.run import Version

    if not compare and not names:
        return []
    others = [
        Version(
            Path(name).name,
            Upscaler(stack.enter_context(open_session(name, **opening)), upscaler.scale, **limits),
            _identity(name),
        )
        for name in [NAME, *names]
    ]
    return [*others, Version(Path(file).name, upscaler, _identity(file))]


def parse_memory(text: str | None) -> int | None:
    """Bytes of ``2GB``, ``1.5 GiB``, ``800MB``; a bare number counts bytes."""
    import re

    from srdeploy.errors import UserError

    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", text.strip().lower())
    if match is None or float(match[1]) == 0:
        raise UserError(f"--memory '{text}' is no size; write for instance 2GB or 800MB.")
    power = " kmgt".index(match[2] or " ")
    return int(float(match[1]) * (1024 if match[3] else 1000) ** power)


def _identity(file: str) -> str:
    """What tells a network from others: its content, else its name."""
    from srdeploy.benchmarking.measuring.describe import content_hash

    return content_hash(file) or file


def _comparison(
    file: str, own: "Upscaler", others: "list[tuple[str, Upscaler]]", hr: Path | None
) -> "PictureComparison":
    from srdeploy.errors import UserError
    from srdeploy.upscaling.compare import PictureComparison, PictureVersion

    if hr is not None and not hr.exists():
        raise UserError(f"There is no '{hr}' with originals.")
    versions = [
        PictureVersion(
            "pruned" if upscaler.session.card.pruned else "dense",
            Path(name).name,
            None if upscaler is own else upscaler,
        )
        for name, upscaler in [*others, (file, own)]
    ]
    versions.sort(key=lambda version: version.label)  # dense comes first
    return PictureComparison(versions, hr, " ".join(_identity(name) for name, _ in others))


def _document(file: str, upscaler: "Upscaler", outcomes: "list[PictureOutcome]") -> dict[str, Any]:
    from srdeploy.runtime.footprint import peak

    return {
        "file": file,
        "runtime": upscaler.session.runtime,
        "threads": upscaler.session.threads,
        "scale": upscaler.scale,
        "memory": upscaler.memory,
        "pictures": [outcome.to_dict() for outcome in outcomes],
        "peak_memory": peak(),
    }


def _tell(outcomes: "list[PictureOutcome]", upscaler: "Upscaler") -> None:
    for outcome in outcomes:
        if outcome.state == "failed":
            continue
        if outcome.state == "finished":
            say(f"{outcome.output}: finished before")
            continue
        height, width = outcome.size
        tiles = "whole"
        if outcome.tiles > 1:
            tall, wide = outcome.tile
            tiles = f"{outcome.tiles} tiles of {wide}x{tall}, overlap {outcome.overlap}"
        say(f"{outcome.output}: {width}x{height}, {tiles}, {outcome.seconds:.1f} s")
        for remark in [*outcome.notes, *_remarks(outcome, upscaler)]:
            say(f"  {remark}")
        if outcome.comparison:
            figures = ", ".join(
                f"{row['label']} {row[key]:.2f} dB" + key.removeprefix("psnr").replace("_", " ")
                for row in outcome.comparison["versions"]
                for key in row
                if key.startswith("psnr") and key != "psnr_region"
            )
            say(f"  {outcome.comparison['sheet']}" + (f": {figures}" if figures else ""))
    states = [outcome.state for outcome in outcomes]
    counts = {"written": "written", "finished": "finished before", "failed": "failed"}
    said = [f"{states.count(state)} {word}" for state, word in counts.items() if state in states]
    if len(outcomes) > 1:
        say(f"{len(outcomes)} pictures: {', '.join(said)}")


def _remarks(outcome: "PictureOutcome", upscaler: "Upscaler") -> list[str]:
    from srdeploy.models.registry import architecture_of

    remarks = []
    if not outcome.exact and outcome.tiles > 1:
        card, pooling = upscaler.session.card, upscaler.session.pooling
        if card.receptive_field:
            why = "the overlap is smaller than half the receptive field"
        elif pooling is not None:
            why = (
                f"tiles overlap by {outcome.overlap} pixels and the network looks "
                f"{pooling.reach} far (its means are those of the whole picture); more --memory "
                "makes larger tiles"
            )
        else:
            unknown = "how far this network looks is not known, or it is the whole picture"
            why = architecture_of(card).tiles_differ or unknown
        remarks.append(f"not exactly what the whole picture would give: {why}")
    elif not outcome.exact:
        remarks.append("smaller than what the artifact takes: its borders are mirrored outward")
    elif outcome.tiles > 1 and not upscaler.session.card.receptive_field:
        remarks.append(
            "passes over the tiles before found the means that the network takes of the whole "
            "picture; more --memory spares them"
        )
    if outcome.work > 2:
        remarks.append(
            f"overlaps make {outcome.work:.1f} times the work; more --memory makes larger tiles"
        )
    return remarks
