"""The command that builds an engine again, for machines without srdeploy: Python, or trtexec."""

from __future__ import annotations

import pprint
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from srdeploy.errors import UserError
from srdeploy.runtime.tensorrt.sidecar import ShapeProfile, Sidecar, Tensor
from srdeploy.util.files import atomic_path
from srdeploy.util.shipped import ASSETS

_MARK = "REQUEST: dict[str, Any] = {}  # filled in by srdeploy\n"

OLDEST, NEWEST = (8, 5), (11, 99)
"""Versions of TensorRT whose trtexec is known."""


@dataclass(frozen=True)
class Unbuilt:
    """An engine that is to be built elsewhere: of :class:`Sidecar`, what a script must know.

    Attributes:
        builder: As there, and likewise
        onnx: the file to build from,
        input: the input of it,
        convolutions: how many it has in each precision,
        profile: the shapes to take,
        workspace_mb: limit of scratch memory, MiB, and
        tf32: whether fp32 may be rounded.
        capabilities: None are asked for.
    """

    builder: str
    onnx: str
    input: Tensor
    convolutions: dict[str, int]
    profile: ShapeProfile
    workspace_mb: int | None = None
    tf32: bool = False
    capabilities: tuple[str, ...] = ()


def write_script(path: Path, facts: Sidecar | Unbuilt, engine: str) -> None:
    """Write the script that builds ``engine`` from the ONNX beside it.

    Args:
        path: ``.py`` for Python, ``.sh`` for trtexec.
        facts: What to build.
        engine: Name of the engine; the script and the ONNX file belong into its folder.

    Raises:
        UserError: another ending, or trtexec for an engine of TensorRT-RTX.
    """
    if path.suffix == ".py":
        text = python_script(facts, engine)
    elif path.suffix == ".sh":
        text = shell_script(facts, engine)
    else:
        raise UserError(f"'{path}' is no script: end it in .py (Python) or .sh (trtexec).")
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    path.chmod(path.stat().st_mode | 0o111)


def python_script(facts: Sidecar | Unbuilt, engine: str) -> str:
    """A program of one file that needs TensorRT and nothing else."""
    request = {
        "builder": facts.builder,
        "onnx": facts.onnx,
        "engine": engine,
        "input": facts.input.name,
        "min": facts.profile.min,
        "opt": facts.profile.opt,
        "max": facts.profile.max,
        "precisions": list(facts.convolutions),
        "capabilities": list(facts.capabilities),
        "workspace_mb": facts.workspace_mb,
        "tf32": facts.tf32,
    }
    template = (ASSETS / "scripts" / "build_engine.py").read_text(encoding="utf-8")
    assert _MARK in template
    return template.replace(
        _MARK, f"REQUEST: dict[str, Any] = {pprint.pformat(request, sort_dicts=False)}\n"
    )


def check_word(word: str, what: str) -> str:
    """See that trtexec takes a name or path for one: it splits lists at commas and colons.

    Args:
        word: What is named to it.
        what: What that is, in a sentence.

    Raises:
        UserError: it holds such a character.
    """
    if not word or re.search(r"[,:'\"\x00-\x1f\x7f]", word):
        raise UserError(
            f"{what} is called {word!r}, which trtexec would take apart; rename it (letters, "
            "digits, dots, dashes, underscores and slashes are safe)."
        )
    return word


