"""srdeploy upscale with videos, folders of frames and pipes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from srdeploy.cli.main import run
from srdeploy.data.bicubic import imresize
from srdeploy.data.images import to_uint8
from tests.video import clips

NETWORK = "edsr-s-x2-p70"
Command = Callable[..., Any]


def test_videos_go_into_a_folder_and_are_finished_once(command: Command, tmp_path: Path) -> None:
    names = [clips.make(tmp_path / name, frames=2) for name in ("a.mp4", "b.mkv")]
    found = command("upscale", NETWORK, *names, "-o", tmp_path / "out")
    assert [Path(one["output"]).name for one in found["videos"]] == ["a_x2.mp4", "b_x2.mkv"]
    assert [one["frames"] for one in found["videos"]] == [2, 2]
    again = command("upscale", NETWORK, *names, "-o", tmp_path / "out")
    assert {one["state"] for one in again["videos"]} == {"finished"}


def test_frames_in_folders_become_videos_and_videos_pictures(
    command: Command, tmp_path: Path
) -> None:
    source = clips.make(tmp_path / "in.mkv", frames=3, kr=0.299, kb=0.114, tags=(6, 6, 6, 1),
                        name="yuv444p", codec="ffv1")  # fmt: skip
    pattern = tmp_path / "frames" / "%03d.png"
    command("upscale", "bicubic", source, "-o", pattern, "--scale", "2")
    names = sorted(path.name for path in (tmp_path / "frames").glob("*.png"))
    assert names == ["001.png", "002.png", "003.png"]
    small = np.asarray(Image.open(tmp_path / "frames" / "002.png")).astype(float)
    small = small.reshape(48, 2, 64, 2, 3).mean(axis=(1, 3))
    wanted = 255 * clips.picture(1, 48, 64).transpose(1, 2, 0)
    assert np.abs(small - wanted).mean() < 2  # green and magenta would show a wrong matrix
    found = command("upscale", "bicubic", tmp_path / "frames", "-o", tmp_path / "out.mp4",
                    "--scale", "2", "--frame-rate", "12.5")  # fmt: skip
    facts = clips.facts(tmp_path / "out.mp4")
    assert (found["videos"][0]["frames"], facts["size"]) == (3, (192, 256))
    assert [float(when) for when in facts["times"]] == [0, 0.08, 0.16]
    assert facts["tags"] == {("yuv420p", 1, 1, 13, 1)}


def test_raw_frames_go_through_pipes(tmp_path: Path) -> None:
    raw = np.random.default_rng(0).integers(0, 256, (4, 24, 32, 3), dtype=np.uint8)
    line = [sys.executable, "-m", "srdeploy", "upscale", "bicubic", "-", "-o", "-", "--scale", "2"]
    done = subprocess.run(
        [*line, "--input", "32x24"], input=raw.tobytes(), capture_output=True, check=True
    )
    large = np.frombuffer(done.stdout, np.uint8).reshape(4, 48, 64, 3)
    assert np.abs(large[2] - to_uint8(imresize(raw[2].astype(float), 2)).astype(int)).max() <= 1
    assert b"4 frames" in done.stderr

    source = clips.make(tmp_path / "in.mkv", frames=3)
    line[5] = str(source)
    done = subprocess.run(line, capture_output=True, check=True)
    assert done.stdout.startswith(
        b"YUV4MPEG2 W128 H96 F25:1 Ip A0:0 C420mpeg2 XCOLORRANGE=LIMITED\n"
    )
    assert done.stdout.count(b"FRAME\n") == 3


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["a.mp4", "-o", "out.xyz"], "names no video by its ending"),
        (["a.mp4", "-o", "a.mp4"], "would replace the video"),
        (["missing.mp4", "-o", "out.mkv"], "There is no video 'missing.mp4'"),
        (["a.mp4", "-o", "out.mkv", "--format", "jpeg"], "--format is for pictures"),
        (["a.mp4", "-o", "out.mkv", "--frame-rate", "24"], "--frame-rate is for folders"),
        (["a.mp4", "-o", "out.mkv", "--matrix", "bt70"], "did you mean 'bt709'"),
        (["a.mp4", "-o", "out.mkv", "--codec-option", "fast"], "write key=value"),
        (["a.mp4", "-o", "out.mkv", "--codec-option", "presett=fast"], "has no option 'presett'"),
        (["a.mp4", "a.mp4x", "-o", "out.mkv"], "is one file, for 2 videos"),
        (["a.mp4", "-o", "-", "--codec", "hevc"], "is no video file"),
        (["a.png", "-o", "out.png", "--codec", "hevc"], "--codec is for videos"),
        (["a.mp4", "-o", "out.mkv", "--pixel-format", "rgb24"], "need --input WxH too"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    clips.make(Path("a.mp4"), frames=1)
    assert run(["upscale", NETWORK, *arguments]) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert not list(Path().glob("out*"))


def test_a_video_that_fails_does_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "noise.mp4").write_bytes(b"noise" * 99)
    good = clips.make(tmp_path / "good.mkv", frames=1)
    line = ["upscale", NETWORK, str(tmp_path / "noise.mp4"), str(good), "-o", str(tmp_path / "out")]
    assert run(line) == 2
    told = capsys.readouterr()
    assert "noise.mp4' is no video that can be read" in told.err
    assert "good_x2.mkv: 128x96, 1 frames" in told.out


def test_a_file_that_breaks_off_ends_with_2_and_a_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = clips.make(tmp_path / "whole.mkv", frames=80, codec="ffv1", options={"g": "1"})
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 4])
    assert run(["upscale", NETWORK, str(cut), "-o", str(tmp_path / "out.mkv")]) == 2
    assert "is not complete" in capsys.readouterr().err
    assert 10 < len(clips.facts(tmp_path / "out.mkv")["frames"]) < 30
