"""Every architecture and shipped network in LiteRT: what its delegates take, parity and PSNR.

    python benchmarks/litert_sweep.py DATA [--only NAME ...]

DATA holds weights/ and benchmark/. Architectures without published weights there are small, with
random weights, of which parity alone tells something. What was made is kept in runs/litert_sweep.
"""

from __future__ import annotations

from typing import Any

from results_io import table, write
from swept import PUBLISHED, RANDOM, SHIPPED, Source, refused, sweep

from srdeploy.exporting.litert.accept import DELEGATES, check_file
from srdeploy.exporting.run import export
from srdeploy.exporting.targets import LITERT_PRECISIONS

SIDE, SMALL_SIDE = 128, 64
"""Height and width of the files; of networks with random weights, which see no benchmark images."""

QUICK = [one for one in LITERT_PRECISIONS if one != "mixed"]
"""Random weights have no quality to keep by mixing, and large networks take an hour."""

NETWORKS = {
    **dict.fromkeys(SHIPPED, LITERT_PRECISIONS),
    **dict.fromkeys((*PUBLISHED, *RANDOM.values()), QUICK),
}


def main() -> None:
    report(sweep("litert_sweep", __doc__ or "", NETWORKS, made))


def made(source: Source, precision: str) -> dict[str, Any]:
    """One file, its parity, what delegates refuse of it, and what it loses on Set5."""
    path = source.folder / f"{precision}.tflite"
    multiple = source.network.card.size_multiple
    side = -(-(SIDE if source.trained else SMALL_SIDE) // multiple) * multiple
    options: dict[str, Any] = {"sizes": f"{side}x{side}"}
    if source.trained and precision != "fp32":
        options["data"] = str(source.data / "benchmark" / "Set5")
    written = export(source.network, "litert", path, precision=precision, **options)
    assert written.parity is not None
    accepted = check_file(path)
    return {
        "parity": written.parity.relative,
        "bytes": written.bytes,
        "operations": sum(accepted.operations.values()),
        "refused": {one: [str(op) for op in accepted.by(one)] for one in DELEGATES},
        "quality": written.quality if source.trained else None,
        "float_layers": [row["layer"] for row in written.layers if row["precision"] == "fp32"],
    }


def report(raw: dict[str, dict[str, dict[str, Any]]]) -> None:
    """The page."""
    rows, rejected = list[list[Any]](), list[str]()
    outside = dict.fromkeys(DELEGATES, 0)
    written = [
        (network, precision, told)
        for network, precisions in raw.items()
        for precision, told in precisions.items()
        if "error" not in told
    ]
    for network, precision, told in written:
        for delegate in DELEGATES:
            outside[delegate] += len(told["refused"][delegate])
            rejected += [
                f"- {network}, {precision}, {delegate}: {op}"
                for op in dict.fromkeys(told["refused"][delegate])
            ]
        quality = told["quality"]
        rows.append([
            network, precision, f"{told['bytes'] / 1024:,.0f}", told["operations"],
            *(len(told["refused"][delegate]) for delegate in DELEGATES),
            len(told["float_layers"]) if precision in ("int8", "mixed") else "-",
            f"{told['parity']:.0e}",
            f"{quality['psnr_fp32']:.2f}" if quality else "-",
            f"{-quality['drop']:+.3f}" if quality else "-",
        ])  # fmt: skip
    header = [
        "network", "precision", "KiB", "operations", *(f"outside {one}" for one in DELEGATES),
        "layers in fp32", "parity", "Set5 dB", "change",
    ]  # fmt: skip
    tried = sum(map(len, raw.values()))
    counted = ", ".join(f"{count} for {one}" for one, count in outside.items())
    text = (
        f"**{len(rows)} of {tried} files were written and run**, of {len(raw)} of "
        f"{len(NETWORKS)} networks. **Operations outside "
        f"the accept lists of the delegates: {counted}.** The lists are those of LiteRT's GPU "
        "delegate and of NNAPI 1.3 (`srdeploy/exporting/litert/accept.py`), read off the files; no "
        f"phone was there. Files take {SIDE}x{SIDE}, of random weights "
        f"{SMALL_SIDE}x{SMALL_SIDE}. *parity*: the largest difference from torch "
        "over the value range, through LiteRT's interpreter on the CPU. Set5 under each network's "
        "protocol, its images cut or continued to the file's size; of fp32 it is measured on the "
        "shipped images, where it must lose nothing. Networks with random weights have no PSNR, "
        "and 8 bits no parity that tells anything. *mixed* may lose 0.05 dB, and was tried on the "
        "shipped networks.\n\n" + table(header, rows) + refused(raw)
    )
    if rejected:
        text += "\n\n## Outside the lists\n\n" + "\n".join(rejected)
    write("litert-sweep", "LiteRT", text, raw, "python benchmarks/litert_sweep.py DATA")


if __name__ == "__main__":
    main()
