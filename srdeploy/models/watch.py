"""Watching what a network computes: the calls that its code makes, and the operations below them.

torch has a mode for each. A subclass here sees every call or operation in its place, and decides
what is run.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class CallWatch(TorchFunctionMode):
    """Sees calls of torch's functions and of tensors' methods, while it is entered."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.called(func, args, kwargs or {})

    def called(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the caller gets; here the function's own result.

        Args:
            func: Such as ``torch.conv2d``, ``Tensor.add_``, or a property's ``__get__``.
            args: Its positional arguments.
            kwargs: The others.
        """
        return func(*args, **kwargs)


class OperationWatch(TorchDispatchMode):
    """Sees the operations (``aten.convolution``) that calls come down to, while it is entered."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch imports its compiler, which takes longer than a trace

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.called(func, args, kwargs or {})

    def called(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the caller gets; here the operation's own result.

        Args:
            func: An overload, such as ``torch.ops.aten.add_.Tensor``.
            args: Its positional arguments.
            kwargs: The others.
        """
        return func(*args, **kwargs)


def name_of(func: Any) -> str:
    """The bare name of a function, method or operation: ``conv2d``, ``add_``, ``__get__``."""
    return getattr(getattr(func, "overloadpacket", func), "__name__", str(func))


def argument(args: tuple[Any, ...], kwargs: dict[str, Any], position: int, name: str) -> Any:
    """An argument, however it was given; None where it was not."""
    return args[position] if len(args) > position else kwargs.get(name)


def tensors_in(tree: Any) -> list[Tensor]:
    """The tensors in nested lists, tuples and dicts, in order."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
