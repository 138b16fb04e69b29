"""Each architecture is recognised from its tensors alone, whatever they are called."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from srdeploy.errors import UserError
from srdeploy.models.count import count
from srdeploy.models.importing.assemble import Assembled, _base_widths, assemble
from srdeploy.models.importing.layouts import Dim, find_layout, solve_widths
from srdeploy.models.importing.state_dict import StateDict, read_state_dict
from srdeploy.models.network import Network
from srdeploy.models.registry import ARCHITECTURES, create
from srdeploy.models.resize import resize
from srdeploy.models.store import read_network, save_network

Tensors = dict[str, torch.Tensor]

SMALL: dict[str, dict[str, Any]] = {
    "edsr": {"n_blocks": 3, "n_feats": 8},
    "ledsr": {"n_blocks": 2, "n_feats": 8},
    "rirsr": {"n_groups": 2, "n_blocks": 3, "n_feats": 8},
}


def run(tensors: Tensors, **options: Any) -> Assembled:
    return assemble(StateDict(dict(tensors)), "file.pt", **options)


def same_output(a: Network, b: Network, size: int = 12) -> bool:
    x = torch.rand(1, a.card.channels, size, size + 3) * a.card.value_range
    with torch.no_grad():
        return torch.equal(a.module(x), b.module(x))


PREFIXES = ["", "module.", "model.", "module.model.", "_orig_mod.module."]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("arch", SMALL)
def test_round_trip(arch: str, scale: int, prefix: str) -> None:
    original = create(arch, scale=scale, **SMALL[arch])
    tensors = {prefix + name: t for name, t in original.module.state_dict().items()}
    result = run(tensors)
    assert result.network.card == original.card
    assert same_output(result.network, original)
    assert [p.requires_grad for p in result.network.module.parameters()] == [
        p.requires_grad for p in original.module.parameters()
    ]


@pytest.mark.parametrize("value_range", [1.0, 255.0])
def test_value_range_is_seen_in_the_mean_shift(value_range: float) -> None:
    original = create("edsr", value_range=value_range, **SMALL["edsr"])
    assert run(original.module.state_dict()).network.card.value_range == value_range


@pytest.mark.parametrize("arch", SMALL)
def test_without_mean_shift(arch: str) -> None:
    original = create(arch, mean_shift=False, **SMALL[arch])
    result = run(original.module.state_dict())
    assert result.network.card == original.card
    assert any("0 to 255" in note for note in result.assumed)


def test_another_mean_is_kept() -> None:
    original = create("edsr", **SMALL["edsr"])
    with torch.no_grad():
        original.module.sub_mean.bias.copy_(torch.tensor([-127.5, -127.5, -127.5]))
    result = run(original.module.state_dict())
    assert result.network.card.mean_shift == (0.5, 0.5, 0.5)
    assert same_output(result.network, original)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("scale", [None, 3, 4])
def test_vdsr(bias: bool, scale: int | None) -> None:
    original = create("vdsr", n_layers=5, n_feats=6, bias=bias)
    network = run(original.module.state_dict(), scale=scale).network
    assert network.card.config == {
        **original.card.config,
        "scale": scale or 2,
    }
    assert network.card.scales == (2, 3, 4)
    assert network.card.luma_only
    assert network.card.pre_upscaled
    assert same_output(network, original)


# Other projects' names


def to_mlperf(name: str, n_blocks: int) -> str:
    name = re.sub(r"^body\.(\d+)\.body\.", r"body.\1.", name)
    return (
        name.replace(f"body.{n_blocks}.", "bc.").replace("head.0", "head").replace("tail.0", "tail")
    )


def to_basicsr(name: str, n_blocks: int) -> str:
    name = re.sub(r"^body\.(\d+)\.body\.0\.", r"body.\1.conv1.", name)
    name = re.sub(r"^body\.(\d+)\.body\.2\.", r"body.\1.conv2.", name)
    name = name.replace(f"body.{n_blocks}.", "conv_after_body.").replace("head.0", "conv_first")
    return re.sub(r"^tail\.0\.", "upsample.", name).replace("tail.1", "conv_last")


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_mlperf_names(scale: int) -> None:
    original = create("ledsr", scale=scale, n_blocks=3, n_feats=8, mean_shift=False)
    tensors = {to_mlperf(k, 3): v for k, v in original.module.state_dict().items()}
    assert {"head.weight", "bc.weight", "tail.weight", "body.2.0.weight"} <= tensors.keys()
    result = run(tensors)
    assert result.recognised_as == "MLPerf Mobile EDSR"
    assert result.network.card == original.card
    assert same_output(result.network, original)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_basicsr_names(scale: int) -> None:
    original = create("edsr", scale=scale, n_blocks=3, n_feats=8)
    tensors = {
        to_basicsr(k, 3): v for k, v in original.module.state_dict().items() if "mean" not in k
    }
    assert {"conv_first.weight", "body.1.conv2.bias", "conv_last.weight"} <= tensors.keys()
    result = run({f"module.{k}": v for k, v in tensors.items()})
    assert result.recognised_as == "BasicSR EDSR"
    assert result.network.card == original.card
    assert same_output(result.network, original)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_lite_tail_nested_in_an_upsampler(scale: int) -> None:
    original = create("ledsr", scale=scale, **SMALL["ledsr"])
    state = original.module.state_dict()
    result = run({k.replace("tail.0.", "tail.0.0."): v for k, v in state.items()})
    assert result.network.card == original.card
    assert same_output(result.network, original)


# What weights do not show


def test_residual_scaling_follows_the_published_size() -> None:
    with torch.device("meta"):
        state = create("edsr-full").module.state_dict()
    zeros = {k: torch.zeros(1).expand(v.shape) for k, v in state.items()}
    zeros["sub_mean.bias"] = torch.tensor([-114.444, -111.4605, -103.02])
    result = run(zeros)
    assert result.network.card.config["res_scale"] == 0.1
    assert any("res_scale 0.1" in note for note in result.assumed)
    assert run(zeros, res_scale=1.0).network.card.config["res_scale"] == 1.0


def test_residual_scaling_given_stated_or_preset() -> None:
    state = create("edsr", **SMALL["edsr"]).module.state_dict()
    assert run(state, res_scale=0.2).network.card.config["res_scale"] == 0.2
    assert "res_scale" not in str(run(state, res_scale=0.2).assumed)
    stated = assemble(StateDict(dict(state), res_scale=0.3), "file.pt")
    assert stated.network.card.config["res_scale"] == 0.3
    assert not any("res_scale" in note for note in stated.assumed)


# Networks somebody pruned


def pruned(arch: str, scale: int) -> tuple[Network, dict[str, int]]:
    """A network with thinner layers: the residual ends of one width, the insides of others."""
    network = create(arch, scale=scale, **SMALL[arch])
    state = network.module.state_dict()
    layout = find_layout(state, "test", arch)
    widths = solve_widths(layout)
    widths = {name: 3 + i % 3 for i, name in enumerate(widths)} | {"trunk": 6}

    def size(dim: Dim) -> int:
        if isinstance(dim, int):
            return dim
        symbol, factor = dim if isinstance(dim, tuple) else (dim, 1)
        return widths[symbol] * factor

    shapes = {name: list(map(size, dims)) for name, dims in layout.shapes.items()}
    resize(network.module, {k: v for k, v in shapes.items() if v != list(state[k].shape)})
    for parameter in network.module.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.05)
    return network, widths


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("arch", SMALL)
def test_pruned_checkpoints(arch: str, scale: int, tmp_path: Path) -> None:
    network, widths = pruned(arch, scale)
    result = run(network.module.state_dict())
    card = result.network.card
    assert card.widths["head.0"] == widths["trunk"]
    assert card.widths["body.0.body.0" if arch != "rirsr" else "body.0.body.0.body.0"] == 4
    assert card.pruned
    assert any("pruned from 6 channels" in note for note in result.assumed)
    x = torch.rand(1, 3, 9, 11) * 255
    with torch.no_grad():
        expected = network.module(x)
        assert expected.shape == (1, 3, 9 * scale, 11 * scale)
        assert torch.equal(result.network.module(x), expected)
        save_network(result.network, tmp_path / "p.safetensors")
        assert torch.equal(read_network(tmp_path / "p.safetensors").module(x), expected)


def test_pruned_vdsr() -> None:
    widths = [1, 4, 7, 5, 1]
    names = ["input", "residual_layer.0.conv", "residual_layer.1.conv", "output"]
    tensors = {
        f"{name}.weight": torch.rand(n_out, n_in, 3, 3)
        for name, n_in, n_out in zip(names, widths, widths[1:], strict=False)
    }
    network = run(tensors).network
    assert network.card.widths == dict(zip(names, widths[1:], strict=True))
    assert network.card.config["n_feats"] == 7
    assert network.module(torch.rand(1, 1, 8, 9)).shape == (1, 1, 8, 9)


def test_srpn_lite_is_ledsr_256_with_thin_layers() -> None:
    """Published size at x2: 609K parameters, 139.9G MACs."""
    with torch.device("meta"):
        state = create("ledsr-256").module.state_dict()
    thin = {k: torch.zeros([45 if n == 256 else n for n in v.shape]) for k, v in state.items()}
    result = run(thin, arch="ledsr-256")
    assert result.network.card.config["n_feats"] == 256
    assert result.network.card.widths["body.3.body.0"] == 45
    assert not any("pruned from" in note for note in result.assumed)
    counts = count(result.network)
    assert round(counts.params, -3) == 609_000
    assert counts.macs_720p // 10**8 == 1399  # the table truncates


def test_each_number_of_channels_is_that_of_its_own_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    row = ARCHITECTURES["vdsr"]
    importer = replace(row.read_by(), widths={"n_feats": "input", "n_inner": "inner"})
    monkeypatch.setattr("srdeploy.models.vdsr.layout.VDSR", importer)
    widths = {"input": 6, "inner0": 4, "inner1": 5}
    assumed: list[str] = []
    found = _base_widths(widths, row, {"n_inner": 8}, "a.pt", assumed)
    assert (found, assumed) == ({"n_feats": 6, "n_inner": 8}, [])
    found = _base_widths(widths, row, {}, "a.pt", assumed)
    assert found == {"n_feats": 6, "n_inner": 5}
    assert assumed == ["pruned from 5 channels, the widest layer left"]
    with pytest.raises(UserError, match="layers of 5 channels, more than the 4 of"):
        _base_widths(widths, row, {"n_inner": 4}, "a.pt", assumed)


# One clear sentence each


def edsr_state() -> Tensors:
    return create("edsr", **SMALL["edsr"]).module.state_dict()


def drop(name: str) -> Callable[[Tensors], object]:
    return lambda tensors: tensors.pop(name)


def put(name: str, *shape: int) -> Callable[[Tensors], object]:
    return lambda tensors: tensors.update({name: torch.zeros(shape)})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (drop("body.1.body.0.bias"), r"'body\.1\.body\.0\.bias' is missing"),
        (drop("head.0.weight"), r"'head\.0\.weight' is missing"),
        (drop("tail.1.weight"), r"'tail\.1\.weight' is missing"),
        (drop("add_mean.bias"), r"'add_mean\.bias' is missing"),
        (put("body.9.weight", 8, 8, 3, 3), r"'body\.9\.weight' .* is not part of edsr"),
        (put("extra", 3), r"'extra' .* is not part of edsr"),
        (put("body.2.body.2.weight", 7, 8, 3, 3), r"'body\.2\.body\.2\.weight' .* 8 is needed"),
        (put("body.2.body.0.weight", 8, 8, 5, 5), r"'body\.2\.body\.0\.weight' .* 3 is needed"),
        (put("head.0.weight", 8, 1, 3, 3), r"'head\.0\.weight' .* 3 is needed"),
        (put("head.0.bias", 8, 1), r"'head\.0\.bias' .* has shape \[8, 1\]"),
        (put("tail.0.0.weight", 40, 8, 3, 3), r"neither x2 nor x3"),
        (put("tail.1.weight", 3, 8), r"'tail\.1\.weight' .* four dimensions"),
        (put("body.99999999999.body.0.weight", 8, 8, 3, 3), r"is not part of edsr"),
    ],
)
def test_tensors_that_do_not_fit(change: Callable[[Tensors], object], sentence: str) -> None:
    tensors = dict(edsr_state())
    change(tensors)
    with pytest.raises(UserError, match=sentence):
        run(tensors)


def test_quantised_weights() -> None:
    tensors = dict(edsr_state())
    tensors["head.0.weight"] = tensors["head.0.weight"].to(torch.int8)
    with pytest.raises(UserError, match=r"'head\.0\.weight' .* whole numbers"):
        run(tensors)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"scale": 3}, "upscales by 2, not by 3"),
        ({"arch": "edsr-full"}, "has 3 blocks, not the 32"),
        ({"arch": "vdsr"}, r"'input\.weight' is missing"),
        ({"arch": "ledsr"}, r"'tail\.0\.weight' is missing"),
        ({"arch": "edrs"}, "did you mean 'edsr'"),
    ],
)
def test_requests_that_do_not_fit(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        run(edsr_state(), **options)


def test_a_preset_smaller_than_the_file() -> None:
    state = create("edsr", n_blocks=16, n_feats=72).module.state_dict()
    with pytest.raises(UserError, match="72 channels, more than the 64"):
        run(state, arch="edsr-baseline")


def test_lite_tail_of_no_scale() -> None:
    state = create("ledsr", **SMALL["ledsr"]).module.state_dict()
    tensors = {**state, "tail.0.weight": torch.zeros(15, 8, 3, 3)}
    with pytest.raises(UserError, match=r"has 15 output channels.* 3\*scale\^2"):
        run(tensors)


def test_a_tail_that_is_no_upsampler_is_told_by_its_first_layer() -> None:
    tensors = dict(create("edsr", scale=4, **SMALL["edsr"]).module.state_dict())
    tensors["tail.0.0.weight"] = torch.zeros(40, 8, 3, 3)
    with pytest.raises(UserError) as told:
        run(tensors)
    assert str(told.value) == (
        "The tail of 'file.pt' is no EDSR upsampler: 'tail.0.0.weight' has 40 output channels and "
        "'tail.0.2.weight' takes 8, which is neither x2 nor x3."
    )


def test_rcan_is_not_rirsr() -> None:
    tensors = dict(create("rirsr", **SMALL["rirsr"]).module.state_dict())
    for i, shape in ((0, (2, 8, 1, 1)), (2, (8, 2, 1, 1))):
        tensors[f"body.0.body.0.body.3.conv_du.{i}.weight"] = torch.zeros(shape)
    with pytest.raises(UserError, match=r"conv_du\.0\.bias' is missing .* looks like rcan"):
        run(tensors)


def test_unknown_network_names_the_way_out() -> None:
    with pytest.raises(UserError, match=r"'conv1\.weight'; pass --arch package\.module:callable"):
        run({"conv1.weight": torch.zeros(4, 3, 3, 3)})


# The published files


@pytest.mark.parametrize(
    ("file", "arch", "params"),
    [
        ("vdsr/model_epoch_50.pth", "vdsr", 664_704),
        ("edsr_mlperf/edsr_f32b5_x2_pytorch.pt", "ledsr", 106_092),
        ("edsr_mlperf/edsr_f64b5_x2_pytorch.pt", "ledsr", 414_924),
    ],
)
def test_published_files(file: str, arch: str, params: int, shared_data: Path) -> None:
    result = assemble(read_state_dict(shared_data / "weights" / file), file)
    assert result.network.card.arch == arch
    assert result.network.card.scale == 2
    assert count(result.network).params == params
