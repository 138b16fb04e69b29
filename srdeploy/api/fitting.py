"""The function that finds the best network for a device and a budget."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from srdeploy.api.given import listed, network_of, said, sizes_told
from srdeploy.errors import UserError
from srdeploy.fitting.places import Place, farm_places, latency_store
from srdeploy.fitting.result import FitResult
from srdeploy.fitting.several import fit_each
from srdeploy.models.network import Network
from srdeploy.runtime.sizes import parse_size


def fit(
    network: Network | nn.Module | str | Path,
    output: str | Path,
    *,
    size: str | tuple[int, int],
    budget_ms: float | Sequence[float],
    device: str | Sequence[str] = "local",
    farm: str | Path | None = None,
    devices: str | Sequence[str] = (),
    runtimes: str | Sequence[str] = (),
    precisions: str | Sequence[str] = (),
    pixel_shuffles: str | Sequence[str] = "auto",
    min_psnr: float | None = None,
    max_mb: float | None = None,
    max_mj: float | None = None,
    threads: int | None = None,
    tile: int | None = None,
    data: str | Path = "builtin",
    calibration: str | Path = "builtin",
    network_wise: int | None = None,
    recover: float | str = 0,
    train_data: str | Path | Sequence[str | Path] = (),
    exclude: str | Sequence[str] = (),
    store: str | Path | None = None,
    fresh: bool = False,
) -> list[FitResult]:
    """The best network for a device and a budget: widths, precision and runtime.

    Args:
        network: Left as it is.
        output: Folder of the result; the same call goes on from what lies there. Of several devices
            each has a folder in it.
        size: LR size that the budget is for, ``"480x270"`` or ``(480, 270)``.
        budget_ms: Milliseconds that one image may take, or several budgets.
        device: URI (``srdeploy devices``), or several.
        farm: In its place a farm's file: each device of the farm is fitted to at the same time.
        devices: With ``farm``: tags, kinds, names or patterns; one device of each.
        runtimes: What may run it; default: what the kind of device usually has.
        precisions: ``fp32``, ``fp16``, ``bf16``, ``int8``; default: what the runtimes are good at.
        pixel_shuffles: Forms in which PixelShuffle may be written; ``"auto"``: as it is fastest.
        min_psnr: PSNR that the artifact must have, dB.
        max_mb: Peak memory that it may need, MB.
        max_mj: Energy that an image may take, mJ, where the device tells.
        threads: CPU threads; default: all.
        tile: Images are cut into tiles of at most so many LR pixels a side.
        data: Benchmark set that quality is measured on.
        calibration: Images that pruning is fitted to.
        network_wise: Steps of Adam towards the dense network's output; default: 500.
        recover: Minutes of fine-tuning, or a recipe's file.
        train_data: Images for it.
        exclude: Patterns of layers whose channels stay.
        store: File that keeps times; default: one in the user's cache.
        fresh: Start over.

    Returns:
        One result per device and budget, the smallest first; its ``shortfall`` says what could not
        be kept.

    Raises:
        UserError: a budget that no network of this kind can keep, or options that do not fit.
        SrdeployError: the device went away, or something could not be made or measured.

    Example:
        >>> (found,) = sr.fit("edsr-s-x2", "fitted", size="240x160", budget_ms=25)
        >>> found.p50_ms, found.psnr_y, found.widths
    """
    try:
        height, width = parse_size(sizes_told(size) or "")
    except ValueError as error:
        raise UserError(f"'{size}' is no size; write WIDTHxHEIGHT, e.g. 480x270.") from error
    budgets = (budget_ms,) if isinstance(budget_ms, (int, float)) else tuple(budget_ms)
    asked = said(
        size=(height, width),
        budgets_ms=tuple(sorted(set(budgets))),
        runtimes=listed(runtimes),
        precisions=listed(precisions),
        pixel_shuffles=listed(pixel_shuffles),
        min_psnr=min_psnr,
        max_mb=max_mb,
        max_mj=max_mj,
        threads=threads,
        tile=tile,
        data=str(data),
        calibration=str(calibration),
        network_wise=network_wise,
        recover=str(recover),
        train_data=listed(train_data),
        exclude=listed(exclude),
    )
    if farm is None:
        where = [Place(uri) for uri in listed(device)]
    else:
        from srdeploy.farm.network import open_farm

        where = farm_places(open_farm(Path(farm))[0], listed(devices))
    name = Path(network).name if isinstance(network, (str, Path)) else "network"
    kept = latency_store() if store is None else Path(store)
    return fit_each(network_of(network), name, asked, where, Path(output), kept, fresh=fresh)
