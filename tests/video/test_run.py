"""Videos through networks: everything that belongs to them is in the result."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from srdeploy.errors import UserError
from srdeploy.models.registry import create
from srdeploy.runtime.bicubic_session import BicubicSession
from srdeploy.runtime.open import open_session
from srdeploy.runtime.pixels import upscale_rgb, upscale_y
from srdeploy.runtime.session import Session
from srdeploy.upscaling.folder import UpscalingStopped
from srdeploy.upscaling.image import Upscaler
from srdeploy.video.read import open_video
from srdeploy.video.run import Version, VideoOutcome, VideoSettings, upscale_video
from tests.video import clips

NETWORK = "edsr-s-x2-p70"
LOSSLESS = VideoSettings(codec="ffv1")


@pytest.fixture(scope="module")
def network() -> Iterator[Session]:
    with open_session(NETWORK, threads=1) as session:
        yield session


def run(
    session: Session, source: Path, target: Path, settings: VideoSettings = LOSSLESS, **more: Any
) -> VideoOutcome:
    with open_video(source) as video:
        return upscale_video(video, source, target, Upscaler(session, 2), settings, **more)


def equal(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return len(a["frames"]) == len(b["frames"]) and all(
        np.array_equal(p, q)
        for one, other in zip(a["frames"], b["frames"], strict=True)
        for p, q in zip(one, other, strict=True)
    )


def uneven(frames: int) -> list[int]:
    """Times of a variable frame rate, in 12800ths of a second."""
    steps = (512, 300, 1100, 512, 256, 800)
    times = [0]
    while len(times) < frames:
        times.append(times[-1] + steps[len(times) % len(steps)])
    return times


def test_ten_seconds_keep_frames_times_sound_subtitles_and_tags(
    tmp_path: Path, network: Session
) -> None:
    times = [t * 5 // 64 for t in uneven(220)]  # of 1/1000 s
    source = clips.make(
        tmp_path / "in.mkv", times=times, time_base=Fraction(1, 1000), sound=True, subtitles=True,
        kr=0.299, kb=0.114, tags=(5, 5, 6, 1), size=(24, 32), options={"crf": "20"},
    )  # fmt: skip
    found = run(
        network, source, tmp_path / "out.mkv", VideoSettings(options={"preset": "veryfast"})
    )
    old, new = clips.facts(source), clips.facts(tmp_path / "out.mkv")
    assert 9.5 < float(old["times"][-1]) < 12
    assert found.frames == len(new["frames"]) == 220
    assert new["times"] == old["times"]
    assert new["tags"] == old["tags"] == {("yuv420p", 5, 5, 6, 1)}
    assert new["size"] == (48, 64)
    for kind in ("audio", "subtitle"):
        assert clips.packets(tmp_path / "out.mkv", kind) == clips.packets(source, kind)
    with av.open(str(tmp_path / "out.mkv")) as given:
        assert given.metadata["title"] == "A clip"
        assert [stream.metadata.get("language") for stream in given.streams] == [None, "fra", "deu"]
    assert not found.notes
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out.mkv"]


def test_times_of_mp4_are_exact(tmp_path: Path, network: Session) -> None:
    source = clips.make(tmp_path / "in.mp4", times=uneven(40), sound=True)
    found = run(network, source, tmp_path / "out.mp4", VideoSettings())
    old, new = clips.facts(source), clips.facts(tmp_path / "out.mp4")
    assert new["times"] == old["times"]
    assert [p for p, _ in clips.packets(tmp_path / "out.mp4", "audio")] == [
        p for p, _ in clips.packets(source, "audio")
    ]
    assert not found.notes
    rounded = run(network, source, tmp_path / "out.mkv")
    assert any("units of 1/1000 s" in note for note in rounded.notes)
    assert any("0.023 s later" in note for note in rounded.notes)


CASES: dict[str, dict[str, Any]] = {
    "hdr": {"name": "yuv420p10le", "kr": 0.2627, "kb": 0.0593, "tags": (9, 9, 16, 1)},
    "444": {"name": "yuv444p"},
    "full": {"name": "yuv420p", "kr": 0.299, "kb": 0.114, "full": True, "tags": (5, 5, 6, 2)},
    "422": {"name": "yuv422p10le"},
    "odd": {"name": "yuv420p", "size": (37, 51)},
    "grey": {"name": "gray"},
    "rgb": {"name": "gbrp10le", "tags": (0, 1, 13, 2)},
    "wide": {"name": "yuv411p", "aspect": Fraction(4, 3)},
}


@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_frame_comes_back_as_its_kind_and_colour(tmp_path: Path, case: str) -> None:
    """A flat frame of one colour must come back as that colour, at twice the size."""
    kind = {"frames": 2, "size": (48, 64), **CASES[case]}
    source = clips.make(tmp_path / "in.mkv", codec="ffv1", options={"level": "3"}, **kind)
    run(BicubicSession(), source, tmp_path / "out.mkv")
    old, new = clips.facts(source), clips.facts(tmp_path / "out.mkv")
    assert new["tags"] == old["tags"]
    assert new["size"] == tuple(2 * side for side in kind["size"])
    assert new["times"] == old["times"]
    for small, large in zip(old["frames"][0], new["frames"][0], strict=True):
        half = large[: 2 * (len(large) // 2), : 2 * (large.shape[1] // 2)].astype(np.float64)
        half = half.reshape(len(half) // 2, 2, -1, 2).mean(axis=(1, 3))
        rows, columns = (min(a, b) for a, b in zip(small.shape, half.shape, strict=True))
        error = half[2 : rows - 2, 2 : columns - 2] - small[2 : rows - 2, 2 : columns - 2]
        assert np.abs(error).mean() < 0.02 * float(small.max())


@pytest.mark.parametrize(
    ("tags", "kr", "kb", "full"),
    [((1, 1, 1, 1), 0.2126, 0.0722, False), ((6, 6, 6, 2), 0.299, 0.114, True)],
)
def test_a_network_sees_the_colours_that_the_standard_gives(
    tmp_path: Path, network: Session, tags: tuple[int, int, int, int], kr: float, kb: float,
    full: bool,
) -> None:  # fmt: skip
    """The whole way in formulas of its own: codes to RGB, network, RGB to codes."""
    source = clips.make(
        tmp_path / "in.mkv", name="yuv444p", codec="ffv1", options={"level": "3"}, frames=2,
        size=(24, 32), tags=tags, kr=kr, kb=kb, full=full,
    )  # fmt: skip
    run(network, source, tmp_path / "out.mkv")
    old, new = clips.facts(source), clips.facts(tmp_path / "out.mkv")
    y, cb, cr = (plane.astype(np.float64) for plane in old["frames"][1])
    if full:
        y, cb, cr = y / 255, (cb - 128) / 255, (cr - 128) / 255
    else:
        y, cb, cr = (y - 16) / 219, (cb - 128) / 224, (cr - 128) / 224
    red, blue = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    large = upscale_rgb(network, 255 * np.stack([red, green, blue], axis=2), 2) / 255
    luma = large @ np.array([kr, 1 - kr - kb, kb])
    chroma = [(large[..., 2] - luma) / (2 - 2 * kb), (large[..., 0] - luma) / (2 - 2 * kr)]
    wanted = [255 * luma if full else 16 + 219 * luma]
    wanted += [128 + (255 if full else 224) * plane for plane in chroma]
    for codes, plane in zip(new["frames"][1], wanted, strict=True):
        assert np.abs(codes - np.clip(plane, 0, 255)).max() < 0.51


def test_a_network_for_luma_sees_the_videos_own_luma(tmp_path: Path) -> None:
    session = open_session(create("vdsr", scale=2, n_layers=4, n_feats=8), threads=1)
    source = clips.make(
        tmp_path / "in.mkv", codec="ffv1", options={"level": "3"}, frames=1, size=(24, 32),
        name="yuv420p10le", kr=0.2627, kb=0.0593, tags=(9, 9, 16, 1),
    )  # fmt: skip
    run(session, source, tmp_path / "out.mkv")
    old, new = clips.facts(source)["frames"][0], clips.facts(tmp_path / "out.mkv")["frames"][0]
    luma = 4 * upscale_y(session, old[0] / 4, 2)
    assert np.abs(new[0] - np.clip(luma, 0, 1023)).max() < 0.51
    assert new[1].shape == (24, 32)


def test_what_is_untold_is_said_and_written(tmp_path: Path) -> None:
    source = clips.make(tmp_path / "in.mkv", frames=2, tags=(2, 2, 2, 0), kr=0.299, kb=0.114)
    said: list[str] = []
    found = run(BicubicSession(), source, tmp_path / "out.mkv", VideoSettings(), say=said.append)
    assert clips.facts(tmp_path / "out.mkv")["tags"] == {("yuv420p", 6, 6, 6, 1)}
    assert "taken for smpte170m, limited range" in found.notes[0]
    assert "libx264, crf 16, preset medium, yuv420p" in said[0]
    assert found.notes[0] in said[0]


def test_static_metadata_of_hdr10_is_kept_by_hevc(tmp_path: Path) -> None:
    told = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
    source = clips.make(
        tmp_path / "in.mkv", codec="libx265", frames=2, size=(64, 64), name="yuv420p10le",
        kr=0.2627, kb=0.0593, tags=(9, 9, 16, 1),
        options={"x265-params": f"log-level=none:bframes=0:{told}:max-cll=1000,400"},
    )  # fmt: skip
    found = run(BicubicSession(), source, tmp_path / "out.mkv", VideoSettings())
    assert not found.notes
    with open_video(tmp_path / "out.mkv") as video:
        assert video.hdr10 == (told, "max-cll=1000,400")
    found = run(BicubicSession(), source, tmp_path / "lossless.mkv")
    assert "not kept: HDR10's metadata" in found.notes[0]


@pytest.mark.parametrize(
    ("matrix", "turned"),
    [
        ((0, 1, -1, 0), lambda f: np.rot90(f, -1)),
        ((-1, 0, 0, -1), lambda f: np.rot90(f, 2)),
        ((0, -1, 1, 0), lambda f: np.rot90(f, 1)),
        ((-1, 0, 0, 1), lambda f: f[:, ::-1]),
    ],
)
def test_a_turned_video_is_upright_afterwards(
    tmp_path: Path, matrix: tuple[int, int, int, int], turned: Any
) -> None:
    source = clips.make(tmp_path / "in.mp4", frames=2, size=(48, 64), options={"qp": "0"})
    straight = clips.facts(source)["frames"][0][0].astype(np.float64)
    clips.turn(source, matrix)
    found = run(BicubicSession(), source, tmp_path / "out.mkv")
    luma = clips.facts(tmp_path / "out.mkv")["frames"][0][0].astype(np.float64)
    small = luma.reshape(len(luma) // 2, 2, -1, 2).mean(axis=(1, 3))
    assert small.shape == turned(straight).shape
    assert np.abs(small - turned(straight)).mean() < 1
    assert any("display matrix" in note for note in found.notes)


class Stopping(BicubicSession):
    """Is interrupted at its so-manieth frame."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.left = at

    def _run(self, x: np.ndarray) -> np.ndarray:
        self.left -= x.shape[2] > 48  # small inputs are for measuring memory
        if self.left < 0:
            raise KeyboardInterrupt
        return super()._run(x)


