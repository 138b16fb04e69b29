"""Proof records of every age are told, and none is told better than it is."""

from __future__ import annotations

import pytest

from srdeploy.models.load import load_network
from srdeploy.models.proof_text import tell_proof
from srdeploy.util.shipped import shipped_networks

OLD = {
    "claim": "masked(x) == compact(x)",
    "dtype": "float64",
    "sizes": [[24, 20], [17, 29]],
    "max_difference": 5.77e-16,
    "tolerance": 1e-9,
}


def test_width_comes_first_and_the_batch_where_there_was_one() -> None:
    assert tell_proof({**OLD, "sizes": [[24, 20], [136, 152]], "batch": 2}) == [
        "masked(x) == compact(x) in float64, to 5.8e-16 of the value range",
        "checked on 20x24, 152x136 pixels, and on 2 images at once",
    ]


def test_float32_is_called_float32() -> None:
    assert (
        "in float32, to 1.0e-06"
        in tell_proof({**OLD, "dtype": "float32", "max_difference": 1e-6})[0]
    )


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"claim": "3 of 9 single weights are zero", "max_difference": 0.0},
         ["3 of 9 single weights are zero"]),
        ({"claim": "equal", "tolerance": 1e-9}, ["equal, to None of the value range"]),
        ({**OLD, "sizes": "all", "batch": "two"},
         ["masked(x) == compact(x) in float64, to 5.8e-16 of the value range"]),
        ({}, ["no claim"]),
    ],
)  # fmt: skip
def test_what_a_record_does_not_say_is_left_out(record: dict, told: list[str]) -> None:
    assert tell_proof(record) == told


def test_the_shipped_networks_tell_the_sizes_they_were_proven_on() -> None:
    pruned = [name for name in shipped_networks() if "-p" in name]
    assert pruned
    for name in pruned:
        proof = load_network(name).card.proof
        assert proof is not None
        first, second = tell_proof(proof)
        assert first.startswith("masked(x) == compact(x) in float64, to ")
        sizes = ", ".join(f"{width}x{height}" for height, width in proof["sizes"])
        assert sizes in second
        assert ("at once" in second) == ("batch" in proof)
