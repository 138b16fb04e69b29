from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from srdeploy.errors import UserError
from srdeploy.exporting.precision.graph import convolution_kinds
from srdeploy.fitting.probe import PRECISIONS, Ends, write_probe
from srdeploy.fitting.uses import DEPTHWISE, LayerKind
from srdeploy.runtime.open import open_session

ENDS = Ends(3, 2, (3, 3), pre_upscaled=False, scale=2)
ADD = LayerKind((3, 3), 1, 1.0, "Add")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_chain_computes_in_the_precision(precision: str) -> None:
    made = write_probe(ENDS, ADD, (8, 16), 2, precision)
    assert made == write_probe(ENDS, ADD, (8, 16), 2, precision)
    head, *chain, tail = convolution_kinds(onnx.load_from_string(made)).values()
    assert chain == [precision] * 4
    assert precision != "int8" or (head, tail) == ("fp32", "fp32")


@pytest.mark.parametrize(
    ("kind", "widths"),
    [
        (ADD, (8, 16)),
        (LayerKind((1, 1), 1, 1.0, "PRelu"), (4, 8)),
        (LayerKind((3, 5), DEPTHWISE, 1.0, "LeakyRelu"), (8, 8)),
    ],
    ids=str,
)
def test_it_runs_and_upscales(kind: LayerKind, widths: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "probe.onnx"
    path.write_bytes(write_probe(ENDS, kind, widths, 1, "fp32"))
    convolutions = [n for n in onnx.load(path).graph.node if n.op_type == "Conv"]
    assert len(convolutions) == 4
    with open_session(path, threads=1) as session:
        assert session.run(np.zeros((1, 3, 8, 12), np.float32)).shape == (1, 3, 16, 24)


def test_a_precision_that_is_chosen_by_loss_has_no_probe() -> None:
    with pytest.raises(UserError, match="mixed"):
        write_probe(ENDS, ADD, (8, 8), 1, "mixed")
