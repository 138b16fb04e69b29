"""TFLite files in LiteRT's interpreter, on the CPU. torch is never imported here."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from srdeploy.errors import UserError
from srdeploy.runtime.litert_file import computed_in, read_card, read_ends
from srdeploy.runtime.session import Session
from srdeploy.runtime.sizes import InputSizes
from srdeploy.runtime.table import LITERT
from srdeploy.util.quiet import hushed


class LitertSession(Session):
    """One TFLite file of ours, loaded and ready; its input size is fixed.

    Images go in and come out as the file has them: channels last or second, float32 or 8 bits.
    """

    runtime: ClassVar[str] = "litert"

    def __init__(self, path: str | Path, *, threads: int | None = None) -> None:
        """Load a file.

        Args:
            path: A ``.tflite`` written by :func:`srdeploy.exporting.litert.export.export_litert`.
            threads: Threads of one operator; default as in :func:`default_threads`.

        Raises:
            UserError: LiteRT is missing; or no such file, truncated, not TFLite, or without a card.
        """
        self.path = Path(path)
        if not (found := LITERT.availability()):
            raise UserError(f"Running '{path}' needs LiteRT: {found.reason}.")
        super().__init__(read_card(self.path), threads)
        try:
            self._interpreter = interpreter_of(self.path, threads=self.threads)
            (given,) = self._interpreter.get_input_details()
            (made,) = self._interpreter.get_output_details()
        except Exception as error:  # a damaged file is met in every way there is
            raise UserError(
                f"LiteRT cannot load '{path}' ({' '.join(str(error).split())[:200]}); it may be "
                "truncated."
            ) from error
        self._places = given["index"], made["index"]
        self._input, self._output = read_ends(self.path)
        self.precision = computed_in(self.path)

    @property
    def sizes(self) -> InputSizes | None:
        """See :class:`Session`."""
        return InputSizes.of_shape(list(self._input.image_shape[2:]))

    def close(self) -> None:
        """Give the memory and the threads back."""
        self._interpreter = None

    def _run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        takes = self._input.image_shape
        if x.shape[1:] != takes[1:]:
            raise UserError(
                f"'{self.path.name}' takes {'x'.join(map(str, takes))} only, not "
                f"{'x'.join(map(str, x.shape))}; export it with another --input."
            )
        return np.concatenate([self._one(x[i : i + 1]) for i in range(len(x))])

    def _one(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        given, made = self._places
        try:
            self._interpreter.set_tensor(given, self._input.from_image(x))
            self._interpreter.invoke()
            return self._output.to_image(self._interpreter.get_tensor(made))
        except (ValueError, RuntimeError, TypeError) as error:
            raise UserError(
                f"'{self.path.name}' failed on an input of shape {list(x.shape)} "
                f"({' '.join(str(error).split())[:200]}); export it again."
            ) from error


def interpreter_of(source: Path | bytes, *, threads: int = 1, watched: bool = False) -> Any:
    """LiteRT's interpreter, its memory planned.

    Args:
        source: A file, or what would be in it.
        threads: Of one operator.
        watched: Every tensor can be read after a run, as nothing is fused or reused.
    """
    from ai_edge_litert import interpreter as litert

    given = {"model_content": source} if isinstance(source, bytes) else {"model_path": str(source)}
    if watched:
        given |= {
            "experimental_preserve_all_tensors": True,
            "experimental_op_resolver_type": (
                litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            ),
        }
    with hushed():  # it tells of every delegate that it makes
        made = litert.Interpreter(**given, num_threads=threads)
        made.allocate_tensors()
    return made
