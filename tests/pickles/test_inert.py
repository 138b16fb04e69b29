"""Values of a pickle: which keys are hashed, and which numbers are sides."""

from __future__ import annotations

import pytest

from srdeploy.pickles.inert import Global, MalformedPickle, OpaqueKey, Record, naturals, plain_key


@pytest.mark.parametrize("key", ["a" * 1000, b"a" * 1000, None, 3, 2.5, True, Global("m", "C")])
def test_keys_that_stay(key: object) -> None:
    assert plain_key(key) is key


@pytest.mark.parametrize("key", ["a" * 1001, b"a" * 1001, (1,), [], Record(None)])
def test_keys_that_are_wrapped(key: object) -> None:
    wrapped = plain_key(key)
    assert isinstance(wrapped, OpaqueKey)
    assert wrapped.value is key
    assert wrapped != OpaqueKey(key)  # by identity: what it holds may be nested deep


def test_whole_numbers() -> None:
    assert naturals([0, (1 << 63) - 1], "it") == (0, (1 << 63) - 1)
    assert naturals((1,) * 64, "it") == (1,) * 64
    assert naturals((), "it") == ()
    for wrong in ((1,) * 65, (1 << 63,), (-1,), (True,), (1.0,), 3, "12", None):
        with pytest.raises(MalformedPickle, match=r"it is damaged \(the shape is not made of a"):
            naturals(wrong, "the shape")


def test_records_are_equal_to_themselves_alone() -> None:
    one = Record(Global("m", "C"))
    assert one != Record(Global("m", "C"))
    assert repr(one) == "Record()"  # what it holds may be as deep as the file likes
    assert str(Global("m", "C")) == "m.C"
