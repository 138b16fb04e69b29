"""The interpreter agrees with Python on plain data and survives anything else."""

from __future__ import annotations

import contextlib
import io
import pickle
import pickletools
import struct
from collections import OrderedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from srdeploy.models.importing.torch_values import CONSTRUCTORS, Storages
from srdeploy.pickles.inert import Global, MalformedPickle, OpaqueKey, Record
from srdeploy.pickles.machine import load

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=20),
    st.binary(max_size=20),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.tuples(inner, inner, inner, inner)
        | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=4)
        | st.sets(st.integers() | st.text(max_size=5), max_size=4)
    ),
    max_leaves=15,
)


@settings(max_examples=150, deadline=None)
@given(VALUES, st.sampled_from([4, 5]))
def test_plain_data_is_read_as_python_reads_it(value: object, protocol: int) -> None:
    assert load(io.BytesIO(pickle.dumps(value, protocol))).value == value


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol(protocol: int) -> None:
    value = {"a": [1, 2.5, "x", None, True, (1,), (1, 2), 1 << 80], "o": OrderedDict(b=-1)}
    stream = io.BytesIO(pickle.dumps(value, protocol) + b"rest")
    assert load(stream).value == value
    assert stream.read() == b"rest"


def test_shared_and_recursive_values_keep_their_identity() -> None:
    inner: list[object] = []
    inner.append(inner)
    value = load(io.BytesIO(pickle.dumps({"a": inner, "b": inner}))).value
    assert isinstance(value, dict)
    assert value["a"] is value["b"] is value["a"][0]


def test_objects_become_records_with_their_state() -> None:
    """Old-style (INST), reduced, and new objects alike."""
    for data in (
        b"\x80\x02cm\nC\n)\x81}U\x01aK\x01sb.",
        b"\x80\x02(im\nC\n}U\x01aK\x01sb.",
        b"\x80\x02(cm\nC\no}U\x01aK\x01sb.",
        b"\x80\x02cm\nC\n)R}U\x01aK\x01sb.",
        b"\x80\x02cm\nC\n)}\x92N}U\x01aK\x01s\x86b.",
    ):
        result = load(io.BytesIO(data))
        assert isinstance(result.value, Record)
        assert result.value.target == Global("m", "C")
        assert result.value.state == {"a": 1}
        assert result.ignored == {"m.C"}


def test_deep_nesting_neither_overflows_nor_hangs() -> None:
    """A key nested 200,000 deep would exhaust the C stack if it were hashed."""
    deep = b"\x80\x02}" + b"N" + b"\x85" * 200_000 + b"K\x01s."
    value = load(io.BytesIO(deep)).value
    assert isinstance(value, dict)
    assert isinstance(next(iter(value)), OpaqueKey)


def test_a_huge_memo_index_costs_nothing() -> None:
    """Python's own unpickler allocates a table of that length."""
    data = b"\x80\x02Nr" + struct.pack("<I", 0xFFFFFFF0) + b"."
    assert load(io.BytesIO(data)).value is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"N",
        b".",
        b"\x80\x02",
        b"0.",
        b"t.",
        b"h\x07.",
        b"NNa.",
        b"NNNs.",
        b"(K\x01d.",
        b"N(e.",
        b"N(K\x01\x90.",
        b"NK\x01R.",
        b"NN\x93.",
        b"(o.",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7fxx.",
        b"\x8b\xff\xff\xff\x7f\x01.",
        b"I" + b"9" * 5000 + b"\n.",
        b"Ixyz\n.",
        b"\xff",
        b"\x97.",
        b"ccollections\nOrderedDict\n](K\x01ea\x85R.",
    ],
)
def test_damage_is_one_kind_of_error(data: bytes) -> None:
    with pytest.raises(MalformedPickle):
        load(io.BytesIO(data))


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=60))
def test_random_bytes(data: bytes) -> None:
    with contextlib.suppress(MalformedPickle):
        load(io.BytesIO(data))


_OPCODES = [op.code.encode("latin-1") for op in pickletools.opcodes if op.arg is None] + [
    *(b"K\x01", b"M\x01\x00", b"U\x01a", b"q\x00", b"h\x00", b"X\x01\x00\x00\x00a"),
    *(b"ccollections\nOrderedDict\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nSize\n"),
    *(b"ctorch._tensor\n_rebuild_from_type_v2\n", b"ctorch\nFloatStorage\n", b"im\nC\n"),
    *(b"ctorch._utils\n_rebuild_tensor_v3\n", b"ctorch.nn.parameter\nParameter\n"),
    b"U\x07storage",
]


@settings(max_examples=600, deadline=None)
@given(st.lists(st.sampled_from(_OPCODES), max_size=40))
def test_random_programs(opcodes: list[bytes]) -> None:
    with contextlib.suppress(MalformedPickle):
        stream = io.BytesIO(b"\x80\x02" + b"".join(opcodes) + b".")
        load(stream, CONSTRUCTORS, Storages().persistent)
