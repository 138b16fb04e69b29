"""A few bytes ask for little: time and memory of a pickle follow its length."""

from __future__ import annotations

import io
import struct
import time
import tracemalloc

import pytest

from srdeploy.models.importing.torch_values import CONSTRUCTORS, Storages
from srdeploy.pickles import machine
from srdeploy.pickles.inert import MalformedPickle, OpaqueKey
from srdeploy.pickles.machine import load


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


LIST = b"(" + b"NN\x86" * 20_000 + b"lq\x00"  # a list of 20,000 pairs, remembered
DICTIONARY = b"}(" + b"".join(text(f"{i}") + b"N" for i in range(20_000)) + b"uq\x00"
ORDERED = b"ccollections\nOrderedDict\nq\x01"
SIZE = b"ctorch\nSize\nq\x01"
WIDE = b"".join(b"\x8a\x0a" + (i * ((1 << 61) - 1)).to_bytes(10, "little") for i in range(9000))
BOMBS = {
    "one list copied into many dictionaries": LIST + ORDERED + b"h\x01h\x00\x85R" * 20_000,
    "one list taken for the shape of many tensors": LIST + SIZE + b"h\x01h\x00\x85R" * 20_000,
    "the attributes of many objects": DICTIONARY + b"cm\nC\nq\x02" + b"h\x02)Rh\x00b" * 20_000,
    "keys that Python hashes alike": b"(" + WIDE.replace(b"\x8a", b"N\x8a") + b"Nd",
    "keys of a set that Python hashes alike": b"\x8f(" + WIDE + b"\x90",
    "more instructions than a file has": b"N0" * 1_100_000 + b"N",
    "a number of a million digits": b"\x8b" + struct.pack("<I", 1 << 19) + b"\x01" * (1 << 19),
    "a name of many letters": b"cm\n" + b"C" * 100_000 + b"\n",
    "a name that moves the cursor": b"cm\nC\x1b[2J\n",
}  # fmt: skip


@pytest.mark.parametrize("body", BOMBS.values(), ids=BOMBS)
def test_bombs_end_soon_in_one_sentence(body: bytes) -> None:
    began = time.process_time()
    with pytest.raises(MalformedPickle):
        load(io.BytesIO(b"\x80\x02" + body + b"."), CONSTRUCTORS, Storages().persistent)
    assert time.process_time() - began < 15


@pytest.mark.parametrize("opcode", [b"(", b"}", b"\x8f", b")", b"N\x94", b"cm\nC\n)R"])
def test_each_instruction_costs_little(opcode: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two million of the worst fit a machine of modest memory."""
    monkeypatch.setattr(machine, "MAX_STEPS", 10_000)
    tracemalloc.start()
    with pytest.raises(MalformedPickle, match="far more entries"):
        load(io.BytesIO(opcode * 10_001))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak / 10_000 < 500


@pytest.mark.parametrize(
    "body",
    [
        b"N" + b"\x85" * 200_000,
        b"(" * 100_000 + b"N" + b"\x91" * 100_000,
        b"cm\nC\nq\x00" + b"h\x00" * 100_000 + b"N" + b"\x85R" * 100_000,
    ],
    ids=["tuples", "sets", "objects"],
)
def test_nesting_of_any_depth_is_built_and_dropped(body: bytes) -> None:
    """Neither building nor forgetting it recurses into the C stack."""
    load(io.BytesIO(b"\x80\x02" + body + b"."))


def test_sharing_is_no_bomb() -> None:
    """What a pickle shares stays shared: a billion leaves in 60 lists of two."""
    doubled = b"]q\x00" + b"".join(b"](h" + bytes([i]) + b"h" + bytes([i]) + b"eq" + bytes([i + 1])
                                   for i in range(60))  # fmt: skip
    value = load(io.BytesIO(b"\x80\x02" + doubled + b".")).value
    assert isinstance(value, list)
    assert value[0] is value[1]


def test_text_too_long_for_a_name_is_no_name() -> None:
    value = load(io.BytesIO(b"\x80\x02}" + text("x" * 5000) + b"Ns.")).value
    assert isinstance(value, dict)
    assert isinstance(next(iter(value)), OpaqueKey)


def test_what_was_ignored_is_told_up_to_a_number() -> None:
    body = b"".join(b"cm\nC%d\n)R0" % i for i in range(1000)) + b"N."
    assert len(load(io.BytesIO(b"\x80\x02" + body)).ignored) == 100
