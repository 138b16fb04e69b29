"""ONNX -> ncnn, by the converter of ncnn's own authors.

pnnx (https://github.com/pnnx/pnnx) has a native program that reads ONNX without torch.
"""

from __future__ import annotations

import importlib.util
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.ncnn.lower import PROBES, lower_for_pnnx, with_sizes_followed
from srdeploy.runtime.ncnn.param import Param, foreign_layers, read_param
from srdeploy.runtime.table import PNNX


@dataclass(frozen=True)
class Converted:
    """A network that pnnx has converted.

    Attributes:
        param: The file of the structure,
        weights: and of the weights.
        structure: The first, read.
        model: The graph that it was made of,
        lowered: and what pnnx was given for it.
    """

    param: Path
    weights: Path
    structure: Param
    model: onnx.ModelProto
    lowered: onnx.ModelProto


def convert_to_ncnn(source: Path, work: Path, name: str | Path, *, half: bool = False) -> Converted:
    """Convert a file.

    Args:
        source: A float32 ONNX file.
        work: An empty folder; what pnnx leaves there is of no use.
        name: What sentences call the network.
        half: Store weights in 16 bits.

    Returns:
        The structure (``.param``) and the weights (``.bin``), in ``work``, and their origin.

    Raises:
        UserError: no ONNX file, pnnx is missing, or the network has a part that ncnn does not know.
        SrdeployError: pnnx failed.
    """
    program = _program()
    try:
        model = onnx.load(str(source))
    except (DecodeError, ValueError) as error:
        raise UserError(f"'{name}' is no ONNX file, or a truncated one.") from error
    lowered = lower_for_pnnx(model)
    onnx.save(lowered, str(work / "net.onnx"))
    ended = subprocess.run(
        [str(program), "net.onnx", f"fp16={int(half)}", *_example_sizes(model)],
        cwd=work,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    param, weights = work / "net.ncnn.param", work / "net.ncnn.bin"
    if ended.returncode or not (param.is_file() and weights.is_file()):
        said = (ended.stderr.strip() or ended.stdout.strip() or "nothing").splitlines()[-1]
        raise SrdeployError(f"pnnx could not convert '{name}' (its last words: {said[:200]}).")
    structure = with_sizes_followed(read_param(param))
    if foreign := foreign_layers(structure):
        raise UserError(
            f"'{name}' cannot run in ncnn, which has no {', '.join(foreign)}; export it in fp32 "
            "(the runner takes its precision from the device's URI) or use another runtime."
        )
    param.write_text(structure.text(), encoding="ascii")
    return Converted(param, weights, structure, model, lowered)


def _example_sizes(model: onnx.ModelProto) -> list[str]:
    """Two small sizes that pnnx runs a network of any size on; its own take gigabytes."""
    sides = [side.dim_value for side in model.graph.input[0].type.tensor_type.shape.dim]
    if len(sides) != 4 or not sides[1] or sides[2] or sides[3]:
        return []
    return [
        f"{name}=[1,{sides[1]},{height},{width}]f32"
        for name, (height, width) in zip(("inputshape", "inputshape2"), PROBES, strict=True)
    ]


def pnnx_version() -> str:
    """The installed converter's.

    Raises:
        UserError: there is none.
    """
    _program()
    return version("pnnx")


def _program() -> Path:
    # Found, not imported: its package imports torch for ways in that are not used here.
    found = importlib.util.find_spec("pnnx")
    for folder in (found.submodule_search_locations or ()) if found else ():
        for name in ("pnnx", "pnnx.exe"):
            if (program := Path(folder) / name).is_file():
                return program
    raise UserError(f"Networks are converted for ncnn by pnnx: {PNNX.install}.")
