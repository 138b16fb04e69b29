"""``srdeploy masks``: where SMSR computes, as pictures and figures."""

from __future__ import annotations

import json as json_
from pathlib import Path
from typing import Annotated

import typer

from srdeploy.cli import options as o
from srdeploy.cli.output import emit, quantity, say

Image = Annotated[
    Path, typer.Argument(metavar="IMAGE", help="The network's input: a low-resolution image.")
]
Folder = Annotated[
    Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the page and pictures.")
]


def masks(
    file: o.NetworkFile,
    image: Image,
    output: Folder,
    json: o.AsJson = False,
) -> None:
    """Show where an SMSR network computes on an image: masks, densities, and a page with them.

    The folder gets `index.html` (one file, works offline), `mask-1.png`... (the image with what
    each module skips dimmed), `all.png` (how many modules compute where) and `masks.json`.

    **Examples**

    `srdeploy masks SMSR_X2.pt butterfly_lr.png -o masks`
    """
    from srdeploy.data.images import read_rgb, write_png
    from srdeploy.errors import UserError
    from srdeploy.models.load import load_network
    from srdeploy.reporting.masks_page import heat, masks_page, overlay
    from srdeploy.sparse.masks import find_masks
    from srdeploy.util.files import atomic_path

    if output.exists() and not output.is_dir():
        raise UserError(f"'{output}' is a file; give a folder for the page and its pictures.")
    network = load_network(file)
    picture = read_rgb(image)
    report = find_masks(network, picture)
    document = {"file": str(file), "image": str(image), "size": list(picture.shape[:2])}
    document |= report.to_dict()
    output.mkdir(parents=True, exist_ok=True)
    for number, module in enumerate(report.modules, 1):
        write_png(output / f"mask-{number}.png", overlay(picture, module.mask))
    write_png(output / "all.png", heat(report.modules))
    page = masks_page(report, picture, image.name, Path(file).name)
    texts = {"masks.json": json_.dumps(document, indent=1) + "\n", "index.html": page}
    for name, text in texts.items():
        with atomic_path(output / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    if json:
        emit(document)
        return
    for number, module in enumerate(report.modules, 1):
        layers = ", ".join(f"{layer.macs:.0%}" for layer in module.layers)
        say(f"module {number}: {module.inside:4.0%} of the pixels; layers computed: {layers}")
    say(
        f"{report.masked_share:.0%} of the masked layers' MACs, "
        f"{quantity(report.computed_macs)} of {quantity(report.macs)} in all"
    )
    say(f"{output / 'index.html'}")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("masks")(masks)
