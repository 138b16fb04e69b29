"""TFLite files in LiteRT's interpreter, on the CPU. torch is never imported here."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from srdeploy.errors import UserError
from srdeploy.models.card import CARD_KEY, Card
from srdeploy.runtime.session import Session
from srdeploy.runtime.sizes import InputSizes
from srdeploy.runtime.table import LITERT
from srdeploy.util.files import require_file

MAGIC = b"TFL3"
"""Bytes 4 to 8 of every TFLite file."""


class LitertSession(Session):
    """One TFLite file of ours, loaded and ready; its input size is fixed."""

    runtime: ClassVar[str] = "litert"

    def __init__(self, path: str | Path, *, threads: int | None = None) -> None:
        """Load a file.

        Args:
            path: A ``.tflite`` written by :func:`srdeploy.exporting.litert.export_litert`.
            threads: Threads of one operator; default as in :func:`default_threads`.

        Raises:
            UserError: LiteRT is missing; or no such file, truncated, not TFLite, or without a card.
        """
        self.path = Path(path)
        if not (found := LITERT.availability()):
            raise UserError(f"Running '{path}' needs LiteRT: {found.reason}.")
        super().__init__(read_card(self.path), threads)
        from ai_edge_litert.interpreter import Interpreter

        try:
            self._interpreter: Any = Interpreter(str(path), num_threads=self.threads)
            self._interpreter.allocate_tensors()
            (self._input,) = self._interpreter.get_input_details()
            (self._output,) = self._interpreter.get_output_details()
        except Exception as error:  # a damaged file is met in every way there is
            raise UserError(
                f"LiteRT cannot load '{path}' ({' '.join(str(error).split())[:200]}); it may be "
                "truncated."
            ) from error

    @property
    def sizes(self) -> InputSizes | None:
        """See :class:`Session`."""
        return InputSizes.of_shape([int(n) for n in self._input["shape"][2:]])

    def close(self) -> None:
        """Give the memory and the threads back."""
        self._interpreter = None

    def _run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        takes = tuple(int(n) for n in self._input["shape"])
        if x.shape[1:] != takes[1:]:
            raise UserError(
                f"'{self.path.name}' takes {'x'.join(map(str, takes))} only, not "
                f"{'x'.join(map(str, x.shape))}; export it with another --input."
            )
        return np.concatenate([self._one(x[i : i + 1]) for i in range(len(x))])

    def _one(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            self._interpreter.set_tensor(self._input["index"], x)
            self._interpreter.invoke()
            return self._interpreter.get_tensor(self._output["index"]).astype(np.float32)
        except (ValueError, RuntimeError, TypeError) as error:
            raise UserError(
                f"'{self.path.name}' failed on an input of shape {list(x.shape)} "
                f"({' '.join(str(error).split())[:200]}); export it again."
            ) from error


def read_card(path: Path) -> Card:
    """The card in a TFLite file's metadata.

    Raises:
        UserError: no such file, truncated, not TFLite, or without a card.
    """
    from ai_edge_litert import schema_py_generated as schema

    require_file(path)
    data = path.read_bytes()
    if data[4:8] != MAGIC:
        raise UserError(f"'{path}' is no TFLite file.")
    try:
        model = schema.Model.GetRootAs(data, 0)
        for index in range(model.MetadataLength()):
            entry = model.Metadata(index)
            if entry.Name() == CARD_KEY.encode():
                text = model.Buffers(entry.Buffer()).DataAsNumpy().tobytes().decode()
                return Card.from_json(text, f"'{path}'")
    except UserError:
        raise
    except Exception as error:
        # A flatbuffer is read by offsets; those of a cut file lead outside it.
        raise UserError(f"'{path}' is truncated or damaged; export it again.") from error
    raise UserError(f"'{path}' has no srdeploy card; export it with `srdeploy export`.")