def test_an_interrupted_run_goes_on_and_gives_the_same(tmp_path: Path) -> None:
    times = [6400 * number for number in range(35)]  # two a second: ten to a stretch
    source = clips.make(tmp_path / "in.mp4", times=times)
    with pytest.raises(UpscalingStopped, match="the same command goes on"):
        run(Stopping(27), source, tmp_path / "out.mp4", VideoSettings())
    parts = tmp_path / "out.mp4.parts"
    assert {path.name for path in parts.iterdir()} >= {"parts.json", "000000.video"}
    assert not (tmp_path / "out.mp4").exists()

    with pytest.raises(UserError, match="made otherwise"):
        run(BicubicSession(), source, tmp_path / "out.mp4", VideoSettings(crf=30))
    found = run(BicubicSession(), source, tmp_path / "out.mp4", VideoSettings())
    assert found.resumed in (10, 20)
    assert found.frames == 35
    run(BicubicSession(), source, tmp_path / "whole.mp4", VideoSettings())
    resumed, whole = clips.facts(tmp_path / "out.mp4"), clips.facts(tmp_path / "whole.mp4")
    assert equal(resumed, whole)
    assert resumed["times"] == whole["times"] == clips.facts(source)["times"]
    assert not parts.exists()
    assert run(BicubicSession(), source, tmp_path / "out.mp4", VideoSettings()).state == "finished"


