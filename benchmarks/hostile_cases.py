"""Files, recipes, devices and networks made to do harm, by kind, and what they are given to.

The pickles are those that the tests prove real with Python's own reader.
"""

from __future__ import annotations

import json
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fuzz_formats import _coreml, _network, _onnx, _own, _torch

Case = Callable[[Path], str]


@dataclass(frozen=True)
class Hostile:
    """One attack.

    Attributes:
        kind: The table's row.
        name: What it is.
        run: Does it in an empty folder; returns an outcome, or raises.
    """

    kind: str
    name: str
    run: Case


def command(folder: Path, *words: str, may_work: bool = False, keeps: str = "") -> str:
    """Run one of our commands in the folder, as a person would.

    Args:
        folder: The folder.
        words: The command's, without ``srdeploy``.
        may_work: It is no fault if the command ends well.
        keeps: What may be there afterwards, whatever the end.

    Returns:
        ``refused`` for one sentence and nothing written, ``read`` where it may and did work.
    """
    from srdeploy.cli.main import run

    os.chdir(folder)
    before = set(folder.rglob("*"))
    plan, said = StringIO(), StringIO()
    with redirect_stdout(plan), redirect_stderr(said):
        code = run(["--quiet", *words])
    sentence = said.getvalue().strip() or plan.getvalue().strip().rpartition("\n")[2]
    if code == 0:
        return "read" if may_work else f"accepted: {' '.join(words)}"
    new = set(folder.rglob("*")) - before - {folder / keeps}
    left = sorted(str(path.relative_to(folder)) for path in new)
    if "Internal error" in sentence or "Traceback" in sentence:
        return f"internal error: {sentence[-300:]}"
    if any(not char.isprintable() and char not in "\n\r" for char in sentence):
        return f"control characters reach the terminal: {sentence[-200:]!r}"
    if left:
        return f"left behind: {', '.join(left)}"
    if keeps:  # of several devices each has its own
        return "refused" if sentence else "no sentence"
    return "refused" if sentence.count("\n") == 0 and sentence else f"no one sentence: {sentence}"


def cases() -> list[Hostile]:
    """All of them."""
    found = [*_pickles(), *_decoded(), *_zips(), *_packages(), *_graphs(), *_yaml(), *_recipes()]
    return [*found, *_cards(), *_devices(), *_pictures(), *_size_dependent()]


# --- pickles


def _pickles() -> Iterator[Hostile]:
    from tests.models.importing.conftest import _write_legacy, _write_zip
    from tests.models.importing.test_safe_pickle_hostile import (
        ONLY_REFUSED,
        PAYLOADS,
        PLACES,
        WEIGHT,
    )

    def case(payload: Any, place: Any, write: Any) -> Case:
        def run(folder: Path) -> str:
            sentinel = folder / "executed"
            path = write(folder / "evil.pt", place(payload(f"touch {sentinel}")),
                         {"0": WEIGHT.numpy().tobytes()})  # fmt: skip
            outcome = command(folder, "import", str(path), "-o", "out.safetensors", may_work=True)
            return "executed" if sentinel.exists() else outcome

        return run

    for name, payload in {**PAYLOADS, **ONLY_REFUSED}.items():
        for place in PLACES:
            for write in (_write_zip, _write_legacy):
                told = f"{name}, {place.__name__}, {write.__name__[7:]}"
                yield Hostile("pickles that run code", told, case(payload, place, write))


def _decoded() -> Iterator[Hostile]:
    from tests.data.test_array_bytes import HOSTILE

    def case(content: bytes) -> Case:
        def run(folder: Path) -> str:
            for name in ("a.pt", "b.pt"):
                (folder / "HR").mkdir(exist_ok=True)
                (folder / "HR" / name).write_bytes(content)
            return command(folder, "eval", "bicubic", "--scale", "2", "--data", "HR")

        return run

    for name, content in HOSTILE.items():
        yield Hostile("decoded images: types, memo and size bombs", name, case(content))


# --- archives and packages


