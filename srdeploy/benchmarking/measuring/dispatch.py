"""What ``bench sparse`` found as a dispatch file: the fastest form for every size and density."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from srdeploy.benchmarking.measuring.smsr_forms import Form, SizeResult
from srdeploy.data.builtin import BUILTIN
from srdeploy.errors import UserError
from srdeploy.runtime.cpu import cpu_model
from srdeploy.runtime.dispatch import Choice, Line, Plan, busyness
from srdeploy.runtime.inputs import network_inputs
from srdeploy.runtime.session import Session
from srdeploy.runtime.sparse_file_session import SparseFileSession
from srdeploy.sparse.costs import CostLine
from srdeploy.util.files import staged_files
from srdeploy.util.strict import check_name


def write_dispatch(
    path: Path,
    allowed: Sequence[str],
    sizes: Sequence[SizeResult],
    threads: int,
    forms: Sequence[Form],
    sessions: Mapping[str, Session],
) -> Plan:
    """Write a dispatch file and copy the artifacts that it names beside it.

    Kept are forms that lose no more than they may and are expected to be the fastest somewhere
    between the sizes and densities that were measured; and the fastest form that skips pixels.

    Args:
        path: Where to.
        allowed: Names of the forms that lose no more than they may.
        sizes: What was measured, the smallest size first.
        threads: With how many threads.
        forms: All forms; those without a file are left out.
        sessions: Open ones, by name.

    Raises:
        UserError: no form that skips pixels has a file here (there is no C compiler).
    """
    usable = [
        form
        for form in forms
        if form.file and form.name in allowed and sessions[form.name].sizes is None
    ]
    masked = [sessions[form.name] for form in usable if form.sparse]
    if not masked:
        raise UserError(
            "A dispatch file needs a form that skips pixels as a file, for which there has to be "
            "a C compiler; install gcc."
        )
    assert isinstance(masked[0], SparseFileSession)
    _check_stem(path)
    base, rise = density_of_busyness(masked[0])
    costs = {form.name: _choice(form, path.stem, sizes) for form in usable}
    kept = {
        min(costs, key=lambda name: costs[name].cost(one.side**2, density))
        for one in sizes
        for density in one.densities
    }
    middle = sizes[len(sizes) // 2].side ** 2
    first = min(
        (form.name for form in usable if form.sparse),
        key=lambda name: costs[name].cost(middle, 0.5),
    )
    names = [first, *(name for name in costs if name in kept and name != first)]
    plan = Plan(
        cpu=cpu_model(),
        threads=threads,
        base=base,
        rise=rise,
        choices=tuple(costs[name] for name in names),
    )
    files = {form.name: form.file for form in usable}
    with staged_files(path) as place:
        for name in names:
            _copy(files[name], place.parent / costs[name].file)
        place.write_text(plan.model_dump_json(indent=1), encoding="utf-8")
    return plan


def _check_stem(path: Path) -> None:
    try:
        check_name(f"{path.stem}-onnxruntime-int8.onnx")
    except ValueError as error:
        raise UserError(f"'{path}' cannot name a dispatch file: {error}.") from None


def _copy(source: Path | None, target: Path) -> None:
    """An artifact, and of ncnn's pairs both files."""
    assert source is not None
    for file in source.parent.glob(f"{source.stem}.*"):
        if file.stem == source.stem:
            shutil.copyfile(file, target.with_suffix(file.suffix))


def _choice(form: Form, stem: str, sizes: Sequence[SizeResult]) -> Choice:
    assert form.file is not None
    file = f"{stem}-{form.name.replace(' ', '-')}{form.file.suffix}"
    if form.sparse:
        ends = [[one.sparse_ms[form.name][place] for one in sizes] for place in (0, -1)]
    else:
        ends = [[one.dense_ms[form.name] for one in sizes]] * 2
    empty, full = (_line([one.side**2 for one in sizes], ms) for ms in ends)
    return Choice(form=form.name, file=file, runtime=form.runtime, empty=empty, full=full)


def _line(pixels: Sequence[int], ms: Sequence[float]) -> Line:
    line = CostLine.through((pixels[0], ms[0]), (pixels[-1], ms[-1]))
    return Line(fixed=line.fixed, slope=line.slope)


def density_of_busyness(session: SparseFileSession) -> tuple[float, float]:
    """The line through the densities of masks over how busy images are, on shipped images.

    Returns:
        Density of a smooth image, and what busyness adds.
    """
    busy, inside = [], []
    for x in network_inputs(BUILTIN, session.card):
        session.run(x)
        busy.append(busyness(x, session.card.value_range))
        inside.append(float(np.mean(session.densities)))
    table = np.stack([np.ones(len(busy)), np.array(busy)], 1)
    (base, rise), *_ = np.linalg.lstsq(table, np.array(inside), rcond=None)
    return float(base), float(rise)
