"""What a person types, from an empty folder: every task of a first day, right and slightly wrong.

    python benchmarks/tasks.py [--only WORD ...] [--keep DIR]

Each task is a few lines of shell with the installed ``srdeploy`` and what has to come of them: the
exit code of the last line, words that must be said, words that must not be, files that must be
there. Of every task it is asked besides that no traceback is shown, that no table or list is wider
than 80 columns, and that what fails for the user's fault is one short sentence. The folders of one
area are shared: its tasks follow one another, as a person would. The page tells which hold.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from results_io import names_only, table, write

ROOT = Path(__file__).parents[1]
PHOTO = ROOT / "srdeploy" / "assets" / "images" / "benchmark" / "coffee.png"
COLUMNS = 80
SECONDS = 300.0
"""A line that takes longer hangs."""

NEXT = "@next"
"""A line that runs the command which the line before it printed last."""


@dataclass(frozen=True)
class Task:
    """One thing that a person wants.

    Attributes:
        name: In a few words.
        lines: Of shell, in turn; all but the last must end with exit code 0.
        code: The exit code of the last.
        says: Patterns that the last line's output (both streams, white space as one blank) holds.
        silent: Patterns that it must not hold.
        makes: Files that are there afterwards.
        leaves: Files that must not be.
    """

    name: str
    lines: tuple[str, ...]
    code: int = 0
    says: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()
    leaves: tuple[str, ...] = ()


@dataclass
class Outcome:
    """What came of a task.

    Attributes:
        task: It.
        faults: What did not hold, in words; empty if all did.
        shown: Per line: the line, its exit code, what it printed.
    """

    task: Task
    faults: list[str] = field(default_factory=list)
    shown: list[tuple[str, int, str]] = field(default_factory=list)


def _task(name: str, *lines: str, code: int = 0, **rest: tuple[str, ...]) -> Task:
    return Task(name, lines, code, **rest)


SMALL = "srdeploy prune edsr-s-x2 --ratio 0.5 -o small.safetensors"
DENSE = "srdeploy export edsr-s-x2 -o dense.onnx"

AREAS: dict[str, tuple[Task, ...]] = {
    "first steps": (
        _task("what is this", "srdeploy --help", says=("prune", "export", "bench")),
        _task("typing the bare name", "srdeploy", says=("Usage",)),
        _task("what does this machine lack", "srdeploy doctor", says=(r"--all",)),
        _task("which networks are there", "srdeploy zoo", says=("edsr-s-x2-p50",)),
        _task(
            "the README's first picture",
            "srdeploy upscale edsr-s-x2-p50 coffee.png -o seen --compare --with edsr-s-x2",
            makes=("seen/coffee_x2_compare.png",),
        ),
        _task("a verb's examples", "srdeploy export --help", says=("Examples", r"--precision")),
        _task(
            "who is coupled to whom", "srdeploy inspect edsr-s-x2 --groups", says=("body.0.body.0",)
        ),
        _task("how good is it", "srdeploy eval edsr-s-x2", says=(r"34\.40",)),
        _task("as data", "srdeploy eval edsr-s-x2 --json | python -m json.tool", says=("psnr",)),
    ),
    "the line": (
        _task("prune by half", SMALL, makes=("small.safetensors",), says=("srdeploy finetune",)),
        _task(
            "the command that prune prints",
            "srdeploy prune edsr-s-x2 --ratio 0.5 -o again.safetensors",
            f"{NEXT} --iterations 40",
        ),
        _task(
            "fine-tune, briefly",
            "srdeploy finetune small.safetensors --iterations 300 -o tuned.safetensors",
            makes=("tuned.safetensors",),
        ),
        _task(
            "fine-tune a good network with defaults",
            "srdeploy finetune edsr-s-x2 --iterations 60 -o same.safetensors",
            says=(r"training set|training images",),
        ),
        _task("export to ONNX", DENSE, says=("ONNX|onnx",), makes=("dense.onnx",)),
        _task(
            "in 8 bits",
            "srdeploy export edsr-s-x2 --precision int8 -o int8.onnx",
            says=("dB",),
            makes=("int8.onnx",),
        ),
        _task(
            "an existing ONNX file in 8 bits",
            "srdeploy export dense.onnx --precision int8 -o from-onnx.onnx",
            makes=("from-onnx.onnx",),
        ),
        _task(
            "measure",
            "srdeploy export tuned.safetensors -o tuned.onnx",
            "srdeploy bench dense.onnx tuned.onnx int8.onnx --runs 5 --seconds 0.5",
            says=("dense.onnx", "tuned.onnx", "int8.onnx", "psnr"),
        ),
        _task("why not faster", "srdeploy bench dense.onnx tuned.onnx --why", says=("body",)),
        _task(
            "which one to ship",
            "srdeploy compare edsr-s-x2 tuned.onnx int8.onnx --runs 3 --seconds 0.3",
            says=("dB",),
        ),
        _task("where does this file come from", "srdeploy explain tuned.onnx", says=("0.5",)),
        _task(
            "a page for a colleague",
            "srdeploy bench dense.onnx tuned.onnx --runs 5 --seconds 0.3 --store results.sqlite",
            "srdeploy report results.sqlite -o report.html",
            makes=("report.html",),
        ),
        _task(
            "the line in Python",
            "cp $EXAMPLES/line.py . && sed -i 's/iterations=1500/iterations=20/' line.py",
            "cp coffee.png photo.jpg",
            "python line.py",
            makes=("report.html", "photo_x2.png"),
        ),
    ),
    "targets": (
        _task(
            "Core ML, and its quality",
            "srdeploy export edsr-s-x2 --target coreml -o net.mlpackage",
            "srdeploy eval net.mlpackage",
            says=(r"34\.\d",),
        ),
        _task(
            "the file's ending is enough",
            "srdeploy export edsr-s-x2 -o ending.mlpackage",
            makes=("ending.mlpackage",),
        ),
        _task(
            "an engine without TensorRT",
            "srdeploy export edsr-s-x2 --target tensorrt -o net.engine",
            code=2,
            says=("--emit-script|ONNX",),
            leaves=("net.engine",),
        ),
        _task(
            "the script that builds it there",
            "srdeploy export edsr-s-x2 --target trt -o net.engine --emit-script build.sh",
            makes=("build.sh",),
        ),
        _task("half precision", "srdeploy export edsr-s-x2 --half -o half.onnx", says=("fp16",)),
        _task(
            "tflite",
            "srdeploy export edsr-s-x2 --target tflite -o net.tflite || true",
            says=("litert|LiteRT",),
        ),
    ),
    "slightly wrong": (
        _task("a verb of another tool", "srdeploy quantize edsr-s-x2", code=2, says=("export",)),
        _task("a misspelt network", "srdeploy eval edsr-s-x5", code=2, says=("edsr-s-x[24]",)),
        _task(
            "a misspelt option",
            "srdeploy prune edsr-s-x2 --ration 0.5 -o a.safetensors",
            code=2,
            says=("--ratio",),
            leaves=("a.safetensors",),
        ),
        _task(
            "another word for the ratio",
            "srdeploy prune edsr-s-x2 --sparsity 0.5 -o s.safetensors",
            makes=("s.safetensors",),
        ),
        _task(
            "the wrong ending",
            "srdeploy prune edsr-s-x2 -o pruned.onnx",
            code=2,
            says=("safetensors",),
            leaves=("pruned.onnx",),
        ),
        _task(
            "low-resolution images for high ones",
            "srdeploy eval edsr-s-x2 --data Set2/LR_bicubic/X2 || true",
            says=("Set2",),
        ),
        _task(
            "rounding that removes more",
            "srdeploy prune edsr-s-x2 --round-to 16 --ratio 0.3 -o r.safetensors",
            says=("0?.50?|50 ?%",),
        ),
        _task(
            "one artifact is missing",
            "srdeploy bench edsr-s-x2 nothing.onnx",
            code=2,
            says=("nothing.onnx",),
            silent=(r"\d+ ms",),
        ),
        _task("quiet, after the verb", "srdeploy eval edsr-s-x2-p50 -q", says=("dB|psnr",)),
        _task(
            "truncated weights",
            "srdeploy inspect truncated.safetensors",
            code=2,
            says=("truncated",),
        ),
        _task(
            "where nobody may write",
            "srdeploy export edsr-s-x2 -o /proc/net.onnx",
            code=2,
            says=("net.onnx",),
        ),
        _task(
            "a scale that it has not", "srdeploy eval edsr-s-x2 --scale 3", code=2, says=("by 2",)
        ),
    ),
    "one's own network": (
        _task("looked at", "srdeploy inspect own.pth --arch nets:ESPCN --groups", says=("conv1",)),
        _task(
            "with a dot", "srdeploy inspect own.pth --arch nets.ESPCN", code=2, says=("nets:ESPCN",)
        ),
        _task(
            "pruned, and the command that follows",
            "srdeploy prune own.pth --arch nets:ESPCN --ratio 0.5 -o own-small.safetensors",
            f"{NEXT} --iterations 20",
        ),
        _task(
            "exported",
            "srdeploy export own-small.safetensors --arch nets:ESPCN -o own.onnx",
            makes=("own.onnx",),
        ),
        _task("in Python, live", "python live.py", says=("params|dB|Network",)),
        _task("a TorchScript file", "srdeploy inspect script.pt", code=2, says=("state_dict",)),
    ),
    "photographs": (
        _task(
            "grey, alpha, 16 bits, tiny, turned",
            "srdeploy upscale edsr-s-x2-p70 odd/grey.png odd/alpha.png odd/deep.png odd/tiny.png "
            "odd/turned.jpg -o large",
            makes=(
                "large/grey_x2.png",
                "large/alpha_x2.png",
                "large/deep_x2.png",
                "large/tiny_x2.png",
                "large/turned_x2.png",
            ),
        ),
        _task(
            "text called .png",
            "srdeploy upscale edsr-s-x2-p70 odd/text.png -o large",
            code=2,
            says=("text.png",),
            leaves=("large/text_x2.png",),
        ),
    ),
    "recipes and interruptions": (
        _task("what would the demo do", "srdeploy run demo --dry-run", says=("20_pruned",)),
        _task("a misspelt key", "srdeploy run wrong.yaml", code=2, says=("ratio",)),
        _task(
            "a short line, whole",
            "srdeploy run short.yaml --run-dir runs/short",
            makes=("runs/short/80_report/report.html",),
        ),
        _task(
            "again",
            "srdeploy run short.yaml --run-dir runs/short",
            says=("0 of 6 stages made, 6 unchanged",),
        ),
        _task(
            "fine-tuning, stopped, again",
            # It is at work once it has measured what it begins with.
            "srdeploy finetune edsr-s-x2-p50 --iterations 400 --run-dir runs/f -o f.safetensors & "
            "until [ -s runs/f/metrics.jsonl ]; do sleep .1; done; sleep 1; kill $!; "
            "wait $!; test $? = 130",
            "srdeploy finetune edsr-s-x2-p50 --iterations 400 --run-dir runs/f -o f.safetensors",
            makes=("f.safetensors",),
        ),
        _task(
            "a line, killed, again",
            "timeout -s KILL 14 srdeploy run short.yaml --run-dir runs/killed; test $? = 137",
            "srdeploy run short.yaml --run-dir runs/killed",
            makes=("runs/killed/80_report/report.html",),
        ),
    ),
    "a farm of three": (
        _task(
            "certificates",
            "srdeploy farm certs lab --scheduler 127.0.0.1:38786 --hosts 127.0.0.1",
            makes=("lab/127.0.0.1/farm.yaml",),
        ),
        _task("its devices", "bash farm.sh", says=("left", "middle", "right")),
        _task(
            "a measurement on each",
            DENSE,
            "srdeploy bench dense.onnx --farm lab/127.0.0.1 --devices 'left,middle,right' --runs 3 "
            "--seconds 0.2 --input 64x48 --no-quality --store farm.sqlite",
            says=("left", "middle", "right"),
        ),
    ),
}


NETS = """
import torch
from torch import nn


