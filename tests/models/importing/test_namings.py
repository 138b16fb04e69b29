"""Other projects' names become ours, one by one."""

from __future__ import annotations

import pytest
import torch

from srdeploy.models.importing.layouts import find_naming
from srdeploy.models.importing.namings import Naming, rename
from srdeploy.models.registry import ARCHITECTURES

ONE = torch.zeros(1)
NAMINGS = [naming for row in ARCHITECTURES.values() for naming in row.read_by().namings]
BASICSR, RCAN = "BasicSR EDSR", "BasicSR RCAN"
MLPERF, NESTED = "MLPerf Mobile EDSR", "EDSR with a nested lite tail"
ESRGAN = "ESRGAN's RRDBNet"


@pytest.mark.parametrize(
    ("names", "title"),
    [
        (["head.weight", "bc.weight", "tail.weight"], MLPERF),
        (["head.weight", "tail.weight", "body.0.0.weight"], None),
        (["conv_first.weight", "body.0.conv1.weight", "conv_last.weight", "more"], BASICSR),
        (["conv_first.weight", "conv_after_body.weight", "conv_last.weight"], None),  # SwinIR's
        (["conv_first.weight", "body.0.residual_group.0.rcab.0.weight", "conv_last.weight"], RCAN),
        (["conv_first.weight", "conv_last.weight"], None),
        (["conv_1.weight", "block_1.c1_r.weight", "conv_2.weight"], "RLFN"),
        (["conv_1.weight", "block_1.c1_r.weight", "conv_2.weight", "conv_cat.weight"], None),
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
        "mean": "mean",  # of the network itself
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
    RCAN: {
        "conv_first.weight": "head.0.weight",
        "body.0.residual_group.0.rcab.0.weight": "body.0.body.0.body.0.weight",
        "body.1.residual_group.4.rcab.2.bias": "body.1.body.4.body.2.bias",
        "body.0.residual_group.3.rcab.3.attention.1.bias": "body.0.body.3.body.3.conv_du.0.bias",
        "body.0.residual_group.3.rcab.3.attention.3.bias": "body.0.body.3.body.3.conv_du.2.bias",
        "body.0.conv.weight": "body.0.body.5.weight",
        "conv_after_body.bias": "body.2.bias",
        "upsample.0.weight": "tail.0.0.weight",
        "conv_last.weight": "tail.1.weight",
    },
    NESTED: {
        "tail.0.0.weight": "tail.0.weight",
        "tail.0.0.0.weight": "tail.0.0.0.weight",
        "body.0.body.0.weight": "body.0.body.0.weight",
    },
    ESRGAN: {
        "conv_first.weight": "conv_first.weight",
        "RRDB_trunk.12.RDB3.conv5.bias": "body.12.rdb3.conv5.bias",
        "trunk_conv.weight": "conv_body.weight",
        "upconv2.weight": "conv_up2.weight",
        "HRconv.bias": "conv_hr.bias",
        "conv_last.bias": "conv_last.bias",
    },
}


def _naming(title: str) -> Naming:
    (naming,) = [naming for naming in NAMINGS if naming.title == title]
    return naming


@pytest.mark.parametrize("title", RENAMED)
def test_names_become_ours(title: str) -> None:
    naming = _naming(title)
    given = {name: torch.full((1,), i) for i, name in enumerate(RENAMED[title])}
    renamed = rename(given, naming)
    assert list(renamed) == list(RENAMED[title].values())
    assert list(renamed.values()) == list(given.values())


def test_without_blocks_what_follows_them_is_the_first() -> None:
    assert list(rename({"bc.weight": ONE}, _naming(MLPERF))) == ["body.0.weight"]


def test_whose_code_subtracts_a_mean_that_no_file_holds() -> None:
    assert [naming.title for naming in NAMINGS if naming.mean_outside] == [BASICSR, RCAN]
