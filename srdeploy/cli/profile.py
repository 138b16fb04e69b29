"""The command that measures what the layers of a network cost on a device."""

from pathlib import Path
from typing import Annotated, Any

import typer

from srdeploy.cli import options as o
from srdeploy.cli.output import emit, note, say, show


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(profile)


def profile(
    file: o.NetworkFile,
    input_size: Annotated[
        str, typer.Option("--input", metavar="WxH", help="LR size at which layers are timed.")
    ],
    device: o.Devices = "local",
    farm: o.FarmFile = None,
    devices: o.FarmDevices = None,
    precision: Annotated[
        str, typer.Option(help="What layers compute in: fp32, fp16, bf16 or int8.")
    ] = "fp32",
    runtime: o.RuntimeName = None,
    threads: o.Threads = None,
    store: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Where times are kept and looked for; default: the user's cache."
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Layers whose channels stay; repeatable."),
    ] = None,
    arch: o.Arch = None,
    scale: o.Scale = None,
    json: o.AsJson = False,
) -> None:
    """Measure what every kind of layer of a network costs on a device, over a grid of widths.

    Small ONNX networks take turns on the device, and a few whole networks correct their sum. What
    was measured once, for this device, runtime, version, precision, threads and size, is kept and
    not measured again. `srdeploy fit` does the same before it chooses widths.

    **Examples**

    `srdeploy profile edsr-s-x2 --input 240x160`

    `srdeploy profile edsr-s-x2 --input 240x160 --precision int8 --runtime openvino --json`

    `srdeploy profile edsr-s-x2 --input 480x270 --device ssh://me@orin --precision fp16`

    `srdeploy profile edsr-s-x2 --input 480x270 --farm lab/laptop --devices 'orin,pixel-*'`
    """
    from srdeploy.cli.fit_inputs import places
    from srdeploy.fitting.conditions import Way, check_way
    from srdeploy.fitting.places import latency_store
    from srdeploy.fitting.profile import profile_network
    from srdeploy.fitting.several import at_once, each
    from srdeploy.models.load import load_network

    size = o.size_of(input_size)
    check_way(Way(runtime, precision))
    where = places(device, farm, devices)
    network = load_network(file, arch=arch, scale=scale)
    kept = store or latency_store()

    def one(place: Any) -> Any:
        way = Way(runtime or place.runtime, precision)
        own = network.copy() if at_once(where) else network
        return profile_network(own, place, way, size, kept, threads=threads, exclude=exclude or ())

    found = each(where, one)
    if json:
        documents = [_document(predict) for predict in found]
        emit(documents[0] if len(documents) == 1 else documents)
        return
    for predict in found:
        _tell(predict)
    note(f"the times are kept in '{kept}'")


def _document(predict: Any) -> dict[str, Any]:
    table = predict.table.model_dump(mode="json")
    layers, moved, constant = predict.factors
    return {
        **table,
        "others": dict(predict.uses.others),
        "correction": {
            "layers": layers,
            "moved": moved,
            "constant_ms": constant,
            "median_over_undisturbed": predict.unrest,
        },
        "networks": [
            {
                "removed": dict(one.removed),
                "ms": one.median_ms,
                "undisturbed_ms": one.ms,
                "predicted_ms": predict(one.removed),
            }
            for one in predict.observations
        ],
    }


def _tell(predict: Any) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = predict.table
    height, width = table.input
    version = f" {table.version}" if table.runtime and table.version else ""
    say(f"{table.model}, {table.runtime or 'its own runtime'}{version} {table.precision}")
    say(f"LR {width}x{height}; channels are computed {table.block} at a time")
    for kind in table.kinds:
        shown = Table(title=f"{kind.kind}, ms", title_justify="left", box=SIMPLE_HEAD)
        shown.add_column("channels", justify="right")
        for wide in kind.wide:
            shown.add_column(str(wide), justify="right")
        for narrow, row in zip(kind.narrow, kind.pair_ms, strict=True):
            shown.add_row(str(narrow), *(f"{ms / 2:.3f}" for ms in row))
        show(shown)
    for operator, count in predict.uses.others.items():
        say(f"in no table, and only in the correction: {count} {operator}")
    whole = Table(title="whole networks, ms", title_justify="left", box=SIMPLE_HEAD)
    for name in ("channels removed", "measured", "predicted"):
        whole.add_column(name, justify="right")
    for one in predict.observations:
        gone = str(sum(one.removed.values()))
        whole.add_row(gone, f"{one.median_ms:.2f}", f"{predict(one.removed):.2f}")
    show(whole)
