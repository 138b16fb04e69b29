"""Trees of EDSR-PyTorch and BasicSR, as their users have them."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from srdeploy.data.benchmark import open_benchmark
from srdeploy.data.bicubic import imresize
from srdeploy.data.decoded import read_decoded
from srdeploy.data.images import list_images, read_rgb, write_png
from srdeploy.data.layouts import find_layout
from srdeploy.errors import UserError
from srdeploy.train.cache import open_folder


def image(seed: int, height: int = 24, width: int = 36) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def other(seed: int, scale: int = 2) -> np.ndarray:
    """An input that no bicubic makes: what is read is seen to be read."""
    return 255 - imresize(image(seed), 1 / scale)


def tree(root: Path, names: list[str], lr: str, hr: str, template: str, scale: int = 2) -> Path:
    for seed, name in enumerate(names):
        write_png(root / hr / f"{name}.png", image(seed))
        write_png(root / lr / f"{template.format(name=name, s=scale)}.png", other(seed, scale))
    return root


@pytest.fixture
def dir_data(tmp_path: Path) -> Path:
    """What ``--dir_data`` names in EDSR-PyTorch."""
    for split in ("train", "valid"):
        names = ["0001", "0002"] if split == "train" else ["0801"]
        lr = f"DIV2K_{split}_LR_bicubic/X2"
        tree(tmp_path / "DIV2K", names, lr, f"DIV2K_{split}_HR", "{name}x{s}")
    for name in ("Set5", "Set14"):
        tree(tmp_path / "benchmark" / name, ["a", "b"], "LR_bicubic/X2", "HR", "{name}x{s}")
    return tmp_path


def names(folder: Path, scale: int = 2) -> list[str]:
    return [pair.name for pair in open_benchmark(folder, scale)]


def test_dir_data_to_measure(dir_data: Path) -> None:
    with pytest.raises(UserError, match="holds the sets Set14, Set5"):
        open_benchmark(dir_data / "benchmark", 2)
    pairs = open_benchmark(dir_data / "benchmark" / "Set5", 2)
    assert [pair.name for pair in pairs] == ["a", "b"]
    np.testing.assert_array_equal(pairs[0].lr(), other(0))
    assert names(dir_data / "DIV2K") == ["0801"]
    np.testing.assert_array_equal(open_benchmark(dir_data / "DIV2K", 2)[0].lr(), other(0))


def test_dir_data_to_train(dir_data: Path) -> None:
    for root in (dir_data, dir_data / "DIV2K"):
        folder = open_folder(root, [2, 3], luma=False, upscaled=False)
        np.testing.assert_array_equal(folder.targets[1], image(1))
        np.testing.assert_array_equal(folder.inputs[2][1], other(1))
        # There is no X3, so its inputs are made.
        np.testing.assert_array_equal(folder.inputs[3][1], imresize(image(1), 1 / 3))


def test_the_inputs_count_as_training_data(dir_data: Path) -> None:
    before = open_folder(dir_data, [2], luma=False, upscaled=False).digest
    lr = dir_data / "DIV2K" / "DIV2K_train_LR_bicubic" / "X2" / "0002x2.png"
    write_png(lr, imresize(image(1), 1 / 2))
    after = open_folder(dir_data, [2], luma=False, upscaled=False)
    assert after.digest != before
    np.testing.assert_array_equal(after.inputs[2][1], imresize(image(1), 1 / 2))


def test_luma_networks_get_inputs_that_were_never_rounded(dir_data: Path) -> None:
    folder = open_folder(dir_data, [2], luma=True, upscaled=True)
    assert folder.inputs[2][0].shape == folder.targets[0].shape
    assert folder.inputs[2][0].dtype == np.int16


@pytest.mark.parametrize("suffix", [".npy", ".pt"])
def test_sep_caches(tmp_path: Path, suffix: str) -> None:
    for seed, name in enumerate(("0001", "0002")):
        for where, what in (
            (f"bin/DIV2K_train_HR/{name}", image(seed)),
            (f"bin/DIV2K_train_LR_bicubic/X2/{name}x2", other(seed)),
        ):
            path = (tmp_path / "DIV2K" / where).with_suffix(suffix)
            path.parent.mkdir(parents=True, exist_ok=True)
            if suffix == ".npy":
                np.save(path, what)
            else:
                path.write_bytes(pickle.dumps(what))
    folder = open_folder(tmp_path, [2], luma=False, upscaled=False)
    np.testing.assert_array_equal(folder.targets[1], image(1))
    np.testing.assert_array_equal(folder.inputs[2][1], other(1))


def test_caches_beside_pictures_are_not_counted_twice(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", image(0))
    np.save(tmp_path / "a.npy", image(0))
    assert [path.name for path in list_images(tmp_path)] == ["a.png"]


def test_decoded_images_of_any_kind(tmp_path: Path) -> None:
    for shape, dtype in (((5, 7), np.uint8), ((5, 7, 4), np.uint8), ((5, 7, 3), np.uint16)):
        np.save(tmp_path / "a.npy", np.full(shape, np.iinfo(dtype).max, dtype))
        assert read_decoded(tmp_path / "a.npy").ndim == 3
        assert (read_rgb(tmp_path / "a.npy") == 255).all()
        assert read_rgb(tmp_path / "a.npy").shape == (5, 7, 3)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_every_protocol(tmp_path: Path, protocol: int) -> None:
    (tmp_path / "a.pt").write_bytes(pickle.dumps(image(3), protocol))
    np.testing.assert_array_equal(read_decoded(tmp_path / "a.pt"), image(3))


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('ran')",))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (pickle.dumps(Hostile()), "wants builtins.exec called"),
        (pickle.dumps([1, 2]), "holds no array"),
        (b"no pickle", "cannot be read"),
        (pickle.dumps(image(0))[:100], "cannot be read"),
        (pickle.dumps(image(0).astype(float)), r"holds float64 \[24, 36, 3\]"),
    ],
)
def test_files_that_are_no_images(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(UserError, match=words):
        read_rgb(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("hr", "lr", "template"),
    [
        ("GTmod12", "LRbicx2", "{name}"),
        ("GT", "LQ", "{name}"),
        ("HR", "LR/X2", "{name}x{s}"),
        ("DIV2K_train_HR_sub", "DIV2K_train_LR_bicubic/X2_sub", "{name}"),
    ],
)
def test_basicsr_pairs(tmp_path: Path, hr: str, lr: str, template: str) -> None:
    tree(tmp_path, ["0001_s001", "0001_s002"], lr, hr, template)
    folder = open_folder(tmp_path, [2], luma=False, upscaled=False)
    np.testing.assert_array_equal(folder.inputs[2][1], other(1))
    if "train" not in hr:
        pairs = open_benchmark(tmp_path, 2)
        np.testing.assert_array_equal(pairs[1].lr(), other(1))


def test_pre_upscaled_colour_networks_get_the_inputs_enlarged(tmp_path: Path) -> None:
    tree(tmp_path, ["a"], "LQ", "GT", "{name}")
    folder = open_folder(tmp_path, [2], luma=False, upscaled=True)
    np.testing.assert_array_equal(folder.inputs[2][0], imresize(other(0), size=(24, 36)))


def test_inputs_of_another_scale_are_refused(tmp_path: Path) -> None:
    tree(tmp_path, ["a"], "LQ", "GT", "{name}")
    with pytest.raises(UserError, match=r"LQ/a.png' is 18x12.* needs 9x6 at scale 4"):
        open_folder(tmp_path, [4], luma=False, upscaled=False)


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    tree(tmp_path, ["a", "b"], "LQ", "GT", "{name}")
    (tmp_path / "LQ" / "b.png").unlink()
    with pytest.raises(UserError, match=r"has no 'bx2\.png'"):
        open_benchmark(tmp_path, 2)


def test_training_images_are_not_measured_on_by_accident(tmp_path: Path) -> None:
    tree(tmp_path, ["a"], "DIV2K_train_LR_bicubic/X2", "DIV2K_train_HR", "{name}x{s}")
    with pytest.raises(UserError, match=r"images to train on .*none to measure on"):
        open_benchmark(tmp_path, 2)
    assert names(tmp_path / "DIV2K_train_HR") == ["a"]


def test_what_is_not_recognised_stays_plain(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    assert find_layout(tmp_path, "train").originals == tmp_path
    with pytest.raises(UserError, match="holds no images"):
        open_benchmark(tmp_path, 2)


# Folders of inputs


TREES = [
    ("Set5", "HR", "LR_bicubic/X2", "{name}x{s}", "Set5"),
    ("Set5", "GTmod12", "LRbicx2", "{name}", "Set5"),
    ("Set5", "GTmod4", "LRbicx3", "{name}", "Set5"),
    ("mine", "GT", "LQ", "{name}", "mine"),
    ("mine", "HR", "LR/X4", "{name}", "mine"),
    ("DIV2K", "DIV2K_valid_HR", "DIV2K_valid_LR_bicubic/X2", "{name}x{s}", "DIV2K"),
    ("DIV2K", "DIV2K_train_HR", "DIV2K_train_LR_bicubic/X2", "{name}x{s}", "DIV2K/DIV2K_train_HR"),
]


@pytest.mark.parametrize(("root", "hr", "lr", "template", "given"), TREES)
def test_a_folder_of_inputs_is_refused_with_the_one_to_give(
    root: str, hr: str, lr: str, template: str, given: str, tmp_path: Path
) -> None:
    place = tree(tmp_path / root, ["a", "b"], lr, hr, template)
    told = rf"^'{place / lr}' holds the low-resolution inputs of '{place / hr}', not originals; "
    with pytest.raises(UserError, match=told + f"give '{tmp_path / given}' instead"):
        open_benchmark(place / lr, 2)
    named = names(tmp_path / given)  # which is what can be given
    assert named == ["a", "b"]
    with pytest.raises(UserError, match=told):
        open_folder(place / lr, [2], luma=False, upscaled=False)


def test_inputs_to_train_on_are_refused_with_the_folder_that_holds_both(tmp_path: Path) -> None:
    lr = "DIV2K_train_LR_bicubic/X2_sub"
    tree(tmp_path, ["a"], lr, "DIV2K_train_HR_sub", "{name}")
    with pytest.raises(UserError, match=f"give '{tmp_path}' instead"):
        open_folder(tmp_path / lr, [2], luma=False, upscaled=False)
    open_folder(tmp_path, [2], luma=False, upscaled=False)


def test_paths_are_told_as_they_were_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path / "Set5", ["a"], "LR_bicubic/X2", "HR", "{name}x{s}")
    monkeypatch.chdir(tmp_path)
    for folder in ("Set5/LR_bicubic/X2", "Set5/LR_bicubic"):
        with pytest.raises(UserError, match=rf"^'{folder}' holds .* of 'Set5/HR', .* give 'Set5'"):
            open_benchmark(folder, 2)
    monkeypatch.chdir(tmp_path / "Set5" / "LR_bicubic")
    with pytest.raises(UserError, match=r"of '../HR', not originals; give '..' instead"):
        open_benchmark("X2", 2)


@pytest.mark.parametrize("names", [["babyx2", "birdx2"], ["img_001_SRF_2_LR", "img_002_SRF_2_LR"]])
def test_inputs_are_known_by_their_names(names: list[str], tmp_path: Path) -> None:
    for name in names:
        write_png(tmp_path / f"{name}.png", image(0))
    told = rf"holds low-resolution inputs by their names \('{names[0]}'...\), not originals; give"
    with pytest.raises(UserError, match=told):
        open_benchmark(tmp_path, 2)


def test_originals_and_inputs_in_one_folder(tmp_path: Path) -> None:
    for name in ("a_HR", "a_LR", "b_HR", "b_LR"):
        write_png(tmp_path / f"{name}.png", image(0))
    with pytest.raises(UserError, match=r"holds originals and inputs together .* copy .*_HR"):
        open_benchmark(tmp_path, 2)


@pytest.mark.parametrize(
    "given",
    [["matrix2"], ["a_x2", "b_x2"], ["ax2", "bx3"], ["ax2", "b"], ["a_HR", "b_HR"], ["x2", "3"]],
)
def test_names_that_mean_nothing(given: list[str], tmp_path: Path) -> None:
    for name in given:
        write_png(tmp_path / f"{name}.png", image(0))
    assert sorted(names(tmp_path)) == sorted(given)


def test_a_folder_called_like_inputs_without_originals(tmp_path: Path) -> None:
    for folder in ("LR", "X2", "D_train_LR_bicubic/X2"):
        write_png(tmp_path / folder / "a.png", image(0))
        assert names(tmp_path / folder) == ["a"]