class ESPCN(nn.Module):
    value_range = 1.0

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 5, padding=2)
        self.conv2 = nn.Conv2d(32, 16, 3, padding=1)
        self.conv3 = nn.Conv2d(16, 12, 3, padding=1)
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, x):
        y = torch.tanh(self.conv2(torch.tanh(self.conv1(x))))
        return self.shuffle(self.conv3(y))
"""

LIVE = """
import srdeploy as sr
from nets import ESPCN

network = sr.wrap(ESPCN(), scale=2, value_range=1.0)
print(network)
print(sr.prune(network, 0.5))
"""

SHORT = """
model: edsr-s-x2-p50
prune: {method: l1, ratio: 0.5}
train: {base: short, iterations: 120}
targets: [onnx]
scenarios: [{base: quick, min_runs: 3, min_seconds: 0.1}]
"""

FARM = """
srdeploy farm scheduler --farm lab/127.0.0.1 > scheduler.log 2>&1 & echo $! >> pids
cat >> lab/127.0.0.1/farm.yaml <<'Y'
devices:
  - {uri: local, name: left, tags: [left]}
  - {uri: local, name: middle, tags: [middle]}
  - {uri: local, name: right, tags: [right]}
Y
srdeploy farm worker --farm lab/127.0.0.1 > worker.log 2>&1 & echo $! >> pids
for try in 1 2 3 4 5 6 7 8 9 10 11 12; do
    sleep 2
    srdeploy farm devices --farm lab/127.0.0.1 > devices.txt 2>&1
    grep -q right devices.txt && break
