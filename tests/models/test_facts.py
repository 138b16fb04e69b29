"""A card that lies is found out, soon, and in one sentence: without a digest to lean on."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from srdeploy.errors import UserError
from srdeploy.models.card import CARD_KEY, Card
from srdeploy.models.load import load_network
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.models.store import read_network, save_network
from tests.models.test_store import Tied
from tests.pruning.helpers import FACTORY, user_network

CONFIGS: dict[str, dict[str, Any]] = {
    "vdsr": {"n_layers": 3, "n_feats": 4},
    "edsr": {"n_blocks": 1, "n_feats": 4},
    "ledsr": {"n_blocks": 1, "n_feats": 4, "value_range": 1.0},
    "rirsr": {"n_groups": 2, "n_blocks": 1, "n_feats": 4, "mean_shift": False},
    "smsr": {"n_modules": 1, "n_layers": 2, "n_feats": 4},
}


def old_file(path: Path, network: Network, text: str | bytes | None = None, **card: Any) -> Path:
    """A file as srdeploy 0.1 wrote it, with fields of its card (or all its text) replaced."""
    fields = json.loads(network.card.to_json()) | card
    fields["config"] = {**network.card.config, **card.get("config", {})}
    text = json.dumps(fields) if text is None else text
    raw = text.encode() if isinstance(text, str) else text
    stand_in = "?" * len(raw)
    tensors = {k: v.clone() for k, v in network.module.state_dict().items()}
    save_file(tensors, path, {CARD_KEY: stand_in if isinstance(text, bytes) else text})
    path.write_bytes(path.read_bytes().replace(stand_in.encode(), raw))
    return path


@pytest.fixture(params=CONFIGS)
def network(request: pytest.FixtureRequest) -> Network:
    return create(request.param, **CONFIGS[request.param])


@pytest.fixture
def edsr() -> Network:
    return create("edsr", **CONFIGS["edsr"])


def refused(path: Path, **options: Any) -> str:
    began = time.process_time()
    with pytest.raises(UserError) as caught:
        load_network(path, **options)
    assert time.process_time() - began < 5
    assert "\n" not in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600
    return str(caught.value)


def test_cards_that_tell_the_truth(network: Network, tmp_path: Path) -> None:
    save_network(network, tmp_path / "n.safetensors")
    assert read_network(tmp_path / "n.safetensors").card == network.card
    assert read_network(old_file(tmp_path / "old.safetensors", network)).card == network.card


def test_a_network_served_at_another_of_its_factors_is_saved_and_read(tmp_path: Path) -> None:
    save_network(create("vdsr", n_layers=3, n_feats=4, scale=5), tmp_path / "a.safetensors")
    save_network(load_network(tmp_path / "a.safetensors", scale=3), tmp_path / "b.safetensors")
    assert load_network(tmp_path / "b.safetensors", scale=5).card.scale == 5


LIES: list[dict[str, Any]] = [
    {"value_range": 17.0},
    {"receptive_field": 3},
    {"size_multiple": 4},
    {"scale": 8, "scales": [8]},
    {"scale": 8, "scales": [2, 3, 4, 8]},
    {"channels": 2},
    {"pre_upscaled": None},
    {"luma_only": None, "channels": 1},
    {"mean_shift": [0.5, 0.5, 0.5]},
    {"mean_shift": [0.4488]},
]


@pytest.mark.parametrize("lie", LIES, ids=str)
def test_facts_are_compared_with_architecture_and_weights(network, lie, tmp_path) -> None:
    lie = {k: not getattr(network.card, k) if v is None else v for k, v in lie.items()}
    if network.card.arch == "vdsr" and lie.get("luma_only") is False:
        del lie["channels"]
    assert refused(old_file(tmp_path / "n.safetensors", network, **lie))


def test_a_mean_that_is_subtracted_but_not_told(edsr: Network, tmp_path: Path) -> None:
    path = old_file(tmp_path / "n.safetensors", edsr, mean_shift=None)
    assert "says mean_shift None, but its architecture and weights imply (0.44" in refused(path)


CONFIG_LIES: list[tuple[dict[str, Any], str]] = [
    ({"n_blocks": 100_000}, "n_blocks of edsr is a whole number"),
    ({"n_blocks": 60_000}, "widths of 8 layers"),
    ({"n_blocks": 9}, "widths of 8 layers"),
    ({"n_blocks": -1}, "n_blocks of edsr is a whole number"),
    ({"n_blocks": True}, "n_blocks of edsr is a whole number"),
    ({"n_blocks": "1"}, "n_blocks of edsr is a whole number"),
    ({"n_blocks": 1.0}, "n_blocks of edsr is a whole number"),
    ({"n_blocks": None}, "n_blocks of edsr is a whole number"),
    ({"n_blocks": [[[1]]]}, "n_blocks of edsr is a whole number"),
    ({"n_feats": 10**9}, "n_feats of edsr is a whole number"),
    ({"n_feats": 10**400}, "n_feats of edsr is a whole number"),
    ({"n_feats": 60_000}, "do not fit its card"),
    ({"scale": 5}, "no x5 upsampler"),
    ({"scale": 4}, "do not fit its card"),
    ({"mean_shift": 1}, "mean_shift of edsr is true or false"),
    ({"mean_shift": False}, "do not fit its card"),
    ({"res_scale": float("nan")}, "res_scale of edsr is a number"),
    ({"res_scale": float("inf")}, "res_scale of edsr is a number"),
    ({"res_scale": False}, "res_scale of edsr is a number"),
    ({"value_range": 1.0}, "says value_range 255.0"),
    ({"n_blocs": 1}, "did you mean 'n_blocks'"),
    ({"x" * 10_000: 1}, "at most 500 characters"),
    ({"\x1b[2J": 1}, "not printable"),
]


@pytest.mark.parametrize(("config", "sentence"), CONFIG_LIES, ids=lambda x: str(x)[:30])
def test_configurations_that_no_network_has(edsr, config, sentence, tmp_path) -> None:
    assert sentence in refused(old_file(tmp_path / "n.safetensors", edsr, config=config))


@pytest.mark.parametrize(
    ("arch", "config"),
    [
        ("vdsr", {"n_layers": 60_000}),
        ("rirsr", {"n_groups": 300, "n_blocks": 300}),
        ("rirsr", {"n_groups": 3, "n_blocks": 60_000}),
        ("smsr", {"n_modules": 60_000, "n_layers": 60_000}),
    ],
)
def test_layers_without_end_are_not_built(arch: str, config: dict[str, int], tmp_path) -> None:
    network = create(arch, **CONFIGS[arch])
    assert "widths of" in refused(old_file(tmp_path / "n.safetensors", network, config=config))


def test_widths_without_end_need_tensors(edsr: Network, tmp_path: Path) -> None:
    """Otherwise a long list of them would pay for as many layers."""
    widths = {**edsr.card.widths, **{f"body.{i}.body.0": 4 for i in range(30_000)}}
    path = old_file(tmp_path / "n.safetensors", edsr, widths=widths, config={"n_blocks": 30_000})
    assert "there is no layer 'body.1.body.0'" in refused(path)


@pytest.mark.parametrize("shape", [[1 << 20, 1 << 20, 3, 3], [4], [], [0], [1 << 40], [4.5], "4"])
def test_shapes_are_those_of_the_file(shape: object, tmp_path: Path) -> None:
    """The user's own module is resized in real memory."""
    network = user_network(Tied)
    path = old_file(tmp_path / "n.safetensors", network, shapes={"c.weight": shape})
    assert refused(path, arch=FACTORY)


