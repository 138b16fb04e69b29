"""A network loaded in a browser."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from srdeploy.data.bicubic import imresize
from srdeploy.data.images import to_uint8
from srdeploy.devices.artifact import card_of, onnx_of
from srdeploy.devices.browser.phone import Phone
from srdeploy.devices.browser.runtime_files import VERSION
from srdeploy.devices.browser.server import Server
from srdeploy.devices.errors import DeviceError
from srdeploy.devices.protocol import Job, Loaded, Turn
from srdeploy.measure.timing import SETTLE_BELOW_MS
from srdeploy.models.card import Card

LARGEST = (960, 1280)
"""Height and width: enough for any screen, and little to send."""

_MARGIN = 4  # input pixels around it: its bicubic edge is then that of the whole picture


def comparison(
    card: Card, x: NDArray[np.float32], picture: tuple[int, int] | None = None
) -> tuple[dict[str, Any], bytes]:
    """The part to be shown, and the same part by bicubic.

    Args:
        card: What the network eats.
        x: Its input, ``float32 [N, C, H, W]`` in 0..``card.value_range``; the first image counts.
        picture: Height and width (LR pixels) of the part of it that is a picture and no padding;
            None for all of it.

    Returns:
        The box ``x, y, w, h`` in output pixels with the value range, and a PNG. A luma network's
        is grey; a pre-upscaled network's input is the bicubic picture already.
    """
    s = card.network_scale
    image = x[0].transpose(1, 2, 0).astype(np.float64) * (255.0 / card.value_range)
    if picture is not None:
        factor = card.scale // s  # of an input that is upscaled already
        image = image[: picture[0] * factor, : picture[1] * factor]
    height, width = image.shape[:2]
    h, w = min(LARGEST[0] // s, height), min(LARGEST[1] // s, width)
    top, left = (height - h) // 2, (width - w) // 2
    above, before = min(_MARGIN, top), min(_MARGIN, left)
    part = image[top - above : top + h + _MARGIN, left - before : left + w + _MARGIN]
    enlarged = part if s == 1 else imresize(part, s)
    shown = enlarged[above * s : (above + h) * s, before * s : (before + w) * s]
    pixels = to_uint8(shown[..., 0] if shown.shape[2] == 1 else shown)
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, format="PNG", compress_level=1)
    box = {"x": left * s, "y": top * s, "w": w * s, "h": h * s, "range": card.value_range}
    return box, png.getvalue()


MOST_THREADS = 4
"""Unless more are asked for: phones mix fast and slow cores, and the slowest sets the pace."""


class BrowserModel:
    """See :class:`srdeploy.devices.protocol.LoadedModel`.

    Every job names network, input and warm-up, so that a reloaded page finds all it needs in the
    job that it is given again.
    """

    def __init__(
        self,
        server: Server,
        phone: Phone,
        job: Job,
        backend: str,
        patience: float,
        tell: Callable[[str], None],
    ) -> None:
        """Send a network and open it there.

        Raises:
            UserError: there is no such artifact, or it does not become ONNX.
            DeviceError: the browser cannot open it.
        """
        self._server, self._phone = server, phone
        self._waits: dict[str, Any] = {
            "timeout": job.timeout_seconds,
            "patience": patience,
            "tell": tell,
        }
        self._card, self._picture = card_of(job), job.picture
        with tempfile.TemporaryDirectory() as folder:
            content = onnx_of(job, Path(folder)).read_bytes()
        self._files = [server.put(content)]
        cores, isolated = phone.told.get("cores") or 1, phone.told.get("isolated")
        wanted = job.threads or min(cores, MOST_THREADS)
        threads = wanted if isolated and backend == "wasm" else 1
        self._job: dict[str, Any] = {
            "title": Path(job.artifact).name,
            "model": {
                "key": f"{self._files[0]}-{backend}-{threads}",
                "blob": {"id": self._files[0], "bytes": len(content)},
                "backend": backend,
                "threads": threads,
                "label": f"browser ({backend})",
            },
        }
        told = self._ask("open")
        self.loaded = Loaded(
            card=self._card,
            runtime=f"browser ({backend})",
            runtime_version=told.get("version") or VERSION,
            provider=backend,
            precision=_precision(content),
            threads=threads,
            load_ms=_number(told, "load_ms"),
            notes=tuple(_notes(told, phone.told, job, backend, threads, cores)),
        )

    def prepare(self, x: NDArray[np.float32], *, runs: int, seconds: float) -> float | None:
        """Send the tensor, run once, show the picture, warm up."""
        box, png = comparison(self._card, x, self._picture)
        bicubic = self._server.put(png, "image/png")
        fields = {
            "input": self._tensor(x),
            "picture": {**box, "bicubic": bicubic},
            "warm": {"runs": runs, "seconds": seconds},
        }
        self._files += [fields["input"]["id"], bicubic]
        self._job |= fields
        return _number(self._ask("prepare"), "first_ms")

    def turn(self, seconds: float) -> Turn:
        """Samples of one turn; on a GPU also the network alone, without the transfers."""
        told = self._ask("turn", seconds=seconds, settle_below_ms=SETTLE_BELOW_MS)
        samples, compute = _times(told, "samples_ms"), _times(told, "compute_ms")
        if not samples or len(compute) not in (0, len(samples)):
            raise DeviceError(f"{self._phone.name} sent no times; reload the page.")
        return Turn(samples, compute)

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """The output, as the browser computed it, float by float."""
        s = self._card.network_scale
        shape = (*x.shape[:2], x.shape[2] * s, x.shape[3] * s)
        spec = self._tensor(x)
        try:
            _, body = self._phone.ask(
                "run",
                **self._waits,
                expected_bytes=4 * int(np.prod(shape)),
                title=self._job["title"],
                model=self._job["model"],
                input=spec,
            )
        finally:
            if spec["id"] not in self._files:
                self._server.drop(spec["id"])
        if body is None:
            raise DeviceError(f"{self._phone.name} sent no output; reload the page.")
        return np.frombuffer(body, "<f4").reshape(shape).astype(np.float32)

    def peak_mb(self) -> float | None:
        """Not told: browsers keep a page's memory to themselves."""
        return None

    def close(self) -> None:
        """Free the network there, if the page is still open, and here."""
        if self._phone.alive:
            try:
                quick = self._waits | {"timeout": 10.0, "patience": 0.0}
                self._phone.ask("close", **quick, title="", model=self._job["model"])
            except DeviceError:
                pass  # nothing is left there to free
        for name in self._files:
            self._server.drop(name)

    def __enter__(self) -> BrowserModel:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def _ask(self, do: str, **fields: Any) -> dict[str, Any]:
        return self._phone.ask(do, **self._waits, **self._job, **fields)[0]

    def _tensor(self, x: NDArray[np.float32]) -> dict[str, Any]:
        content = np.ascontiguousarray(x, "<f4").tobytes()
        return {"id": self._server.put(content), "bytes": len(content), "dims": list(x.shape)}


