"""Which folder is taken where several would do, and which are told of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from srdeploy.data.benchmark import Pair, open_benchmark
from srdeploy.data.builtin import BENCHMARK_IMAGES, TRAINING_IMAGES
from srdeploy.data.images import list_images, write_png
from srdeploy.data.layouts import DataLayout, find_layout
from srdeploy.errors import UserError


def images(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_a_plain_folder(tmp_path: Path) -> None:
    root = images(tmp_path, "a.png", "HR/b.png", "DIV2K_train_HR/c.png")
    assert find_layout(root, "measure") == DataLayout(root, (root / "LR_bicubic" / "X{s}",))
    absent = tmp_path / "absent"
    assert find_layout(absent, "train").originals == absent
    assert find_layout(str(absent), "train").originals == absent


@pytest.mark.parametrize(
    ("there", "taken"),
    [(["HR", "GTmod12", "GT", "gt", "hr"], "HR"), (["GTmod12", "GT"], "GTmod12"),
     (["GT", "gt"], "GT"), (["gt", "hr"], "gt"), (["hr"], "hr")],
)  # fmt: skip
def test_originals_by_their_names(there: list[str], taken: str, tmp_path: Path) -> None:
    root = images(tmp_path, *(f"{name}/a.png" for name in there))
    assert find_layout(root, "measure").originals == root / taken


INPUTS = ["LR_bicubic/X3", "LRbicx3", "LR/X3", "LR_x3", "X3", "LQ", "lq", "LR", "lr"]


@pytest.mark.parametrize("first", range(len(INPUTS)))
def test_inputs_by_their_names(first: int, tmp_path: Path) -> None:
    root = images(tmp_path, "HR/a.png", *(f"{name}/a.png" for name in INPUTS[first:]))
    layout = find_layout(root, "measure")
    assert layout.inputs_folder(3) == root / INPUTS[first]
    assert layout.inputs_for([root / "HR" / "a.png"], 3) == [root / INPUTS[first] / "a.png"]


def test_without_inputs_they_are_made(tmp_path: Path) -> None:
    layout = find_layout(
        images(tmp_path, "HR/a.png", "X2/a.png", "X4/.a.png", "LQ/a.txt"), "measure"
    )
    assert layout.inputs_folder(4) is None
    assert layout.inputs_for([tmp_path / "HR" / "a.png"], 3) is None
    assert DataLayout(tmp_path).inputs_folder(2) is None


def test_names_with_the_scale_come_first(tmp_path: Path) -> None:
    root = images(tmp_path, "HR/a.png", "HR/b.png", "X2/a.png", "X2/ax2.png", "X2/b.jpg")
    found = find_layout(root, "measure").inputs_for([root / "HR/a.png", root / "HR/b.png"], 2)
    assert found == [root / "X2" / "ax2.png", root / "X2" / "b.jpg"]
    with pytest.raises(UserError, match=r"X2' has no 'cx2.png' for '.*c\.png'; add the file"):
        find_layout(root, "measure").inputs_for([root / "HR/c.png"], 2)


@pytest.mark.parametrize("place", ["", "bin/", "DIV2K/", "DIV2K/bin/"])
@pytest.mark.parametrize("ending", ["", "_sub"])
@pytest.mark.parametrize(
    ("split", "use"),
    [("valid", "measure"), ("val", "measure"), ("test", "measure"), ("train", "train")],
)
def test_splits(place: str, ending: str, split: str, use: str, tmp_path: Path) -> None:
    both = [f"{place}X_{name}_HR{ending}/a.png" for name in ("train", split)]
    root = images(tmp_path, *both, f"{place}A_{split}_HR{ending}/.hidden.png")
    layout = find_layout(root, use)  # type: ignore[arg-type]
    where = root / place
    assert layout == DataLayout(
        where / f"X_{split}_HR{ending}", (where / f"X_{split}_LR_bicubic" / f"X{{s}}{ending}",)
    )


def test_which_split_comes_first(tmp_path: Path) -> None:
    root = images(
        tmp_path, "DIV2K/D_test_HR/a.png", "DIV2K/D_val_HR_sub/a.png", "bin/D_test_HR/a.png"
    )
    assert find_layout(root, "measure").originals == root / "bin" / "D_test_HR"
    images(root, "bin/D_val_HR/a.png", "bin/C_val_HR/a.png")
    assert find_layout(root, "measure").originals == root / "bin" / "C_val_HR"
    images(root, "D_test_HR_sub/a.png", "D_valid_HR_sub/a.png")
    assert find_layout(root, "measure").originals == root / "D_valid_HR_sub"


def test_a_set_alone_is_meant(tmp_path: Path) -> None:
    root = images(tmp_path, "benchmark/Set5/HR/a.png", "Else/HR/a.png", "DIV2K_train_HR/a.png")
    assert find_layout(root, "measure").originals == root / "benchmark" / "Set5" / "HR"
    images(root, "benchmark/B100/GT/a.png", "benchmark/file.txt", "benchmark/none/a.txt")
    told = rf"'{root}' holds the sets B100, Set5; name one of them, e.g. '{root}/benchmark/B100'"
    with pytest.raises(UserError, match=told):
        find_layout(root, "measure")
    assert find_layout(root, "train").originals == root / "DIV2K_train_HR"
    only = images(tmp_path / "only", "Set5/HR/a.png")
    assert find_layout(only, "measure").originals == only / "Set5" / "HR"
    assert find_layout(only, "train") == DataLayout(only)


@pytest.mark.parametrize(("split", "use", "other"), [("train", "measure", "train"),
                                                     ("valid", "train", "measure")])  # fmt: skip
def test_images_for_the_other_use(split: str, use: str, other: str, tmp_path: Path) -> None:
    root = images(tmp_path, f"D_{split}_HR/a.png")
    told = rf"holds images to {other} on \('D_{split}_HR'\) and none to {use} on; name that folder"
    with pytest.raises(UserError, match=told):
        find_layout(root, use)  # type: ignore[arg-type]


def test_shipped_images_are_two_sets() -> None:
    measured = open_benchmark("builtin", 2)
    assert [pair.hr_path.parent for pair in measured] == [BENCHMARK_IMAGES] * len(measured)
    assert {pair.name for pair in measured}.isdisjoint(p.stem for p in list_images(TRAINING_IMAGES))


def test_a_folder_by_its_bare_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("set", "a"):
        write_png(tmp_path / name / "x.png", np.zeros((4, 4, 3), np.uint8))
        assert [pair.name for pair in open_benchmark(name, 2)] == ["x"]


def test_originals_up_to_the_scale(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", np.zeros((3, 4, 3), np.uint8))
    assert Pair("a", 3, tmp_path / "a.png").hr().shape == (3, 3, 3)
    with pytest.raises(UserError, match=r"a\.png' is too small for scale 4; remove it"):
        Pair("a", 4, tmp_path / "a.png").hr()


@pytest.mark.parametrize(
    ("size", "right"),
    [((3, 4), True), ((4, 4), False), ((3, 5), False), ((2, 4), False), ((3, 3), False)],
)
def test_inputs_of_the_right_size(size: tuple[int, int], right: bool, tmp_path: Path) -> None:
    write_png(tmp_path / "hr.png", np.zeros((7, 8, 3), np.uint8))
    write_png(tmp_path / "lr.png", np.full((*size, 3), 9, np.uint8))
    pair = Pair("a", 2, tmp_path / "hr.png", tmp_path / "lr.png")
    if right:
        assert (pair.lr() == 9).all()
        return
    told = (
        rf"lr\.png' is {size[1]}x{size[0]}, but its original '.*hr\.png' \(8x6 after cropping\) "
        "needs 4x3 at scale 2; replace the file"
    )
    with pytest.raises(UserError, match=told):
        pair.lr()


def test_made_inputs_are_kept_by_content_and_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from srdeploy.data import benchmark
    from srdeploy.util.files import sha256

    monkeypatch.setattr(benchmark, "cache_dir", lambda: tmp_path / "cache")
    write_png(tmp_path / "a.png", np.zeros((6, 6, 3), np.uint8))
    Pair("a", 3, tmp_path / "a.png").lr()
    name = f"{sha256(tmp_path / 'a.png')[:32]}x3.png"
    assert [
        p.relative_to(tmp_path / "cache").as_posix() for p in tmp_path.rglob("cache/**/*.png")
    ] == [f"bicubic/v1/{name}"]