def trtexec_arguments(
    version: tuple[int, int],
    *,
    onnx: str,
    engine: str,
    input_name: str,
    profile: ShapeProfile,
    precisions: tuple[str, ...] = ("fp32",),
    workspace_mb: int | None = None,
    tf32: bool = False,
    timing_cache: str | None = None,
    layer_info: str | None = None,
    dynamic: bool = True,
) -> list[str]:
    """What ``trtexec`` of a given TensorRT must be told to build an engine.

    8.x takes precisions as permissions (``--fp16``), 10 a strong type beside the ONNX's own, 11
    neither: there every network is strongly typed and the old flags are errors. Skipping the
    benchmark is called ``--buildOnly`` before 8.6 and ``--skipInference`` since.

    Args:
        version: Major and minor version of the TensorRT on the device.
        onnx: The ONNX file there.
        engine: The engine to write there.
        input_name: Name of its input.
        profile: Input shapes.
        precisions: Those the ONNX holds.
        workspace_mb: Limit of scratch memory, MiB.
        tf32: Let fp32 convolutions round their factors.
        timing_cache: File of timings there, read and updated.
        layer_info: Where to write the engine's layers as JSON, for
            :func:`srdeploy.exporting.tensorrt.inspect.layers_of_json`.
        dynamic: The ONNX has sizes to be fixed; trtexec refuses shapes for one that has none.

    Raises:
        UserError: a version whose trtexec is not known, or one without that precision; or a name
            that trtexec would take apart.
    """
    check_word(input_name, "The network's input")
    if not OLDEST <= version <= NEWEST:
        raise UserError(
            f"TensorRT {version[0]}.{version[1]} is not known here; 8.5 to 11 are supported."
        )
    arguments = [f"--onnx={onnx}", f"--saveEngine={engine}"]
    arguments.append("--skipInference" if version >= (8, 6) else "--buildOnly")
    if dynamic:
        for name, shape in (("min", profile.min), ("opt", profile.opt), ("max", profile.max)):
            arguments.append(f"--{name}Shapes={input_name}:{'x'.join(str(n) for n in shape)}")
    if version < (10, 0):
        for precision in precisions:
            if precision == "bf16" and version < (8, 7):
                raise UserError(f"TensorRT {version[0]}.{version[1]} has no bf16.")
            if precision != "fp32":
                arguments.append(f"--{precision}")
    elif version < (11, 0):
        arguments.append("--stronglyTyped")
    if not tf32:
        arguments.append("--noTF32")
    if workspace_mb is not None:
        arguments.append(f"--memPoolSize=workspace:{workspace_mb}")
    if timing_cache is not None:
        arguments.append(f"--timingCacheFile={timing_cache}")
    if layer_info is not None:
        arguments += ["--profilingVerbosity=detailed", f"--exportLayerInfo={layer_info}"]
    return arguments


def shell_script(facts: Sidecar | Unbuilt, engine: str) -> str:
    """A POSIX shell script around trtexec, which asks it for its version first.

    Raises:
        UserError: the engine is TensorRT-RTX's.
    """
    if facts.builder != "tensorrt":
        raise UserError("trtexec builds no TensorRT-RTX engines; emit a .py script instead.")
    eras = {"10": (10, 0), "8.6": (8, 6), "8.5": (8, 5), "11": (11, 0)}
    lines = {
        era: " ".join(
            shlex.quote(argument)
            for argument in trtexec_arguments(
                version,
                onnx=facts.onnx,
                engine=engine,
                input_name=facts.input.name,
                profile=facts.profile,
                precisions=tuple(facts.convolutions),
                workspace_mb=facts.workspace_mb,
                tf32=facts.tf32,
                timing_cache=f"{engine}.timing",
                layer_info=f"{engine}.layers.json",
                dynamic=-1 in facts.input.shape,
            )
        )
        for era, version in eras.items()
    }
    return f"""#!/bin/sh
# Builds {engine} from {facts.onnx} with trtexec, on the device that will run it.
# Precisions ({", ".join(facts.convolutions)}) lie in the ONNX; the options fit TensorRT 8.5 to 11.
# Afterwards {engine}.layers.json lists what was built.
set -eu
cd "$(dirname "$0")"
trtexec=${{TRTEXEC:-$(command -v trtexec || echo /usr/src/tensorrt/bin/trtexec)}}
[ -x "$trtexec" ] || {{ echo "There is no trtexec; set TRTEXEC to its path." >&2; exit 2; }}
# It prints e.g. [TensorRT v8502] or [TensorRT v100300].
version=$("$trtexec" --help 2>&1 | sed -n 's/.*TensorRT[ .]v\\([0-9][0-9]*\\).*/\\1/p' | head -n 1)
case "$version" in
  85??) set -- {lines["8.5"]} ;;
  8[6-9]??) set -- {lines["8.6"]} ;;
  10????) set -- {lines["10"]} ;;
  11????) set -- {lines["11"]} ;;
  *) echo "This trtexec ('$version') is none of TensorRT 8.5 to 11." >&2; exit 2 ;;
esac
exec "$trtexec" "$@"
"""
