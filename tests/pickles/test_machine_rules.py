"""Every instruction by what it leaves, and every bound by what lies on either side of it."""

from __future__ import annotations

import io
import struct

import pytest

from srdeploy.pickles import machine
from srdeploy.pickles.inert import Global, MalformedPickle, Record
from srdeploy.pickles.machine import construct, load


def value(body: bytes, **options: object) -> object:
    return load(io.BytesIO(b"\x80\x02" + body + b"."), **options).value  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"I7\n", 7), (b"I00\n", False), (b"L8L\n", 8), (b"\x8a\x01\x09", 9), (b"K\x05", 5),
        (b"M\x01\x02", 513), (b"J\xff\xff\xff\xff", -1), (b"F1.5\n", 1.5), (b"N", None),
        (b"\x88", True), (b"\x89", False), (b"S'a'\n", "a"), (b"Vb\n", "b"), (b"U\x01c", "c"),
        (b"C\x01d", b"d"), (b")", ()), (b"]", []), (b"}", {}), (b"\x8f", set()),
        (b"K\x01\x85", (1,)), (b"K\x01K\x02\x86", (1, 2)), (b"K\x01K\x02K\x03\x87", (1, 2, 3)),
        (b"K\x09(K\x01K\x02t", (1, 2)), (b"(K\x01K\x02l", [1, 2]), (b"(K\x01K\x02d", {1: 2}),
        (b"(K\x01K\x02\x91", frozenset((1, 2))), (b"]K\x01a", [1]), (b"](K\x01K\x02e", [1, 2]),
        (b"}K\x01K\x02s", {1: 2}), (b"}(K\x01K\x02K\x03K\x04u", {1: 2, 3: 4}),
        (b"\x8f(K\x01K\x02\x90", {1, 2}), (b"K\x01K\x020", 1), (b"K\x01(K\x02K\x031", 1),
        (b"K\x01(0", 1), (b"K\x012\x86", (1, 1)), (b"K\x01p5\nK\x020g5\n", 1),
        (b"K\x01q\x050h\x05", 1), (b"K\x01r\x05\0\0\x000j\x05\0\0\0", 1),
        (b"K\x07\x94K\x08\x9400h\x01", 8), (b"K\x07\x94K\x08\x9400h\x00", 7),
        (b"cm.n\nC\n", Global("m.n", "C")), (b"U\x01mU\x01C\x93", Global("m", "C")),
        (b"ccollections\nOrderedDict\n](K\x01K\x02\x86e\x85R", {1: 2}),
        (b"ccollections\nOrderedDict\n)R", {}), (b"ccollections\nOrderedDict\nN\x85R", {}),
        (b"K\x01}U\x01aK\x02sb", 1),  # attributes of a plain value mean nothing
    ],
)  # fmt: skip
def test_what_an_instruction_leaves(body: bytes, expected: object) -> None:
    found = value(body)
    assert found == expected
    assert type(found) is type(expected)


RECORD = b"cm\nC\n)R"


def test_records_take_items_and_states() -> None:
    found = value(RECORD + b"K\x01K\x02s(K\x03K\x04u")
    assert isinstance(found, Record)
    assert (found.items, found.state, found.given) == ({1: 2, 3: 4}, {}, None)
    found = value(RECORD + b"K\x01a(K\x02e")  # a subclass of list: its elements are no weights
    assert isinstance(found, Record)
    found = value(RECORD + b"}K\x01K\x02s}K\x03K\x04s\x86b")
    assert isinstance(found, Record)
    assert found.state == {1: 2, 3: 4}
    assert found.given == ({1: 2}, {3: 4})
    found = value(RECORD + b"}K\x01K\x02s}K\x03K\x04s}K\x05K\x06s\x87b")
    assert isinstance(found, Record)
    assert found.state == {1: 2, 3: 4}
    found = value(RECORD + b"}K\x01K\x02sb}K\x01K\x03sbK\x09b")
    assert isinstance(found, Record)
    assert (found.state, found.given) == ({1: 3}, 9)


def test_objects_with_their_arguments() -> None:
    for body in (b"cm\nC\n(K\x01K\x02tR", b"(K\x01K\x02im\nC\n", b"(cm\nC\nK\x01K\x02o",
                 b"cm\nC\nK\x01K\x02\x86\x81", b"cm\nC\nK\x01K\x02\x86}\x92"):  # fmt: skip
        found = value(body)
        assert isinstance(found, Record)
        assert (found.target, found.args) == (Global("m", "C"), (1, 2))


