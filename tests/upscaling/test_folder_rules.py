"""Rules of a folder of pictures: names, settings, what is finished, and how far it has come."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from srdeploy.data.picture import Picture, read_picture
from srdeploy.data.picture_write import FORMATS
from srdeploy.errors import UserError
from srdeploy.runtime.bicubic_session import BicubicSession
from srdeploy.upscaling import folder as module
from srdeploy.upscaling.compare import PictureComparison, PictureVersion
from srdeploy.upscaling.folder import (
    JOURNAL,
    PictureOutcome,
    Settings,
    UpscalingStopped,
    find_pictures,
    name_results,
    upscale_pictures,
)
from srdeploy.upscaling.image import Upscaler


def picture(path: Path, size: tuple[int, int] = (6, 5), mode: str = "L") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size[::-1], 77).save(path, format="PNG")
    return path


def upscale(
    inputs: list[Path],
    output: Path,
    settings: Settings | None = None,
    comparison: PictureComparison | None = None,
    scale: int = 2,
) -> list[PictureOutcome]:
    settings = settings or Settings()
    targets = name_results(find_pictures([str(path) for path in inputs]), output, scale, settings)
    return upscale_pictures(Upscaler(BicubicSession(), scale), targets, settings, comparison)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"bits": 12}, "--bits 12 does not exist; choose 8 or 16."),
        ({"quality": 0}, "--quality 0 is not between 1 and 100."),
        ({"quality": 101}, "--quality 101 is not between 1 and 100."),
        ({"format": "gif"}, "image format"),
        ({"format": "zip"}, "image format"),
    ],
)
def test_settings_that_do_not_exist(wrong: dict, told: str) -> None:
    with pytest.raises(UserError, match=told):
        Settings(**wrong)


def test_settings_at_their_limits() -> None:
    for right in ({"quality": 1}, {"quality": 100}, {"bits": 8}, {"bits": 16}, {"bits": None}):
        Settings(**right)  # type: ignore[arg-type]
    usual = Settings()
    assert (usual.format, usual.bits, usual.quality, usual.overwrite) == ("png", None, 95, False)


@pytest.mark.parametrize(
    ("format", "source", "kind"),
    [("png", "a.jpg", "png"), ("same", "a.jpg", "jpeg"), ("same", "a.gif", "png"),
     (".tif", "a.jpg", "tiff")],
)  # fmt: skip
def test_the_format_of_a_result(format: str, source: str, kind: str) -> None:
    assert Settings(format=format).kind(Path(source)) is FORMATS[kind]


def test_pictures_are_found_once_and_in_order(tmp_path: Path) -> None:
    ten, two, b = (picture(tmp_path / name) for name in ("10.png", "2.png", "b.png"))
    (tmp_path / "c.png").mkdir()
    picture(tmp_path / "c.png" / "deep.png")
    assert find_pictures([str(b), str(tmp_path)]) == [b, two, ten]
    assert find_pictures([f"{tmp_path}/*.png"]) == [ten, two, b]
    deep = tmp_path / "c.png" / "deep.png"
    assert find_pictures([f"{tmp_path}/**/*.png"]) == [ten, two, b, deep]
    with pytest.raises(UserError, match=r"Nothing fits the pattern '.*/z\*'"):
        find_pictures([f"{tmp_path}/z*"])
    odd = picture(tmp_path / "[1].png")
    assert find_pictures([str(odd)]) == [odd]
    assert find_pictures(["not-there.png"]) == [Path("not-there.png")]


def test_names_of_results(tmp_path: Path) -> None:
    sources = [Path("in/a.jpg"), Path("in/b.png")]
    named = name_results(sources, tmp_path, 3, Settings(format="same"))
    assert named == {sources[0]: tmp_path / "a_x3.jpg", sources[1]: tmp_path / "b_x3.png"}
    named = name_results(sources, tmp_path / "new", 4, Settings(format="webp"))
    assert named[sources[0]] == tmp_path / "new" / "a_x4.webp"
    one = tmp_path / "one.tif"
    assert name_results(sources[:1], one, 2, Settings()) == {sources[0]: one}
    assert name_results(sources[:1], one, 2, Settings(format="tiff")) == {sources[0]: one}
    (tmp_path / "folder.png").mkdir()
    named = name_results(sources, tmp_path / "folder.png", 2, Settings())
    assert named[sources[1]] == tmp_path / "folder.png" / "b_x2.png"


def test_names_that_are_refused(tmp_path: Path) -> None:
    a, b = Path("in/a.png"), Path("else/a.jpg")
    one = tmp_path / "one.png"
    with pytest.raises(UserError, match=r"one\.png' is one file, for 2 pictures; name a folder"):
        name_results([a, b], one, 2, Settings())
    with pytest.raises(UserError, match=r"one\.png' does not fit --format webp"):
        name_results([a], one, 2, Settings(format="webp"))
    with pytest.raises(UserError, match=r"^'in/a.png' and 'else/a.jpg' would both be written to '"):
        name_results([a, b], tmp_path, 2, Settings())
    for source, output in ((picture(one), one), (picture(tmp_path / "a_x2.png"), tmp_path)):
        sources = [source] if source == output else [picture(tmp_path / "a.png"), source]
        with pytest.raises(UserError, match="would replace the picture '"):
            name_results(sources, output, 2, Settings())
    (tmp_path / "link.png").symlink_to(one)
    with pytest.raises(UserError, match="choose another -o"):
        name_results([one], tmp_path / "link.png", 2, Settings())


def test_what_became_of_a_picture(tmp_path: Path) -> None:
    source = picture(tmp_path / "a.png", (7, 9), "LA")
    (found,) = upscale([source], tmp_path / "out", Settings(format="jpeg", bits=16))
    assert found.to_dict() == {
        "source": str(source), "output": str(tmp_path / "out" / "a_x2.jpg"), "state": "written",
        "reason": "", "size": (7, 9), "tiles": 1, "tile": (14, 18), "overlap": 0, "exact": True,
        "work": 1.0, "seconds": found.seconds, "comparison": None,
        "notes": ["jpeg has 8 bits, to which the result is rounded",
                  "jpeg has no alpha, which is left out"],
    }  # fmt: skip
    assert 0 < found.seconds < 20
    untouched = PictureOutcome(source, source)
    assert (untouched.state, untouched.tiles, untouched.exact, untouched.work) == (
        *("failed", 0, True, 1.0),
    )


def test_tiles_that_are_not_exact_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Upscaler.plan

    def plan(self: Upscaler, *arguments: int) -> object:
        from dataclasses import replace

        return replace(real(self, *arguments), exact=False, overlap=3)

    monkeypatch.setattr(Upscaler, "plan", plan)
    (found,) = upscale([picture(tmp_path / "a.png")], tmp_path / "out")
    assert (found.exact, found.overlap) == (False, 3)


@pytest.mark.parametrize(
    ("mode", "format", "room"),
    [("RGB", "png", 0), ("RGBA", "png", 6 * 5 * 4), ("L", "tiff", 12 * 10 * (1 + 11)),
     ("RGBA", "webp", 12 * 10 * (4 + 46) + 6 * 5 * 4), ("RGBA", "jpeg", 120 * (3 + 8) + 120)],
)  # fmt: skip
def test_what_is_held_until_it_is_written_is_reckoned_with(
    mode: str, format: str, room: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    real = Upscaler.plan

    def plan(self: Upscaler, *arguments: int) -> object:
        asked.append(arguments)
        return real(self, *arguments)

    monkeypatch.setattr(Upscaler, "plan", plan)
    upscale([picture(tmp_path / "a.png", mode=mode)], tmp_path / "out", Settings(format=format))
    channels = {"L": 1, "RGB": 3, "RGBA": 3 if format == "jpeg" else 4}[mode]
    assert asked == [((6, 5), 2 * 10 * channels, room)]  # a row of input gives two


@pytest.mark.parametrize(("bits", "dtype"), [(None, np.uint8), (8, np.uint8), (16, np.uint16)])
def test_bits_of_the_result(bits: int | None, dtype: type, tmp_path: Path) -> None:
    upscale([picture(tmp_path / "a.png")], tmp_path / "out", Settings(bits=bits))
    assert read_picture(tmp_path / "out" / "a_x2.png").pixels.dtype == dtype


CHANGES = {"quality": 90, "format": "same", "bits": 16, "identity": "other"}


@pytest.mark.parametrize("name", [*CHANGES, "scale", "picture"])
def test_a_result_of_other_settings_is_not_taken_for_this_one(name: str, tmp_path: Path) -> None:
    source, target = picture(tmp_path / "a.png"), tmp_path / "out" / "one.png"
    upscale([source], target)
    assert [out.state for out in upscale([source], target)] == ["finished"]
    scale = 3 if name == "scale" else 2
    settings = Settings(**{k: v for k, v in CHANGES.items() if k == name})  # type: ignore[arg-type]
    if name == "picture":
        picture(source, (5, 5))
    before = target.read_bytes()
    (found,) = upscale([source], target, settings, scale=scale)
    assert found.state == "failed"
    assert "exists and was made otherwise; give --overwrite, or another -o." in found.reason
    assert target.read_bytes() == before
    from dataclasses import replace

    (found,) = upscale([source], target, replace(settings, overwrite=True), scale=scale)
    assert found.state == "written"


@pytest.mark.parametrize("text", [None, "no JSON", "[1]", '{"one.png": 3}', '{"one.png": {}}'])
def test_a_result_that_nothing_is_known_of_is_not_replaced(
    text: str | None, tmp_path: Path
) -> None:
    source, target = picture(tmp_path / "a.png"), picture(tmp_path / "out" / "one.png")
    if text is not None:
        (target.parent / JOURNAL).write_text(text)
    (found,) = upscale([source], target)
    assert found.state == "failed"
    (found,) = upscale([picture(tmp_path / "b.png")], target.with_name("two.png"))
    assert found.state == "written"


def test_the_journal_keeps_what_else_is_in_the_folder(tmp_path: Path) -> None:
    a, b = picture(tmp_path / "a.png"), picture(tmp_path / "b.png", (9, 9))
    upscale([a], tmp_path / "out")
    upscale([b], tmp_path / "out")
    entries = json.loads((tmp_path / "out" / JOURNAL).read_text())
    assert {name: entry["source"] for name, entry in entries.items()} == {
        "a_x2.png": "a.png",
        "b_x2.png": "b.png",
    }
    assert [len(entry["made_from"]) for entry in entries.values()] == [2, 2]
    assert [out.state for out in upscale([a, b], tmp_path / "out")] == ["finished"] * 2
    (tmp_path / "out" / "a_x2.png").unlink()
    assert [out.state for out in upscale([a, b], tmp_path / "out")] == ["written", "finished"]


def test_side_by_sides_are_made_where_they_are_missing(tmp_path: Path) -> None:
    source, out = picture(tmp_path / "a.png", (40, 50), "RGB"), tmp_path / "out"
    comparison = PictureComparison([PictureVersion("bicubic", "b", None)], None, "one")
    (found,) = upscale([source], out, comparison=comparison)
    sheet = out / "a_x2_compare.png"
    assert found.comparison is not None
    assert found.comparison["sheet"] == str(sheet)
    assert [out.state for out in upscale([source], out, comparison=comparison)] == ["finished"]
    assert [out.state for out in upscale([source], out)] == ["finished"]  # without, it is there
    sheet.unlink()
    assert [out.state for out in upscale([source], out, comparison=comparison)] == ["written"]
    other = PictureComparison([PictureVersion("bicubic", "b", None)], None, "two")
    written = sheet.stat().st_mtime_ns
    assert [out.state for out in upscale([source], out, comparison=other)] == ["written"]
    assert sheet.stat().st_mtime_ns > written
    (found,) = upscale([source], out, Settings(bits=16), other)
    assert "was made otherwise" in found.reason


def test_sheets_have_no_alpha(tmp_path: Path) -> None:
    source = picture(tmp_path / "a.png", (40, 50), "RGBA")
    comparison = PictureComparison([PictureVersion("bicubic", "b", None)], None, "one")
    for format in ("png", "jpeg"):
        (found,) = upscale([source], tmp_path / "out", Settings(format=format), comparison)
        assert (found.state, found.reason) == ("written", "")


class Bar:
    """How far it has come, and under which title."""

    def __init__(self) -> None:
        self.steps: list[tuple[float, str]] = []

    def update(self, advance: float = 1, *, picture: str) -> None:
        self.steps.append((advance, picture))


@pytest.mark.parametrize("compared", [False, True])
def test_pictures_advance_the_bar_by_their_size(
    compared: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bar, totals = Bar(), []

    @contextmanager
    def track(title: str, total: int) -> Iterator[Bar]:
        totals.append((title, total))
        yield bar

    monkeypatch.setattr(module, "track", track)
    large, small = picture(tmp_path / "a.png", (100, 50)), picture(tmp_path / "b.png")
    comparison = (
        PictureComparison([PictureVersion("bicubic", "b", None)], None, "one") if compared else None
    )
    missing = tmp_path / "none.png"
    upscale([large, small, missing], tmp_path / "out", comparison=comparison)
    assert totals == [("upscale", 5 + 1 + 1)]
    named = list(dict.fromkeys(title for _, title in bar.steps))
    assert named == ["a.png (1 of 3)", "b.png (2 of 3)", "none.png (3 of 3)"]
    done = [sum(step for step, title in bar.steps if title == name) for name in named]
    assert done == pytest.approx([5, 1, 1])
    first = [step for step, title in bar.steps if title == named[0] and step]
    assert first == pytest.approx([2.5, 2.5] if compared else [5])


def test_never_more_than_its_share() -> None:
    bar = Bar()
    share = module._Share(bar, 4, "t")  # type: ignore[arg-type]
    share.advance(0.75)
    share.advance(0.75)
    share.finish()
    assert bar.steps == [(0, "t"), (3.0, "t"), (1.0, "t"), (0.0, "t")]


def test_interrupted_it_says_how_far_it_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = [picture(tmp_path / name) for name in ("a.png", "b.png", "d.png")]
    (tmp_path / "aa.png").write_text("no picture")
    real = module.read_picture

    def read(path: Path, room: float) -> Picture:
        if path.name == "d.png":
            raise KeyboardInterrupt
        return real(path, room)

    monkeypatch.setattr(module, "read_picture", read)
    told = "^Stopped after 2 of 4 pictures; the same command goes on from there"
    with pytest.raises(UpscalingStopped, match=told) as stopped:
        upscale([sources[0], tmp_path / "aa.png", *sources[1:]], tmp_path / "out")
    assert stopped.value.exit_code == 130


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), "'{}' needs more memory than there is; lower --memory."),
        (UserError("So."), "So."),
        (OSError(errno.EIO, "Broken", "{}"), "'{}' is left out: Broken; mend that, or name another "
         "file or -o, and run again."),
        (OSError(errno.EIO, "Broken", "else"), "'{}' is left out: Broken ('else'); mend that"),
        (OSError(errno.EIO, "Broken", b"else"), "'{}' is left out: Broken ('else'); mend that"),
        (OSError("odd"), "'{}' is left out: odd; mend that"),
        (OSError(errno.EIO, "Broken", 3), "'{}' is left out: Broken; mend that"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_a_sentence(
    error: Exception, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = picture(tmp_path / "a.png")
    if getattr(error, "filename", None) == "{}":
        error.filename = str(source)  # type: ignore[attr-defined]

    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(module, "read_picture", fails)
    (found,) = upscale([source], tmp_path / "out")
    assert found.state == "failed"
    assert found.reason.startswith(told.format(source))
    assert list((tmp_path / "out").glob("*.png")) == []


def test_what_a_picture_carries_goes_into_the_result(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "told"
    Image.new("RGB", (5, 6)).save(tmp_path / "a.png", exif=exif, icc_profile=b"profile")
    upscale([tmp_path / "a.png"], tmp_path / "out")
    found = read_picture(tmp_path / "out" / "a_x2.png")
    assert found.icc == b"profile"
    assert b"told" in (found.exif or b"")


def test_quality_decides_the_size(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    sizes = []
    for quality in (30, 95):
        settings = Settings(format="jpeg", quality=quality)
        (found,) = upscale([tmp_path / "a.png"], tmp_path / f"{quality}", settings)
        sizes.append(found.output.stat().st_size)
    assert 2 * sizes[0] < sizes[1]


def test_frames_are_noted(tmp_path: Path) -> None:
    frames = [Image.new("L", (5, 5), level) for level in (10, 20)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    (found,) = upscale([tmp_path / "a.gif"], tmp_path / "out")
    assert found.notes == ["the first of several frames is taken"]


def test_areas_come_from_the_header(tmp_path: Path) -> None:
    assert module._area(picture(tmp_path / "a.png", (7, 9))) == 63
    (tmp_path / "b.png").write_text("no picture")
    assert module._area(tmp_path / "b.png") == 0
    assert module._area(tmp_path / "none.png") == 0
