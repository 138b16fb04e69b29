"""Where models draw a line: each limit from both sides, and the sentences beyond it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from srdeploy.errors import UserError
from srdeploy.models import (
    card_file,
    count,
    digest,
    edsr_pytorch,
    facts,
    load,
    place,
    probes,
    registry,
    resize,
    store,
    weight_norm,
)
from srdeploy.models.network import Network
from srdeploy.models.registry import ARCHITECTURES, base_module, checked_config, create


@pytest.fixture
def edsr() -> Network:
    return create("edsr", n_blocks=1, n_feats=4)


# Registry.


@pytest.mark.parametrize(
    ("arch", "config", "told"),
    [
        ("edsr", {"n_blocks": 0}, "n_blocks of edsr is a whole number from 1 to 65536, not 0"),
        ("edsr", {"n_blocks": 65537}, "not 65537"),
        ("edsr", {"n_blocks": True}, "not True"),
        ("edsr", {"n_blocks": 2.0}, "not 2.0"),
        ("edsr", {"res_scale": 65536.5}, "a number of at most 65536, not 65536.5"),
        ("edsr", {"res_scale": -65537}, "not -65537"),
        ("edsr", {"res_scale": True}, "not True"),
        ("edsr", {"res_scale": "1"}, "not '1'"),
        ("edsr", {"mean_shift": 1}, "mean_shift of edsr is true or false, not 1"),
        *(("edsr", {"scale": n}, f"has no x{n} upsampler; choose") for n in (1, 5, 6, 7, 9, 16)),
        ("vdsr", {"scale": 17}, "VDSR, CVPR 2016 has no scale 17; choose 2 to 16"),
    ],
)
def test_configurations_beyond_the_line(arch: str, config: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError) as caught:
        checked_config(ARCHITECTURES[arch], config)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("arch", "config"),
    [
        ("edsr", {"n_blocks": 1}), ("edsr", {"n_blocks": 65536}), ("edsr", {"res_scale": 65536}),
        ("edsr", {"res_scale": -65536.0}), ("edsr", {"res_scale": 1}), ("vdsr", {"scale": 16}),
        *(("smsr", {"scale": n}) for n in (2, 3, 4, 8)), ("vdsr", {"scale": 7}),
    ],
)  # fmt: skip
def test_configurations_within_the_line(arch: str, config: dict[str, Any]) -> None:
    found = checked_config(ARCHITECTURES[arch], config)
    assert found | config == found
    assert found["scale"] == config.get("scale", 2)


@pytest.mark.parametrize(
    ("preset", "config"),
    [
        ("edsr-baseline", {"n_blocks": 16, "n_feats": 64, "res_scale": 1.0}),
        ("edsr-full", {"n_blocks": 32, "n_feats": 256, "res_scale": 0.1}),
        ("ledsr-256", {"n_blocks": 16, "n_feats": 256}),
        ("rirsr-96", {"n_groups": 10, "n_blocks": 20, "n_feats": 96}),
    ],
)
def test_presets_are_the_papers(preset: str, config: dict[str, Any]) -> None:
    with torch.device("meta"):
        found = create(preset).card.config
    assert {key: found[key] for key in config} == config


def test_only_as_many_layers_as_widths_are_built(edsr: Network) -> None:
    card = edsr.card
    n = len(card.widths)
    for blocks, built in ((n, True), (n + 1, False)):
        other = card.model_copy(update={"config": {**card.config, "n_blocks": blocks}})
        if built:
            assert len(base_module(other).body) == blocks + 1  # type: ignore[arg-type]
        else:
            with pytest.raises(UserError, match=f"says n_blocks {blocks}, but widths of {n} layer"):
                base_module(other)
    for row in ARCHITECTURES.values():
        assert (row.leave_alone == ()) == (row.name == "vdsr")
        assert row.factory().__name__.lower() == row.name


# Loading.


@pytest.mark.parametrize(("scale", "sense"), [(0, False), (1, True), (16, True), (17, False)])
def test_factors_that_make_sense(scale: int, sense: bool) -> None:
    with pytest.raises(UserError) as caught:
        load.load_network("edsr-s-x2", scale=scale)
    assert ("makes no sense" not in str(caught.value)) == sense
    assert ("upscales by 2, not by" in str(caught.value)) == sense


def test_names_are_told_from_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.onnx").write_bytes(b"x")
    (tmp_path / "b.mlpackage").mkdir()
    for name, told in (
        ("edsr-s-x", "did you mean 'edsr-s-x"),
        ("d/edsr-s-x2", "There is no file 'd/edsr-s-x2'"),
        ("edsr.onnx", "There is no file"),
        ("a.onnx", "is an ONNX file; give the network"),
        ("b.mlpackage", "is a CoreML file"),
        (".", "is a folder"),
    ):
        with pytest.raises(UserError, match=told):
            load.load_network(name)


@pytest.mark.parametrize(
    ("path", "noted"),
    [(f"a/{load.PREFERRED[0]}", True), (load.PREFERRED[3], True), (load.PREFERRED[4], False),
     ("", False), (f"{load.PREFERRED[0]}/a", False)],
)  # fmt: skip
def test_averaged_weights_are_noted(path: str, noted: bool) -> None:
    assert bool(load._choice(SimpleNamespace(path=path))) == noted  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("head", "ours"),
    [
        ((5).to_bytes(8, "little") + b"{", True),
        ((2**32 - 1).to_bytes(8, "little") + b"{", True),
        ((2**32).to_bytes(8, "little") + b"{", False),
        ((5).to_bytes(8, "little") + b"[", False),
        ((5).to_bytes(8, "little"), False),
        (b"", False),
    ],
)
def test_safetensors_by_their_first_bytes(head: bytes, ours: bool, tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(head)
    assert card_file.is_safetensors(tmp_path / "a.pt") == ours
    assert card_file.is_safetensors(tmp_path / "absent.safetensors")
    with pytest.raises(UserError, match="Cannot read"):
        card_file.is_safetensors(tmp_path / "absent.pt")


def test_whether_a_file_has_a_digest(edsr: Network, tmp_path: Path) -> None:
    store.save_network(edsr, tmp_path / "a.safetensors")
    assert card_file.has_digest(tmp_path / "a.safetensors") is True
    (tmp_path / "a.pt").write_bytes(b"x" * 20)
    assert card_file.has_digest(tmp_path / "a.pt") is None
    header = card_file.read_header(tmp_path / "a.safetensors")
    assert header is not None
    assert header.weights_sha256 == digest.weights_sha256(edsr.module.state_dict())
    assert header.shapes["head.0.weight"] == (4, 3, 3, 3)


def test_a_digest_is_of_names_types_shapes_and_values() -> None:
    x = torch.arange(6.0)
    text = b"a torch.float32 [2, 3]\n" + x.numpy().tobytes() + b"b torch.int64 []\n"
    expected = hashlib.sha256(text + np.int64(7).tobytes()).hexdigest()
    assert digest.weights_sha256({"b": torch.tensor(7), "a": x.reshape(2, 3)}) == expected
    assert digest.weights_sha256({"a": x.reshape(3, 2).T, "b": torch.tensor(7)}) != expected


# What a card says against what is there.


@pytest.mark.parametrize(("off", "agrees"), [(0.0, True), (1.9e-4, True), (2.1e-4, False)])
def test_a_published_mean_stands_for_one_that_is_near(off: float, agrees: bool) -> None:
    for sign in (-1, 1):
        said = (0.4, 0.4 + sign * off, 0.4)
        assert facts._agree("mean_shift", said, (0.4, 0.4, 0.4), None) == agrees  # type: ignore[arg-type]
    assert not facts._agree("mean_shift", (0.4,), (0.4, 0.4), None)  # type: ignore[arg-type]
    assert not facts._agree("mean_shift", None, (0.4,), None)  # type: ignore[arg-type]
    assert facts._agree("mean_shift", None, None, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pre_upscaled", "said", "agrees"),
    [(True, (2, 3, 4, 5), True), (True, (2, 3), False), (False, (2, 3, 4), True),
     (False, (2, 3, 4, 5), False)],
)  # fmt: skip
def test_more_factors_are_for_what_is_upscaled_before(
    pre_upscaled: bool, said: tuple[int, ...], agrees: bool
) -> None:
    card: Any = SimpleNamespace(pre_upscaled=pre_upscaled)
    assert facts._agree("scales", said, (2, 3, 4), card) == agrees


# Sizes, counts, shapes.


@pytest.mark.parametrize(
    ("scale", "multiple", "size"),
    [(2, 1, (360, 640)), (3, 1, (240, 426)), (4, 1, (180, 320)), (3, 4, (240, 424)),
     (8, 7, (84, 154))],
)  # fmt: skip
def test_the_input_of_a_720p_output(scale: int, multiple: int, size: tuple[int, int]) -> None:
    card = SimpleNamespace(network_scale=scale, size_multiple=multiple)
    assert count.lr_size_720p(SimpleNamespace(card=card)) == size  # type: ignore[arg-type]


def test_frozen_shifts_are_not_counted(edsr: Network) -> None:
    plain = create("edsr", n_blocks=1, n_feats=4, mean_shift=False)
    assert count.count(edsr) == count.count(plain)
    assert count.macs(edsr, 1, 1) == 3 * 4 * 9 + 3 * 4 * 4 * 9 + 4 * 16 * 9 + 4 * (4 * 3 * 9)
    assert next(edsr.module.parameters()).device.type == "cpu"


@pytest.mark.parametrize(
    ("layer", "weight", "numbers"),
    [
        (nn.Conv2d(8, 16, 3, groups=8), (2, 1, 3, 3), (1, 2, 1)),
        (nn.Conv2d(8, 16, 3, groups=8), (1, 1, 3, 3), (1, 1, 1)),
        (nn.Conv2d(8, 8, 3), (5, 7, 3, 3), (7, 5, 1)),
        (nn.Conv2d(1, 8, 3), (5, 1, 3, 3), (1, 5, 1)),
        (nn.ConvTranspose2d(6, 6, 3, groups=6), (1, 1, 3, 3), (1, 1, 1)),
        (nn.ConvTranspose2d(6, 8, 3), (5, 7, 3, 3), (5, 7, 1)),
    ],
)
def test_a_layer_follows_its_tensor(layer: Any, weight: Any, numbers: tuple[int, ...]) -> None:
    layer.weight = nn.Parameter(torch.zeros(weight))
    resize.follow_shapes(layer)
    assert (layer.in_channels, layer.out_channels, layer.groups) == numbers


def test_group_norms_of_one_channel_a_group_stay_so() -> None:
    for groups, kept in ((8, 5), (2, 2), (1, 1)):
        layer = nn.GroupNorm(groups, 8)
        layer.weight = nn.Parameter(torch.zeros(5))
        resize.follow_shapes(layer)
        assert (layer.num_groups, layer.num_channels) == (kept, 5)
    resize.follow_shapes(nn.GroupNorm(2, 8, affine=False))
    resize.follow_shapes(nn.BatchNorm2d(8, affine=False, track_running_stats=False))


@pytest.mark.parametrize("shape", [[0, 3, 3, 3], [4, 3, 3], [4, 3, 3, -1]])
def test_shapes_that_cannot_be(shape: list[int], edsr: Network) -> None:
    with pytest.raises(UserError, match="the impossible shape"):
        resize.resize(edsr.module, {"head.0.weight": shape})


# Probes.


def test_the_place_of_a_failure_is_the_innermost_layer(edsr: Network) -> None:
    here = place.Place()
    assert str(here) == "the network's own forward"
    with pytest.raises(RuntimeError), here.following(edsr.module):
        edsr.module(torch.zeros(1, 5, 8, 8))
    assert str(here) == "'sub_mean'"
    with here.following(edsr.module):
        edsr.module(torch.zeros(1, 3, 8, 8))
    assert str(here) == "the network's own forward"
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in edsr.module.modules())


@pytest.mark.parametrize(("channels", "value_range"), [(1, 1.0), (3, 255.0), (4, 1.0), (3, 2.0)])
def test_photographs(channels: int, value_range: float) -> None:
    card: Any = SimpleNamespace(channels=channels, value_range=value_range)
    x = probes.photograph(card, (20, 30), 3)
    assert (x.shape, x.dtype) == ((3, channels, 20, 30), np.float32)
    assert x.flags.c_contiguous
    assert 0.5 * value_range < x.max() <= value_range
    assert x.min() >= 0
    scaled = probes.photograph(SimpleNamespace(channels=4, value_range=value_range), (20, 30), 3)  # type: ignore[arg-type]
    np.testing.assert_array_equal(x, scaled[:, :channels] if channels > 1 else scaled[:, 3:])
    assert not np.array_equal(x[0], x[1])


def test_many_photographs_differ_even_where_there_is_one_piece() -> None:
    card: Any = SimpleNamespace(channels=3, value_range=255.0)
    for size in ((16, 16), (700, 700)):
        x = probes.photograph(card, size, 6)
        assert len({image.tobytes() for image in x}) == 6


def test_candidates_begin_with_the_size_itself_and_grow() -> None:
    found = probes._candidates((17, 29), 1)
    assert found[0] == (17, 29)
    areas = [h * w for h, w in found[1:]]
    assert areas == sorted(areas)
    assert max(map(max, found)) <= 256
    assert {(18, 30), (32, 32), (128, 128)} <= set(found)
    found = probes._candidates((17, 29), 4)
    assert found[0] == (20, 32)
    assert all(h % 4 == 0 == w % 4 for h, w in found)
    assert max(map(max, probes._candidates((136, 152), 1))) <= 304
    assert probes._candidates((12, 12), 300)[0] == (300, 300)


def test_the_probes_are_small_odd_large_tall_and_wide() -> None:
    sizes = probes.PROBE_SIZES
    assert min(map(min, sizes)) <= 12
    assert max(map(min, sizes)) >= 128
    assert any(h % 2 and w % 2 for h, w in sizes)
    assert {(h > w) - (h < w) for h, w in sizes} == {-1, 0, 1}
    assert probes.BATCH_SIZE > 1


# Other forms.


def test_edsr_pytorch_takes_float32_in_its_order(edsr: Network) -> None:
    edsr.module.double()
    state = edsr_pytorch.edsr_pytorch_state(edsr)
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}
    assert list(state)[:2] == ["sub_mean.weight", "sub_mean.bias"]
    flat = create("edsr", n_blocks=1, n_feats=4, mean_shift=False)
    state = edsr_pytorch.edsr_pytorch_state(flat)
    for name in ("sub_mean", "add_mean"):
        assert torch.equal(state[f"{name}.weight"][..., 0, 0], torch.eye(3))
        assert not state[f"{name}.bias"].any()


@pytest.mark.parametrize("layer", [nn.Conv2d(3, 5, 2), nn.ConvTranspose2d(3, 5, 2)])
def test_gamma_is_the_norm_of_each_filter(layer: Any) -> None:
    dim = int(isinstance(layer, nn.ConvTranspose2d))
    net = nn.Sequential(layer)
    weight = layer.weight.detach().clone()
    weight_norm.attach_weight_norm(net, [("0", dim)])
    gamma = weight_norm.gamma_of(net, "0")
    norms = weight.transpose(0, dim).flatten(1).norm(dim=1)
    torch.testing.assert_close(gamma.flatten(), norms)
    assert gamma.shape[dim] == 5 == gamma.numel()
    with torch.no_grad():
        gamma *= 2
    torch.testing.assert_close(net[0].weight, 2 * weight)
    weight_norm.merge_weight_norm(net)
    torch.testing.assert_close(net[0].weight.detach(), 2 * weight)
    assert type(net[0]) in (nn.Conv2d, nn.ConvTranspose2d)


def test_fresh_weights_leave_the_shifts_as_they_are(edsr: Network) -> None:
    made = store.build(edsr.card)
    for name in ("sub_mean", "add_mean"):
        for key, value in edsr.module.get_submodule(name).state_dict().items():
            torch.testing.assert_close(made.module.get_submodule(name).state_dict()[key], value)
    assert not made.module.training


@pytest.mark.parametrize(
    ("spec", "told"),
    [("json:nothing", "Cannot import"), ("no_such_module:x", "Cannot import"),
     ("math:pi", "is not callable"), ("builtins:dict", "returned dict, not a module")],
)  # fmt: skip
def test_what_is_no_factory_of_networks(spec: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        store.user_factory(spec)()


def test_unknown_names_are_refused() -> None:
    assert registry.MAX_SCALE == 16
    with pytest.raises(UserError, match="no architecture named"):
        base_module(create("edsr", n_blocks=1, n_feats=4).card.model_copy(update={"arch": "x"}))
