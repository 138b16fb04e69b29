"""What is no video, what is damaged, and what would reach elsewhere."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from srdeploy.errors import UserError
from srdeploy.video import library
from srdeploy.video.codecs import CODECS, choose
from srdeploy.video.colour import Colour
from srdeploy.video.frames import FrameFormat
from srdeploy.video.layout import planar
from srdeploy.video.read import open_video
from tests.video import clips


def refused(path: Path) -> str:
    with pytest.raises(UserError) as error, open_video(path) as video:
        list(video.frames())
    return str(error.value)


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    (tmp_path / "empty.mkv").write_bytes(b"")
    (tmp_path / "folder.mp4").mkdir()
    for name in ("noise.mp4", "empty.mkv"):
        assert "is no video that can be read" in refused(tmp_path / name)
    assert "There is no video" in refused(tmp_path / "missing.mp4")
    assert "it is a folder" in refused(tmp_path / "folder.mp4")
    with av.open(str(tmp_path / "sound.mkv"), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.sample_rate, frame.pts = 8000, 0
        stream.layout = "mono"
        out.mux(stream.encode(frame))
    assert "holds no video; its streams: audio" in refused(tmp_path / "sound.mkv")


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {}\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    ],
    ids=["playlist", "list", "address"],
)
def test_a_file_that_names_others_reads_none_of_them(tmp_path: Path, text: str) -> None:
    real = clips.make(tmp_path / "real.mkv", frames=2)
    (tmp_path / "trap.mp4").write_text(text.format(real.name))
    assert "is no video that can be read" in refused(tmp_path / "trap.mp4")


def test_a_file_that_breaks_off_gives_what_there_is_and_says_so(tmp_path: Path) -> None:
    whole = clips.make(tmp_path / "whole.mkv", frames=100, codec="ffv1", options={"g": "1"})
    (tmp_path / "cut.mkv").write_bytes(whole.read_bytes()[: whole.stat().st_size // 3])
    with open_video(tmp_path / "cut.mkv") as video:
        frames = [frame.planes[0].copy() for frame in video.frames()]
    assert 20 < len(frames) < 50
    assert "is not complete" in video.damage
    assert f"{len(frames)} frames" in video.damage
    with open_video(whole) as video:
        first = [frame.planes[0].copy() for frame in video.frames()]
    assert not video.damage
    assert all(np.array_equal(a, b) for a, b in zip(first, frames[:-1], strict=False))


def test_times_that_stand_still_are_moved_and_said(tmp_path: Path) -> None:
    source = clips.make(
        tmp_path / "in.mkv", times=[0, 40, 80, 80, 80, 200], time_base=Fraction(1, 1000),
        codec="ffv1",
    )  # fmt: skip
    with open_video(source) as video:
        times = [frame.pts for frame in video.frames()]
    assert times == [0, 40, 80, 81, 82, 200]
    assert any("2 frames were not later" in note for note in video.notes)


def test_frames_of_avi_are_shown_in_their_order(tmp_path: Path) -> None:
    """It stores one number per packet, which FFmpeg takes for the time of showing."""
    source = clips.make(
        tmp_path / "in.avi", time_base=Fraction(1, 25), times=list(range(20)),
        options={"bf": "3", "x264-params": "b-adapt=0"},
    )  # fmt: skip
    with open_video(source) as video:
        times = [frame.pts for frame in video.frames()]
    assert np.diff(times).tolist() == [1] * 19
    assert not video.notes


def test_frames_that_change_their_size_are_refused(tmp_path: Path) -> None:
    parts = []
    for number, size in enumerate(((48, 64), (64, 96))):
        path = clips.make(tmp_path / f"{number}.ts", frames=3, size=size)
        parts.append(path.read_bytes())
    (tmp_path / "both.ts").write_bytes(b"".join(parts))
    assert "cut the video there" in refused(tmp_path / "both.ts")


def test_without_pyav_one_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(UserError, match=r"pip install 'srdeploy\[video\]'"):
        library.pyav()


def frames_of(name: str, size: tuple[int, int] = (90, 160)) -> FrameFormat:
    return FrameFormat.of(planar(name), Colour(1, 1, 1, False), size)


@pytest.mark.parametrize(
    ("name", "ending", "codec", "pixel_format"),
    [
        ("yuv420p", ".mp4", "h264", "yuv420p"),
        ("yuvj420p", ".mkv", "h264", "yuv420p"),
        ("yuv420p10le", ".mp4", "hevc", "yuv420p10le"),
        ("yuv420p", ".webm", "vp9", "yuv420p"),
        ("yuv411p", ".mkv", "ffv1", "yuv411p"),
        ("yuv420p16le", ".mkv", "ffv1", "yuv420p16le"),
        ("yuva420p", ".webm", "vp9", "yuva420p"),
    ],
)
def test_the_codec_is_the_first_that_keeps_the_frames(
    name: str, ending: str, codec: str, pixel_format: str
) -> None:
    choice = choose(frames_of(name), (180, 320), Path("out" + ending))
    assert (choice.codec.name, choice.pixel_format, choice.why) == (codec, pixel_format, "")


def test_odd_sides_take_a_codec_that_has_them() -> None:
    assert choose(frames_of("yuv420p"), (183, 321), Path("out.mp4")).codec.name == "vp9"
    with pytest.raises(UserError, match="only multiples of 2x2"):
        choose(frames_of("yuv420p"), (183, 321), Path("out.mp4"), "h264")


def test_what_a_codec_does_not_take_is_said() -> None:
    choice = choose(frames_of("yuv420p"), (180, 320), Path("out.mov"), "prores")
    assert choice.pixel_format == "yuv422p10le"
    assert "written as yuv422p10le" in choice.why
    for name, ending in (("prores", ".mp4"), ("h264", ".webm")):
        with pytest.raises(UserError, match=f"holds no {name}"):
            choose(frames_of("yuv420p"), (180, 320), Path("out" + ending), name)
    with pytest.raises(UserError, match="did you mean 'hevc'"):
        choose(frames_of("yuv420p"), (180, 320), Path("out.mkv"), "hevv")
    with pytest.raises(UserError, match="not between 0 and 51"):
        choose(frames_of("yuv420p"), (180, 320), Path("out.mkv"), "h264", crf=52)
    with pytest.raises(UserError, match="has no --crf"):
        choose(frames_of("yuv420p"), (180, 320), Path("out.mkv"), "ffv1", crf=5)
    assert all(row.formats() for row in CODECS.values())
