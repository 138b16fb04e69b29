"""ONNX files as sessions, whichever runtime loads them: ours, with the card inside, and foreign."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from srdeploy.errors import UserError
from srdeploy.models.card import Card
from srdeploy.runtime.patience import patience, within
from srdeploy.runtime.session import Session
from srdeploy.runtime.sizes import InputSizes

FOREIGN_ARCH = "onnx"
"""Architecture on the card of a file that brought none: the graph is all that is known of it."""

_PROBE_SIZE = 48  # divisible by every size multiple in use, and cheap
_SECONDS_PER_VALUE = 1e-3  # of input, beyond any network's on the slowest board
_FLOATS: dict[str, type] = {"float32": np.float32, "float16": np.float16}


class NotComputed(UserError):
    """The runtime reads the file but has no kernels for its precision; another one may."""


@dataclass(frozen=True)
class GraphPort:
    """An input or output of a graph.

    Attributes:
        name: Its name.
        dtype: Its element type, in numpy's word.
        shape: Its dimensions; what is no int is free.
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]

    def __str__(self) -> str:
        return "x".join(str(n) for n in self.shape)


class OnnxFileSession(Session):
    """One ONNX file, loaded by a subclass, which then writes ``_infer``.

    Attributes:
        path: The file.
    """

    def __init__(
        self,
        path: Path,
        inputs: Sequence[GraphPort],
        outputs: Sequence[GraphPort],
        card: str | None,
        *,
        threads: int | None,
        value_range: float | None,
        scale: int | None,
    ) -> None:
        """Check the ends of a loaded graph, and read or infer its card.

        Args:
            path: The file.
            inputs: What the graph takes.
            outputs: What it gives.
            card: Text of the card inside the file, or None.
            threads: As in :class:`Session`.
            value_range: 1 or 255; only for a file without a card, which can't tell.
            scale: Only for a file without a card whose output is as large as its input: it wants
                its input upscaled by this factor.

        Raises:
            UserError: more than one input or output, an input of other types or shapes than we
                feed, a damaged card, or none and no ``value_range``.
        """
        self.path = path
        self._tried = False
        if len(inputs) != 1 or len(outputs) != 1:
            raise UserError(
                f"'{path}' has {len(inputs)} inputs and {len(outputs)} outputs; a "
                "super-resolution network has one image of each."
            )
        self._input, self._output = inputs[0], outputs[0]
        if self._input.dtype not in _FLOATS or len(self._input.shape) != 4:
            raise UserError(
                f"'{path}' takes {self._input.dtype} of shape {self._input}; srdeploy feeds float "
                "tensors [N, C, H, W]."
            )
        known = None if card is None else Card.from_json(card, f"'{path}'")
        super().__init__(known or self._infer_card(value_range, scale), threads)

    @property
    def sizes(self) -> InputSizes | None:
        """See :class:`Session`."""
        return InputSizes.of_shape(self._input.shape[2:])

    @property
    def batch(self) -> int | None:
        """The number of images it takes at a time; None: any."""
        count = self._input.shape[0]
        return count if isinstance(count, int) else None

    @abstractmethod
    def _infer(self, x: NDArray) -> NDArray:
        """The output of an input that has the graph's own type and shape."""

    def _stop(self) -> None:
        """Ask a run to end early, where the runtime can."""
        return None

    def _run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        self._check_shape(x.shape)
        fed: NDArray = x.astype(_FLOATS[self._input.dtype], copy=False)
        try:
            y = self._infer(fed) if self._tried else self._first(fed)
        except UserError:
            raise
        except Exception as error:  # the runtimes' errors share no base class
            raise UserError(
                f"'{self.path.name}' failed on an input of shape {list(x.shape)}: "
                f"{last_clause(error)}"
            ) from error
        if not isinstance(y, np.ndarray) or y.dtype.kind != "f":
            kind = y.dtype if isinstance(y, np.ndarray) else type(y).__name__
            raise UserError(
                f"'{self.path.name}' returns {kind}, which is no image; export it with a float "
                "output."
            )
        return y.astype(np.float32, copy=False)

    def _first(self, fed: NDArray) -> NDArray:
        """A run that may be one without end; an image of any size gets the time it may need."""
        seconds = patience() + fed.size * _SECONDS_PER_VALUE
        y = within(
            seconds, lambda: self._infer(fed), f"'{self.path}' ran, and gave no result", self._stop
        )
        self._tried = True
        return y

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        fixed = [n if isinstance(n, int) else None for n in self._input.shape]
        if len(shape) != 4 or any(f not in (None, n) for f, n in zip(fixed, shape, strict=True)):
            raise UserError(
                f"'{self.path.name}' takes {self._input} only, not {'x'.join(map(str, shape))}; "
                "export it with dynamic sizes or give an image of that size."
            )

    def _infer_card(self, value_range: float | None, scale: int | None) -> Card:
        """What a graph tells of itself: channels from its input, scale from a run."""
        batch, channels, height, width = self._input.shape
        if channels not in (1, 3):
            if width in (1, 3):
                raise UserError(
                    f"'{self.path}' is laid out [N, H, W, C] (shape {self._input}); srdeploy runs "
                    "[N, C, H, W]: export it channels first, or put a Transpose at either end."
                )
            raise UserError(
                f"'{self.path}' takes {channels} channels (shape {self._input}); srdeploy "
                "runs luma (1) and RGB (3) networks laid out [N, C, H, W]."
            )
        if value_range is None:
            raise UserError(
                f"'{self.path}' has no srdeploy card and nothing in it tells whether pixels run "
                "to 1 or 255; give the value range."
            )
        size = [n if isinstance(n, int) else _PROBE_SIZE for n in (height, width)]
        count = batch if isinstance(batch, int) else 1
        found = self._run(np.full((count, channels, *size), value_range / 2, np.float32)).shape
        factor = found[2] // size[0]
        if found != (count, channels, size[0] * factor, size[1] * factor) or factor < 1:
            raise UserError(
                f"'{self.path}' turns {size[0]}x{size[1]} pixels into shape {list(found)}; that "
                "is no upscaling by a whole number."
            )
        if factor == 1 and scale is None:
            raise UserError(
                f"'{self.path}' returns images of the size it takes, so it wants them upscaled "
                "beforehand; give the scale."
            )
        if factor > 1 and scale not in (None, factor):
            raise UserError(f"'{self.path}' upscales by {factor}, not by {scale}.")
        true_scale = factor if factor > 1 else scale
        assert true_scale is not None
        return Card(
            arch=FOREIGN_ARCH,
            scale=true_scale,
            scales=(true_scale,),
            channels=channels,
            value_range=value_range,
            luma_only=channels == 1,
            pre_upscaled=factor == 1,
        )


@contextmanager
def as_text(path: Path) -> Iterator[None]:
    """While names and metadata of a graph are read, which may be any bytes.

    Raises:
        UserError: they are no text.
    """
    try:
        yield
    except UnicodeDecodeError as error:
        raise UserError(
            f"'{path}' has names or metadata that are not UTF-8; it is damaged: export it again."
        ) from error


def last_clause(error: Exception) -> str:
    """The informative part of a runtime's message: its last clause, on one line."""
    text = " ".join(str(error).split())
    return text.rsplit(" : ", 1)[-1][:200].rstrip(".") or type(error).__name__