def _zips() -> Iterator[Hostile]:
    def members(path: Path) -> dict[str, bytes]:
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}

    def case(change: Callable[[zipfile.ZipFile, dict[str, bytes]], None]) -> Case:
        def run(folder: Path) -> str:
            path = _torch(folder, new=True)
            parts = members(path)
            with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
                change(archive, parts)
            return command(folder, "import", path.name, "--arch", "ledsr", "-o", "o.safetensors")

        return run

    def add(name: str, data: bytes = b"", method: int = zipfile.ZIP_STORED) -> Any:
        def change(archive: zipfile.ZipFile, parts: dict[str, bytes]) -> None:
            for own, content in parts.items():
                archive.writestr(own, content)
            archive.writestr(name, data, method)

        return change

    def squeezed(size: int) -> Any:
        def change(archive: zipfile.ZipFile, parts: dict[str, bytes]) -> None:
            for own, content in parts.items():
                bomb = own.endswith("/data/0")
                archive.writestr(own, bytes(size) if bomb else content,
                                 zipfile.ZIP_DEFLATED if bomb else zipfile.ZIP_STORED)  # fmt: skip

        return change

    def large_pickle(archive: zipfile.ZipFile, parts: dict[str, bytes]) -> None:
        for own, content in parts.items():
            big = own.endswith("data.pkl")
            archive.writestr(own, content + bytes(300_000_000) if big else content,
                             zipfile.ZIP_DEFLATED if big else zipfile.ZIP_STORED)  # fmt: skip

    kind = "zip archives: bombs, duplicates, names that lead out"
    for name in ("net/data/0", "net/data.pkl", "NET/data/0"):
        yield Hostile(kind, f"two members {name}", case(add(name)))
    for name in ("../evil", "net/../../evil", "/etc/evil", "net\\..\\evil"):
        yield Hostile(kind, f"a member {name}", case(add(name)))
    yield Hostile(kind, "a gigabyte of zeros", case(squeezed(1 << 30)))
    yield Hostile(kind, "a structure of 300 MB", case(large_pickle))


def _packages() -> Iterator[Hostile]:
    def weights(replace: Callable[[Path], None]) -> Case:
        def run(folder: Path) -> str:
            path = _coreml(folder, part="weight.bin")
            path.unlink()
            replace(path)
            return command(folder, "eval", "net.mlpackage", "--data", "builtin")

        return run

    def manifest(place: str) -> Case:
        def run(folder: Path) -> str:
            path = _coreml(folder, part="Manifest.json")
            document = json.loads(path.read_text())
            for item in document["itemInfoEntries"].values():
                item["path"] = place
            path.write_text(json.dumps(document))
            return command(folder, "eval", "net.mlpackage", "--data", "builtin")

        return run

    kind = ".mlpackage: weights and model elsewhere"
    yield Hostile(kind, "weights are a pipe", weights(lambda p: os.mkfifo(p)))
    yield Hostile(kind, "weights are /dev/zero", weights(lambda p: p.symlink_to("/dev/zero")))
    yield Hostile(kind, "weights are a folder", weights(lambda p: p.mkdir()))
    yield Hostile(kind, "weights are a loop", weights(lambda p: p.symlink_to(p.name)))
    yield Hostile(kind, "weights are missing", weights(lambda p: None))
    for place in ("../../../../../../etc/passwd", "/dev/zero", "com.apple.CoreML\0x", "."):
        yield Hostile(kind, f"the model is {place!r}", manifest(place))


