"""A pickle interpreter that cannot run code: it builds containers and inert records, nothing else.

Python's own unpickler calls whatever a file names, and even with a filtered ``find_class`` a file
can set attributes on the classes it was allowed to name (``BUILD``), build an object whose state
its class trusts (numpy's ``dtype``), or ask for a memo table of gigabytes (``LONG_BINPUT``). This
one never looks a name up: ``GLOBAL`` pushes the *name* as data, and ``REDUCE``, ``NEWOBJ``,
``BUILD``, ``INST``, ``OBJ`` on a name fill in a :class:`~.inert.Record`. Only the names in the
reader's table mean something, and what they build is our own data.

Nor can a few bytes ask for much: instructions are counted, what an instruction copies is counted,
and every other value costs the bytes it stands in. Opcode arguments are decoded by the standard
library's :func:`pickletools.genops` from a stream in memory, which bounds what they may announce.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from srdeploy.errors import shown
from srdeploy.pickles.inert import Global, MalformedPickle, Record, plain_key

Constructors = Mapping[tuple[str, str], Callable[..., object]]
"""Functions of ours by the (module, name) that they stand for; they take up to 8 arguments."""

MAX_STEPS = 2_000_000
"""Instructions of one pickle; a checkpoint of 10,000 tensors has some 400,000."""

_MAX_COPIED = 4_000_000  # elements that instructions copy from values that are there already
_MAX_BITS = 1000  # of a whole number: what a float can hold
_MAX_WIDE_KEYS = 1000  # keys of 60 bits and more: Python hashes as many as one likes alike
_MAX_NAME = 200
_MAX_IGNORED = 100


@dataclass(frozen=True)
class Pickle:
    """What one pickle holds.

    Attributes:
        value: Containers and scalars, :class:`Record`, and what the reader's functions made.
        ignored: Names the file asked to have called or built and did not get (the first 100).
    """

    value: object
    ignored: frozenset[str]


def load(
    stream: io.BytesIO,
    constructors: Constructors | None = None,
    persistent: Callable[[object], object] | None = None,
) -> Pickle:
    """Read one pickle, leaving ``stream`` just behind it.

    Args:
        stream: In memory: a file would be asked for as many bytes as an opcode announces.
        constructors: What calls of some names stand for; all others become records.
        persistent: Makes a value of what refers to data outside the pickle; None where the format
            has none.

    Raises:
        MalformedPickle: truncated or invalid data, an opcode no file needs, or more of anything
            than a sensible file has.
    """
    machine = _Machine(constructors or {}, persistent)
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            machine.step(opcode.name, argument)
    except MalformedPickle:
        raise
    except (ValueError, IndexError, OverflowError) as error:
        raise MalformedPickle(f"the pickle is damaged ({shown(error)})") from error
    return Pickle(machine.result, frozenset(machine.ignored))


def construct(target: object, args: Sequence[object], constructors: Constructors) -> object:
    """What calling ``target(*args)`` stands for: what the table makes of it, else a Record.

    Raises:
        MalformedPickle: a known name with arguments that make no sense.
    """
    if isinstance(target, Global):
        name = target.module, target.name
        build = constructors.get(name) or _CONTAINERS.get(name)
        if build is not None and len(args) <= 8:
            return build(*args)
    return Record(target, tuple(args))


def _dictionary(pairs: object = (), *_: object) -> dict[object, object]:
    result: dict[object, object] = {}
    for pair in pairs if isinstance(pairs, list | tuple) else ():
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise MalformedPickle("the pickle is damaged (a dictionary is not made of pairs)")
        result[plain_key(pair[0])] = pair[1]
    return result


_CONTAINERS: Constructors = {("collections", "OrderedDict"): _dictionary}


_PUSH = frozenset(
    (
        *("BININT", "BININT1", "BININT2", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"),
        *("BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    )
)
_CONSTANT = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_DICT": dict, "EMPTY_SET": set}
_TUPLE = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Machine:
    """Stack, marks and memo of one pickle; :meth:`step` is the whole instruction set."""

    def __init__(
        self, constructors: Constructors, persistent: Callable[[object], object] | None
    ) -> None:
        self.constructors = constructors
        self.make_persistent = persistent
        self.steps = 0
        self.copied = 0
        self.wide_keys = 0
        self.stack: list[object] = []
        self.marked: list[list[object]] = []
        self.memo: dict[int, object] = {}
        self.ignored: set[str] = set()
        self.result: object = None

    def step(self, name: str, argument: object) -> None:
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise MalformedPickle("it has far more entries than a network or picture")
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
            raise MalformedPickle(f"it uses the pickle opcode {name}, which no such file needs")

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

    def whole_number(self, argument: object) -> None:
        assert isinstance(argument, int)
        if argument.bit_length() > _MAX_BITS:
            raise MalformedPickle("it holds a number of more digits than any that means something")
        self._push(argument)

    def _charge(self, *values: object) -> None:
        """Count elements that are about to be copied out of values the file may name again."""
        self.copied += sum(len(v) for v in values if isinstance(v, list | tuple | dict))
        if self.copied > _MAX_COPIED:
            raise MalformedPickle("it copies its own parts over and over, to exhaust memory")

    def _key(self, key: object) -> object:
        if isinstance(key, int) and key.bit_length() > 60:
            self.wide_keys += 1
            if self.wide_keys > _MAX_WIDE_KEYS:
                raise MalformedPickle("its dictionaries have keys made to exhaust time")
        return plain_key(key)

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
        self._push(frozenset(map(self._key, self._pop_mark())))

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
        target.update(map(self._key, items))

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
            target[self._key(key)] = value

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
        self._name(module, name)

    def stack_global(self, _: object) -> None:
        name, module = self._pop(), self._pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise MalformedPickle("the pickle is damaged (a name is no text)")
        self._name(module, name)

    def _name(self, module: str, name: str) -> None:
        for part in (module, name):
            if len(part) > _MAX_NAME or not part.isprintable():
                raise MalformedPickle("the pickle is damaged (a name is none of Python's)")
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
        self._charge(*args[:8])
        value = construct(target, args, self.constructors)
        if isinstance(value, Record) and len(self.ignored) < _MAX_IGNORED:
            self.ignored.add(str(target) if isinstance(target, Global) else "a nested object")
        self._push(value)

    def build(self, _: object) -> None:
        state, target = self._pop(), self._top()
        if not isinstance(target, Record):
            return  # attributes of plain values (OrderedDict._metadata, a tensor's hooks)
        target.given = state
        for part in state[:2] if isinstance(state, tuple) else (state,):
            if isinstance(part, dict):
                self._charge(part)
                target.state.update(part)

    def persistent(self, _: object) -> None:
        if self.make_persistent is None:
            raise MalformedPickle("it refers to data outside the pickle")
        self._push(self.make_persistent(self._pop()))


_HANDLERS: dict[str, Callable[[_Machine, object], None]] = {
    **dict.fromkeys(("INT", "LONG", "LONG1", "LONG4"), _Machine.whole_number),
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
