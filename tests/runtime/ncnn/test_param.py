from __future__ import annotations

from pathlib import Path

import pytest

from srdeploy.errors import UserError
from srdeploy.runtime.ncnn.param import LARGEST, foreign_layers, read_param

PARAM = """7767517
4 5
Input                    in0      0 1 in0
Split                    copies   1 2 in0 a b
Convolution              conv_0   1 1 a c 0=8 1=3 6=216
PixelShuffle             shuffle  1 1 c out0 0=2 1=0
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "net.param"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_structure_is_read_and_written(tmp_path: Path) -> None:
    found = read_param(written(tmp_path, PARAM))
    assert (found.inputs, found.outputs) == (("in0",), ("b", "out0"))
    assert (found.channels, found.weights) == (3, 216)
    assert not found.in_8_bits
    assert read_param(written(tmp_path, PARAM.replace("6=216", "6=216 8=2"))).in_8_bits
    assert not read_param(written(tmp_path, PARAM.replace("1=0", "1=0 8=2"))).in_8_bits
    named = found.renamed({"in0": "data", "out0": "output"})
    again = read_param(written(tmp_path, named.text()))
    assert again == named
    assert (again.inputs, again.outputs) == (("data",), ("b", "output"))
    with pytest.raises(ValueError, match="called c are there"):
        found.renamed({"in0": "c"})


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("7767517", "7767518", "begins with 7767517"),
        (PARAM, "", "begins with 7767517"),
        ("4 5", "4", "is damaged"),
        ("4 5", "5 5", "announces 5 layers"),
        ("4 5", "4 6", "6 tensors and has 4 and 5"),
        ("1 1 a c", "1 9 a c", "is damaged"),
        ("1 1 a c", "-1 1 a c", "is damaged"),
        ("1 1 a c", "1 1 z c", "'conv_0' reads what no layer has made"),
        ("1 1 a c", "1 1 a b", "'shuffle' reads what"),
        ("1 1 c out0", "1 1 c a", "truncated or damaged"),
        ("0=2 1=0", "what", "is damaged"),
        ("Split ", "Splitä ", "begins with 7767517"),
    ],
)  # fmt: skip
def test_what_is_damaged_is_told(old: str, new: str, told: str, tmp_path: Path) -> None:
    assert old in PARAM
    with pytest.raises(UserError, match=told):
        read_param(written(tmp_path, PARAM.replace(old, new)))


def test_a_structure_without_end_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "net.param"
    with path.open("wb") as file:
        file.truncate(LARGEST + 1)
    with pytest.raises(UserError, match="too large"):
        read_param(path)
    with pytest.raises(UserError, match="no file"):
        read_param(tmp_path / "none.param")


def test_what_ncnn_does_not_know(tmp_path: Path) -> None:
    assert foreign_layers(read_param(written(tmp_path, PARAM))) == []
    text = PARAM.replace("4 5", "6 7") + "aten::foo f 1 1 b x\npnnx.Expression e 1 1 x d\n"
    told = foreign_layers(read_param(written(tmp_path, text)))
    assert told == ["aten::foo ('f')", "pnnx.Expression ('e')"]
