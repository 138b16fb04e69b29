"""ONNX files in ONNX Runtime: ours, with the card inside, and other people's.

torch is never imported here, so that a measured process holds the runtime and little else.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from srdeploy.errors import SrdeployError, UserError, unknown_name
from srdeploy.models.card import CARD_KEY, Card
from srdeploy.runtime.session import Session, default_threads

FOREIGN_ARCH = "onnx"
"""Architecture on the card of a file that brought none: the graph is all that is known of it."""

_PROBE_SIZE = 48  # divisible by every size multiple in use, and cheap
_ERRORS_ONLY = 3  # of onnxruntime's severities
_FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class OnnxSession(Session):
    """One ONNX file, loaded and ready.

    Operators run one after another, each on ``threads`` threads.

    Attributes:
        providers: Execution providers in use, best first.
    """

    runtime: ClassVar[str] = "onnxruntime"

    def __init__(
        self,
        path: str | Path,
        *,
        threads: int | None = None,
        providers: Sequence[str] | None = None,
        value_range: float | None = None,
        scale: int | None = None,
    ) -> None:
        """Load a file.

        Args:
            path: The ONNX file.
            threads: Threads of one operator; default as in :func:`default_threads`.
            providers: Default: the CPU. Names as onnxruntime spells them.
            value_range: 1 or 255; only for a file without a card, which can't tell.
            scale: Only for a file without a card whose output is as large as its input: it wants
                its input upscaled by this factor.

        Raises:
            UserError: no such file, not ONNX, truncated, more than one input or output, an
                unknown provider, or a file without a card and no ``value_range``.
            SrdeployError: the provider asked for did not start.
        """
        self.path = Path(path)
        self._session = self._load(
            threads or default_threads(), list(providers or ["CPUExecutionProvider"])
        )
        self.providers: list[str] = self._session.get_providers()
        if providers and self.providers[0] != providers[0]:
            # onnxruntime falls back to the CPU with nothing but a line in its log.
            raise SrdeployError(
                f"onnxruntime could not start its {providers[0]} and fell back to "
                f"{self.providers[0]}; its driver or libraries are missing or of another version."
            )
        self._input, self._output = self._single_ends()
        self._dtype = self._input_dtype()
        text = self._session.get_modelmeta().custom_metadata_map.get(CARD_KEY)
        if text is not None:
            card = Card.from_json(text, f"'{self.path}'")
        else:
            card = self._infer_card(value_range, scale)
        super().__init__(card, threads)

    def close(self) -> None:
        """Give the memory and the threads back."""
        self._session = None

    def _run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        self._check_shape(x.shape)
        feed: dict[str, NDArray] = {self._input.name: x.astype(self._dtype, copy=False)}
        try:
            (y,) = self._session.run([self._output.name], feed)
        except Exception as error:  # onnxruntime's errors share no base class
            raise UserError(
                f"'{self.path.name}' failed on an input of shape {list(x.shape)}: {_first(error)}"
            ) from error
        return y.astype(np.float32, copy=False)

    def _load(self, threads: int, providers: list[str]) -> Any:
        for name in providers:
            if name not in ort.get_available_providers():
                raise unknown_name("onnxruntime provider", name, ort.get_available_providers())
        if not self.path.is_file():
            raise UserError(f"There is no file '{self.path}'.")
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        try:
            return ort.InferenceSession(str(self.path), options, providers=providers)
        except Exception as error:
            raise UserError(
                f"'{self.path}' is not an ONNX file that onnxruntime {ort.__version__} can load "
                f"({_first(error)}); it may be truncated or of another format."
            ) from error

    def _single_ends(self) -> tuple[Any, Any]:
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1:
            raise UserError(
                f"'{self.path}' has {len(inputs)} inputs and {len(outputs)} outputs; a "
                "super-resolution network has one image of each."
            )
        return inputs[0], outputs[0]

    def _input_dtype(self) -> type:
        if self._input.type not in _FLOATS or len(self._input.shape) != 4:
            raise UserError(
                f"'{self.path}' takes a {self._input.type} of shape {self._input.shape}; srdeploy "
                "feeds float tensors [N, C, H, W]."
            )
        return _FLOATS[self._input.type]

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        fixed = [n if isinstance(n, int) else None for n in self._input.shape]
        if len(shape) != 4 or any(f not in (None, n) for f, n in zip(fixed, shape, strict=True)):
            takes = "x".join(str(n) for n in self._input.shape)
            raise UserError(
                f"'{self.path.name}' takes {takes} only, not {'x'.join(map(str, shape))}; export "
                "it with dynamic sizes or give an image of that size."
            )

    def _infer_card(self, value_range: float | None, scale: int | None) -> Card:
        """What a graph tells of itself: channels from its input, scale from a run."""
        batch, channels, height, width = self._input.shape
        if channels not in (1, 3):
            raise UserError(
                f"'{self.path}' takes {channels} channels (shape {self._input.shape}); srdeploy "
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


def _first(error: Exception) -> str:
    """The informative part of onnxruntime's message: its last clause, on one line."""
    text = " ".join(str(error).split())
    return text.rsplit(" : ", 1)[-1][:200].rstrip(".") or type(error).__name__
