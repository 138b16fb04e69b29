"""Every layer's matrix form computes what the layer computes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from srdeploy.reconstruct.linear_form import LinearForm, has_form

LAYERS = {
    "plain": nn.Conv2d(4, 6, 3, padding=1),
    "strided, dilated, oblong": nn.Conv2d(4, 6, (3, 2), (2, 1), (2, 1), (2, 3)),
    "same": nn.Conv2d(4, 6, 3, padding="same", dilation=2),
    "reflect": nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"),
    "replicate, no bias": nn.Conv2d(4, 6, 3, padding=2, padding_mode="replicate", bias=False),
    "circular": nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"),
    "groups": nn.Conv2d(4, 6, 3, padding=1, groups=2),
    "depthwise": nn.Conv2d(4, 8, 3, padding=1, groups=4),
    "transposed": nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1),
    "transposed, padded far": nn.ConvTranspose2d(4, 6, 2, stride=3, padding=1, dilation=1),
    "transposed, groups, dilated": nn.ConvTranspose2d(4, 6, (3, 2), (2, 1), 1, 0, 2, dilation=2),
    "linear": nn.Linear(4, 6),
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_matrix_computes_what_the_layer_computes(name: str) -> None:
    layer = LAYERS[name]
    x = torch.randn(2, 5, 4) if isinstance(layer, nn.Linear) else torch.randn(2, 4, 9, 11)
    form = LinearForm(layer)
    y = form.outputs(layer(x)).double()
    columns = form.columns(x).double()
    found = form.matrix() @ columns + form.bias()[:, :, None]
    torch.testing.assert_close(found, y, rtol=1e-5, atol=1e-5)
    assert columns.shape[:2] == (form.groups, form.matrix().shape[2])
    per_group = 4 // form.groups
    assert form.matrix().shape[2] == per_group * form.taps
    assert layer.weight.shape[form.input_dim] in (4, per_group)
    assert form.depthwise == (name == "depthwise")


@pytest.mark.parametrize("name", LAYERS)
def test_what_is_assigned_is_there(name: str) -> None:
    layer = LAYERS[name]
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    form = LinearForm(layer)
    form.assign(2 * form.matrix(), 3 * form.bias())
    torch.testing.assert_close(layer.weight, 2 * before["weight"])
    if "bias" in before:
        torch.testing.assert_close(layer.bias, 3 * before["bias"])
    form.assign(form.matrix() / 2, form.bias() / 3)


def test_which_layers_have_one() -> None:
    assert all(has_form(layer) for layer in LAYERS.values())
    assert not has_form(nn.PReLU())
    assert not has_form(nn.Conv1d(2, 2, 1))
