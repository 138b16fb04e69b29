"""Arguments and options shared by commands: one name, one meaning everywhere."""

from pathlib import Path
from typing import Annotated

import typer

from srdeploy.runtime.table import RUNTIMES

NetworkFile = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help="A network: our .safetensors, a foreign checkpoint, or the name of a shipped one.",
    ),
]
Artifact = Annotated[
    str,
    typer.Argument(metavar="FILE", help="A network, an exported artifact, or `bicubic`."),
]
Arch = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Architecture of a foreign file, or package.module:callable."
    ),
]
Scale = Annotated[int | None, typer.Option(help="Upscaling factor; default: the network's own.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Where to write the result.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Replace a setting of the recipe; repeatable."),
]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads; default: all cores.")]
Data = Annotated[
    str,
    typer.Option(
        metavar="DIR", help="Benchmark folder (HR/, LR_bicubic/X2/... or plain images); `builtin`."
    ),
]
ProtocolName = Annotated[
    str | None,
    typer.Option(
        "--protocol", help="standard, vdsr, srcnn or rgb; default: the network's customary one."
    ),
]
RuntimeName = Annotated[
    str | None, typer.Option("--runtime", help=f"{', '.join(RUNTIMES)}; default: what fits.")
]
