"""Hostile checkpoints: every route by which a pickle runs code, in both containers.

Each payload is first shown to be real: Python's own unpickler runs it and the sentinel appears.
Then the same bytes go through our reader, beside good weights and inside a pickled module, and the
weights come out while nothing happened.
"""

from __future__ import annotations

import copyreg
import io
import os
import pickle
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from srdeploy.errors import UserError
from srdeploy.models.importing.state_dict import read_state_dict

if os.name != "posix":
    pytest.skip("the payloads call posix.system", allow_module_level=True)


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def stack_name(module: str, attribute: str) -> bytes:
    return text(module) + text(attribute) + b"\x93"


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + b"(" + b"".join(arguments) + b"tR"


def persistent(*parts: bytes) -> bytes:
    return b"(" + b"".join(parts) + b"tQ"


SYSTEM = name("posix", "system")


def _with_setstate_on_class(command: str) -> bytes:
    """BUILD writes __setstate__ onto a real class, the next BUILD calls it."""
    target = name("argparse", "Namespace")
    slots = b"N}" + text("__setstate__") + SYSTEM + b"s\x86"
    return target + slots + b"b0" + target + b")\x81" + text(command) + b"b"


def _nested_bytes(command: str) -> bytes:
    evil = b"\x80\x02" + call(SYSTEM, text(command)) + b"."
    return b"B" + struct.pack("<I", len(evil)) + evil


PAYLOADS: dict[str, Callable[[str], bytes]] = {
    "reduce": lambda c: call(SYSTEM, text(c)),
    "reduce eval": lambda c: call(
        name("builtins", "eval"), text(f"__import__('os').system({c!r})")
    ),
    "python 2 name": lambda c: call(
        name("__builtin__", "eval"), text(f"__import__('os').system({c!r})")
    ),
    "reduce exec": lambda c: call(name("builtins", "exec"), text(f"import os; os.system({c!r})")),
    "inst": lambda c: b"(" + text(c) + b"iposix\nsystem\n",
    "obj": lambda c: b"(" + SYSTEM + text(c) + b"o",
    "newobj": lambda c: (
        name("subprocess", "Popen")
        + b")\x81"
        + b"0"
        + call(name("subprocess", "getoutput"), text(c))
    ),
    "newobj_ex": lambda c: (
        name("types", "SimpleNamespace") + b")}\x92" + b"0" + call(SYSTEM, text(c))
    ),
    "stack_global": lambda c: call(stack_name("posix", "system"), text(c)),
    "stack_global dotted": lambda c: call(stack_name("torch", "os.system"), text(c)),
    "torch._utils traversal": lambda c: call(stack_name("torch._utils", "os.system"), text(c)),
    "torch serialization traversal": lambda c: call(
        stack_name("torch.serialization", "os.system"), text(c)
    ),
    "build on a class": _with_setstate_on_class,
    "build on an instance": lambda c: (
        name("argparse", "Namespace")
        + b")\x81}"
        + text("__setstate__")
        + SYSTEM
        + b"sb"
        + text(c)
        + b"b"
    ),
    "getattr chain": lambda c: call(
        call(
            name("builtins", "getattr"),
            call(name("builtins", "__import__"), text("os")),
            text("system"),
        ),
        text(c),
    ),
    "loader of nested bytes": lambda c: call(name("pickle", "loads"), _nested_bytes(c)),
    "partial": lambda c: call(call(name("functools", "partial"), SYSTEM, text(c))),
    "reconstructor": lambda c: (
        call(
            name("copyreg", "_reconstructor"),
            name("builtins", "object"),
            name("builtins", "object"),
            b"N",
        )
        + b"0"
        + call(SYSTEM, text(c))
    ),
    "source text persistent id": lambda c: call(
        persistent(text("module"), SYSTEM, text("evil.py"), text(f"import os; os.system({c!r})")),
        text(c),
    ),
    "inside a persistent id": lambda c: persistent(
        text("module"), call(SYSTEM, text(c)), text("evil.py"), text("source")
    ),
    "tensor subclass": lambda c: call(
        name("torch._tensor", "_rebuild_from_type_v2"),
        SYSTEM,
        name("torch", "Tensor"),
        b"(" + text(c) + b"t",
        b"}",
    ),
    "list comprehension of map": lambda c: call(
        name("builtins", "list"), call(name("builtins", "map"), SYSTEM, b"(" + text(c) + b"t")
    ),
    "set item of a live object": lambda c: (
        call(name("collections", "defaultdict"), SYSTEM) + b"0" + call(SYSTEM, text(c))
    ),
}