done
cat devices.txt
"""


def furnish(folder: Path) -> None:
    """What a person has before the first command: a photograph, networks, odd and broken files."""
    photo = Image.open(PHOTO).convert("RGB")
    photo.save(folder / "coffee.png")
    for layout, factor in (("HR", 1), ("LR_bicubic/X2", 2)):
        (folder / "Set2" / layout).mkdir(parents=True)
        for number, left in enumerate((0, 120)):
            piece = photo.crop((left, 40, left + 192, 168))
            small = piece.resize((192 // factor, 128 // factor), Image.Resampling.BICUBIC)
            small.save(folder / "Set2" / layout / f"p{number}{'x2' * (factor > 1)}.png")
    (folder / "nets.py").write_text(NETS)
    (folder / "live.py").write_text(LIVE)
    (folder / "short.yaml").write_text(SHORT)
    (folder / "wrong.yaml").write_text("model: edsr-s-x2\nprune: {method: l1, ration: 0.5}\n")
    (folder / "farm.sh").write_text(FARM)
    whole = next((ROOT / "srdeploy" / "assets").rglob("edsr-s-x2-p70.safetensors")).read_bytes()
    (folder / "truncated.safetensors").write_bytes(whole[: len(whole) // 2])
    _weights(folder)
    _odd(folder / "odd", photo)


def _weights(folder: Path) -> None:
    space: dict[str, type[torch.nn.Module]] = {}
    exec(compile(NETS, "nets.py", "exec"), space)
    torch.manual_seed(1)
    network = space["ESPCN"]()
    torch.save(network.state_dict(), folder / "own.pth")
    torch.jit.trace(network, torch.zeros(1, 3, 16, 16)).save(folder / "script.pt")


def _odd(folder: Path, photo: Image.Image) -> None:
    folder.mkdir()
    piece = photo.crop((30, 20, 131, 87))  # odd sides
    piece.convert("L").save(folder / "grey.png")
    clear = piece.copy()
    clear.putalpha(Image.linear_gradient("L").resize(piece.size))
    clear.save(folder / "alpha.png")
    deep = np.asarray(piece.convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(folder / "deep.png")
    piece.crop((0, 0, 5, 3)).save(folder / "tiny.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    piece.save(folder / "turned.jpg", exif=turned)
    (folder / "text.png").write_text("a text")


def perform(task: Task, folder: Path) -> Outcome:
    """Type a task's lines in a folder and look at what comes."""
    outcome = Outcome(task)
    for line in task.lines:
        if line.startswith(NEXT):
            if (printed := _printed_command(outcome.shown[-1][2])) is None:
                outcome.faults.append("prints no command to go on with")
                break
            line = printed + line.removeprefix(NEXT)
        code, text = _run(line, folder)
        outcome.shown.append((line, code, text))
        last = len(outcome.shown) == len(task.lines)
        if code != (task.code if last else 0):
            outcome.faults.append(f"exit code {code} of `{line}`")
            break
    else:
        outcome.faults += _faults(task, outcome.shown[-1][2], folder)
    for line, _, text in outcome.shown:
        outcome.faults += _looks(line, text)
    return outcome


