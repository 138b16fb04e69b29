"""The command that tells how an artifact came to be."""

from typing import Annotated

import typer

from srdeploy.cli import options as o
from srdeploy.cli.output import emit, say


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(explain)


def explain(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="A network of ours, or an .onnx, .mlpackage, .engine or .tflite of srdeploy's.",
        ),
    ],
    json: o.AsJson = False,
) -> None:
    """Tell an artifact's story: weights, import, pruning and its proof, fine-tuning, export.

    **Example**

    `srdeploy explain tuned.onnx`
    """
    from srdeploy.exporting.provenance import tell

    story = tell(file)
    if json:
        emit(story.to_dict())
        return
    say(f"{story.file}: {story.network}")
    say(f"  {story.bytes / 1024:,.0f} KiB, sha256 {story.sha256}")
    if story.weights_sha256:
        say(f"  weights sha256 {story.weights_sha256}")
    for number, chapter in enumerate(story.chapters, start=1):
        first, *others = chapter.told
        say(f"{number:3}. {chapter.step}: {first}")
        for sentence in others:
            say(f"     {sentence}")
    for gap in story.gaps:
        say(f"  not known: {gap}")
