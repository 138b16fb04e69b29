"""What the names in torch's pickles stand for: storages, tensors and the containers around them.

They are listed in :data:`CONSTRUCTORS`; what they stand for is built by functions of this file,
never by what the file points at.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from srdeploy.pickles.inert import Global, MalformedPickle, Record, naturals
from srdeploy.pickles.machine import construct

_LONGEST_KEY = 200


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


def _integers(value: object) -> tuple[int, ...]:
    return naturals(value, "a tensor's shape")


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
    if saved[0] in ("module", b"module") and len(saved) == 4:
        return saved[1]  # the class's name; its source text is dropped unread
    if saved[0] not in ("storage", b"storage") or len(saved) not in (5, 6):
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


class Storages:
    """The storages one pickle refers to, by key; :meth:`persistent` is what notes them."""

    def __init__(self) -> None:
        self.by_key: dict[str, StorageRef] = {}

    def persistent(self, saved: object) -> object:
        """See :func:`persistent_value`.

        Raises:
            MalformedPickle: also where one storage is described in two ways.
        """
        value = persistent_value(saved)
        if isinstance(value, StorageRef):
            known = self.by_key.setdefault(value.key, value)
            if (known.dtype, known.numel) != (value.dtype, value.numel):
                raise MalformedPickle("the same stored numbers are described in two ways")
        return value


def storage_key(key: object) -> str:
    """A storage's key as text (very old files number their storages).

    Raises:
        MalformedPickle: it is neither text nor a sensible number.
    """
    if isinstance(key, str) and len(key) <= _LONGEST_KEY:
        return key
    if isinstance(key, int) and abs(key) < 1 << 64:
        return str(key)
    raise MalformedPickle("the key of stored numbers is no text")


def _view(view: object) -> tuple[int, int]:
    if not isinstance(view, tuple) or len(view) != 3:
        raise MalformedPickle("a view on stored numbers is malformed")
    start, length = _integers(view[1:])
    return start, length


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
    return construct(build, args, CONSTRUCTORS)


CONSTRUCTORS: dict[tuple[str, str], Callable[..., object]] = {
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
