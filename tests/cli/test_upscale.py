"""srdeploy upscale as people use it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from srdeploy.cli.main import run
from srdeploy.cli.upscale import parse_memory
from srdeploy.data.picture import read_picture
from srdeploy.errors import UserError


def picture(path: Path, mode: str = "RGB", size: tuple[int, int] = (21, 13)) -> Path:
    noise = np.random.default_rng(len(path.name)).integers(0, 256, (*size[::-1], 4), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise).convert("RGB" if mode in ("P", "1") else mode).convert(mode).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    picture(tmp_path / "in" / "a.png")
    picture(tmp_path / "in" / "b.png", "L")
    picture(tmp_path / "in" / "c.png", "RGBA")
    return tmp_path / "in"


Told = Callable[..., tuple[int, str, str]]


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Told:
    """Run a command in this process; returns its exit code and what it wrote to either stream."""

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(list(map(str, arguments)))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def states(document: dict[str, Any]) -> list[str]:
    return [row["state"] for row in document["pictures"]]


def test_a_folder(tiny: Path, folder: Path, tmp_path: Path, command: Callable[..., Any]) -> None:
    found = command("upscale", tiny, folder, "-o", tmp_path / "out")
    assert states(found) == ["written"] * 3
    assert found["scale"] == 2
    for name, channels in (("a", 3), ("b", 1), ("c", 4)):
        result = read_picture(tmp_path / "out" / f"{name}_x2.png")
        assert result.pixels.shape == (26, 42, channels)
        assert result.pixels.dtype == np.uint8


def test_a_rerun_goes_on(
    tiny: Path, folder: Path, tmp_path: Path, command: Callable[..., Any], told: Told
) -> None:
    out = tmp_path / "out"
    command("upscale", tiny, folder / "a.png", "-o", out)
    written = (out / "a_x2.png").stat().st_mtime_ns
    assert states(command("upscale", tiny, folder, "-o", out)) == ["finished", *["written"] * 2]
    assert (out / "a_x2.png").stat().st_mtime_ns == written
    (out / "b_x2.png").unlink()
    assert states(command("upscale", tiny, folder, "-o", out)) == [
        "finished",
        "written",
        "finished",
    ]
    again = command("upscale", tiny, folder, "-o", out, "--overwrite")
    assert states(again) == ["written"] * 3
    picture(folder / "a.png", size=(9, 9))  # another picture of that name
    code, _, said = told("upscale", tiny, folder, "-o", out)
    assert code == 2
    assert "was made otherwise; give --overwrite" in said


def test_another_network_is_not_taken_for_this_one(
    tiny: Path, folder: Path, tmp_path: Path, command: Callable[..., Any], told: Told
) -> None:
    command("upscale", tiny, folder / "a.png", "-o", tmp_path / "out")
    code, _, said = told("upscale", "edsr-s-x2", folder / "a.png", "-o", tmp_path / "out")
    assert code == 2
    assert "a_x2.png' exists and was made otherwise" in said


def test_bad_pictures_stop_nothing(tiny: Path, folder: Path, tmp_path: Path, told: Told) -> None:
    (folder / "aa.png").write_text("no picture")
    whole = picture(folder / "whole.png", size=(50, 50)).read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    missing = tmp_path / "missing.png"
    code, out, said = told("upscale", tiny, folder, missing, "-o", tmp_path / "out")
    assert code == 2
    sentences = said.strip().splitlines()
    assert len(sentences) == 3
    for sentence, words in zip(
        sentences, ("aa.png' cannot be read", "cut.png' cannot be read", "no image"), strict=True
    ):
        assert words in sentence
    assert "7 pictures: 4 written, 3 failed" in out
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left == {"a_x2.png", "b_x2.png", "c_x2.png", "whole_x2.png", "upscale.json"}


def test_formats_and_bits(
    tiny: Path, folder: Path, tmp_path: Path, command: Callable[..., Any]
) -> None:
    out = tmp_path / "out"
    command("upscale", tiny, folder / "a.png", "-o", out / "one.jpg")
    with Image.open(out / "one.jpg") as image:
        assert (image.format, image.size) == ("JPEG", (42, 26))
    found = command("upscale", tiny, folder / "c.png", "-o", out, "--format", "jpeg")
    assert found["pictures"][0]["notes"] == ["jpeg has no alpha, which is left out"]
    command("upscale", tiny, folder / "a.png", "-o", out, "--format", "webp", "--quality", "100")
    command("upscale", tiny, folder / "a.png", "-o", out, "--bits", "16")
    wide, narrow = read_picture(out / "a_x2.png"), read_picture(out / "a_x2.webp")
    assert wide.pixels.dtype == np.uint16
    rounded = np.floor(wide.pixels / 257.0 + 0.5)
    np.testing.assert_allclose(rounded, narrow.pixels, atol=1)  # rounded twice: 1 at ties
    command("upscale", tiny, picture(folder / "d.tif"), "-o", out, "--format", "same")
    assert (out / "d_x2.tif").is_file()


def test_patterns(tiny: Path, folder: Path, tmp_path: Path, command: Callable[..., Any]) -> None:
    found = command("upscale", tiny, f"{folder}/[ab].png", "-o", tmp_path / "out")
    assert len(found["pictures"]) == 2


def test_artifacts_and_bicubic(
    tiny: Path, folder: Path, tmp_path: Path, command: Callable[..., Any]
) -> None:
    command("export", tiny, "-o", tmp_path / "tiny.onnx")
    command("upscale", tiny, folder / "a.png", "-o", tmp_path / "torch")
    found = command("upscale", tmp_path / "tiny.onnx", folder / "a.png", "-o", tmp_path / "ort")
    assert found["runtime"] == "onnxruntime"
    a, b = (read_picture(tmp_path / k / "a_x2.png").pixels.astype(int) for k in ("torch", "ort"))
    assert np.abs(a - b).max() <= 1
    command("upscale", "bicubic", folder, "-o", tmp_path / "cubic", "--scale", "3")
    assert read_picture(tmp_path / "cubic" / "a_x3.png").size == (39, 63)


def test_the_comparison(
    tiny: Path, tmp_path: Path, command: Callable[..., Any], folder: Path
) -> None:
    pruned = tmp_path / "pruned.safetensors"
    command("prune", tiny, "--ratio", "0.5", "--no-quality", "-o", pruned)
    arguments = ["upscale", pruned, folder, "-o", tmp_path / "out", "--with", tiny]
    found = command(*arguments)
    for row in found["pictures"]:
        labels = [version["label"] for version in row["comparison"]["versions"]]
        assert labels == ["bicubic", "dense", "pruned"]
        assert Path(row["comparison"]["sheet"]).is_file()
    assert states(command(*arguments)) == ["finished"] * 3
    (tmp_path / "out" / "a_x2_compare.png").unlink()
    assert states(command(*arguments)) == ["written", "finished", "finished"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["in/a.png", "in/a.png", "-o", "out", "--format", "gif"], "no image format named 'gif'"),
        (["in", "-o", "one.png"], "one file, for 3 pictures"),
        (["nothing*.png", "-o", "out"], "Nothing fits the pattern"),
        (["in/a.png", "other/a.png", "-o", "out"], "would both be written"),
        (["in/a.png", "out/a_x2.png", "-o", "out"], "would replace the picture"),
        (["in", "-o", "out", "--bits", "12"], "choose 8 or 16"),
        (["in", "-o", "out", "--quality", "0"], "not between 1 and 100"),
        (["in", "-o", "out", "--memory", "lots"], "'lots' is no size"),
        (["in", "-o", "out", "--scale", "3"], "not by 3"),
        (["in", "-o", "out", "--hr", "nowhere"], "no 'nowhere' with originals"),
        (["in", "-o", "in/a.png/out"], "part of that path is a file"),
    ],
)
def test_requests_that_make_no_sense(
    tiny: Path,
    folder: Path,
    refused: Callable[..., tuple[int, str]],
    arguments: list[str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder.parent)
    picture(folder.parent / "other" / "a.png")
    before = sorted(folder.parent.rglob("*"))
    code, sentence = refused("upscale", tiny, *arguments)
    assert code == 2
    assert words in sentence
    assert sorted(folder.parent.rglob("*")) == before


def test_ctrl_c_leaves_whole_files_and_says_how_to_go_on(tmp_path: Path, tiny: Path) -> None:
    first = tmp_path / "in" / "0.png"
    picture(first, size=(300, 300))
    for index in range(1, 400):
        os.link(first, first.with_stem(str(index)))
    out = tmp_path / "out"
    line = [sys.executable, "-m", "srdeploy", "upscale", tiny, tmp_path / "in", "-o", out]
    running = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 240  # a busy machine starts slowly
    while len(list(out.glob("*_x2.png"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "the same command goes on from there" in said
    done = list(out.glob("*_x2.png"))
    assert 2 <= len(done) < 400
    assert all(read_picture(path).size == (600, 600) for path in done)
    assert {path.suffix for path in out.iterdir()} == {".png", ".json"}


@pytest.mark.parametrize(
    ("text", "size"),
    [("2GB", 2e9), ("800 MB", 8e8), ("1.5GiB", 1.5 * 2**30), ("1000000", 1e6), ("3g", 3e9)],
)
def test_sizes_of_memory(text: str, size: float) -> None:
    assert parse_memory(text) == size
    assert parse_memory(None) is None
    with pytest.raises(UserError):
        parse_memory("0GB")
