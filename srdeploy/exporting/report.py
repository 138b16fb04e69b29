"""What an export tells about itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srdeploy.util.files import sha256

if TYPE_CHECKING:
    from srdeploy.exporting.probe import Gap


@dataclass(frozen=True)
class Parity:
    """How far an artifact's output is from the network's.

    Attributes:
        max_abs_diff: Largest |difference| met, in the network's own value range.
        relative: The same, divided by the value range (or by the largest |output|, if larger).
        sizes: Input sizes (height, width) it was compared at.
        light: Below 1: photographs had to be dimmed by this, as rounding drowned the comparison.
        tolerance: What ``relative`` had to stay within.
        in_float64: It was compared in float64 where rounding drowned the comparison; there,
            ``relative`` is what rounding does.
    """

    max_abs_diff: float
    relative: float
    sizes: list[tuple[int, int]]
    light: float = 1.0
    tolerance: float = 0.0
    in_float64: bool = False


def parity_of(
    gaps: Sequence[Gap],
    sizes: list[tuple[int, int]],
    light: float = 1.0,
    tolerance: float = 0.0,
    *,
    in_float64: bool = False,
) -> Parity:
    """The worst of what was met at the sizes."""
    largest, relative = max(g.largest for g in gaps), max(g.relative for g in gaps)
    return Parity(largest, relative, sizes, light, tolerance, in_float64)


EXACT = 5e-3
"""Share of the value range within which one speaks of equality."""


def parity_told(
    precision: str,
    tolerance: float | None,
    sizes: Sequence[Sequence[int]],
    than: str = "PyTorch",
) -> str:
    """A comparison in words: what was promised, which is the same wherever it is told.

    The largest deviation says little of a reduced precision, where single pixels may be off and no
    picture is the worse: what is lost is told in dB
    (:func:`srdeploy.exporting.quality_loss.quality_told`).

    Args:
        precision: Of the artifact.
        tolerance: What it had to stay within; None: nothing was promised.
        sizes: Heights and widths compared at.
        than: What it was compared with.
    """
    where = ", ".join(f"{width}x{height}" for height, width in sizes)
    inputs = f" (inputs {where})" if where else ""
    if tolerance is not None and tolerance <= EXACT:
        return f"equal to {than} within {tolerance:g} of the value range{inputs}"
    return f"the picture that {than} makes, but for rounding to {precision}{inputs}"


@dataclass(frozen=True)
class ExportReport:
    """One finished export.

    Attributes:
        target: Name in the table of targets.
        path: Where the artifact lies.
        sha256: Its content (of a package: of all its files).
        bytes: Its size.
        precision: The precision that its weights and arithmetic have.
        opset: ONNX operator set; None for other formats.
        parity: Comparison with torch; None where the artifact cannot run, said in ``notes``.
        operators: How often each operator occurs.
        tools: Versions of what made it.
        seconds: Wall-clock time.
        notes: What the reader must know: what was not run, and why.
        layers: One dict per layer of a reduced precision: ``layer``, ``precision``, and what
            decided (``max_abs`` and ``headroom``, or the range ``low``..``high``).
        quality: What the artifact loses on a set: ``data``, ``protocol``, ``psnr_fp32``, ``psnr``,
            ``drop`` (dB); of a reduced precision ``psnr`` is the first runtime's, ``runtimes`` has
            every runtime's, ``not_run_in`` why others refused it. None where it was not measured.
    """

    target: str
    path: str
    sha256: str
    bytes: int
    precision: str
    opset: int | None
    parity: Parity | None
    operators: dict[str, int]
    tools: dict[str, str]
    seconds: float
    notes: list[str] = field(default_factory=list)
    layers: list[dict[str, Any]] = field(default_factory=list)
    quality: dict[str, Any] | None = None

    def __repr__(self) -> str:
        """One line."""
        told = [f"{self.target}, {self.precision}, {self.bytes / 1024:,.0f} KiB"]
        if self.parity is not None:
            told.append(f"parity {self.parity.relative:.1e}")
        if self.quality is not None:
            told.append(f"drop {self.quality['drop']:.3f} dB on {self.quality['data']}")
        return f"ExportReport({self.path}: {', '.join(told)})"

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return asdict(self)


def artifact_facts(path: Path) -> dict[str, Any]:
    """``sha256`` and ``bytes`` of a file or package."""
    files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
    return {"sha256": sha256(path), "bytes": sum(p.stat().st_size for p in files)}


def tool_versions(names: Sequence[str]) -> dict[str, str]:
    """Versions of the named distributions, and our own."""
    from srdeploy import __version__

    found = {"srdeploy": __version__}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found
