"""A pickle interpreter that cannot run code: it builds containers and inert records, nothing else.

Python's own unpickler calls whatever a file names, and even with a filtered ``find_class`` a file
can set attributes on the classes it was allowed to name (``BUILD``) or ask for a memo table of
gigabytes (``LONG_BINPUT``). This one never looks a name up: ``GLOBAL`` pushes the *name* as data,
and ``REDUCE``, ``NEWOBJ``, ``BUILD``, ``INST``, ``OBJ`` on a name fill in a
:class:`~.inert.Record`. Only the names in :data:`.inert.CONSTRUCTORS` mean something, and what they
build is our own data.

Opcode arguments are decoded by the standard library's :func:`pickletools.genops`.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from srdeploy.models.importing.inert import (
    Global,
    MalformedPickle,
    Record,
    StorageRef,
    construct,
    persistent_value,
    plain_key,
)


@dataclass(frozen=True)
class Pickle:
    """What one pickle holds.

    Attributes:
        value: Containers and scalars, :class:`Record`, :class:`TensorRef`.
        storages: Every storage referred to, by key.
        ignored: Names the file asked to have called or built and did not get.
    """

    value: object
    storages: dict[str, StorageRef]
    ignored: frozenset[str]


def load(stream: BinaryIO) -> Pickle:
    """Read one pickle, leaving ``stream`` just behind it.

    Raises:
        MalformedPickle: truncated or invalid data, or an opcode no checkpoint needs.
    """
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            machine.step(opcode.name, argument)
    except MalformedPickle:
        raise
    except (ValueError, IndexError, OverflowError) as error:
        raise MalformedPickle(f"the pickle is damaged ({error})") from error
    return Pickle(machine.result, machine.storages, frozenset(machine.ignored))


_PUSH = frozenset(
    (
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"),
        *("BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    )
)
_CONSTANT = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_DICT": dict, "EMPTY_SET": set}
_TUPLE = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Machine:
    """Stack, marks and memo of one pickle; :meth:`step` is the whole instruction set."""

    def __init__(self) -> None:
        self.stack: list[object] = []
        self.marked: list[list[object]] = []
        self.memo: dict[int, object] = {}
        self.ignored: set[str] = set()
        self.storages: dict[str, StorageRef] = {}
        self.result: object = None

    def step(self, name: str, argument: object) -> None:
        if name in _PUSH:
            self._push(argument)
        elif name in _CONSTANT:
            self._push(_CONSTANT[name])
        elif name in _EMPTY:
            self._push(_EMPTY[name]())
        elif name in _TUPLE:
            count = _TUPLE[name]
            self._push(tuple(reversed([self._pop() for _ in range(count)])))
        elif handler := _HANDLERS.get(name):
            handler(self, argument)
        else:
            raise MalformedPickle(f"it uses the pickle opcode {name}, which no checkpoint needs")

    def _push(self, value: object) -> None:
        self.stack.append(value)

    def _pop(self) -> object:
        if not self.stack:
            raise MalformedPickle("the pickle is damaged (it takes a value that is not there)")
        return self.stack.pop()

    def _top(self) -> object:
        value = self._pop()
        self._push(value)
        return value

    def _pop_mark(self) -> list[object]:
        if not self.marked:
            raise MalformedPickle("the pickle is damaged (a mark is missing)")
        items, self.stack = self.stack, self.marked.pop()
        return items

    def mark(self, _: object) -> None:
        self.marked.append(self.stack)
        self.stack = []

    def pop(self, _: object) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self._pop_mark()

    def pop_mark(self, _: object) -> None:
        self._pop_mark()

    def nothing(self, _: object) -> None:
        """PROTO and FRAME only describe the stream."""

    def stop(self, _: object) -> None:
        self.result = self._pop()

    # Containers

    def build_tuple(self, _: object) -> None:
        self._push(tuple(self._pop_mark()))

    def build_list(self, _: object) -> None:
        self._push(self._pop_mark())

    def build_dict(self, _: object) -> None:
        items = self._pop_mark()
        self._push({})
        self._set_items(items)

    def build_frozenset(self, _: object) -> None:
        self._push(frozenset(map(plain_key, self._pop_mark())))

    def append(self, _: object) -> None:
        self._extend([self._pop()])

    def appends(self, _: object) -> None:
        self._extend(self._pop_mark())

    def set_item(self, _: object) -> None:
        value, key = self._pop(), self._pop()
        self._set_items([key, value])

    def set_items(self, _: object) -> None:
        self._set_items(self._pop_mark())

    def add_items(self, _: object) -> None:
        items, target = self._pop_mark(), self._top()
        if not isinstance(target, set):
            raise MalformedPickle("the pickle is damaged (it adds elements to what is no set)")
        target.update(map(plain_key, items))

    def _extend(self, items: list[object]) -> None:
        target = self._top()
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Record):  # a record of a list subclass carries no weights
            raise MalformedPickle("the pickle is damaged (it appends to what is no list)")

    def _set_items(self, items: list[object]) -> None:
        target = self._top()
        if isinstance(target, Record):
            target = target.items
        if not isinstance(target, dict) or len(items) % 2:
            raise MalformedPickle("the pickle is damaged (it sets items of what is no dictionary)")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[plain_key(key)] = value

    # Memo

    def put(self, index: object) -> None:
        assert isinstance(index, int)
        self.memo[index] = self._top()

    def memoize(self, _: object) -> None:
        self.memo[len(self.memo)] = self._top()

    def get(self, index: object) -> None:
        assert isinstance(index, int)
        if index not in self.memo:
            raise MalformedPickle("the pickle is damaged (it refers to a value that is not there)")
        self._push(self.memo[index])

    def dup(self, _: object) -> None:
        self._push(self._top())

    # Names and objects: data in, data out

    def global_name(self, argument: object) -> None:
        module, _, name = str(argument).partition(" ")
        self._push(Global(module, name))

    def stack_global(self, _: object) -> None:
        name, module = self._pop(), self._pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise MalformedPickle("the pickle is damaged (a name is no text)")
        self._push(Global(module, name))

    def reduce(self, _: object) -> None:
        args, target = self._pop(), self._pop()
        self._construct(target, args)

    def new_object_ex(self, _: object) -> None:
        self._pop()  # keyword arguments: no checkpoint's weights are in them
        self.reduce(None)

    def instance(self, argument: object) -> None:
        items = self._pop_mark()
        self.global_name(argument)
        self._construct(self._pop(), tuple(items))

    def obj(self, _: object) -> None:
        items = self._pop_mark()
        if not items:
            raise MalformedPickle("the pickle is damaged (an object has no class)")
        self._construct(items[0], tuple(items[1:]))

    def _construct(self, target: object, args: object) -> None:
        if not isinstance(args, tuple):
            raise MalformedPickle("the pickle is damaged (arguments are no tuple)")
        value = construct(target, args)
        if isinstance(value, Record):
            self.ignored.add(str(target) if isinstance(target, Global) else "a nested object")
        self._push(value)

    def build(self, _: object) -> None:
        state, target = self._pop(), self._top()
        if not isinstance(target, Record):
            return  # attributes of plain values (OrderedDict._metadata, a tensor's hooks)
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, dict):
                target.state.update(part)

    def persistent(self, _: object) -> None:
        value = persistent_value(self._pop())
        if isinstance(value, StorageRef):
            known = self.storages.setdefault(value.key, value)
            if (known.dtype, known.numel) != (value.dtype, value.numel):
                raise MalformedPickle("the same stored numbers are described in two ways")
        self._push(value)


_HANDLERS: dict[str, Callable[[_Machine, object], None]] = {
    "PROTO": _Machine.nothing,
    "FRAME": _Machine.nothing,
    "STOP": _Machine.stop,
    "MARK": _Machine.mark,
    "POP": _Machine.pop,
    "POP_MARK": _Machine.pop_mark,
    "DUP": _Machine.dup,
    "TUPLE": _Machine.build_tuple,
    "LIST": _Machine.build_list,
    "DICT": _Machine.build_dict,
    "FROZENSET": _Machine.build_frozenset,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "ADDITEMS": _Machine.add_items,
    "PUT": _Machine.put,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.memoize,
    "GET": _Machine.get,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "GLOBAL": _Machine.global_name,
    "STACK_GLOBAL": _Machine.stack_global,
    "REDUCE": _Machine.reduce,
    "NEWOBJ": _Machine.reduce,
    "NEWOBJ_EX": _Machine.new_object_ex,
    "INST": _Machine.instance,
    "OBJ": _Machine.obj,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent,
}
