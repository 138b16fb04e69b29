"""``srdeploy upscale``: what the options are for, and what is printed."""

from __future__ import annotations

import hashlib
import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from srdeploy.cli import upscale
from srdeploy.errors import UserError
from srdeploy.models.whole_means import Pooling
from srdeploy.upscaling.folder import PictureOutcome
from tests.cli.reach import STOP, Case, calls, exit_code, hold

CARD = SimpleNamespace(pruned=False, receptive_field=9, arch="edsr")
UPSCALER = SimpleNamespace(
    scale=2, memory=10**9, session=SimpleNamespace(card=CARD, runtime="torch", threads=1)
)
UPSCALE = {
    "srdeploy.runtime.open:open_session": nullcontext("the session"),
    "srdeploy.upscaling.folder:find_pictures": ["in.png"],
    "srdeploy.upscaling.image:Upscaler": UPSCALER,
    "srdeploy.upscaling.folder:name_results": {},
    "srdeploy.cli.upscale:_comparison": "the comparison",
    "srdeploy.upscaling.folder:upscale_pictures": STOP,
}

CASES = [
    Case(
        "upscale net.st in.png -o out",
        UPSCALE,
        {
            "find_pictures.inputs": ["in.png"],
            "open_session.source": "net.st",
            "Upscaler.session": "the session",
            "name_results.sources": ["in.png"],
            "name_results.output": "out",
            "name_results.scale": 2,
            "name_results.settings.format": "png",
            "name_results.settings.quality": 95,
            "name_results.settings.overwrite": False,
            "name_results.settings.identity": "net.st None",
            "upscale_pictures.upscaler": "SimpleNamespace",
            "upscale_pictures.settings.format": "png",
            "upscale_pictures.settings.quality": 95,
            "upscale_pictures.settings.overwrite": False,
            "upscale_pictures.settings.identity": "net.st None",
        },
        {
            "two.png": {"find_pictures.inputs": ["in.png", "two.png"]},
            "-o b": {"name_results.output": "b"},
            "--compare": {
                "_comparison.file": "net.st",
                "_comparison.own": "SimpleNamespace",
                "upscale_pictures.comparison": "the comparison",
            },
            "--with o.st": {
                "open_session.source": "o.st",
                "Upscaler.scale": 2,
                "_comparison.file": "net.st",
                "_comparison.own": "SimpleNamespace",
                "_comparison.others": [["o.st", "SimpleNamespace"]],
                "upscale_pictures.comparison": "the comparison",
            },
            "--hr HR": {
                "_comparison.file": "net.st",
                "_comparison.own": "SimpleNamespace",
                "_comparison.hr": "HR",
                "upscale_pictures.comparison": "the comparison",
            },
            "--scale 3": {"open_session.scale": 3, "Upscaler.scale": 3},
            "--format jpeg": {
                "name_results.settings.format": "jpeg",
                "upscale_pictures.settings.format": "jpeg",
            },
            "--bits 16": {"name_results.settings.bits": 16, "upscale_pictures.settings.bits": 16},
            "--quality 90": {
                "name_results.settings.quality": 90,
                "upscale_pictures.settings.quality": 90,
            },
            "--memory 1GB": {"Upscaler.memory": 1000000000},
            "--overlap 3": {
                "name_results.settings.identity": "net.st 3",
                "upscale_pictures.settings.identity": "net.st 3",
                "Upscaler.overlap": 3,
            },
            "--overlap 0": {
                "name_results.settings.identity": "net.st 0",
                "upscale_pictures.settings.identity": "net.st 0",
                "Upscaler.overlap": 0,
            },
            "--overwrite": {
                "name_results.settings.overwrite": True,
                "upscale_pictures.settings.overwrite": True,
            },
            "--runtime torch": {"open_session.runtime": "torch"},
            "--threads 3": {"open_session.threads": 3},
            "--arch edsr": {"open_session.arch": "edsr"},
            "--value-range 255": {"open_session.value_range": 255.0},
        },
        (
            *("--json", "--codec", "--crf", "--codec-option", "--frame-rate", "--input"),
            *("--pixel-format", "--matrix"),
        ),
    ),
    Case(
        "upscale net.st in.mp4 -o out.mkv",
        UPSCALE
        | {"srdeploy.cli.video:upscale_videos": STOP, "srdeploy.util.memory:available": 6 * 10**9},
        {
            "open_session.source": "net.st",
            "Upscaler.session": "the session",
            "Upscaler.memory": 3 * 10**9,
            "upscale_videos.upscaler": "SimpleNamespace",
            "upscale_videos.inputs": ["in.mp4"],
            "upscale_videos.output": "out.mkv",
            "upscale_videos.identity": "net.st None",
            "upscale_videos.overwrite": False,
            "upscale_videos.quality": 95,
        },
        {
            "b.mkv": {"upscale_videos.inputs": ["in.mp4", "b.mkv"]},
            "-o frames/%04d.png": {"upscale_videos.output": "frames/%04d.png"},
            "--compare": {
                "open_session.source": "bicubic",
                "Upscaler.scale": 2,
                "upscale_videos.versions": ["Version", "Version"],
            },
            "--with o.st": {
                "open_session.source": "o.st",
                "Upscaler.scale": 2,
                "upscale_videos.versions": ["Version", "Version", "Version"],
            },
            "--codec hevc": {"upscale_videos.options.codec": "hevc"},
            "--crf 20": {"upscale_videos.options.crf": 20},
            "--codec-option a=b": {"upscale_videos.options.codec_option": ["a=b"]},
            "--frame-rate 25": {"upscale_videos.options.frame_rate": "25"},
            "--input 64x48": {"upscale_videos.options.input_size": "64x48"},
            "--pixel-format gray": {"upscale_videos.options.pixel_format": "gray"},
            "--matrix bt709": {"upscale_videos.options.matrix": "bt709"},
            "--quality 90": {"upscale_videos.quality": 90},
            "--overwrite": {"upscale_videos.overwrite": True},
            "--memory 1GB": {"Upscaler.memory": 1000000000},
            "--overlap 3": {"upscale_videos.identity": "net.st 3", "Upscaler.overlap": 3},
            "--runtime torch": {"open_session.runtime": "torch"},
            "--threads 3": {"open_session.threads": 3},
            "--scale 3": {"open_session.scale": 3, "Upscaler.scale": 3},
            "--arch edsr": {"open_session.arch": "edsr"},
            "--value-range 255": {"open_session.value_range": 255.0},
        },
        ("--json", "--hr", "--format", "--bits"),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.line)
def test_every_option_reaches(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    hold(case)


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    """Lines that the command prints for outcomes."""

    def call(*outcomes: PictureOutcome, upscaler: Any = UPSCALER, code: int = 0) -> list[str]:
        replaced = {
            **UPSCALE,
            "srdeploy.upscaling.image:Upscaler": upscaler,
            "srdeploy.upscaling.folder:upscale_pictures": list(outcomes),
        }
        capsys.readouterr()
        assert exit_code("upscale net.st in.png -o out", replaced) == code
        return capsys.readouterr().out.splitlines()

    return call


def outcome(state: str = "written", **values: Any) -> PictureOutcome:
    values = {"size": (13, 21), "seconds": 1.26, **values}
    return PictureOutcome(Path("in.png"), Path("out.png"), state, **values)


def test_what_is_said_of_a_picture(printed: Any) -> None:
    assert printed(outcome()) == ["out.png: 21x13, whole, 1.3 s"]
    assert printed(outcome("finished")) == ["out.png: finished before"]
    tiles = outcome(tiles=6, tile=(64, 48), overlap=7, notes=["a note"])
    assert printed(tiles) == ["out.png: 21x13, 6 tiles of 48x64, overlap 7, 1.3 s", "  a note"]
    assert printed(outcome(tiles=1, tile=(64, 48))) == ["out.png: 21x13, whole, 1.3 s"]


def test_what_is_said_of_several(printed: Any, capsys: pytest.CaptureFixture[str]) -> None:
    failed = outcome("failed", reason="It cannot be read.")
    assert printed(failed, code=2) == []
    lines = printed(outcome(), failed, outcome("finished"), outcome(), code=2)
    assert lines[-1] == "4 pictures: 2 written, 1 finished before, 1 failed"
    assert printed(outcome(), outcome())[-1] == "2 pictures: 2 written"


@pytest.mark.parametrize(
    ("facts", "values", "why"),
    [
        ({}, {"exact": False, "tiles": 2}, "the overlap is smaller than half"),
        ({"receptive_field": 0}, {"exact": False, "tiles": 2}, "how far this network looks"),
        ({"receptive_field": 0, "arch": "smsr"}, {"exact": False, "tiles": 2}, "its channel"),
        ({}, {"exact": False, "tiles": 1}, "its borders are mirrored"),
        ({}, {"exact": True, "tiles": 2}, None),
        ({}, {"work": 2.0}, None),
        ({}, {"work": 2.04}, "overlaps make 2.0 times the work"),
    ],
)
def test_what_is_not_exact_says_why(
    printed: Any, facts: dict[str, Any], values: dict[str, Any], why: str | None
) -> None:
    card = SimpleNamespace(**{**vars(CARD), **facts})
    upscaler = SimpleNamespace(scale=2, session=SimpleNamespace(card=card, pooling=None))
    lines = printed(outcome(**values), upscaler=upscaler)
    assert len(lines) == (1 if why is None else 2)
    assert why is None or why in lines[1]


@pytest.mark.parametrize(
    ("exact", "why"),
    [(True, "passes over the tiles before found the means"), (False, "looks 414 far")],
)
def test_what_is_said_of_means_that_are_given(printed: Any, exact: bool, why: str) -> None:
    card = SimpleNamespace(**{**vars(CARD), "receptive_field": 0, "arch": "rcan"})
    session = SimpleNamespace(card=card, pooling=Pooling(414, 200))
    upscaler = SimpleNamespace(scale=2, session=session)
    lines = printed(outcome(exact=exact, tiles=2, overlap=64), upscaler=upscaler)
    assert len(lines) == 2
    assert why in lines[1]


def test_what_is_said_of_a_comparison(printed: Any) -> None:
    rows = [
        {"label": "dense", "psnr_y": 30.126, "psnr_region": 1.0, "ssim_y": 0.9},
        {"label": "pruned", "psnr": 29.0},
    ]
    shown = printed(outcome(comparison={"sheet": "s.png", "versions": rows}))
    assert shown[1] == "  s.png: dense 30.13 dB y, pruned 29.00 dB"
    shown = printed(outcome(comparison={"sheet": "s.png", "versions": [{"label": "dense"}]}))
    assert shown[1] == "  s.png"


def test_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    replaced = {**UPSCALE, "srdeploy.upscaling.folder:upscale_pictures": [outcome()]}
    calls("upscale net.st in.png -o out --json", replaced)
    document = json.loads(capsys.readouterr().out)
    assert (document["runtime"], document["threads"]) == ("torch", 1)
    assert (document["scale"], document["memory"]) == (2, 10**9)
    assert document["peak_memory"] > 1 << 20
    assert document["pictures"][0]["state"] == "written"


def test_the_versions_of_a_comparison(tmp_path: Path) -> None:
    pruned = SimpleNamespace(session=SimpleNamespace(card=SimpleNamespace(pruned=True)))
    (tmp_path / "o.st").write_bytes(b"content")
    found = upscale._comparison("d/net.st", pruned, [(str(tmp_path / "o.st"), UPSCALER)], tmp_path)
    assert [(one.label, one.name) for one in found.versions] == [
        ("dense", "o.st"), ("pruned", "net.st"),
    ]  # fmt: skip
    assert found.versions[0].upscaler is UPSCALER
    assert found.versions[1].upscaler is None
    assert found.identity == f"{hashlib.sha256(b'content').hexdigest()} {tmp_path}"
    assert upscale._identity("nothing.st") == "nothing.st"
    assert len(upscale._identity("edsr-s-x2")) == 64


@pytest.mark.parametrize(
    ("text", "size"),
    [("3", 3), ("2k", 2000), ("2KiB", 2048), ("1.5MB", 1_500_000), ("1 GiB", 2**30), ("1t", 10**12),
     ("1TiB", 2**40), ("0.5g", 5 * 10**8), ("0", None), ("0.0MB", None), ("-1GB", None),
     ("2XB", None), ("1.GB", None), ("GB", None)],
)  # fmt: skip
def test_sizes_have_decimal_or_binary_units(text: str, size: int | None) -> None:
    if size is not None:
        assert upscale.parse_memory(text) == size
    else:
        with pytest.raises(UserError, match="is no size"):
            upscale.parse_memory(text)