def test_a_comparison_shows_bicubic_beside_the_network(tmp_path: Path, network: Session) -> None:
    source = clips.make(tmp_path / "in.mkv", frames=2, size=(48, 64), codec="ffv1")
    bicubic = BicubicSession()
    versions = [
        Version("bicubic", Upscaler(bicubic, 2), "b"),
        Version(NETWORK, Upscaler(network, 2), "n"),
    ]
    found = run(network, source, tmp_path / "out.mkv", versions=versions)
    assert found.comparison == str(tmp_path / "out_compare.mkv")
    run(bicubic, source, tmp_path / "cubic.mkv")
    both = clips.facts(tmp_path / "out_compare.mkv")
    left, right = (clips.facts(tmp_path / name) for name in ("cubic.mkv", "out.mkv"))
    assert both["size"] == (96, 256)
    for wide, one, other in zip(both["frames"], left["frames"], right["frames"], strict=True):
        for plane, a, b in zip(wide, one, other, strict=True):
            middle = plane.shape[1] // 2
            assert np.array_equal(plane[len(plane) // 2 :, :middle], a[len(a) // 2 :])
            assert np.array_equal(plane[len(plane) // 2 :, middle:], b[len(b) // 2 :])
        assert wide[0][:10, :20].max() > 200  # letters
        assert wide[0][:2, :20].max() < 40  # on a dark ground


@pytest.mark.slow
def test_a_killed_process_goes_on_and_gives_the_same(tmp_path: Path) -> None:
    source = clips.make(tmp_path / "in.mp4", size=(96, 128), times=uneven(400), sound=True)
    command = [sys.executable, "-m", "srdeploy", "upscale", NETWORK, str(source), "--json"]
    target = tmp_path / "out.mp4"
    for _ in range(2):
        process = subprocess.Popen([*command, "-o", str(target)], stderr=subprocess.DEVNULL)
        done = len(list(tmp_path.glob("out.mp4.parts/0*.video")))
        while process.poll() is None and len(list(tmp_path.glob("*.parts/0*.video"))) == done:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not target.exists()
    ended = subprocess.run([*command, "-o", str(target)], capture_output=True, check=True)
    assert json.loads(ended.stdout)["videos"][0]["resumed"] > 0
    subprocess.run([*command, "-o", str(tmp_path / "whole.mp4")], capture_output=True, check=True)
    resumed, whole = clips.facts(target), clips.facts(tmp_path / "whole.mp4")
    assert equal(resumed, whole)
    assert resumed["times"] == whole["times"] == clips.facts(source)["times"]
    assert clips.packets(target, "audio") == clips.packets(source, "audio")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a file system of POSIX")
def test_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from srdeploy.errors import SrdeployError
    from srdeploy.video.encode import Encoder

    def full(self: Encoder) -> list[Any]:
        raise OSError(28, "No space left on device")

    source = clips.make(tmp_path / "in.mkv", frames=2)
    monkeypatch.setattr(Encoder, "finish", full)
    with pytest.raises(SrdeployError, match="no space left on the disk"):
        run(BicubicSession(), source, tmp_path / "out.mkv")
    assert not (tmp_path / "out.mkv").exists()
    assert [path.name for path in (tmp_path / "out.mkv.parts").iterdir()] == ["parts.json"]
    shutil.rmtree(tmp_path / "out.mkv.parts")