def _graphs() -> Iterator[Hostile]:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def model(nodes: list[Any], initializers: list[Any], **metadata: str) -> Any:
        given = helper.make_tensor_value_info("lr", TensorProto.FLOAT, ["N", 3, "H", "W"])
        made = helper.make_tensor_value_info("sr", TensorProto.FLOAT, ["N", 3, "H2", "W2"])
        graph = helper.make_graph(nodes, "g", [given], [made], initializers)
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        helper.set_model_props(proto, metadata)
        return proto

    def case(make: Callable[[Path], Any]) -> Case:
        def run(folder: Path) -> str:
            onnx.save(make(folder), folder / "evil.onnx")
            return command(folder, "eval", "evil.onnx", "--scale", "2", "--value-range", "1",
                           "--data", "builtin")  # fmt: skip

        return run

    def loop(folder: Path) -> Any:
        body = helper.make_graph(
            [helper.make_node("Identity", ["c"], ["d"]),
             helper.make_node("Add", ["v", "v"], ["w"])],
            "body",
            [helper.make_tensor_value_info("i", TensorProto.INT64, []),
             helper.make_tensor_value_info("c", TensorProto.BOOL, []),
             helper.make_tensor_value_info("v", TensorProto.FLOAT, None)],
            [helper.make_tensor_value_info("d", TensorProto.BOOL, []),
             helper.make_tensor_value_info("w", TensorProto.FLOAT, None)],
        )  # fmt: skip
        count = numpy_helper.from_array(np.array(1 << 62, np.int64), "n")
        go = numpy_helper.from_array(np.array(True), "go")
        scales = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "s")
        return model(
            [helper.make_node("Resize", ["lr", "", "s"], ["big"], mode="nearest"),
             helper.make_node("Loop", ["n", "go", "big"], ["sr"], body=body)],
            [count, go, scales],
        )  # fmt: skip

    def outside(place: str) -> Callable[[Path], Any]:
        def make(folder: Path) -> Any:
            tensor = numpy_helper.from_array(np.ones((3, 3, 1, 1), np.float32), "w")
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", place), ("offset", "0"), ("length", "36")):
                tensor.external_data.add(key=key, value=value)
            return model([helper.make_node("Conv", ["lr", "w"], ["sr"])], [tensor])

        return make

    def huge(folder: Path) -> Any:
        shape = numpy_helper.from_array(np.array([1, 3, 1 << 31, 1 << 31], np.int64), "shape")
        return model([helper.make_node("ConstantOfShape", ["shape"], ["sr"])], [shape])

    def card(text: str) -> Callable[[Path], Any]:
        def make(folder: Path) -> Any:
            proto = onnx.load(_onnx(folder))
            for entry in proto.metadata_props:
                entry.value = text
            return proto

        return make

    kind = "ONNX: endless loops, outside files, hostile cards"
    yield Hostile(kind, "Loop of 2^62", case(loop))
    yield Hostile(kind, "a tensor of 2^62 numbers", case(huge))
    for place in ("../../../../../../etc/passwd", "/etc/passwd", "/dev/zero", "missing.bin"):
        yield Hostile(kind, f"weights in {place}", case(outside(place)))
    for text in ("{", "[" * 100_000, "null", '{"scale": 1e999}', "\x1b[2J", '{"arch": "\\ud800"}'):
        yield Hostile(kind, f"the card is {text[:16]!r}", case(card(text)))


# --- settings


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)
MERGES = "a0: &a0 {x: 1, y: 2}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 12)
)


def _yaml() -> Iterator[Hostile]:
    def case(text: str | None, words: tuple[str, ...]) -> Case:
        def run(folder: Path) -> str:
            if text is None:
                os.mkfifo(folder / "evil.yaml")
            else:
                (folder / "evil.yaml").write_text(text)
            return command(folder, *words)

        return run

    texts = {
        "aliases, 10^12": BOMB, "merged aliases, 9^11": MERGES,
        "nested 100,000 deep": "[" * 100_000, "an alias of itself": "a: &a [*a]",
        "base: /dev/zero": "base: /dev/zero\n", "its own base": "base: evil.yaml\n", "a pipe": None,
        "a long number": "a: " + "9" * 1_000_000,
        "Python's tag": "a: !!python/object/apply:os.system ['touch executed']",
        "50 MB of one key": "a: " + "x" * 50_000_000, "binary": "\x00\x01\x02", "a list": "- 1",
    }  # fmt: skip
    readers = {
        "line": ("run", "evil.yaml", "--dry-run"),
        "training": ("finetune", "edsr-s-x2", "--recipe", "evil.yaml", "-o", "o.safetensors"),
        "scenario": ("bench", "edsr-s-x2", "--scenario", "evil.yaml"),
    }
    for name, text in texts.items():
        for reader, words in readers.items():
            yield Hostile("YAML: bombs, bases, tags", f"{name}, as a {reader}", case(text, words))


