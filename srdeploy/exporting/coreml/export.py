"""Network -> CoreML: an mlprogram package, read back, interpreted and compared after saving.

Linux converts but cannot predict, so srdeploy's reference interpreter runs the saved program
(:mod:`srdeploy.runtime.coreml.program`); on macOS Core ML itself runs too and is compared with it.
"""

from __future__ import annotations

import json
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from srdeploy import __version__
from srdeploy.errors import UserError
from srdeploy.exporting.coreml.calibrate import calibrate, inner_layers
from srdeploy.exporting.coreml.check import (
    check_results,
    check_structure,
    compare_runtimes,
    parity_reference,
    tolerance_of,
)
from srdeploy.exporting.coreml.convert import (
    compress_weights,
    convert,
    prepare,
    quantize_activations,
)
from srdeploy.exporting.coreml.options import (
    CoremlRequest,
    check_options,
    compute_units,
    default_size,
)
from srdeploy.exporting.coreml.ways import CoremlWay, ways_to_coreml
from srdeploy.exporting.fallback import NotThisWay, first_that_works
from srdeploy.exporting.parity import Apart, Reference
from srdeploy.exporting.probe import INPUT, OUTPUT, trace_operations
from srdeploy.exporting.report import ExportReport, artifact_facts, tool_versions
from srdeploy.models.card import CARD_KEY, Card
from srdeploy.models.digest import weights_sha256
from srdeploy.models.network import Network
from srdeploy.runtime.coreml.program import UnknownOperations
from srdeploy.runtime.sizes import InputSizes
from srdeploy.runtime.table import COREMLTOOLS
from srdeploy.util.files import atomic_path
from srdeploy.util.quiet import quiet

TOOLS = ("torch", "coremltools")

UNITS_KEY = "srdeploy.compute_units"
"""Metadata key of the compute units to ask Core ML for."""


def export_coreml(
    network: Network,
    path: str | Path,
    *,
    precision: str = "fp32",
    images: bool = False,
    sizes: str | InputSizes | None = None,
    palettize: int | None = None,
    quantize: str | None = None,
    calibration: str | Path = "builtin",
    minimum_deployment: str | None = None,
) -> ExportReport:
    """Write an mlprogram.

    With tensor ends, input ``lr`` is [1, C, H, W] in 0..value_range and output ``sr`` is
    [1, C, H*s, W*s], not clipped; both are float32, in float16 programs for iOS 16 and later
    float16. With image ends both are 8-bit images, RGB, or grayscale for luma-only networks (the
    Y plane, 16..235); clamp and rounding are part of the program. The card lies in the metadata
    under ``srdeploy.card``, the compute units to choose under ``srdeploy.compute_units``. Equal
    networks, options and tools give equal bytes (coremltools' random identifiers and dates are
    replaced).

    Args:
        network: What to export; float32, on the CPU.
        path: Where to; must end in ``.mlpackage``.
        precision: What the program computes in, ``fp32`` or ``fp16``. float16 is the only one the
            Neural Engine knows; a 0..255 network then gets its range folded into its ends, so that
            activations stay near 0..1 (0..16 where the first weights are small).
        images: Image ends.
        sizes: Input sizes as :meth:`InputSizes.parse` reads them; default 16..2048, or 256x256
            alone where the network cannot have several. Those of a range should be multiples of
            the card's ``size_multiple``, which Core ML cannot say.
        palettize: Bits of a palette (8, 6, 4, 2, 1) for the larger weights.
        quantize: ``w8``: the larger weights as 8-bit integers; ``a8``: the inputs of the inner
            convolutions as 8-bit integers, their range found on ``calibration``; ``w8a8``: both.
        calibration: Benchmark folder for ``a8``; ``builtin``: the shipped training images.
        minimum_deployment: ``iOS15`` to ``iOS26``; default: the oldest that knows what is asked.

    Raises:
        UserError: coremltools is missing, the path has another ending, or options that do not
            exist or do not suit each other or the network.
        SrdeployError: coremltools can't convert the network, or what it saved is not the network.
    """
    started = time.perf_counter()
    if not (installed := COREMLTOOLS.availability()):
        raise UserError(f"Exporting to CoreML is not possible here: {installed.reason}.")
    if Path(path).suffix != ".mlpackage":
        raise UserError(f"'{path}' must end in .mlpackage, CoreML opens nothing else.")
    asked = check_options(
        network.card,
        precision=precision,
        images=images,
        sizes=sizes,
        palettize=palettize,
        quantize=quantize,
        minimum_deployment=minimum_deployment,
    )

    def attempt(way: CoremlWay, failures: Sequence[NotThisWay]) -> ExportReport:
        options = way.options
        try:
            return _export(network, path, options, calibration, way.notes(failures), started)
        except Apart as error:
            if not error.curable:
                raise
            raise NotThisWay(str(error), error.short) from error
        except UnknownOperations as error:
            unknown = ", ".join(error.operations)
            raise NotThisWay(
                f"its program would have {unknown}, which srdeploy's interpreter does not know, so "
                "that it cannot be checked here",
                f"else it has {unknown}, which cannot be checked here",
            ) from error

    ways = ways_to_coreml(
        network, asked, sized=sizes is not None, system=minimum_deployment is not None
    )
    return first_that_works(ways, attempt, "a CoreML package")


