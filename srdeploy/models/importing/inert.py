"""What a checkpoint's pickle turns into: plain data, whatever the file names.

Every value here is a container, a scalar or one of the records below. Names stay names; the few
that carry meaning (ordered dictionaries, tensors, storages) are listed in :data:`CONSTRUCTORS`, and
what they stand for is built by functions of this file, never by what the file points at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


class MalformedPickle(ValueError):
    """The byte stream is not a pickle this interpreter understands; the text says why."""


@dataclass(frozen=True)
class Global:
    """A name from the file, as data: nothing was imported or looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Record:
    """An object the file describes, inert: what would have been called, and its state."""

    target: object = field(repr=False)
    args: tuple[object, ...] = field(default=(), repr=False)
    state: dict[object, object] = field(default_factory=dict, repr=False)
    items: dict[object, object] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class StorageRef:
    """A run of ``numel`` numbers stored outside the pickle, under ``key``.

    ``view`` is the (start, length) in elements of the part that is meant (old files only).
    """

    key: str
    dtype: str
    numel: int
    view: tuple[int, int] | None = None


@dataclass(frozen=True)
class TensorRef:
    """A strided window on a storage, not read yet. ``offset`` and ``stride`` count elements."""

    storage: StorageRef
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, eq=False)
class OpaqueKey:
    """A dictionary key that is no plain scalar (hashing nested input could exhaust the stack)."""

    value: object


def plain_key(key: object) -> object:
    """A hashable key that is safe to hash: scalars and names as they are, the rest wrapped."""
    if key is None or isinstance(key, str | int | float | bytes | Global):
        return key
    return OpaqueKey(key)


def _integers(value: object) -> tuple[int, ...]:
    if not isinstance(value, tuple | list) or any(type(v) is not int or v < 0 for v in value):
        raise MalformedPickle("a tensor's shape is not made of whole numbers")
    return tuple(value)


_STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "UntypedStorage": "uint8",
}


def persistent_value(saved: object) -> object:
    """What torch keeps outside the pickle: a storage, or in old files a class and its source text.

    Raises:
        MalformedPickle: it is neither.
    """
    if not isinstance(saved, tuple) or not saved:
        raise MalformedPickle("it refers to outside data that torch does not write")
    kind = saved[0].decode("latin-1") if isinstance(saved[0], bytes) else saved[0]
    if kind == "module" and len(saved) == 4:
        return saved[1]  # the class's name; its source text is dropped unread
    if kind != "storage" or len(saved) not in (5, 6):
        raise MalformedPickle("it refers to outside data that torch does not write")
    type_name, key, _, numel = saved[1:5]
    if not isinstance(type_name, Global) or type_name.name not in _STORAGES:
        raise MalformedPickle("it stores numbers of an unknown type")
    view = saved[5] if len(saved) == 6 else None
    return StorageRef(
        key=storage_key(key),
        dtype=_STORAGES[type_name.name],
        numel=_integers((numel,))[0],
        view=None if view is None else _view(view),
    )


def storage_key(key: object) -> str:
    """A storage's key as text (very old files number their storages).

    Raises:
        MalformedPickle: it is neither text nor a sensible number.
    """
    if isinstance(key, str) or (isinstance(key, int) and abs(key) < 1 << 64):
        return str(key)
    raise MalformedPickle("the key of stored numbers is no text")


def _view(view: object) -> tuple[int, int]:
    if not isinstance(view, tuple) or len(view) != 3:
        raise MalformedPickle("a view on stored numbers is malformed")
    start, length = _integers(view[1:])
    return start, length


def _dictionary(pairs: object = (), *_: object) -> dict[object, object]:
    result: dict[object, object] = {}
    for pair in pairs if isinstance(pairs, list | tuple) else ():
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise MalformedPickle("the pickle is damaged (a dictionary is not made of pairs)")
        result[plain_key(pair[0])] = pair[1]
    return result


def _size(dimensions: object = (), *_: object) -> tuple[int, ...]:
    return _integers(dimensions)


def _wrapped_tensor(data: object = None, *_: object) -> object:
    if not isinstance(data, TensorRef):
        return Record(Global("torch.nn.parameter", "Parameter"), (data,))
    return data


def _tensor(
    storage: object = None,
    offset: object = 0,
    size: object = (),
    stride: object = (),
    *_: object,
) -> TensorRef:
    if not isinstance(storage, StorageRef):
        raise MalformedPickle("a tensor has no stored numbers")
    return TensorRef(
        storage, _integers((offset,))[0], _integers(size), _integers(stride), storage.dtype
    )


def _tensor_with_dtype(*args: object) -> TensorRef:
    tensor = _tensor(*args[:4])
    dtype = args[6] if len(args) > 6 else None
    if not isinstance(dtype, Global) or dtype.module != "torch":
        raise MalformedPickle("a tensor's number type is missing")
    return TensorRef(tensor.storage, tensor.offset, tensor.size, tensor.stride, dtype.name)


def _subclass_tensor(
    build: object = None, _: object = None, args: object = (), *__: object
) -> object:
    if not isinstance(args, tuple) or build == Global("torch._tensor", "_rebuild_from_type_v2"):
        raise MalformedPickle("a tensor subclass is malformed")
    return construct(build, args)


def construct(target: object, args: Sequence[object]) -> object:
    """What calling ``target(*args)`` stands for: a container or tensor we know, else a Record.

    Raises:
        MalformedPickle: a known name with arguments that make no sense.
    """
    if isinstance(target, Global):
        build = CONSTRUCTORS.get((target.module, target.name))
        if build is not None and len(args) <= 8:
            return build(*args)
    return Record(target, tuple(args))


CONSTRUCTORS: dict[tuple[str, str], Callable[..., object]] = {
    ("collections", "OrderedDict"): _dictionary,
    ("torch", "Size"): _size,
    ("torch.nn.parameter", "Parameter"): _wrapped_tensor,
    ("torch.nn.parameter", "Buffer"): _wrapped_tensor,
    ("torch._utils", "_rebuild_parameter"): _wrapped_tensor,
    ("torch._utils", "_rebuild_parameter_with_state"): _wrapped_tensor,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor_with_dtype,
    ("torch._tensor", "_rebuild_from_type_v2"): _subclass_tensor,
}
"""The only names with a meaning; every value is a function of this file."""
