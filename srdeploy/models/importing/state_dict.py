"""From whatever a checkpoint holds to one flat table of named tensors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from srdeploy.errors import UserError, shown
from srdeploy.models.card_file import is_safetensors
from srdeploy.models.facts import check_finite
from srdeploy.models.importing.safe_pickle import Checkpoint, read_checkpoint
from srdeploy.models.importing.torch_values import TensorRef
from srdeploy.models.importing.wrappers import rank
from srdeploy.pickles.inert import Record

_MAX_DEPTH = 12
_MAX_AMPLIFICATION = 4
_MAX_TENSORS = 20_000
_MOST_BESIDE = 3


@dataclass(frozen=True)
class StateDict:
    """Named tensors of one network.

    Attributes:
        tensors: Floating point as float32, in the file's order; names as in the file.
        path: Keys that led to them inside the file, joined by "/" ("" for a bare state dict).
        beside: Paths of other tensors in the file that may be a network, some of them.
        stored_as: The types that floating-point numbers have in the file: "float16".
        res_scale: The residual scaling, where a pickled module states it.
        ignored: What the file wanted called and did not get.
    """

    tensors: dict[str, torch.Tensor]
    path: str = ""
    beside: tuple[str, ...] = ()
    stored_as: str = "float32"
    res_scale: float | None = None
    ignored: tuple[str, ...] = ()


def read_state_dict(path: str | Path) -> StateDict:
    """Read the network's tensors from a torch checkpoint or a safetensors file.

    Raises:
        UserError: the file is unreadable or holds no convolution weights.
    """
    path = Path(path)
    found = _read_safetensors(path) if is_safetensors(path) else _read_torch(path)
    for name, tensor in found.tensors.items():
        check_finite(tensor, name, str(path))
    return found


def _read_safetensors(path: Path) -> StateDict:
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"'{path}' is not a readable safetensors file ({shown(error)}); it may be truncated."
        ) from error
    if len(tensors) > _MAX_TENSORS:
        raise _too_many(path)
    if not any(tensor.dim() >= 3 for tensor in tensors.values()):
        raise _no_weights(path)
    return StateDict(
        {name: _to_float32(tensor) for name, tensor in tensors.items()},
        stored_as=_types(tensor.dtype for tensor in tensors.values()),
    )


def _read_torch(path: Path) -> StateDict:
    checkpoint = read_checkpoint(path)
    candidates = [c for c in _candidates(checkpoint.root) if _has_convolution(c.tensors)]
    if not candidates:
        raise _no_weights(path)
    best, *others = sorted(candidates, key=_Candidate.rank)
    tensors, stored_as = _materialise(checkpoint, best.tensors, path)
    return StateDict(
        tensors,
        "/".join(best.path),
        tuple("/".join(other.path) for other in others[:_MOST_BESIDE]),
        stored_as,
        best.res_scale,
        checkpoint.ignored,
    )


def _no_weights(path: Path) -> UserError:
    return UserError(
        f"'{path}' holds no convolution weights; give a file with the network's state_dict()."
    )


def _too_many(path: Path) -> UserError:
    return UserError(
        f"'{path}' holds more than {_MAX_TENSORS:,} tensors, which no network here has; "
        "give a file of the network alone."
    )


def _types(dtypes: Iterable[torch.dtype]) -> str:
    """The floating-point types among some, as words."""
    found = {str(one).removeprefix("torch.") for one in dtypes if one.is_floating_point}
    return ", ".join(sorted(found))


def _to_float32(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _materialise(
    checkpoint: Checkpoint, refs: Mapping[str, TensorRef], path: Path
) -> tuple[dict[str, torch.Tensor], str]:
    """The tensors and their types, with a bound on what names sharing one storage can ask for."""
    if len(refs) > _MAX_TENSORS:
        raise _too_many(path)
    tensors: dict[str, torch.Tensor] = {}
    types: set[torch.dtype] = set()
    n_bytes = 0
    for name, ref in refs.items():
        tensor = checkpoint.tensor(ref, name)
        n_bytes += tensor.nbytes
        if n_bytes > _MAX_AMPLIFICATION * checkpoint.n_bytes:
            raise UserError(
                f"The tensors in '{path}' would take far more memory than the file has bytes; "
                "it is damaged or was made to exhaust memory."
            )
        types.add(tensor.dtype)
        tensors[name] = _to_float32(tensor)
    return tensors, _types(types)


# Searching the checkpoint


@dataclass(frozen=True)
class _Candidate:
    path: tuple[str, ...]
    tensors: dict[str, TensorRef]
    res_scale: float | None

    def rank(self) -> tuple[list[int], int]:
        """Sort key: names known to hold the network first, then the most tensors."""
        return rank(self.path), -len(self.tensors)


def _has_convolution(tensors: Mapping[str, TensorRef]) -> bool:
    return any(len(ref.size) >= 3 for ref in tensors.values())


def _candidates(root: object) -> Iterator[_Candidate]:
    """Every dictionary of tensors and every pickled module, optimisers left out."""
    pending: list[tuple[object, tuple[str, ...]]] = [(root, ())]
    seen: set[int] = set()
    while pending:
        value, path = pending.pop()
        if id(value) in seen or len(path) > _MAX_DEPTH:
            continue
        seen.add(id(value))
        if isinstance(value, Record):
            if isinstance(value.state.get("_modules"), dict):
                tensors, scales = _walk_module(value)
                yield _Candidate(path, tensors, scales.pop() if len(scales) == 1 else None)
                continue
            value = {**value.items, **value.state}
        if isinstance(value, list | tuple):
            value = {str(number): item for number, item in enumerate(value)}
        if not isinstance(value, dict):
            continue
        named = {k: v for k, v in value.items() if isinstance(k, str)}
        refs = {k: v for k, v in named.items() if isinstance(v, TensorRef)}
        if refs:
            yield _Candidate(path, refs, None)
        for key, child in named.items():
            if isinstance(child, dict | list | tuple | Record) and "optim" not in key.lower():
                pending.append((child, (*path, key)))


def _walk_module(root: Record) -> tuple[dict[str, TensorRef], set[float]]:
    """State dict of a pickled module, named as ``Module.state_dict`` would, and its res_scales."""
    tensors: dict[str, TensorRef] = {}
    scales: set[float] = set()
    pending: list[tuple[Record, str, int]] = [(root, "", 0)]
    seen: set[int] = set()
    while pending:
        module, prefix, depth = pending.pop()
        if id(module) in seen or depth > _MAX_DEPTH or len(tensors) > _MAX_TENSORS:
            continue
        seen.add(id(module))
        for table in ("_parameters", "_buffers"):
            for name, value in _items(module.state.get(table)):
                if isinstance(value, TensorRef):
                    tensors[prefix + name] = value
        scale = module.state.get("res_scale")
        if isinstance(scale, int | float) and math.isfinite(scale):
            scales.add(float(scale))
        children = _items(module.state.get("_modules"))
        for name, child in reversed(children):
            if isinstance(child, Record):
                pending.append((child, f"{prefix}{name}.", depth + 1))
    return tensors, scales


def _items(table: object) -> list[tuple[str, object]]:
    if not isinstance(table, dict):
        return []
    return [(name, value) for name, value in table.items() if isinstance(name, str)]