def test_what_was_not_built_is_told() -> None:
    body = b"cm\nC\n)R)R" + RECORD + b"\x86."
    assert load(io.BytesIO(b"\x80\x02" + body)).ignored == {"m.C", "a nested object"}
    assert load(io.BytesIO(b"\x80\x02ccollections\nOrderedDict\n)R.")).ignored == frozenset()


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"0", "a mark is missing"), (b"", "takes a value that is not there"),
        (b"N\x86", "takes a value that is not there"), (b"t", "a mark is missing"),
        (b"h\x07", "refers to a value that is not there"),
        (b"NK\x01a", "appends to what is no list"),
        (b"NNNs", "sets items of what is no dictionary"), (b"}(K\x01u", "sets items of what is no"),
        (b"](K\x01\x90", "adds elements to what is no set"), (b"(o", "an object has no class"),
        (b"cm\nC\n]R", "arguments are no tuple"), (b"NU\x01a\x93", "a name is no text"),
        (b"U\x01aN\x93", "a name is no text"), (b"cm\nC\x07\n", "a name is none of Python's"),
        (b"cm\x07\nC\n", "a name is none of Python's"), (b"Q", "refers to data outside the pickle"),
        (b"P1\n", "uses the pickle opcode PERSID, which no such file needs"),
        (b"\x82\x01", "uses the pickle opcode EXT1, which no such file needs"),
        (b"ccollections\nOrderedDict\n](K\x01ea\x85R", "is damaged"),
        (b"ccollections\nOrderedDict\n]K\x01a\x85R", "a dictionary is not made of pairs"),
        (b"ccollections\nOrderedDict\n](K\x01K\x02K\x03\x87e\x85R", "is not made of pairs"),
        (b"Ixyz\n", r"the pickle is damaged \("),
    ],
)  # fmt: skip
def test_damage_is_named(body: bytes, told: str) -> None:
    with pytest.raises(MalformedPickle, match=told):
        value(b"N" * (body == b"Q") + body)


def text(word: str) -> bytes:
    return b"X" + struct.pack("<I", len(word)) + word.encode()


def test_names_up_to_200_letters() -> None:
    for module, name in ((200, 1), (1, 200)):
        body = text("m" * module) + text("C" * name) + b"\x93"
        assert value(body) == Global("m" * module, "C" * name)
    for module, name in ((201, 1), (1, 201)):
        with pytest.raises(MalformedPickle, match="none of Python's"):
            value(text("m" * module) + text("C" * name) + b"\x93")


def test_numbers_up_to_1000_bits() -> None:
    def number(n: int) -> bytes:
        data = n.to_bytes(127, "little", signed=True)
        return b"\x8a" + bytes([len(data)]) + data

    assert value(number((1 << 1000) - 1)) == (1 << 1000) - 1
    assert value(number(-(1 << 999))) == -(1 << 999)
    with pytest.raises(MalformedPickle, match="a number of more digits than any"):
        value(number(1 << 1000))


def test_steps_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.MAX_STEPS == 2_000_000
    monkeypatch.setattr(machine, "MAX_STEPS", 4)
    assert value(b"KA0" * 0 + b"N2") is None  # PROTO, N, DUP, STOP
    with pytest.raises(MalformedPickle, match="far more entries than a network or picture"):
        value(b"N22")


def test_copies_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine._MAX_COPIED == 4_000_000
    monkeypatch.setattr(machine, "_MAX_COPIED", 5)
    pairs = b"](NN\x86NN\x86e"
    twice = b"ccollections\nOrderedDict\n" + pairs + b"\x85R"
    assert value(twice + twice + b"\x86") == ({None: None}, {None: None})
    for more in (b"](NN\x86e", b"(NNt", b"}(K\x01NK\x02Nu"):
        one = b"ccollections\nOrderedDict\n" + more + b"\x85R"
        with pytest.raises(MalformedPickle, match="copies its own parts over and over"):
            value(twice + twice + one + one)
    states = RECORD + b"}(" + b"".join(b"K" + bytes([n]) + b"N" for n in range(6)) + b"ub"
    with pytest.raises(MalformedPickle, match="copies its own parts"):
        value(states)
    assert value(b"cm\nC\n(" + b"]" * 20 + b"tR") is not None  # empty lists cost nothing


def test_wide_keys_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine._MAX_WIDE_KEYS == 1000
    monkeypatch.setattr(machine, "_MAX_WIDE_KEYS", 2)

    def keys(*numbers: int) -> bytes:
        parts = (b"\x8a\x09" + n.to_bytes(9, "little") for n in numbers)
        return b"\x8f(" + b"".join(parts) + b"\x90"

    first = 1 << 60
    assert value(keys(first, first + 1)) == {first, first + 1}
    assert value(keys(first - 1, first - 2, first - 3)) == {first - 1, first - 2, first - 3}
    with pytest.raises(MalformedPickle, match="keys made to exhaust time"):
        value(keys(first, first + 1, first + 2))


def test_persistent_values_are_the_reader_s() -> None:
    assert value(b"K\x07Q", persistent=lambda pid: [pid]) == [7]


def test_names_that_mean_something() -> None:
    made = {("m", "C"): lambda *args: list(args)}
    assert value(b"cm\nC\n(K\x01K\x02tR", constructors=made) == [1, 2]
    assert construct(Global("m", "C"), range(8), made) == list(range(8))  # type: ignore[arg-type]
    more = construct(Global("m", "C"), list(range(9)), made)  # type: ignore[arg-type]
    assert isinstance(more, Record)
    assert more.args == tuple(range(9))
    assert isinstance(construct("m.C", [], made), Record)  # type: ignore[arg-type]
    ordered = construct(Global("collections", "OrderedDict"), [(("a", 1), ["b", 2]), "more"], {})
    assert ordered == {"a": 1, "b": 2}