def _export(
    network: Network,
    path: str | Path,
    options: CoremlRequest,
    calibration: str | Path,
    notes: list[str],
    started: float,
) -> ExportReport:
    """One way of writing it."""
    reference = parity_reference(network, options)
    trace = trace_operations(network, reference.sizes[0])
    units, why = compute_units(options)
    lossy = bool(options.palettize or options.quantize)
    card = network.card.step(
        step="export",
        target="coreml",
        **options.recorded(),
        compute_units=units,
        weights_sha256=weights_sha256(network.module.state_dict()),
        parity={
            "tolerance": None if lossy else tolerance_of(options),
            "sizes": [[*size] for size in reference.sizes],
        },
        tools=tool_versions(TOOLS),
    )
    with quiet():
        model, more = _build(network, card, options, calibration, reference)
        notes = [*notes, *trace.notes(), *more]
        with atomic_path(path) as temporary:
            _write(model, temporary, card, options)
            operators = check_structure(temporary, card, trace, options)
            parity = check_results(reference, temporary, options, lossy=lossy)
            if compared := compare_runtimes(reference, temporary):
                notes.append(compared)
    compressed = sum(n for name, n in operators.items() if name.startswith("constexpr"))
    if options.palettize or options.weights:
        convolutions = operators.get("conv", 0) + operators.get("conv_transpose", 0)
        notes.append(f"{compressed} of {convolutions} layers have compressed weights")
    notes += [
        f"needs {options.minimum_deployment} or its contemporaries",
        f"compute units: {units} ({why})",
        "parity was measured by srdeploy's interpreter of the saved program, not by Core ML",
    ]
    return ExportReport(
        target="coreml",
        path=str(path),
        **artifact_facts(Path(path)),
        precision=options.label,
        opset=None,
        parity=parity,
        operators=operators,
        tools=tool_versions(TOOLS),
        seconds=round(time.perf_counter() - started, 3),
        notes=notes,
    )


def _build(
    network: Network,
    card: Card,
    options: CoremlRequest,
    calibration: str | Path,
    reference: Reference,
) -> tuple[Any, list[str]]:
    """The converted model, compressed as asked; the program before compression is checked."""
    prepared, notes = prepare(network, options)
    model = convert(prepared, options, reference.sizes[0])
    if not (options.palettize or options.quantize):
        return model, notes
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.mlpackage"
        _write(model, plain, card, options)
        check_results(reference, plain, options, lossy=False)
        if options.activations:
            stats, count = calibrate(plain, calibration, network.card)
            layers = inner_layers(plain)
            model = quantize_activations(model, stats, layers)
            notes.append(
                f"8-bit activations read by {len(layers)} convolutions, ranges from {count} images"
            )
    return compress_weights(model, options), notes


def _write(model: Any, path: Path, card: Card, options: CoremlRequest) -> None:
    """Save the package with its labels, its sizes stated, the same bytes every time."""
    factor = f" x{card.scale}" if not card.pre_upscaled else ", input already upscaled"
    model.short_description = f"Super-resolution {card.arch}{factor}, {card.channels} channel(s)"
    model.author = f"srdeploy {__version__}"
    metadata = model.user_defined_metadata
    metadata[CARD_KEY] = card.to_json()
    metadata[UNITS_KEY] = compute_units(options)[0]
    metadata.pop("com.github.apple.coremltools.conversion_date", None)
    plane = "luma (Y of BT.601 YCbCr, 16 to 235)" if card.luma_only else "RGB"
    if options.images:
        given, returned = (f"{plane} image, 8 bits",) * 2
    else:
        given = f"[1, {card.channels}, height, width], values 0 to {card.value_range:g}"
        returned = f"{given}, not clipped"
    model.input_description[INPUT] = given
    model.output_description[OUTPUT] = returned
    model.save(str(path))
    _make_reproducible(path, card, options)


def _make_reproducible(package: Path, card: Card, options: CoremlRequest) -> None:
    """Replace random identifiers and protobuf's arbitrary map order; state the output's sizes."""
    import coremltools as ct

    manifest = package / "Manifest.json"
    entries = json.loads(manifest.read_text())
    identifiers = {
        old: str(uuid.uuid5(uuid.NAMESPACE_URL, entry["path"]))
        for old, entry in entries["itemInfoEntries"].items()
    }
    entries["itemInfoEntries"] = {
        identifiers[old]: entry for old, entry in entries["itemInfoEntries"].items()
    }
    entries["rootModelIdentifier"] = identifiers[entries["rootModelIdentifier"]]
    manifest.write_text(json.dumps(entries, indent=4, sort_keys=True) + "\n")
    program = package / "Data" / "com.apple.CoreML" / "model.mlmodel"
    spec = ct.utils.load_spec(str(program))
    if options.images:
        _state_image_sizes(spec.description.output[0].type.imageType, card, options)
    program.write_bytes(spec.SerializeToString(deterministic=True))


def _state_image_sizes(kind: Any, card: Card, options: CoremlRequest) -> None:
    """Write what comes out: coremltools leaves flexible output images at 1x1 pixels."""
    factor = card.network_scale
    sizes = options.sizes.times(factor)
    height, width = default_size(options.sizes, card.size_multiple)
    kind.height, kind.width = height * factor, width * factor
    kind.ClearField("imageSizeRange")
    kind.ClearField("enumeratedSizes")
    if sizes.ranged:
        for bounds, low, high in zip(
            (kind.imageSizeRange.heightRange, kind.imageSizeRange.widthRange),
            sizes.low,
            sizes.high,
            strict=True,
        ):
            bounds.lowerBound, bounds.upperBound = low, high
    elif not sizes.fixed:
        for h, w in sizes.listed:
            kind.enumeratedSizes.sizes.add(height=h, width=w)
