"""Arguments and options shared by commands: one name, one meaning everywhere."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from srdeploy.cli import complete
from srdeploy.quality.protocol import PROTOCOLS
from srdeploy.runtime.table import RUNTIMES
from srdeploy.util.synonyms import meaning


def in_our_words(known: Iterable[str]) -> Callable[[str | None], str | None]:
    """For an option: its value as the name among `known` that means the same.

    What means none of them is left for where it is used, which knows why it is none.
    """

    def understand(value: str | None) -> str | None:
        return None if value is None else meaning(value, known) or value

    return understand


NetworkFile = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help="A network: our .safetensors, a foreign checkpoint, hf:org/repo/file, or the name of "
        "a shipped one.",
        autocompletion=complete.networks,
    ),
]
Artifact = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help="A network, an exported artifact, or `bicubic`.",
        autocompletion=complete.artifacts,
    ),
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
        "--eval-data",
        metavar="DIR",
        help="Set to measure on: EDSR's or BasicSR's layout, or plain images; `builtin`.",
    ),
]
TrainData = Annotated[
    list[str] | None,
    typer.Option(
        metavar="DIR", help="Images to train on; repeatable (finetune: or one HDF5 file)."
    ),
]
ProtocolName = Annotated[
    str | None,
    typer.Option(
        "--protocol",
        help="standard, vdsr, srcnn or rgb; default: the network's customary one.",
        autocompletion=complete.protocols,
        callback=in_our_words(PROTOCOLS),
    ),
]
RuntimeName = Annotated[
    str | None,
    typer.Option(
        "--runtime",
        help="{runtimes}; default: what fits.",
        autocompletion=complete.runtimes,
        callback=in_our_words(RUNTIMES),
    ),
]
Dense = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Network that was pruned or quantised: also measure how near outputs are to its own.",
        autocompletion=complete.networks,
    ),
]
ValueRange = Annotated[float | None, typer.Option(help="1 or 255, for foreign ONNX files.")]
InputSize = Annotated[
    str | None,
    typer.Option("--input", metavar="WxH", help="LR size; default: the set's median image."),
]
Runs = Annotated[int | None, typer.Option(min=1, help="At least so many (20).")]
Seconds = Annotated[float | None, typer.Option(min=0.0, help="At least so long (5).")]
Devices = Annotated[
    str,
    typer.Option(
        metavar="URI[,URI]",
        help="Where to measure: `srdeploy devices` lists kinds.",
        autocompletion=complete.devices,
    ),
]
FarmFile = Annotated[
    Path | None,
    typer.Option("--farm", metavar="FILE", help="Measure on a farm: this host's farm.yaml."),
]
FarmDevices = Annotated[
    str | None,
    typer.Option(
        "--devices",
        metavar="TAG[,TAG]",
        help="With --farm: tags, kinds, names or patterns ('pixel-*'); one device of each.",
    ),
]
ScenarioNames = Annotated[
    str | None,
    typer.Option(
        "--scenario",
        metavar="NAME[,NAME]",
        help="Conditions: a name of `srdeploy scenarios`, or a YAML file.",
        autocompletion=complete.scenarios,
    ),
]
Repeats = Annotated[int, typer.Option(min=1, help="So many runs of each, all from a fresh start.")]


def share(text: str) -> float:
    """``5%`` (or ``0.05``) as 0.05."""
    from srdeploy.errors import UserError

    number = text.strip().removesuffix("%")
    percent = number != text.strip()
    try:
        value = float(number) / (100 if percent else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value < (1e6 if percent else 1):  # a bare 5 may mean 5 % or five times
        raise UserError(f"'{text}' is no share; write it in percent, e.g. 5%.")
    return value


def listed(text: str) -> list[str]:
    """The parts of a list with commas."""
    return [part for part in (part.strip() for part in text.split(",")) if part]


def places(text: str) -> list[str]:
    """The devices of a list with commas: URIs, or words that mean one (`cuda`, `android`)."""
    from srdeploy.devices.table import KINDS
    from srdeploy.runtime.onnx.providers import PROVIDERS

    known = [*KINDS, *(f"local?provider={name}" for name in PROVIDERS)]
    return [meaning(word, known) or word for word in listed(text)]


def given(**values: Any) -> dict[str, Any]:
    """The options that were given: None means left to what is underneath."""
    return {name: value for name, value in values.items() if value is not None}


def size_of(text: str) -> tuple[int, int]:
    """Height and width of the value of ``--input``.

    Raises:
        UserError: it is no size.
    """
    from srdeploy.errors import UserError
    from srdeploy.runtime.sizes import parse_size

    try:
        return parse_size(text)
    except ValueError:
        raise UserError(f"--input '{text}' is no size; write WIDTHxHEIGHT, e.g. 480x270.") from None
