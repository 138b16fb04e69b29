"""The model file of SMSR in C (``.smsr``): a card, sizes, weights and a digest of all that.

Little-endian, nothing between the parts::

    8 bytes   "srd-smsr"
    4 x u32   version 2; bytes of the card (a multiple of 4), sizes, and weights that follow
    card      JSON, blanks behind it
    sizes     int32: precision (a place in PRECISIONS), scale, modules, layers; channels of head.0,
              head.2 and collect.0; and of every module those of its mask branch (two), of the
              middle of its attention, and of every masked layer all and the dense ones
    weights   float32 in every precision (C rounds them to what the processor at hand multiplies),
              see :mod:`srdeploy.sparse.model_weights`
    32 bytes  SHA-256 of everything before

``portable/file.c`` reads it on devices, as strictly as :func:`read_model` here. torch is not
needed.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from srdeploy.errors import UserError
from srdeploy.models.card import Card
from srdeploy.models.registry import ARCHITECTURES
from srdeploy.util.files import require_file

SUFFIX = ".smsr"
MAGIC = b"srd-smsr"
VERSION = 2
MOST_BYTES = 1 << 28
MOST_CARD = 4 << 20
MOST_PACKED = 1 << 26
"""Floats that the weights may take when they are packed for a kernel."""
MOST_CHANNELS = 4096
MOST_MODULES, MOST_LAYERS, MOST_SCALE = 64, 32, 8
COLOURS = 3
PRECISIONS = ("fp32", "fp16", "bf16", "int8")
"""What a file can ask to be computed in; the last also holds the steps of features in bytes."""
STEPS = 1e-12, 1e12
"""The smallest and the largest step."""
ALIGN = 16

_HEADER = struct.Struct("<8s4I")
_DIGEST = 32
_FIXED = 7


@dataclass(frozen=True)
class Sizes:
    """What a model file says before its weights.

    Attributes:
        scale: Upscaling factor.
        head: Channels of ``head.0``,
        trunk: of ``head.2`` and between the modules,
        collect: and of ``collect.0``.
        modules: Per module: channels of the mask branch (two) and of the middle of the attention,
            and per masked layer all channels and the dense ones.
    """

    scale: int
    head: int
    trunk: int
    collect: int
    modules: tuple[tuple[int, int, int, tuple[tuple[int, int], ...]], ...]
    precision: str = "fp32"

    def numbers(self) -> list[int]:
        """As the file has them."""
        layers = len(self.modules[0][3])
        found = [PRECISIONS.index(self.precision), self.scale, len(self.modules), layers]
        found += [self.head, self.trunk, self.collect]
        for first, second, narrow, widths in self.modules:
            found += [first, second, narrow, *(n for pair in widths for n in pair)]
        return found

    @classmethod
    def of(cls, numbers: Sequence[int]) -> Sizes | None:
        """Take them apart; None where they are no sizes of an SMSR network that C can run."""
        if len(numbers) < _FIXED:
            return None
        precision, scale, n_modules, n_layers, *channels = numbers[:_FIXED]
        if not 0 <= precision < len(PRECISIONS):
            return None
        bounds = ((scale, MOST_SCALE), (n_modules, MOST_MODULES), (n_layers, MOST_LAYERS))
        if not all(1 <= n <= most for n, most in bounds):
            return None
        each = 3 + 2 * n_layers
        rest = numbers[_FIXED:]
        if len(rest) != n_modules * each:
            return None
        modules = []
        for start in range(0, len(rest), each):
            first, second, narrow, *flat = rest[start : start + each]
            widths = tuple(zip(flat[::2], flat[1::2], strict=True))
            channels += [first, second, narrow, *flat[::2]]
            if not all(0 <= dense <= width for width, dense in widths):
                return None
            modules.append((first, second, narrow, widths))
        if not all(1 <= n <= MOST_CHANNELS for n in channels):
            return None
        head, trunk, collect = channels[:3]
        return cls(scale, head, trunk, collect, tuple(modules), PRECISIONS[precision])

    def steps(self) -> list[slice]:
        """Where the steps of every module's bytes lie among the weights."""
        return self._count()[2]

    def floats(self) -> tuple[int, int]:
        """How many weights there are, and what they take at most when they are packed."""
        return self._count()[:2]

    def _count(self) -> tuple[int, int, list[slice]]:
        steps: list[slice] = []
        count = 2 * (COLOURS**2 + COLOURS)
        packed = 0

        def matrix(depth: int, n_out: int, bias: bool = True) -> None:
            nonlocal count, packed
            count += depth * n_out + bias * n_out
            packed += depth * _aligned(n_out)

        matrix(9 * COLOURS, self.head)
        matrix(9 * self.head, self.trunk)
        for first, second, narrow, widths in self.modules:
            matrix(9 * self.trunk, first)
            matrix(9 * first, second)
            matrix(4 * second, 4)
            before = self.trunk
            for width, dense in widths:
                matrix(9 * before, width, bias=False)
                packed += 9 * before * _aligned(dense)
                before = width
            joined = sum(width for width, _ in widths)
            matrix(joined, self.trunk)
            packed += joined * _aligned(self.trunk)
            count += 2 * narrow * self.trunk + narrow + self.trunk
            if self.precision == "int8":
                steps.append(slice(count, count + 1 + len(widths)))
                count += 1 + len(widths)
        matrix(len(self.modules) * self.trunk, self.collect)
        matrix(9 * self.collect, self.trunk)
        matrix(9 * self.trunk, COLOURS * self.scale**2)
        return count, packed, steps


