"""What one operation of a CoreML program is given, in torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Result = Tensor | tuple[Tensor, ...]


class Arguments:
    """What one operation is given, by name: tensors, or constants of the program."""

    def __init__(self, values: Mapping[str, Sequence[Tensor | NDArray[Any] | str]]) -> None:
        self._values = values

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def tensor(self, name: str) -> Tensor:
        """A tensor, computed or constant; KeyError without it."""
        return _tensor(self._values[name][0])

    def optional(self, name: str) -> Tensor | None:
        """A tensor, or None without it."""
        return self.tensor(name) if name in self else None

    def tensors(self, name: str) -> list[Tensor]:
        """All tensors of a list."""
        return [_tensor(value) for value in self._values[name]]

    def array(self, name: str) -> NDArray[Any]:
        """A constant as it is stored."""
        value = self._values[name][0]
        assert isinstance(value, np.ndarray)
        return value

    def ints(self, name: str, default: Sequence[int] = ()) -> list[int]:
        """Integers (or flags), constant or computed."""
        if name not in self:
            return list(default)
        return [int(v) for v in self.tensor(name).reshape(-1).tolist()]

    def number(self, name: str, default: float = 0.0) -> float:
        """One number or flag."""
        return float(self.tensor(name)) if name in self else default

    def text(self, name: str, default: str = "") -> str:
        """A string."""
        return str(self._values[name][0]) if name in self else default


def _tensor(value: Tensor | NDArray[Any] | str) -> Tensor:
    if isinstance(value, Tensor):
        return value
    array = np.asarray(value)
    if array.dtype == np.bool_:
        return torch.from_numpy(np.array(array))
    return torch.from_numpy(array.astype(np.float32 if array.dtype.kind == "f" else np.int64))
