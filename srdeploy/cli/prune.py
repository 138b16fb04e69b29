"""The command that makes networks smaller."""

from typing import Annotated, Any

import typer

from srdeploy.cli import options as o
from srdeploy.cli.output import emit, note, quantity, say

METHODS = ("l1",)


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(prune)


def prune(
    file: o.NetworkFile,
    output: o.Output,
    ratio: Annotated[float, typer.Option(help="Fraction of channels to remove, 0..1.")] = 0.5,
    method: Annotated[str, typer.Option(help="l1: one-shot by filter norm.")] = "l1",
    criterion: Annotated[
        str, typer.Option(help="How NNI scores filters: l1, l2, fpgm or random.")
    ] = "l1",
    layer_ratio: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN=RATIO", help="Own ratio for layers of a name pattern."),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Layers whose channels stay; repeatable."),
    ] = None,
    default_exclude: Annotated[
        bool, typer.Option(help="Leave alone what the published runs leave alone (EDSR's tail).")
    ] = True,
    round_to: Annotated[
        int, typer.Option(help="Keep multiples of this many channels (16 suits CPUs).")
    ] = 1,
    seed: Annotated[int, typer.Option(help="For the random criterion.")] = 0,
    data: o.Data = "builtin",
    quality: Annotated[bool, typer.Option(help="Show PSNR after each stage.")] = True,
    arch: o.Arch = None,
    scale: o.Scale = None,
    json: o.AsJson = False,
) -> None:
    """Remove channels and prove that the small network computes what the masked one does.

    Coupled layers (residual additions, PixelShuffle...) are found by tracing the network.
    Recover the quality with `srdeploy finetune`.

    **Examples**

    `srdeploy prune edsr-s-x2 --ratio 0.5 -o pruned.safetensors`

    `srdeploy prune VDSR.pth --ratio 0.3 --layer-ratio 'residual_layer.1?.conv=0.7' -o v.st`
    """
    from srdeploy.compact.run import prune_oneshot
    from srdeploy.errors import unknown_name
    from srdeploy.models.load import load_network
    from srdeploy.models.store import save_network
    from srdeploy.prune.oneshot import default_exclude as published
    from srdeploy.prune.options import PruneOptions

    if method not in METHODS:
        raise unknown_name("pruning method", method, METHODS)
    options = PruneOptions(
        ratio=ratio,
        layer_ratios=_ratios(layer_ratio or []),
        exclude=tuple(exclude or ()),
        round_to=round_to,
        criterion=criterion,
        seed=seed,
    )
    network = load_network(file, arch=arch, scale=scale)
    if default_exclude:
        patterns = dict.fromkeys((*published(network), *options.exclude))
        options = options.model_copy(update={"exclude": tuple(patterns)})

    def measure(stage: str, version: Any) -> dict[str, Any]:
        from srdeploy.quality import evaluate

        figures = evaluate(version, data, version.card.scale)
        if not json:
            note(f"{stage:>8}: {figures.psnr:.3f} dB  {figures.protocol} on {data}")
        return {k: v for k, v in figures.as_dict().items() if k != "per_image"} | {"data": data}

    small, report = prune_oneshot(network, options, measure if quality else None)
    save_network(small, output)
    if json:
        emit({"output": str(output), **report.to_dict(), "widths": small.card.widths})
        return
    before, after = report.before, report.after
    for row in report.groups:
        if row["kept"] < row["channels"]:
            layers = row["layers"]
            named = layers[0] + (f" ... {layers[-1]} ({len(layers)})" if layers[1:] else "")
            say(f"{row['channels']:5} -> {row['kept']:<5} {row['status']:8} {named}")
    say(f"parameters {quantity(before.params)} -> {quantity(after.params)}")
    say(
        f"MACs for a 1280x720 output {quantity(before.macs_720p)} -> "
        f"{quantity(after.macs_720p)} ({before.macs_720p / after.macs_720p:.2f} times fewer)"
    )
    say(
        f"proof: {report.proof['claim']}, largest difference {report.proof['max_difference']:.1e} "
        "of the value range in float64"
    )
    say(f"written to {output}; recover its quality with: srdeploy finetune {output} -o FILE")


def _ratios(texts: list[str]) -> dict[str, float]:
    from srdeploy.errors import UserError

    ratios: dict[str, float] = {}
    for text in texts:
        pattern, separator, number = text.rpartition("=")
        try:
            if not separator:
                raise ValueError
            ratios[pattern] = float(number)
        except ValueError:
            raise UserError(
                f"--layer-ratio '{text}' is not PATTERN=RATIO; write for instance 'body.*=0.3'."
            ) from None
    return ratios
