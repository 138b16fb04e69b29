from __future__ import annotations

import pytest
from onnx import helper

from srdeploy.exporting.layers import layer_name, module_of


@pytest.mark.parametrize(
    ("operator", "name", "called"),
    [
        ("Conv", "/body/body.0/Conv", "body.0"),
        ("ConvTranspose", "/up/ConvTranspose", "up"),
        ("Relu", "/act/Relu", "act"),
        ("Conv", "/body/body.0/Conv_1", "body.0 Conv_1"),  # a second call
        ("Add", "/body/body.0/Add", "body.0 Add"),
        ("Add", "/body/body.0/Add_12", "body.0 Add_12"),
        ("Conv", "Conv_7", "Conv_7"),
        ("Conv", "/Conv", "/Conv"),
        ("Conv", "", "y"),
    ],
)
def test_what_a_node_is_called(operator: str, name: str, called: str) -> None:
    assert layer_name(helper.make_node(operator, ["x"], ["y"], name=name)) == called


def test_modules_from_outside_in() -> None:
    assert module_of("/a/a.0/b/b.1/Conv") == "a.0.b.1"
    assert module_of("/a/b/Conv") == "a.b"
    assert module_of("/a/ab/Conv") == "a.ab"
    assert module_of("a/b/Conv") is None