def _printed_command(text: str) -> str | None:
    """The last command of ours that a text shows, put together where it was wrapped."""
    lines = text.splitlines()
    starts = [number for number, line in enumerate(lines) if re.match(r"\s*srdeploy \w", line)]
    if not starts:
        return None
    words = []
    for line in lines[starts[-1] :]:
        words.append(line.strip().removesuffix("\\").strip())
        if not line.rstrip().endswith("\\"):
            break
    return " ".join(words)


def _faults(task: Task, text: str, folder: Path) -> list[str]:
    flat = " ".join(text.split())
    faults = [f"does not say /{p}/" for p in task.says if not re.search(p, flat)]
    faults += [f"says /{p}/" for p in task.silent if re.search(p, flat)]
    faults += [f"makes no {name}" for name in task.makes if not (folder / name).exists()]
    faults += [f"leaves {name}" for name in task.leaves if (folder / name).exists()]
    if task.code == 2 and len(flat) > 600:
        faults.append(f"{len(flat)} characters where a sentence would do")
    return faults


def _looks(line: str, text: str) -> list[str]:
    faults = []
    if "Traceback (most recent call last)" in text:
        faults.append(f"a traceback from `{line}`")
    # An error is one sentence in one line, for those who search logs; terminals break it.
    lines = [told for told in text.splitlines() if not told.startswith(("srdeploy: ", "bash: "))]
    wide = max(map(len, lines), default=0)
    if wide > COLUMNS and "--json" not in line and "python" not in line:
        faults.append(f"{wide} columns from `{line}`")
    return faults