ONLY_REFUSED: dict[str, Callable[[str], bytes]] = {
    "extension registry": lambda c: b"\x82\xf0" + b"(" + text(c) + b"tR",
    "extension registry 2": lambda c: b"\x83\xf0\x00" + b"(" + text(c) + b"tR",
    "extension registry 4": lambda c: b"\x84\xf0\x00\x00\x00" + b"(" + text(c) + b"tR",
    "text persistent id": lambda c: b"Pevil\n",
    "call as storage type": lambda c: persistent(
        text("storage"), call(SYSTEM, text(c)), text("0"), text("cpu"), b"K\x01"
    ),
    "name as storage type": lambda c: persistent(
        text("storage"), SYSTEM, text("0"), text("cpu"), b"K\x01"
    ),
    "unknown persistent id": lambda c: persistent(text("evil"), call(SYSTEM, text(c))),
    "call as tensor storage": lambda c: call(
        name("torch._utils", "_rebuild_tensor_v2"),
        call(SYSTEM, text(c)),
        *(b"K\x00", b"(K\x01t", b"(K\x01t", b"\x89", b"}"),
    ),
    "subclass of itself": lambda c: call(
        name("torch._tensor", "_rebuild_from_type_v2"),
        name("torch._tensor", "_rebuild_from_type_v2"),
        *(b"N", b"(NNNt", b"}"),
    ),
}

WEIGHT = torch.arange(36, dtype=torch.float32).reshape(4, 1, 3, 3)
TENSOR = call(
    name("torch._utils", "_rebuild_tensor_v2"),
    persistent(text("storage"), name("torch", "FloatStorage"), text("0"), text("cpu"), b"K\x24"),
    *(b"K\x00", b"(K\x04K\x01K\x03K\x03t", b"(K\x09K\x09K\x03K\x01t", b"\x89"),
    call(name("collections", "OrderedDict")),
)


def beside(payload: bytes) -> bytes:
    """{"state_dict": {"conv.weight": tensor}, "extra": payload}."""
    inner = b"}" + text("conv.weight") + TENSOR + b"s"
    return b"\x80\x04}(" + text("state_dict") + inner + text("extra") + payload + b"u."


def before(payload: bytes) -> bytes:
    """The payload is built first and thrown away."""
    return b"\x80\x04" + payload + b"0}" + text("conv.weight") + TENSOR + b"s."


def in_module(payload: bytes) -> bytes:
    """A pickled module whose submodule, parameters and hooks hold the payload."""
    parameters = b"}(" + text("weight") + TENSOR + text("evil") + payload + b"u"
    conv = (
        name("torch.nn.modules.conv", "Conv2d")
        + b")\x81}("
        + text("_parameters")
        + parameters
        + text("_modules")
        + b"}"
        + text("_forward_hooks")
        + payload
        + b"ub"
    )
    state = b"}(" + text("_modules") + b"}(" + text("conv") + conv + text("x") + payload + b"u"
    return b"\x80\x04" + name("evil_net", "Net") + b")\x81" + state + b"ub."


def as_key(payload: bytes) -> bytes:
    return b"\x80\x04}(" + payload + b"N" + text("conv.weight") + TENSOR + b"u."


PLACES = [beside, before, in_module, as_key]


