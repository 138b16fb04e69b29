from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from srdeploy.prune.unionfind import UnionFind

PAIRS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=20)


@given(PAIRS)
def test_joins_like_a_plain_implementation(pairs):
    sets = UnionFind()
    sets.new(12)
    plain = {i: {i} for i in range(1, 13)}
    for a, b in pairs:
        sets.join(np.array([a]), np.array([b]), "why")
        if a and b:
            merged = plain[a] | plain[b]
            plain.update(dict.fromkeys(merged, merged))
    roots = sets.find(np.arange(13))
    assert roots[0] == 0
    for i in range(1, 13):
        assert {j for j in range(1, 13) if roots[j] == roots[i]} == plain[i]


def test_reasons_follow_their_sets():
    sets = UnionFind()
    a, b, c = (sets.new(2) for _ in range(3))
    sets.join(a, b, "added")
    sets.freeze(c[:1], "output")
    sets.join(b[:1], c[:1], "again")
    sets.freeze(a, "late")
    root, other = sets.find(a)
    assert sets.frozen() == {root: "output", other: "late"}
    assert sets.joins() == {root: ["added", "again"], other: ["added"]}
