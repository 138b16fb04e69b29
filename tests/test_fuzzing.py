"""The byte mutations that the fuzzing of every format is built on."""

from __future__ import annotations

import json
from itertools import islice

import pytest

from benchmarks.fuzzing import KINDS, mutations

DATA = json.dumps({"numbers": list(range(200))}).encode() + bytes(range(256)) * 20


def test_one_seed_makes_the_same_copies_and_another_others() -> None:
    first, again, other = (list(islice(mutations(DATA, seed), 200)) for seed in (0, 0, 1))
    assert first == again != other
    assert {kind for kind, _ in first} == set(KINDS)
    assert sum(copy != DATA for _, copy in first) > 190


@pytest.mark.parametrize("data", [b"7", b"ab", b"x" * 5000, DATA])
def test_files_of_any_size(data: bytes) -> None:
    for kind, copy in islice(mutations(data, 3), 160):
        grows = kind in ("slice doubled", "number in text")
        assert len(copy) <= len(data) or grows, kind


def test_flips_reach_the_whole_file_one_bit_at_a_time() -> None:
    places = set()
    for kind, copy in islice(mutations(DATA, 0), len(KINDS) * 400):
        if kind == "bit flip":
            changed = [i for i, (a, b) in enumerate(zip(DATA, copy, strict=True)) if a != b]
            assert len(changed) == 1
            assert (DATA[changed[0]] ^ copy[changed[0]]).bit_count() == 1
            places.add(changed[0] * 10 // len(DATA))
    assert places == set(range(10))
