"""torch.save's files, read exactly; damaged ones, refused in one sentence."""

from __future__ import annotations

import contextlib
import random
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from srdeploy.errors import UserError
from srdeploy.models.importing.layouts import find_layout
from srdeploy.models.importing.safe_pickle import read_checkpoint
from srdeploy.models.importing.state_dict import read_state_dict
from srdeploy.models.importing.torch_values import TensorRef

DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
]


def save(value: object, path: Path, zipped: bool, **options: object) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=zipped, **options)
    return path


def read(path: Path) -> dict[str, torch.Tensor]:
    checkpoint = read_checkpoint(path)
    assert isinstance(checkpoint.root, dict)
    return {
        name: checkpoint.tensor(ref, name)
        for name, ref in checkpoint.root.items()
        if isinstance(ref, TensorRef)
    }


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_number_type(dtype: torch.dtype, zipped: bool, tmp_path: Path) -> None:
    tensor = (torch.rand(2, 3, 4) * 100).to(dtype)
    loaded = read(save({"t": tensor}, tmp_path / "a.pt", zipped))["t"]
    assert loaded.dtype == dtype
    assert torch.equal(loaded, tensor)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_strides_views_empties_and_parameters(zipped: bool, protocol: int, tmp_path: Path) -> None:
    base = torch.arange(60, dtype=torch.float32).reshape(3, 4, 5)
    tensors = {
        "transposed": base.permute(2, 0, 1),
        "part": base[1:, ::2, 3],
        "scalar": torch.tensor(7.0),
        "empty": torch.empty(0, 3),
        "rows of nothing": torch.empty(3, 0),
        "parameter": nn.Parameter(base * 2),
        "again": base,
    }
    path = save(tensors, tmp_path / "a.pt", zipped, pickle_protocol=protocol)
    loaded = read(path)
    assert list(loaded) == list(tensors)
    for name, tensor in tensors.items():
        assert torch.equal(loaded[name], tensor.detach()), name
        assert loaded[name].is_contiguous()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_whole_pickled_module(zipped: bool, tmp_path: Path) -> None:
    """Walked by its own tables, in the order of its own state_dict."""
    module = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Sequential(nn.Conv2d(2, 1, 3, bias=False))
    )
    found = read_state_dict(save(module, tmp_path / "m.pt", zipped))
    state = module.state_dict()
    assert found.tensors.keys() == state.keys()
    assert all(torch.equal(found.tensors[name], state[name]) for name in state)
    assert "torch.nn.modules.conv.Conv2d" in found.ignored


def test_published_vdsr_whole_module_of_python_2(shared_data: Path) -> None:
    found = read_state_dict(shared_data / "weights" / "vdsr" / "model_epoch_50.pth")
    assert sum(t.numel() for t in found.tensors.values()) == 664_704
    assert found.path == "model"
    assert "vdsr.Net" in found.ignored


@pytest.mark.parametrize(
    "name", ["smsr/SMSR_X2_model_1000.pt", "edsr_mlperf/edsr_f32b5_x2_pytorch.pt"]
)
def test_published_files_are_read_as_torch_reads_them(name: str, shared_data: Path) -> None:
    path = shared_data / "weights" / name
    expected = torch.load(path, map_location="cpu", weights_only=True)
    loaded = read(path)
    assert list(loaded) == list(expected)
    assert all(torch.equal(loaded[k], v) for k, v in expected.items())


# What is no checkpoint


def _text(path: Path) -> None:
    path.write_text("just some notes\n" * 50)


def _empty(path: Path) -> None:
    path.touch()


def _picture_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "<xml/>")


def _zip_bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"\0" * 10_000_000)


def _script(path: Path) -> None:
    torch.jit.save(torch.jit.script(nn.Conv2d(1, 1, 3)), str(path))


def _tflite(path: Path) -> None:
    path.write_bytes(b"\x1c\0\0\0TFL3" + bytes(100))


