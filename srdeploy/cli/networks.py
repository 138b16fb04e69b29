"""Commands about a network as it is: import, inspect, eval."""

import os
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from srdeploy.cli import options as o
from srdeploy.cli.output import emit, essential, note, quantity, say


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("import")(import_)
    app.command()(inspect)
    app.command("eval")(eval_)


def import_(
    file: o.NetworkFile,
    output: o.Output,
    arch: o.Arch = None,
    scale: o.Scale = None,
    res_scale: Annotated[
        float | None, typer.Option(help="Residual scaling, which weights do not show.")
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="edsr-pytorch", help="Write a state dict that EDSR-PyTorch loads instead."
        ),
    ] = None,
    json: o.AsJson = False,
) -> None:
    """Turn a foreign checkpoint into a network of ours (nothing in it is executed), or ours back.

    **Examples**

    `srdeploy import EDSR_baseline_x2.pt -o edsr.safetensors`

    `srdeploy import mine.pth --arch mypackage.models:make_net -o mine.safetensors`

    `srdeploy import tuned.safetensors --to edsr-pytorch -o tuned.pt`
    """
    from srdeploy.errors import unknown_name
    from srdeploy.models.edsr import edsr_pytorch
    from srdeploy.models.load import load_network
    from srdeploy.models.store import check_network_path, save_network
    from srdeploy.util.files import check_output, require_suffix

    if to not in (None, edsr_pytorch.NAME):
        raise unknown_name("form of weights", to, [edsr_pytorch.NAME])
    if to is None:
        check_network_path(output)
    else:
        require_suffix(output, (".pt", ".pth"), "a torch checkpoint")
        check_output(output)
    network = load_network(file, arch=arch, scale=scale, res_scale=res_scale)
    if to is None:
        save_network(network, output)
    else:
        edsr_pytorch.save_edsr_pytorch(network, output)
    first = network.card.history[0] if network.card.history else {}
    if json:
        emit({"output": str(output), **_summary(network), "import": first})
        return
    say(_headline(network))
    if stored_as := first.get("stored_as"):
        note(f"stored as {stored_as}, computed in float32")
    for assumed in first.get("assumed", []):
        note(f"assumed: {assumed}")
    say(f"written to {output}")
    if to is not None:
        say(f"EDSR-PyTorch: {edsr_pytorch.edsr_pytorch_options(network)} --pre_train {output}")


def inspect(
    file: o.NetworkFile,
    groups: Annotated[
        bool, typer.Option("--groups", help="Show which channels are coupled, and why.")
    ] = False,
    arch: o.Arch = None,
    scale: o.Scale = None,
    json: o.AsJson = False,
) -> None:
    """Say what a network is: architecture, size, widths, groups of coupled channels.

    **Examples**

    `srdeploy inspect edsr-s-x2`

    `srdeploy inspect EDSR_baseline_x2.pt --groups`
    """
    from srdeploy.models.card_file import has_digest
    from srdeploy.models.folding import folded, is_expanded
    from srdeploy.models.load import load_network
    from srdeploy.models.proof_text import tell_proof
    from srdeploy.util.shipped import shipped_networks

    network = load_network(file, arch=arch, scale=scale)
    digest = has_digest(shipped_networks().get(str(file), file))
    if json:
        from srdeploy.compacting.unprunable import unprunable_of
        from srdeploy.pruning.tracing.channel_labels import UnsupportedOperationError
        from srdeploy.pruning.tracing.groups import find_groups
        from srdeploy.pruning.tracing.residual_blocks import find_residual_blocks
        from srdeploy.reconstruct.rotate import stream_note

        document: dict[str, Any] = {**_summary(network), "card": network.card.model_dump()}
        document |= {"digest_checked": digest, "expanded": is_expanded(network.module)}
        try:
            found = find_groups(network)
            document["groups"] = [
                group.to_dict() | {"rotates": stream_note(network, group)} for group in found.groups
            ]
            document["unprunable"] = unprunable_of(network, found).to_dict()
            document["blocks"] = find_residual_blocks(folded(network)).to_dict()
        except UnsupportedOperationError as error:
            document |= {"groups": None, "groups_error": str(error), "unprunable": None}
            document["blocks"] = None
        emit(document)
        return
    card = network.card
    say(_headline(network))
    mean = "subtracted inside" if card.mean_shift else "none"
    colour = "Y only, colour bicubic" if card.luma_only else f"{card.channels} channels"
    say(f"  input: {colour}, values 0..{card.value_range:g}, mean shift: {mean}")
    say(f"  receptive field: {card.receptive_field or 'the whole image'} input pixels")
    if card.pre_upscaled:
        say("  fed with the bicubic-upscaled image")
    say(f"  widths: {_runs(card.widths)}")
    if is_expanded(network.module):
        trained = sum(p.numel() for p in network.module.parameters() if p.requires_grad)
        say(f"  blocks: expanded for training to {quantity(trained)} parameters; folded as counted")
        say("    above when they run, and for pruning and export")
    if digest is not None:
        say(f"  weights: {'as they were saved' if digest else 'no digest in the file to check'}")
    if card.proof:
        first, *more = tell_proof(card.proof)
        say(f"  proof: {first}")
        for line in more:
            say(f"    {line}")
    for entry in card.history:
        say(f"  history: {_entry(entry)}")
    if groups:
        from srdeploy.pruning.tracing.groups import find_groups, tell_not_followed
        from srdeploy.pruning.tracing.residual_blocks import find_residual_blocks
        from srdeploy.reconstruct.rotate import stream_note

        say()
        found = find_groups(network)
        for line in tell_not_followed(found.not_followed):
            say(line)
        for group in found.groups:
            say(str(group))
            if (rotates := stream_note(network, group)) is not None:
                say(f"  rotates: {rotates}")
        for line in find_residual_blocks(folded(network)).told():
            say(line)