def test_facts_of_a_users_own_network_are_bounded(tmp_path: Path) -> None:
    network = user_network(Tied)
    for lie in ({"size_multiple": 10**9}, {"receptive_field": 10**9}, {"value_range": 1e30}):
        path = old_file(tmp_path / "n.safetensors", network, **lie)
        assert "is not valid" in refused(path, arch=FACTORY)
    assert load_network(old_file(tmp_path / "n.safetensors", network), arch=FACTORY)


def odd(**fields: Any) -> str:
    card = create("edsr", **CONFIGS["edsr"]).card
    return json.dumps(json.loads(card.to_json()) | fields)


TEXTS: dict[str, str | bytes] = {
    "lists within lists": "[" * 100_000,
    "lists within a field": odd().replace('"history": []', '"history": ' + "[" * 100_000),
    "objects within objects": '{"a":' * 100_000,
    "more than any number": odd().replace("255.0", "1e400"),
    "no number": odd().replace('"value_range": 255.0', '"value_range": NaN'),
    "infinity": odd().replace('"value_range": 255.0', '"value_range": Infinity'),
    "a mean that is none": odd(mean_shift=[float("nan")] * 3),
    "true for one": odd(scale=True),
    "text for a number": odd(channels="3"),
    "a fraction for a count": odd(size_multiple=1.5),
    "another version": odd(format=2),
    "too many factors": odd(scales=[2] * 100),
    "a factor of its own": odd(scales=[3]),
    "a name without end": odd(arch="x" * 100_000),
    "a name that moves the cursor": odd(arch="\x1b[2J"),
    "a field that is none": odd(**{"\x1b[2J": 1}),
    "half a character": odd(arch="\ud800"),
    "other than text": odd().encode().replace(b"edsr", b"\xff\xfe\xff\xfe"),
    "far too long": odd(history=[{"step": "x" * 5_000_000}]),
    "a width of nothing": odd(widths={"head.0": 0}),
    "a width without end": odd(widths={"head.0": 10**30}),
    "luma of three channels": odd(luma_only=True),
    "nothing": "",
    "null": "null",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_odd_cards(edsr: Network, text: str | bytes, tmp_path: Path) -> None:
    raw = json.dumps(text)[1:-1].encode() if isinstance(text, str) else text.replace(b'"', b'\\"')
    assert refused(old_file(tmp_path / "n.safetensors", edsr, text=raw))


@pytest.mark.parametrize("kind", [k for k, v in TEXTS.items() if isinstance(v, str)])
def test_odd_cards_of_exported_files(kind: str) -> None:
    text = TEXTS[kind]
    assert isinstance(text, str)
    with pytest.raises(UserError, match=r"card in 'a\.onnx' is not valid") as caught:
        Card.from_json(text, "'a.onnx'")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_are_finite(edsr: Network, value: float, tmp_path: Path) -> None:
    with torch.no_grad():
        edsr.module.tail[1].bias[1] = value
    save_network(edsr, tmp_path / "n.safetensors")
    sentence = refused(tmp_path / "n.safetensors")
    assert "Tensor 'tail.1.bias'" in sentence
    assert "NaN or infinity" in sentence


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.int32])
def test_weights_are_of_the_networks_type(edsr: Network, dtype, tmp_path: Path) -> None:
    edsr.module.head[0].weight = torch.nn.Parameter(
        edsr.module.head[0].weight.to(dtype), requires_grad=False
    )
    path = old_file(tmp_path / "n.safetensors", edsr)
    assert f"holds numbers of the type {dtype}" in refused(path)