def _notes(
    told: dict[str, Any], page: dict[str, Any], job: Job, backend: str, threads: int, cores: int
) -> list[str]:
    notes = []
    if told.get("on_cpu_too"):
        notes.append("some operators have no WebGPU kernel and ran on the CPU.")
    if backend == "wasm" and not page.get("isolated"):
        notes.append("the page was not cross-origin isolated, so WASM ran on one thread.")
    if backend == "webgpu" and (page.get("gpu") or {}).get("software"):
        notes.append("the WebGPU adapter is a software renderer: its speed is no GPU's.")
    if backend == "wasm" and job.threads is None and cores > threads:
        notes.append(f"{threads} of {cores} cores were used; more by --threads.")
    return notes


def _precision(content: bytes) -> str | None:
    """fp32 where the file holds nothing else; a browser does not tell what it makes of the rest."""
    import onnx

    from srdeploy.exporting.precision.graph import convolution_kinds

    kinds = set(convolution_kinds(onnx.load_model_from_string(content)).values())
    return "fp32" if kinds <= {"fp32"} else None


def _number(told: dict[str, Any], key: str) -> float | None:
    value = told.get(key)
    return float(value) if isinstance(value, (int, float)) else None


def _times(told: dict[str, Any], key: str) -> list[float]:
    values = told.get(key)
    if not isinstance(values, list):
        return []
    return values  # whoever checks a device's answers looks at each
