"""Intervals under two kinds of names, of a graph whose layers are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from srdeploy.errors import SrdeployError
from srdeploy.exporting.precision.quantise_names import from_card, is_stale, to_card
from srdeploy.models.card import Card
from srdeploy.models.digest import weights_sha256
from srdeploy.models.network import Network
from srdeploy.models.quantised import Quantised, Range
from tests.exporting.precision.test_graph import model, node

SAME = {"pads": [1, 1, 1, 1]}


def weight(seed: int, n_out: int, n_in: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.2, (n_out, n_in, 3, 3)).astype(np.float32)


SHAPES = {"head": (4, 3), "a": (4, 4), "b": (4, 4), "up": (16, 4), "last": (3, 4)}
WEIGHTS = {name: weight(seed, *shape) for seed, (name, shape) in enumerate(SHAPES.items())}


def graph(times: float = 1.0, **stored: Any) -> onnx.ModelProto:
    """Of the network below; the weights of ``b`` are multiplied, as simplification may do."""
    weights = {f"{name}.weight": values for name, values in WEIGHTS.items()}
    return model(
        [
            node("Conv", ["lr", "head.weight"], "h", **SAME),
            node("Conv", ["h", "a.weight"], "a", **SAME),
            node("Relu", ["a"], "ar"),
            node("Conv", ["ar", "b.weight"], "b", **SAME),
            node("Add", ["b", "h"], "s"),
            node("Conv", ["s", "up.weight"], "u", **SAME),
            node("DepthToSpace", ["u"], "p", blocksize=2, mode="CRD"),
            node("Conv", ["p", "last.weight"], "sr", **SAME),
        ],
        weights | {"b.weight": WEIGHTS["b"] * np.float32(times)} | stored,
    )


def network(quantised: Quantised | None = None) -> Network:
    module = nn.ModuleDict()
    for name, values in WEIGHTS.items():
        conv = nn.Conv2d(values.shape[1], values.shape[0], 3, padding=1, bias=False)
        conv.weight = nn.Parameter(torch.from_numpy(values.copy()))
        module[name] = conv
    card = Card(arch="t", scale=2, scales=(2,), channels=3, value_range=1.0, quantised=quantised)
    return Network(module, card)


CHOSEN = ["a", "b", "/s/Add", "up"]
RANGES = {t: Range(-n, n + 1.0) for n, t in enumerate(("h", "ar", "b", "s", "u", "p", "lr"), 1)}


@pytest.mark.parametrize("times", [1.0, 4.0])
def test_there_and_back(times: float) -> None:
    net = network()
    made = to_card(graph(times), net, CHOSEN, RANGES, "int8")
    assert made.activations == "int8"
    assert made.layers == ("a", "b", "sum.0", "up")
    assert made.weights_sha256 == weights_sha256(net.module.state_dict())
    # A tensor is called after its maker; b's is smaller in torch; p is u with its pixels moved.
    assert made.ranges == {
        "head": (-1, 2), "a": (-2, 3), "b": (pytest.approx(-3 / times), pytest.approx(4 / times)),
        "sum.0": (-4, 5), "up": (-5, 6),
    }  # fmt: skip
    back = from_card(graph(times), network(made))
    assert back is not None
    assert back.layers == CHOSEN
    assert back.activations == "int8"
    assert back.names == {"h": "head", "ar": "a", "b": "b", "s": "sum.0", "u": "up"}
    assert back.factors["b"] == pytest.approx(times)
    assert {back.factors[t] for t in ("h", "ar", "s", "u")} == {1.0}
    for tensor, interval in back.ranges.items():
        assert interval.low == pytest.approx(RANGES[tensor].low)
        assert interval.high == pytest.approx(RANGES[tensor].high)


def test_what_no_layer_made_is_called_after_its_reader() -> None:
    made = to_card(graph(), network(), ["head", "last"], RANGES | {"sr": Range(0, 1)}, "uint8")
    assert set(made.ranges) == {"lr", "head", "last:0", "last"}
    assert made.ranges["lr"] == (-7, 8)
    assert made.ranges["last:0"] == (-6, 7)
    moved = to_card(graph(), network(), ["up", "last"], RANGES | {"sr": Range(0, 1)}, "uint8")
    assert set(moved.ranges) == {"sum.0", "up", "last"}  # p has the interval of u
    back = from_card(graph(), network(moved))
    assert back is not None
    assert back.ranges["p"] == back.ranges["u"] == RANGES["u"]
    assert back.names["p"] == "up"


def test_a_card_without_or_of_other_weights() -> None:
    assert from_card(graph(), network()) is None
    assert not is_stale(network())
    made = to_card(graph(), network(), CHOSEN, RANGES, "int8")
    assert not is_stale(network(made))
    other = network(made.model_copy(update={"weights_sha256": "0" * 64}))
    assert is_stale(other)
    assert from_card(graph(), other) is None


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"layers": ("a", "b", "sum.0", "up", "zzz")}, "zzz"),
        ({"layers": ("a", "sum.7")}, "sum.7"),
        ({"ranges": {"head": (0, 1), "a": (0, 1), "sum.0": (0, 1), "up": (0, 1)}}, "b"),
    ],
)
def test_a_graph_of_another_network(changes: dict[str, Any], missing: str) -> None:
    made = to_card(graph(), network(), CHOSEN, RANGES, "int8").model_copy(update=changes)
    with pytest.raises(SrdeployError) as caught:
        from_card(graph(), network(made))
    assert f"what was fine-tuned for 8 bits (at {missing}); use the exporter" in str(caught.value)


@pytest.mark.parametrize(
    "stored",
    [
        {"a.weight": WEIGHTS["a"] + np.float32(0.001)},
        {"a.weight": WEIGHTS["a"] * np.arange(1, 5, dtype=np.float32)[:, None, None, None]},
        {"a.weight": WEIGHTS["a"][:, :, :1, :1].copy()},
        {"a.weight": -WEIGHTS["a"]},
    ],
)
def test_weights_that_are_not_those_of_a_layer(stored: dict[str, np.ndarray]) -> None:
    with pytest.raises(
        SrdeployError, match="The weights of 'a' in the exported graph are not thos"
    ):
        to_card(graph(**stored), network(), CHOSEN, RANGES, "int8")
    to_card(graph(**stored), network(), ["b"], RANGES, "int8")  # nobody asks for a


def test_weights_of_no_layer_in_torch() -> None:
    net = network()
    del net.module["a"]
    with pytest.raises(SrdeployError, match="The weights of 'a'"):
        to_card(graph(), net, CHOSEN, RANGES, "int8")
