"""The place of a call is the function and the statement, whatever the lines look like."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from srdeploy.models.code_place import calling_place

PLAIN = """
from srdeploy.models.code_place import calling_place

def outer(x):
    first = x
    if x:
        second = [calling_place() for _ in range(1)]
        return second[0], helper(lambda: calling_place())
    return calling_place(), helper(calling_place)

def helper(call):
    return call()
"""

FORMATTED = """
from srdeploy.models.code_place import calling_place


def outer(
    x,
):
    first = x  # a comment

    if x:
        # another one
        second = [
            calling_place()
            for _
            in range(1)
        ]
        return (
            second[0],
            helper(
                lambda: calling_place()
            ),
        )
    return (calling_place(),
            helper(calling_place))


def helper(call):

    return call()
"""


def loaded(text: str, path: Path) -> ModuleType:
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("text", [PLAIN, FORMATTED])
def test_function_and_statement(text: str, tmp_path: Path) -> None:
    module = loaded(text, tmp_path / "network.py")
    # The function is a statement, too: of it, the third is the "if", the fourth in that.
    comprehension, in_lambda = module.outer(1)
    assert comprehension == "outer 4"
    assert in_lambda.startswith("lambda ")
    assert module.outer(0) == ("outer 6", "helper 2")


def test_code_without_source() -> None:
    found: dict[str, object] = {"calling_place": calling_place}
    exec("def forward():\n    return calling_place()", found)
    assert found["forward"]() == "forward 0"  # type: ignore[operator]


def test_what_stands_between_is_not_the_network() -> None:
    made = {"__name__": "torch.nn.functional", "calling_place": calling_place}
    exec("def split():\n    return calling_place()", made)
    assert made["split"]() == "test_what_stands_between_is_not_the_network 4"  # type: ignore