def eval_(
    file: o.Artifact,
    data: o.Data = "builtin",
    scale: Annotated[
        str | None,
        typer.Option(
            metavar="N[,N...]",
            help="Upscaling factor; default: the network's own. Of several, each with bicubic "
            "beside it.",
        ),
    ] = None,
    protocol: o.ProtocolName = None,
    runtime: o.RuntimeName = None,
    threads: o.Threads = None,
    arch: o.Arch = None,
    value_range: Annotated[
        float | None, typer.Option(help="1 or 255, for a foreign ONNX file.")
    ] = None,
    dense: o.Dense = None,
    json: o.AsJson = False,
) -> None:
    """Measure PSNR and SSIM on a benchmark set, under a stated protocol.

    **Examples**

    `srdeploy eval VDSR.pth --eval-data Set5 --scale 3`

    `srdeploy eval VDSR.pth --eval-data Set5 --scale 2,3,4`

    `srdeploy eval pruned.onnx --eval-data B100 --protocol standard --json`

    `srdeploy eval small.safetensors --dense dense.safetensors`
    """
    from srdeploy.models.dense import find_dense
    from srdeploy.quality.evaluate import evaluate, natural_protocol
    from srdeploy.quality.metric_weights import FOLDER
    from srdeploy.quality.metrics import left_out
    from srdeploy.quality.result import key_of
    from srdeploy.runtime.bicubic_session import BicubicSession
    from srdeploy.runtime.open import open_session

    def measured(factor: int | None) -> tuple[Any, dict[str, Any], Any]:
        """Quality at a scale, the document about it, and the protocol."""
        with open_session(
            file, runtime=runtime, threads=threads, arch=arch, scale=factor, value_range=value_range
        ) as session:
            taken = factor or session.card.scale
            known = dense or find_dense(session.card, Path(file).parent)
            with open_session(known) if known else nullcontext() as reference:
                quality = evaluate(session, data, taken, protocol, dense=reference)
            used = {"runtime": session.runtime, "threads": session.threads}
            notes = list(session.notes)
            if session.sizes is not None:
                notes.append(
                    f"it takes {session.sizes} only; other images were run in tiles of that"
                )
            if FOLDER in os.environ:  # someone wants them
                notes += left_out()
            judged = protocol or natural_protocol(session.card)
        asked = {"file": file, "data": data, "scale": taken}
        return quality, {**asked, **quality.as_dict(), **used, "notes": notes}, judged

    factors = _factors(scale)
    if len(factors) > 1:
        several = []
        for factor in factors:
            quality, document, judged = measured(factor)
            beside = evaluate(BicubicSession(), data, factor, judged)
            several.append(document | {"bicubic": beside.as_dict()})
            if not json:
                say(f"x{factor}: {quality.told()}; bicubic {beside.told(titles=False)}")
        if json:
            emit({"scales": several})
            return
        say(f"mean of {quality.n_images} images  {quality.protocol}")
        for remark in dict.fromkeys(one for document in several for one in document["notes"]):
            note(remark)
        return
    quality, document, _ = measured(factors[0] if factors else None)
    if json:
        emit(document)
        return

    def badness(row: dict[str, Any]) -> float:
        return -row[key_of("psnr", quality.colour)]

    for row in essential(quality.per_image, badness, "images", most=20):
        say("  ".join([f"{row['name']:>24}", *quality.cells(row)]))
    say(f"{quality.n_images} images: {quality.told()}  {quality.protocol}")
    for remark in document["notes"]:
        note(remark)


def _factors(text: str | None) -> list[int]:
    """``2,3,4`` as numbers, each once."""
    from srdeploy.errors import UserError

    parts = [] if text is None else text.split(",")
    if not all(re.fullmatch(r"\s*[1-9]\d{0,2}\s*", part) for part in parts):
        raise UserError(f"--scale '{text}' is no factor; write one (2), or several (2,3,4).")
    return list(dict.fromkeys(map(int, parts)))


def _summary(network: Any) -> dict[str, Any]:
    from srdeploy.models.count import count

    counts = count(network)
    return {
        "arch": network.card.arch,
        "scale": network.card.scale,
        "params": counts.params,
        "macs_720p": counts.macs_720p,
        "widths": network.card.widths,
    }


def _headline(network: Any) -> str:
    from srdeploy.models.count import count

    counts = count(network)
    pruned = ", pruned" if network.card.pruned else ""
    return (
        f"{network.card.arch} x{network.card.scale}{pruned}: {quantity(counts.params)} parameters "
        f"({counts.params:,}), {quantity(counts.macs_720p)} MACs for a 1280x720 output"
    )


def _runs(widths: dict[str, int]) -> str:
    """Widths in order, repeats folded: ``head.0 64, body.0.body.0 ... body.16 64 (33)``."""
    parts: list[tuple[str, str, int, int]] = []
    for name, width in widths.items():
        if parts and parts[-1][2] == width:
            first, _, _, n = parts[-1]
            parts[-1] = (first, name, width, n + 1)
        else:
            parts.append((name, name, width, 1))
    return ", ".join(
        f"{first} {width}" if n == 1 else f"{first} ... {last} {width} ({n} layers)"
        for first, last, width, n in parts
    )


def _entry(entry: dict[str, Any]) -> str:
    shown = {k: v for k, v in entry.items() if k != "step" and v not in ([], {}, None, "")}
    return f"{entry.get('step', '?')}: " + ", ".join(f"{k} {v}" for k, v in shown.items())