def _run(line: str, folder: Path) -> tuple[int, str]:
    """Exit code and output of one line, as a terminal of 80 columns without colours shows it."""
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("SRDEPLOY")},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "EXAMPLES": str(ROOT / "examples"),
        "COLUMNS": str(COLUMNS),
        "NO_COLOR": "1",
        "XDG_CACHE_HOME": str(folder / ".cache"),
    }
    with tempfile.TemporaryFile("w+") as shown:
        started = subprocess.Popen(
            ["bash", "-c", line], cwd=folder, env=environment, text=True,
            stdin=subprocess.DEVNULL, stdout=shown, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            code = started.wait(SECONDS)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()
            code = 124
        shown.seek(0)
        return code, shown.read()


def try_all(
    only: list[str], keep: Path | None, tell: Callable[[str], None]
) -> dict[str, list[Outcome]]:
    """The outcomes of all tasks, by area; each area has a folder of its own."""
    found: dict[str, list[Outcome]] = {}
    for area, tasks in AREAS.items():
        if only and not any(word in area for word in only):
            continue
        with tempfile.TemporaryDirectory() as name:
            folder = (keep or Path(name)) / area.replace(" ", "-").replace("'", "")
            folder.mkdir(parents=True)
            furnish(folder)
            try:
                for task in tasks:
                    outcome = perform(task, folder)
                    found.setdefault(area, []).append(outcome)
                    tell(f"{area}: {task.name}: {'; '.join(outcome.faults) or 'works'}")
            finally:
                _end(folder)
    return found


def _end(folder: Path) -> None:
    """Stop what an area's scripts started, by the process ids they noted."""
    if (noted := folder / "pids").exists():
        for pid in noted.read_text().split():
            try:
                os.kill(int(pid), signal.SIGTERM)
            except ProcessLookupError:
                continue


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[], help="areas whose name holds a word")
    parser.add_argument("--keep", type=Path, help="leave the folders here")
    asked = parser.parse_args()
    if asked.keep is not None and asked.keep.exists():
        shutil.rmtree(asked.keep)
    found = try_all(asked.only, asked.keep, lambda line: print(line, flush=True))
    outcomes = [outcome for area in found.values() for outcome in area]
    failed = sum(bool(outcome.faults) for outcome in outcomes)
    if asked.only:
        return failed
    rows = [
        [
            area,
            outcome.task.name,
            "<br>".join(f"`{line}`" for line, _, _ in outcome.shown),
            "; ".join(outcome.faults) or "works",
        ]
        for area, listed in found.items()
        for outcome in listed
    ]
    text = (
        f"{len(outcomes) - failed} of {len(outcomes)} tasks work as a person would expect: exit "
        "code, words and files as they should be, no traceback, no table or list wider than 80 "
        "columns. "
        "The JSON beside this page has all that was printed.\n\n"
        + table(["area", "task", "typed", "outcome"], rows)
    )
    data = [
        {
            "area": area, "task": outcome.task.name, "faults": outcome.faults,
            "lines": [{"typed": a, "exit": b, "printed": c.replace(f"{ROOT}/", "")}
                      for a, b, c in outcome.shown],
        }
        for area, listed in found.items()
        for outcome in listed
    ]  # fmt: skip
    write("tasks", "A first day, typed", text, names_only(data), "python benchmarks/tasks.py")
    return failed


if __name__ == "__main__":
    sys.exit(main())
