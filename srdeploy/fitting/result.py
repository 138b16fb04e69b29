"""What a fit is asked, and what comes of it: plain data, as ``fit.json`` holds it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from srdeploy.errors import UserError
from srdeploy.util.figures_json import dumps
from srdeploy.util.files import atomic_path
from srdeploy.util.strict import Strict, parse

FILE = "fit.json"
RESULTS = "results.sqlite"
"""Beside it: the measurement of the final artifact."""

Positive = Annotated[float, Field(gt=0)]


class FitOptions(Strict):
    """What is asked for.

    Attributes:
        device: URI.
        size: Height and width of the LR image.
        budgets_ms: What one image may take, each a fit of its own.
        fps: The same in frames per second, where it was given so.
        runtimes: What may run the network; empty: what the kind of device usually has.
        precisions: What it may compute in; empty: what the runtimes usually have.
        pixel_shuffles: Forms of PixelShuffle that may be written; ``auto``: for each runtime and
            precision the one in which the network runs fastest.
        min_psnr: PSNR that the artifact must reach, dB.
        max_mb: Peak memory that it may need, MB.
        max_mj: Energy that an image may take, mJ.
        threads: CPU threads; None: all.
        tile: Images are cut into tiles of at most so many LR pixels a side.
        data: Benchmark set that quality is measured on.
        calibration: Images that pruning is fitted to.
        network_wise: Steps of network-wise reconstruction; None: the method's.
        recover: ``0``, minutes, or a recipe's file.
        train_data: Images for recovery.
        exclude: Patterns of layers whose channels stay.
    """

    device: str
    size: tuple[int, int]
    budgets_ms: Annotated[tuple[Positive, ...], Field(min_length=1)]
    fps: Positive | None = None
    runtimes: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    pixel_shuffles: tuple[str, ...] = ("auto",)
    min_psnr: float | None = None
    max_mb: Positive | None = None
    max_mj: Positive | None = None
    threads: int | None = None
    tile: int | None = None
    data: str = "builtin"
    calibration: str = "builtin"
    network_wise: int | None = None
    recover: str = "0"
    train_data: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


class Point(Strict):
    """A network that was considered.

    Attributes:
        runtime: What would run it.
        precision: What it would compute in.
        predicted_ms: How long it should take.
        error: Mean squared error to the dense network's output that it should have.
        predicted_psnr: What PSNR that would be, about, before anything is learned; None where the
            dense network's is not known.
        channels: Channels that all layers have together.
        p50_ms: How long it took; None where it was not made.
        psnr: What PSNR it had.
        step: What it is: ``front``, ``made`` or ``recovered``.
    """

    runtime: str | None
    precision: str
    predicted_ms: float
    error: float | None = None
    predicted_psnr: float | None = None
    channels: int
    p50_ms: float | None = None
    psnr: float | None = None
    step: Literal["front", "made", "recovered"] = "front"


class FitResult(Strict):
    """The best network for a device and a budget.

    Attributes:
        format: Version of this description.
        network: Name of the network that was fitted.
        device: URI.
        model: What the device says it is.
        input: Height and width of the LR image.
        budget_ms: What one image may take.
        p50_ms: What it takes, measured with the final artifact.
        predicted_ms: What was predicted.
        met: Whether the budget is kept.
        shortfall: Sentences on what was asked for and is not so; empty where all is.
        psnr_y: Of the final artifact; None where no luma was compared.
        psnr: The same, whichever planes were compared.
        protocol: Label of the quality protocol.
        agreement: Nearness to the dense network's outputs, dB.
        dense_psnr: Of the dense network under the same protocol.
        peak_mb: Peak memory, where the device tells.
        energy_mj: Millijoules per image, where the device tells.
        widths: Output channels by layer, under the names of the network that was fitted; 0 of
            layers that are gone with their block.
        dense_widths: The same before.
        blocks: Residual blocks that are gone, under the same names.
        why: A sentence on each width that could have been another, by the group's first layer, and
            on each residual block that could go.
        precision: What it computes in.
        runtime: What runs it; None: the device's own choice.
        pixel_shuffle: The form in which PixelShuffle is written.
        block: Channels that the device computes at a time.
        artifact: Name of the artifact's file, in the same folder.
        weights: Name of the network's file, in the same folder.
        attempts: Networks that were made and measured.
        points: All that was considered.
        seconds: Where the time went.
    """

    format: Literal[1] = 1
    network: str
    device: str
    model: str
    input: tuple[int, int]
    budget_ms: float
    p50_ms: float
    predicted_ms: float
    met: bool
    shortfall: tuple[str, ...] = ()
    psnr_y: float | None = None
    psnr: float | None = None
    protocol: str | None = None
    agreement: float | None = None
    dense_psnr: float | None = None
    peak_mb: float | None = None
    energy_mj: float | None = None
    widths: dict[str, int]
    dense_widths: dict[str, int]
    blocks: tuple[str, ...] = ()
    why: dict[str, str]
    precision: str
    runtime: str | None
    pixel_shuffle: str
    block: int
    artifact: str
    weights: str
    attempts: int
    points: tuple[Point, ...]
    seconds: dict[str, float]

    def write(self, folder: Path) -> None:
        """Keep it as ``fit.json``."""
        with atomic_path(folder / FILE) as temporary:
            temporary.write_text(dumps(self.model_dump(), indent=2) + "\n", encoding="utf-8")


def read_result(folder: Path) -> FitResult | None:
    """What a folder of a fit holds; None where it is not finished.

    Raises:
        UserError: the file is damaged, or of another version.
    """
    import json

    path = folder / FILE
    if not path.is_file():
        return None
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"'{path}' is damaged; give --fresh to fit again.") from error
    return parse(FitResult, document, where=f"'{path}'")


def fit_folders(root: Path) -> list[Path]:
    """The folders of finished fits in a folder: itself, or one for each device and budget."""
    return sorted(
        path.parent for depth in ("", "*/", "*/*/") for path in root.glob(f"{depth}{FILE}")
    )