class _Unsafe(pickle.Unpickler):
    """What an unguarded reader does."""

    def persistent_load(self, saved: object) -> object:
        return saved[1]  # type: ignore[index]


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_payloads_are_real(payload: Callable[[str], bytes], tmp_path: Path) -> None:
    """Otherwise the tests below would prove nothing. Run in a child: some damage the process."""
    sentinel = tmp_path / "executed"
    for protocol in (b"\x80\x02", b"\x80\x04"):  # old names, dotted names
        data = protocol + payload(f"touch {sentinel}") + b"."
        if (child := os.fork()) == 0:
            try:
                _Unsafe(io.BytesIO(data)).load()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
    assert sentinel.exists()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_nothing_runs_and_the_weights_are_read(payload, place, write_container, tmp_path) -> None:
    sentinel = tmp_path / "executed"
    root = place(payload(f"touch {sentinel}"))
    path = write_container(tmp_path / "evil.pt", root, {"0": WEIGHT.numpy().tobytes()})
    found = read_state_dict(path)
    assert not sentinel.exists()
    assert torch.equal(found.tensors["conv.weight"], WEIGHT)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("payload", ONLY_REFUSED.values(), ids=ONLY_REFUSED)
def test_what_no_checkpoint_needs_is_refused(payload, place, write_container, tmp_path) -> None:
    sentinel = tmp_path / "executed"
    copyreg.add_extension("posix", "system", 0xF0)
    try:
        root = place(payload(f"touch {sentinel}"))
        path = write_container(tmp_path / "evil.pt", root, {"0": WEIGHT.numpy().tobytes()})
        with pytest.raises(UserError, match="is not a readable torch checkpoint"):
            read_state_dict(path)
    finally:
        copyreg.remove_extension("posix", "system", 0xF0)
    assert not sentinel.exists()


def test_what_was_not_called_is_named(write_container, tmp_path) -> None:
    root = beside(call(SYSTEM, text("true")))
    path = write_container(tmp_path / "evil.pt", root, {"0": WEIGHT.numpy().tobytes()})
    assert read_state_dict(path).ignored == ("posix.system",)


@pytest.mark.parametrize("spell", [name, stack_name])
def test_naming_a_module_does_not_import_it(spell, write_container, tmp_path, monkeypatch) -> None:
    sentinel = tmp_path / "executed"
    (tmp_path / "evil_module_of_mine.py").write_text(f"open({str(sentinel)!r}, 'w')\nx = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    root = beside(spell("evil_module_of_mine", "x"))
    read_state_dict(write_container(tmp_path / "evil.pt", root, {"0": WEIGHT.numpy().tobytes()}))
    assert "evil_module_of_mine" not in sys.modules
    assert not sentinel.exists()


def test_torch_storage_bytes_are_not_unpickled(write_container, tmp_path) -> None:
    """torch.storage._load_from_bytes is an unguarded torch.load of bytes inside the file."""
    sentinel = tmp_path / "executed"
    evil = b"\x80\x02" + call(SYSTEM, text(f"touch {sentinel}")) + b"."
    inner = tmp_path / "inner.pt"
    header = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    inner.write_bytes(b"".join(pickle.dumps(v, 2) for v in header) + evil + pickle.dumps([], 2))
    data = inner.read_bytes()
    nested = b"B" + struct.pack("<I", len(data)) + data
    root = beside(call(name("torch.storage", "_load_from_bytes"), nested))
    path = write_container(tmp_path / "evil.pt", root, {"0": WEIGHT.numpy().tobytes()})
    assert read_state_dict(path).ignored == ("torch.storage._load_from_bytes",)
    assert not sentinel.exists()


def test_the_readers_own_classes_stay_as_they_are(write_container, tmp_path) -> None:
    """BUILD on names the reader knows changes nothing in this process."""
    state = b"N}" + text("items") + SYSTEM + b"s\x86b"
    for module, attribute in (("collections", "OrderedDict"), ("torch", "FloatStorage")):
        root = beside(name(module, attribute) + state)
        read_state_dict(
            write_container(tmp_path / "evil.pt", root, {"0": WEIGHT.numpy().tobytes()})
        )
    assert torch.FloatStorage.__dict__.get("items") is None