def _recipes() -> Iterator[Hostile]:
    def case(text: str, *flags: str) -> Case:
        def run(folder: Path) -> str:
            project, victim = folder / "a" / "b" / "project", folder / "victim"
            project.mkdir(parents=True)
            victim.mkdir()
            (victim / "dear.txt").write_text("mine")
            (project / "evil_code.py").write_text(f"open({str(folder / 'executed')!r}, 'w')\n")
            (project / "line.yaml").write_text(text.replace("VICTIM", str(victim)))
            outcome = command(project, "run", "line.yaml", *flags, may_work=bool(flags))
            if (folder / "executed").exists():
                return "executed"
            return outcome if (victim / "dear.txt").exists() else "executed: a folder is gone"

        return run

    base = "model: edsr-s-x2\nprune: l1\nscenarios: []\nversions: [pruned]\n"
    kind = "recipes: names that lead out, code"
    for name in (
        "a/../../../victim",
        "../victim",
        "VICTIM",
        "..",
        ".",
        "a\\\\b",
        "x" * 300,
        "a\\nb",
    ):
        target = f'targets: [{{target: onnx, name: "{name}"}}]\n'
        yield Hostile(kind, f"a target named {name[:24]}", case(base + target))
        source = f'model: {{file: edsr-s-x2, name: "{name}"}}\ntargets: [onnx]\nscenarios: []\n'
        yield Hostile(kind, f"a model named {name[:24]}", case(source))
    code = "model: {file: edsr-s-x2, arch: 'evil_code:make'}\ntargets: [onnx]\n"
    yield Hostile(kind, "code in arch", case(code))
    yield Hostile(kind, "code in arch, dry run", case(code, "--dry-run"))
    device = base.replace("[]", "quick") + "devices: 'ssh://127.0.0.1?config=evil.conf'\n"
    device += "targets: [onnx]\n"
    yield Hostile(kind, "a program in a device", case(device))
    yield Hostile(kind, "a program in a device, dry run", case(device, "--dry-run"))


# --- cards and devices


def _cards() -> Iterator[Hostile]:
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    def case(change: Callable[[dict[str, Any], dict[str, torch.Tensor]], None]) -> Case:
        def run(folder: Path) -> str:
            path = _own(folder)
            with safe_open(path, "pt") as file:
                metadata = dict(file.metadata())
            tensors = load_file(path)
            key = next(key for key, value in metadata.items() if value.startswith("{"))
            card = json.loads(metadata[key])
            change(card, tensors)
            # A stranger makes the digests fit: what is written must be checked by what it says.
            save_file(tensors, path, {key: json.dumps(card)})
            return command(folder, "eval", path.name, "--data", "builtin")

        return run

    def fact(**facts: Any) -> Case:
        return case(lambda card, tensors: card.update(facts))

    def config(**facts: Any) -> Case:
        return case(lambda card, tensors: card["config"].update(facts))

    def weights(value: float) -> Case:
        return case(lambda card, tensors: next(iter(tensors.values())).fill_(value))

    kind = "cards and weights that lie"
    for name, one in {
        "size_multiple of 10^9": fact(size_multiple=10**9),
        "receptive_field of 3": fact(receptive_field=3), "value_range of 7": fact(value_range=7.0),
        "value_range of nan": fact(value_range=math.nan),
        "another range": fact(value_range=1.0), "scale of 3": fact(scale=3),
        "channels of 1": fact(channels=1), "scale of 2^40": fact(scale=1 << 40),
        "100,000 blocks": config(n_blocks=100_000), "10^7 features": config(n_feats=10**7),
        "arch of control characters": fact(arch="\x1b[2J\x07"),
        "arch of a module": fact(arch="os:system"),
        "weights of nan": weights(math.nan), "weights of infinity": weights(math.inf),
    }.items():  # fmt: skip
        yield Hostile(kind, name, one)


def _devices() -> Iterator[Hostile]:
    def case(name: str, answer: Callable[[Any], Any]) -> Case:
        def run(folder: Path) -> str:
            from srdeploy.devices import fake

            whole = getattr(fake.FakeModel, name)

            def lying(self: Any, *given: Any, **named: Any) -> Any:
                honest = whole(self, *given, **named)
                return answer(honest) if self._device._name == "evil" else honest

            setattr(fake.FakeModel, name, lying)
            outcome = command(
                folder, "bench", str(_onnx(folder)), "--device", "fake://evil,fake://good",
                "--store", "s.sqlite", "--seconds", "0.1", "--runs", "3", "--data", "builtin",
                may_work=True, keeps="s.sqlite",
            )  # fmt: skip
            if outcome not in ("read", "refused"):
                return outcome
            from srdeploy.measure.store import Store

            with Store.open(folder / "s.sqlite", create=False) as store:
                finished = {one.device for one in store.measurements() if not one.error}
            if "fake://evil" in finished:
                return "accepted"
            return "refused" if "fake://good" in finished else "the honest device is not stored"

        return run

    from srdeploy.devices.protocol import Turn

    turns = {
        "infinite times": [math.inf], "times of nan": [math.nan], "negative times": [-1.0],
        "times of zero": [0.0], "times of 10^300 ms": [1e300], "text": ["\x1b[2J"],
    }  # fmt: skip
    kind = "devices that lie"
    for name, samples in turns.items():
        yield Hostile(kind, name, case("turn", lambda _, s=samples: Turn(list(s))))
    yield Hostile(kind, "outputs of nan", case("run", lambda x: x * np.nan))
    yield Hostile(kind, "outputs of another size", case("run", lambda x: x[..., :-1]))
    yield Hostile(kind, "outputs of text", case("run", lambda x: "\x1b[2J"))