def _aligned(width: int) -> int:
    return -(-width // ALIGN) * ALIGN


def require_room(sizes: Sizes, weights: NDArray[np.float32], name: str) -> None:
    """See that the C code takes a network.

    Raises:
        UserError: it is larger than what that has room for.
    """
    count, packed = sizes.floats()
    fits = Sizes.of(sizes.numbers()) == sizes and packed <= MOST_PACKED
    if not fits or 4 * count > MOST_BYTES - MOST_CARD - (1 << 20):
        raise UserError(f"{name} is larger than any SMSR network that the native runner runs.")
    if weights.shape != (count,):
        raise ValueError(f"these sizes have {count} weights, not {weights.shape}")


def model_bytes(card: Card, sizes: Sizes, weights: NDArray[np.float32]) -> bytes:
    """The content of a model file; ``weights`` are those of the sizes, ``float32 [n]``."""
    text = card.to_json().encode()
    text += b" " * (-len(text) % 4)
    numbers = sizes.numbers()
    content = b"".join(
        (
            _HEADER.pack(MAGIC, VERSION, len(text), len(numbers), len(weights)),
            text,
            struct.pack(f"<{len(numbers)}i", *numbers),
            weights.astype("<f4").tobytes(),
        )
    )
    return content + hashlib.sha256(content).digest()


def read_model(path: Path) -> tuple[Card, Sizes]:
    """Check a model file as a whole.

    Returns:
        Its card and its sizes.

    Raises:
        UserError: no such file, no model file, one of another version, truncated, altered, or with
            a card that is not the network's.
    """
    require_file(path)
    none = UserError(
        f"'{path}' is no model file of SMSR; write one with `srdeploy export --target "
        "sparse-runner`."
    )
    altered = UserError(f"'{path}' is truncated or altered; copy it again.")
    with open(path, "rb") as file:
        head = file.read(_HEADER.size)
        if len(head) < _HEADER.size or not head.startswith(MAGIC):
            raise none
        _, version, n_card, n_numbers, n_floats = _HEADER.unpack(head)
        if version != VERSION:
            raise UserError(f"'{path}' is of another version of srdeploy; export it again.")
        size = _HEADER.size + n_card + 4 * (n_numbers + n_floats) + _DIGEST
        most = _FIXED + MOST_MODULES * (3 + 2 * MOST_LAYERS)
        found = path.stat().st_size
        if n_card > MOST_CARD or n_card % 4 or n_numbers > most or size > MOST_BYTES:
            raise altered
        if size != found:
            raise altered
        content = head + file.read(size - len(head))
    if hashlib.sha256(content[:-_DIGEST]).digest() != content[-_DIGEST:]:
        raise altered
    start = _HEADER.size + n_card
    sizes = Sizes.of(struct.unpack_from(f"<{n_numbers}i", content, start))
    if sizes is None:
        raise none
    count, packed = sizes.floats()
    weights = np.frombuffer(content, "<f4", n_floats, start + 4 * n_numbers)
    if count != n_floats or packed > MOST_PACKED or not np.isfinite(weights).all():
        raise none
    steps = [weights[where] for where in sizes.steps()]
    if not all(((one >= STEPS[0]) & (one <= STEPS[1])).all() for one in steps):
        raise none
    try:
        text = content[_HEADER.size : start].decode()
    except UnicodeDecodeError:
        raise none from None
    card = Card.from_json(text, f"'{path}'")
    row = ARCHITECTURES.get(card.arch)
    told = card.scale, card.channels, card.pre_upscaled
    if row is None or row.sparse is None or told != (sizes.scale, 3, False):
        raise none
    return card, sizes
