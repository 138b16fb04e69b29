from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from srdeploy.pruning.tracing.unionfind import UnionFind

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


@given(st.lists(st.integers(0, 12), max_size=6))
def test_joining_all_makes_one_set(nodes):
    sets = UnionFind()
    sets.new(12)
    sets.join_all(np.array(nodes, dtype=np.int64), "met")
    roots = sets.find(np.arange(13))
    inside = set(nodes) - {0}
    assert len({int(roots[i]) for i in inside}) <= 1
    assert all(roots[i] == i for i in range(13) if i not in inside)
    reasons = sets.joins()
    assert reasons == ({int(roots[min(inside)]): ["met"]} if len(inside) > 1 else {})


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_nodes_are_fresh_however_many_there_are(counts):
    sets = UnionFind()
    issued = [sets.new(count) for count in counts]
    flat = np.concatenate(issued)
    assert flat.tolist() == list(range(1, sum(counts) + 1))
    assert np.array_equal(sets.find(flat), flat)


def test_nothing_is_frozen_by_no_channel():
    sets = UnionFind()
    nodes = sets.new(2)
    sets.freeze(np.array([0, 0]), "nothing")
    assert sets.frozen() == {}
    sets.freeze(np.array([0, nodes[1]]), "one")
    assert sets.frozen() == {int(nodes[1]): "one"}


def test_what_counts_as_a_change():
    sets = UnionFind()
    a, b = sets.new(2), sets.new(2)
    assert sets.changes == 0
    sets.join(a, b)
    assert sets.changes == 1  # however many at once
    sets.join(a, b)
    sets.join(b[:1], a[:1])
    sets.join(np.zeros(2, dtype=np.int64), b)
    assert sets.changes == 1
    sets.freeze(a, "output")
    assert sets.changes == 2
    sets.freeze(np.zeros(2, dtype=np.int64), "nothing")
    assert sets.changes == 2


def test_sets_that_were_joined_earlier_are_joined_as_a_whole():
    sets = UnionFind()
    nodes = sets.new(6)
    sets.join(nodes[4:5], nodes[5:6])
    sets.join(nodes[2:3], nodes[3:4])
    sets.join(nodes[5:6], nodes[3:4], "late")
    assert sets.find(nodes).tolist() == [1, 2, 3, 3, 3, 3]
    assert sets.joins() == {3: ["late"]}


def test_one_node_with_several_and_tables_of_nodes():
    sets = UnionFind()
    nodes = sets.new(6)
    sets.join(nodes[:1], nodes[2:4])
    assert sets.find(nodes.reshape(2, 3)).tolist() == [[1, 2, 1], [1, 5, 6]]
    sets.join_all(np.array([[2, 0], [5, 6]]), "met")
    assert sets.find(nodes).tolist() == [1, 2, 1, 1, 2, 2]
    assert sets.joins() == {2: ["met"]}