# --- pictures


def _png(width: int, height: int, bits: int) -> bytes:
    """A PNG of so many pixels whose data are a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head)
            + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b""))  # fmt: skip


def _pictures() -> Iterator[Hostile]:
    def case(name: str, data: bytes) -> Case:
        def run(folder: Path) -> str:
            (folder / name).write_bytes(data)
            return command(folder, "upscale", name, "--network", "edsr-s-x2", "-o", "out.png",
                           "--memory", "500MB")  # fmt: skip

        return run

    kind = "pictures: bombs"
    for width, height, bits in ((60_000, 60_000, 8), (40_000, 40_000, 16), (2**31 - 1, 1, 8)):
        told = f"{width}x{height} in {bits} bits"
        yield Hostile(kind, told, case("bomb.png", _png(width, height, bits)))
    tiff = b"II*\0\x08\0\0\0" + struct.pack("<H", 4) + b"".join(
        struct.pack("<HHII", tag, 4, 1, value)
        for tag, value in ((256, 2**31), (257, 2**31), (258, 16), (273, 8))
    )  # fmt: skip
    yield Hostile(kind, "a TIFF of 2^62 pixels", case("bomb.tif", tiff + bytes(64)))


# --- networks that are not one network


HONEST = ("one", "refused")
"""The one that computes the same everywhere must go through: else refusals say nothing."""

NETWORKS = '''
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, other):
        super().__init__()
        torch.manual_seed(0)
        self.head, self.body = nn.Conv2d(3, 12, 3, padding=1), nn.Conv2d(12, 12, 3, padding=1)
        self.tail, self.other = nn.Conv2d(12, 12, 3, padding=1), other

    def forward(self, x):
        y = self.body(self.head(x))
        y = torch.sigmoid(y) if self.other(x) else torch.relu(y)
        return torch.pixel_shuffle(self.tail(y), 2)

def one(): return Net(lambda x: False)
def width(): return Net(lambda x: x.shape[-1] > 48)
def height(): return Net(lambda x: x.shape[-2] > 100)
def area(): return Net(lambda x: x.shape[-1] * x.shape[-2] > 3000)
def odd(): return Net(lambda x: x.shape[-1] % 2 == 1)
def batch(): return Net(lambda x: x.shape[0] > 1)
def small(): return Net(lambda x: x.shape[-1] < 20)
def shape(): return Net(lambda x: x.shape[-1] > x.shape[-2])
'''  # fmt: skip


def _size_dependent() -> Iterator[Hostile]:
    def case(name: str, *words: str) -> Case:
        def run(folder: Path) -> str:
            (folder / "sizes.py").write_text(NETWORKS)
            made: dict[str, Any] = {}
            exec(NETWORKS, made)
            torch.save(made[name]().state_dict(), folder / "net.pt")
            outcome = command(folder, words[0], "net.pt", "--arch", f"sizes:{name}", "--scale",
                              "2", *words[1:], may_work=name == "one")  # fmt: skip
            return "refused, though nothing is wrong" if (name, outcome) == HONEST else outcome

        return run

    for name in ("one", "width", "height", "area", "odd", "batch", "small", "shape"):
        pruning = ("prune", "--ratio", "0.5", "-o", "out.safetensors")
        yield Hostile("networks that depend on the size", f"prune, {name}", case(name, *pruning))
        export = ("export", "-o", "out.onnx")
        yield Hostile("networks that depend on the size", f"export, {name}", case(name, *export))


def names() -> list[str]:
    """Of all kinds, in order."""
    return list(dict.fromkeys(one.kind for one in cases()))


__all__ = ["Hostile", "_network", "cases", "command", "names"]
