"""A bound on what building a module may take, where a file of a stranger says how large it is.

Numbers of layers and channels are read off names, shapes and cards. A file of a few bytes can claim
any, and a module that is built without looking fills the memory or takes for ever.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from srdeploy.errors import UserError
from srdeploy.models.watch import OperationWatch, argument, name_of, tensors_in

MOST_BYTES = 4 << 30
"""Memory that is asked for while a module is built, initialisation included; HAT-L asks for 0.7 GB,
of which most is given back."""

MOST_OPERATIONS = 500_000
"""Operations of a build; a network of 40 million weights takes some 20,000."""

_FACTORIES = {"empty": 0, "zeros": 0, "ones": 0, "full": 0, "rand": 0, "randn": 0,
              "empty_strided": 0, "new_empty": 1, "new_zeros": 1, "new_ones": 1, "new_full": 1,
              "new_empty_strided": 1}  # fmt: skip
"""Operations that make tensors of a given size, and the position of that argument."""

_RANGES = {"arange", "linspace", "logspace", "randperm"}
_COPIES = {"clone", "_to_copy", "repeat"}


class BuildLimit(OperationWatch):
    """Stops what it is entered around once it asks for too much.

    Args:
        what: The file or network, for the sentence.

    Attributes:
        n_bytes: Memory that was asked for until now, also what was given back since.
        n_operations: Operations until now.

    Raises:
        UserError: from the operation that is too much.
    """

    def __init__(self, what: str) -> None:
        super().__init__()
        self._what = what
        self.n_bytes = self.n_operations = 0

    def called(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run an operation, unless it asks for too much by itself; add up what it took."""
        self.n_operations += 1
        self._check(8 * _numbers_asked(name_of(func), args, kwargs))
        result = func(*args, **kwargs)
        given = {_storage(one) for one in tensors_in((args, kwargs))}
        new = (one for one in tensors_in(result) if _storage(one) not in given)
        self.n_bytes += sum(one.nbytes for one in new)
        self._check(0)
        return result

    def _check(self, more: int) -> None:
        if self.n_bytes + more > MOST_BYTES or self.n_operations > MOST_OPERATIONS:
            raise UserError(
                f"'{self._what}' claims a network of a size that none here has; it is damaged or "
                "was made to exhaust memory."
            )


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _numbers_asked(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """How many numbers an operation is about to make, where it may be more than it is given."""
    if name in _FACTORIES:
        size = argument(args, kwargs, _FACTORIES[name], "size")
        return math.prod(size if isinstance(size, list | tuple) else [size])
    if name == "eye":
        return args[0] * args[-1]
    if name in _RANGES:
        return int(max((abs(n) for n in args if isinstance(n, int | float)), default=0))
    if name in _COPIES:
        times = args[1] if name == "repeat" else []
        return args[0].numel() * math.prod(times)
    return 0
