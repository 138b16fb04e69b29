"""Other projects' names become ours, one by one."""

from __future__ import annotations

import pytest
import torch

from srdeploy.models.importing.namings import NAMINGS, find_naming, rename, split_channel_masks

ONE = torch.zeros(1)
MLPERF, BASICSR, NESTED = (naming.title for naming in NAMINGS)


@pytest.mark.parametrize(
    ("names", "title"),
    [
        (["head.weight", "bc.weight", "tail.weight"], MLPERF),
        (["head.weight", "tail.weight", "body.0.0.weight"], None),
        (["conv_first.weight", "conv_after_body.weight", "conv_last.weight", "more"], BASICSR),
        (["conv_first.weight", "conv_last.weight"], None),
        (["head.0.weight", "tail.0.0.weight"], NESTED),
        (["head.0.weight", "tail.0.0.weight", "tail.1.weight"], None),  # as EDSR itself
        (["head.0.weight", "tail.0.0.weight", "tail.1.bias"], None),
        (["head.0.weight", "tail.0.0.weight", "tail.0.2.weight"], None),
        (["head.0.weight", "tail.0.weight"], None),
        ([], None),
    ],
)
def test_whose_names_they_are(names: list[str], title: str | None) -> None:
    found = find_naming(dict.fromkeys(names))
    assert (None if found is None else found.title) == title


RENAMED: dict[str, dict[str, str]] = {
    MLPERF: {
        "head.weight": "head.0.weight",
        "head.bias": "head.0.bias",
        "body.0.0.weight": "body.0.body.0.weight",
        "body.11.2.bias": "body.11.body.2.bias",
        "bc.weight": "body.12.weight",
        "tail.bias": "tail.0.bias",
        "body.3.1.weight": "body.3.1.weight",  # nothing that we know
        "sub_mean.weight": "sub_mean.weight",
    },
    BASICSR: {
        "conv_first.weight": "head.0.weight",
        "body.0.conv1.weight": "body.0.body.0.weight",
        "body.2.conv2.bias": "body.2.body.2.bias",
        "conv_after_body.bias": "body.3.bias",
        "upsample.0.weight": "tail.0.0.weight",
        "upsample.2.bias": "tail.0.2.bias",
        "conv_last.weight": "tail.1.weight",
    },
    NESTED: {
        "tail.0.0.weight": "tail.0.weight",
        "tail.0.0.0.weight": "tail.0.0.0.weight",
        "body.0.body.0.weight": "body.0.body.0.weight",
    },
}


@pytest.mark.parametrize("title", RENAMED)
def test_names_become_ours(title: str) -> None:
    (naming,) = [naming for naming in NAMINGS if naming.title == title]
    given = {name: torch.full((1,), i) for i, name in enumerate(RENAMED[title])}
    renamed = rename(given, naming)
    assert list(renamed) == list(RENAMED[title].values())
    assert list(renamed.values()) == list(given.values())


def test_without_blocks_what_follows_them_is_the_first() -> None:
    assert list(rename({"bc.weight": ONE}, NAMINGS[0])) == ["body.0.weight"]


def test_whose_code_subtracts_a_mean_that_no_file_holds() -> None:
    assert [naming.title for naming in NAMINGS if naming.mean_outside] == [BASICSR]


def test_channel_masks_become_two_for_each_layer() -> None:
    masks = torch.arange(2 * 3 * 2.0).view(1, 2, 3, 2)  # channels, layers, dense or sparse
    found = split_channel_masks({"a": ONE, "body.0.body.ch_mask": masks, "b": ONE})
    assert list(found) == [
        "a",
        *(f"body.0.body.ch_mask.{i}.{k}" for i in range(3) for k in ("dense", "sparse")),
        "b",
    ]
    assert {tuple(t.shape) for name, t in found.items() if "mask" in name} == {(1, 2, 1, 1)}
    values = {name[-8:]: t.flatten().tolist() for name, t in found.items() if "mask" in name}
    assert values == {
        "_mask.0.dense"[-8:]: [0, 6], "_mask.0.sparse"[-8:]: [1, 7],
        "_mask.1.dense"[-8:]: [2, 8], "_mask.1.sparse"[-8:]: [3, 9],
        "_mask.2.dense"[-8:]: [4, 10], "_mask.2.sparse"[-8:]: [5, 11],
    }  # fmt: skip
    assert all(t.is_contiguous() for t in found.values())


@pytest.mark.parametrize("shape", [(1, 2, 3, 1), (1, 2, 3, 3), (2, 3, 2), (1, 1, 2, 3, 2)])
def test_masks_of_another_shape_are_left(shape: tuple[int, ...]) -> None:
    masks = torch.zeros(shape)
    assert split_channel_masks({"ch_mask": masks, "0.ch_mask": masks}) == {
        "ch_mask": masks, "0.ch_mask": masks
    }  # fmt: skip


def test_only_masks_are_split() -> None:
    table = torch.zeros(1, 2, 3, 2)
    assert list(split_channel_masks({"ch_mask.weight": table})) == ["ch_mask.weight"]