def _plain_pickle(path: Path) -> None:
    path.write_bytes(b"\x80\x04}.")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (_text, "is not a readable torch checkpoint"),
        (_empty, "is empty"),
        (_picture_zip, "without a torch pickle"),
        (_zip_bomb, "compressed"),
        (_script, "TorchScript"),
        (_tflite, "TensorFlow Lite"),
        (_plain_pickle, "does not begin like one"),
    ],
)
def test_other_files(make, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "file.pt"
    make(path)
    with pytest.raises(UserError, match=sentence):
        read_checkpoint(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        read_checkpoint(tmp_path / "none.pt")


# Claims that the bytes do not bear out


def _tensor_pickle(numel: int, offset: int, size: list[int], stride: list[int]) -> bytes:
    def integers(values: list[int]) -> bytes:
        return b"(" + b"".join(b"\x8a\x09" + v.to_bytes(9, "little") for v in values) + b"t"

    def text(value: str) -> bytes:
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu")
    storage += integers([numel])[1:-1] + b"tQ"
    arguments = storage + integers([offset])[1:-1] + integers(size) + integers(stride)
    tensor = b"ctorch._utils\n_rebuild_tensor\n(" + arguments + b"tR"
    return b"\x80\x02}" + text("w") + tensor + b"s."


@pytest.mark.parametrize(
    ("numel", "offset", "size", "stride"),
    [
        (1 << 60, 0, [4], [1]),
        (9, 0, [3, 3], [3, 1 << 62]),
        (9, 0, [1 << 40, 1 << 30, 9], [0, 0, 1]),
        (9, 8, [2], [1]),
        (9, 0, [10], [1]),
        (9, 0, [3, 3], [1]),
        (9, 0, [0, 1 << 60], [1, 1]),
        (9, 0, [1] * 70, [1] * 70),
    ],
)
def test_claims_beyond_the_file(numel, offset, size, stride, write_container, tmp_path) -> None:
    root = _tensor_pickle(numel, offset, size, stride)
    path = write_container(tmp_path / "a.pt", root, {"0": bytes(36)})
    with pytest.raises(UserError, match=r"damaged|truncated"):
        read(path)


def test_one_storage_under_many_names_is_bounded(tmp_path: Path) -> None:
    shared = torch.rand(100, 100, 1, 1)
    path = save({f"layer{i}.weight": shared for i in range(100)}, tmp_path / "a.pt", True)
    with pytest.raises(UserError, match="far more memory"):
        read_state_dict(path)


@pytest.fixture(scope="module", params=["zip", "legacy", "whole module"])
def valid(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    module = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 1, 3))
    value = module if request.param == "whole module" else {"state_dict": module.state_dict()}
    path = save(value, tmp_path_factory.mktemp("valid") / "a.pt", request.param == "zip")
    return path.read_bytes()


def _survives(data: bytes, path: Path) -> None:
    path.write_bytes(data)
    with contextlib.suppress(UserError):
        assert read_state_dict(path).tensors


def test_truncated_anywhere(valid: bytes, tmp_path: Path) -> None:
    """No prefix of a file is taken for a file."""
    generator = random.Random(0)
    for length in {*range(0, 64), *(generator.randrange(len(valid)) for _ in range(150))}:
        path = tmp_path / "a.pt"
        path.write_bytes(valid[:length])
        with pytest.raises(UserError):
            read_state_dict(path)


def test_flipped_bytes(valid: bytes, tmp_path: Path) -> None:
    generator = random.Random(0)
    for _ in range(600):
        data = bytearray(valid)
        for _ in range(generator.choice([1, 1, 2, 8])):
            data[generator.randrange(len(data))] = generator.randrange(256)
        _survives(bytes(data), tmp_path / "a.pt")


# Files made to exhaust memory or time


def test_no_numbers_come_out_of_nowhere(write_container, tmp_path) -> None:
    """An empty tensor has no elements, whatever its other sides multiply to."""
    path = write_container(
        tmp_path / "a.pt", _tensor_pickle(9, 0, [0, 9], [9, 1]), {"0": bytes(36)}
    )
    assert read(path)["w"].shape == (0, 9)
    root = _tensor_pickle(9, 0, [0, *[1 << 30] * 4], [1] * 5)
    with pytest.raises(UserError, match="more numbers than the file holds"):
        read(write_container(tmp_path / "a.pt", root, {"0": bytes(36)}))


def test_numbers_that_few_tensors_share_are_read_once(tmp_path: Path) -> None:
    flat = torch.arange(40_000.0)
    parts = {f"layer{i}.weight": flat[i : i + 9].view(1, 1, 3, 3) for i in range(300)}
    for zipped in (True, False):
        found = read_state_dict(save(parts, tmp_path / "a.pt", zipped))
        assert all(torch.equal(found.tensors[name], part) for name, part in parts.items())


def test_numbers_that_are_read_over_and_over(tmp_path: Path) -> None:
    """Windows on two long runs in turn, so that each must be read again."""
    runs = torch.zeros(40_000), torch.zeros(40_000)
    parts = {f"layer{i}.weight": runs[i % 2][:9].view(1, 1, 3, 3) for i in range(300)}
    for zipped in (True, False):
        with pytest.raises(UserError, match="far more often"):
            read_state_dict(save(parts, tmp_path / "a.pt", zipped))


def test_more_tensors_than_a_network_has(tmp_path: Path) -> None:
    shared = torch.zeros(1, 1, 1)
    path = save({f"{i}": shared for i in range(20_001)}, tmp_path / "a.pt", True)
    with pytest.raises(UserError, match="holds more than 20,000 tensors"):
        read_state_dict(path)


def test_the_structure_of_an_old_file_is_bounded(tmp_path: Path, monkeypatch) -> None:
    path = save({"w": torch.zeros(1, 1, 3)}, tmp_path / "a.pt", False)
    assert "w" in read(path)
    monkeypatch.setattr("srdeploy.models.importing.safe_pickle._MAX_PICKLE", 100)
    with pytest.raises(UserError, match="damaged"):
        read(path)


def test_layers_numbered_to_make_a_grid_of_millions(tmp_path: Path) -> None:
    """10,000 outer and 10,000 inner numbers are not 100 million layers."""
    names = [f"body.{i}.body.0.body.0.weight" for i in range(6000)]
    names += [f"body.0.body.{i}.body.0.weight" for i in range(6000)]
    tensors = {name: torch.zeros(1, 1, 1, 1) for name in names}
    with pytest.raises(UserError, match="is missing from"):
        find_layout(tensors, "a.pt", "rirsr")
