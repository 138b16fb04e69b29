"""The card: each of its bounds, just within and just beyond; and what it says of itself."""

from __future__ import annotations

import json
from typing import Any

import pytest

from srdeploy.errors import UserError
from srdeploy.models.card import MAX_TEXT, Card

LEAST: dict[str, Any] = {
    "arch": "edsr", "scale": 2, "scales": [2], "channels": 3, "value_range": 255.0,
}  # fmt: skip


def read(**fields: Any) -> Card:
    return Card.from_json(json.dumps({**LEAST, **fields}), "'f'")


def test_defaults() -> None:
    card = read()
    assert (card.format, card.size_multiple, card.receptive_field) == (1, 1, 0)
    assert not card.luma_only
    assert not card.pre_upscaled
    assert (card.mean_shift, card.proof, card.quantised) == (None, None, None)
    assert (card.config, card.widths, card.shapes, card.history) == ({}, {}, {}, [])
    assert not card.pruned
    assert Card.from_json(card.to_json()) == card


BOUNDS: list[tuple[str, list[Any], list[Any]]] = [
    ("scale", [2], [0, 17, 2.0, "2"]),
    ("channels", [1, 4], [0, 5]),
    ("value_range", [1.0, float(1 << 20)], [0.0, -1.0, (1 << 20) + 1.0, float("inf")]),
    ("size_multiple", [1, 256], [0, 257]),
    ("smallest", [1, 256], [0, 257]),
    ("receptive_field", [0, 1 << 20], [-1, (1 << 20) + 1]),
    ("scales", [[2] * 16], [[2] * 17, [2, 0], [2, 17], [3]]),
    ("mean_shift", [None, [0.1] * 4], [[0.1] * 5]),
    ("widths", [{"a": 1, "b": 1 << 20}], [{"a": 0}, {"a": (1 << 20) + 1}, {"a\x1b": 1}]),
    ("shapes", [{"a": [1, 1 << 20]}], [{"a": [0]}, {"a": [(1 << 20) + 1]}]),
    ("arch", ["x" * 500], ["x" * 501, "a\nb"]),
    ("config", [{"x" * 500: 1}], [{"x" * 501: 1}]),
    ("history", [[{"step": "a"}, {}]], [[{"step": 5}]]),
    ("format", [1], [0, 2]),
    ("luma_only", [False], [True, 1]),
]


@pytest.mark.parametrize(("field", "taken", "refused"), BOUNDS, ids=[row[0] for row in BOUNDS])
def test_bounds(field: str, taken: list[Any], refused: list[Any]) -> None:
    for value in taken:
        read(**{field: value})
    for value in refused:
        with pytest.raises(UserError, match=r"The network card in 'f' is not valid \(") as caught:
            read(**{field: value})
        assert field in str(caught.value)


def test_scales_of_16_and_luma_of_one_channel() -> None:
    assert read(scale=16, scales=[1, 16]).scale == 16
    assert read(scale=1, scales=[1]).scale == 1
    assert read(luma_only=True, channels=1).luma_only


def test_a_smallest_size_is_written_where_there_is_one() -> None:
    assert "smallest" not in read(smallest=1).to_json()
    assert "smallest" not in read().model_dump()
    assert read(smallest=16).model_dump()["smallest"] == 16
    assert Card.from_json(read(smallest=16).to_json()).smallest == 16


@pytest.mark.parametrize(
    ("arch", "own"), [("edsr", False), ("mine:Net", True), ("spandrel:DAT", False)]
)
def test_whose_code_builds_it(arch: str, own: bool) -> None:
    assert read(arch=arch).own_code == own


def test_a_field_that_cards_do_not_have() -> None:
    with pytest.raises(UserError, match="colour"):
        read(colour="red")


def test_a_card_is_4_mb_at_most() -> None:
    text = read().to_json()
    Card.from_json(text.ljust(MAX_TEXT))
    with pytest.raises(UserError, match="it is longer than 4 MB"):
        Card.from_json(text.ljust(MAX_TEXT + 1))
    assert MAX_TEXT == 4 * 1024 * 1024


@pytest.mark.parametrize("text", ["", "{", "[]", "5", '{"arch": "\ud800"}'])
def test_what_is_no_card(text: str) -> None:
    with pytest.raises(UserError, match="is not valid"):
        Card.from_json(text)


def test_what_it_says_of_itself() -> None:
    assert read(shapes={"a": [1]}).pruned
    assert read(scale=2).network_scale == 2
    assert read(pre_upscaled=True).network_scale == 1
    card = read(history=[{"step": "a"}])
    assert card.step(step="b", n=1).history == [{"step": "a"}, {"step": "b", "n": 1}]
    assert card.history == [{"step": "a"}]
    with pytest.raises(ValueError, match="frozen"):
        card.scale = 3  # type: ignore[misc]
