"""One artifact's result: what the table shows and JSON holds."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class Row(BaseModel):
    """Everything measured on one artifact, with the conditions that make it comparable.

    Figures are None where they were not measured; ``error`` then says why.

    Attributes:
        artifact: Name of the file, or of a shipped network.
        sha256: Its content; None for what is no file.
        runtime: What ran it.
        threads: CPU threads of one run.
        scenario: The conditions, in full.
        machine: See :func:`srdeploy.measure.machine.machine_facts`.
        scale: Upscaling factor.
        lr_size: Height and width of the LR image.
        input: Shape of the tensor that was run, [N, C, H, W].
        params: Trainable parameters.
        macs_720p: Multiply-accumulates for a 1280x720 output.
        load_ms: Opening the artifact, runtime's import included.
        first_ms: The first run after that, never part of the samples.
        p50_ms: Median of the samples; ``p90_ms`` and ``p99_ms`` likewise.
        mean_ms: Their mean.
        min_ms: The fastest.
        iqr_ms: Distance between their quartiles.
        n_samples: How many.
        samples_ms: All of them, in the order taken.
        turns: How many of them each round gave, in order.
        speedup: Times faster than the first artifact of the same call, paired by round.
        speedup_low: Lower end of its 95 % interval (bootstrap over rounds);
        speedup_high: upper end.
        peak_mb: Peak memory of its process (runtime included), before quality was measured.
        data: Name of the benchmark set.
        psnr_y: Mean PSNR of the set, dB; named for luma, compared as ``protocol`` says.
        ssim_y: Mean SSIM.
        psnr_rgb: In place of ``psnr_y`` under a protocol that compares colours.
        ssim_rgb: Likewise.
        n_images: Images of the set.
        protocol: Label of the quality protocol.
        note: One sentence on what these figures leave out.
        error: One sentence if something failed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    artifact: str
    sha256: str | None = None
    runtime: str | None = None
    threads: int | None = None
    scenario: dict[str, Any]
    machine: dict[str, Any]
    scale: int
    lr_size: tuple[int, int] | None = None
    input: tuple[int, int, int, int] | None = None
    params: int | None = None
    macs_720p: int | None = None
    load_ms: float | None = None
    first_ms: float | None = None
    p50_ms: float | None = None
    p90_ms: float | None = None
    p99_ms: float | None = None
    mean_ms: float | None = None
    min_ms: float | None = None
    iqr_ms: float | None = None
    n_samples: int = 0
    samples_ms: list[float] = []
    turns: list[int] = []
    speedup: float | None = None
    speedup_low: float | None = None
    speedup_high: float | None = None
    peak_mb: float | None = None
    data: str | None = None
    psnr_y: float | None = None
    ssim_y: float | None = None
    psnr_rgb: float | None = None
    ssim_rgb: float | None = None
    n_images: int | None = None
    protocol: str | None = None
    note: str | None = None
    error: str | None = None
