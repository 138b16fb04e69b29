"""What every kind of device must do. A kind's test subclasses and brings a ``device`` fixture."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from srdeploy.data.benchmark import open_benchmark
from srdeploy.data.images import write_png
from srdeploy.devices.checked import checked
from srdeploy.devices.errors import DeviceError
from srdeploy.devices.open import open_device
from srdeploy.devices.protocol import Commands, Device, Files, Job, Shape
from srdeploy.devices.session import DeviceSession
from srdeploy.devices.table import KINDS
from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.measure.measurement import DeviceFacts
from srdeploy.models.load import load_network
from srdeploy.quality.evaluate import evaluate

SHAPE = (1, 3, 16, 24)
NETWORK = "edsr-s-x2-p70"
"""The smallest shipped network of this scale: what a device does with it, it does with any."""


@pytest.fixture(scope="session")
def onnx_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shipped network as ONNX."""
    path = tmp_path_factory.mktemp("artifact") / f"{NETWORK}.onnx"
    export_onnx(load_network(NETWORK), path, check=False)
    return path


@pytest.fixture(scope="session")
def small_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pieces of a photograph."""
    folder = tmp_path_factory.mktemp("set")
    image = open_benchmark("builtin", 2)[0].hr()
    write_png(folder / "a.png", image[40:72, 40:88])
    write_png(folder / "b.png", image[60:108, 80:112])
    return folder


class DeviceContract:
    """Subclass it as ``TestXxxContract``.

    Attributes:
        exact: Outputs are the network's (a fake's are not).
        runs_commands: The kind runs commands and moves files.
    """

    exact = True
    runs_commands = True

    @pytest.fixture
    def uri(self) -> str:
        raise NotImplementedError

    @pytest.fixture
    def device(self, uri: str) -> Iterator[Device]:
        with open_device(uri) as device:
            yield device

    @pytest.fixture
    def job(self, onnx_artifact: Path) -> Job:
        return Job(str(onnx_artifact), shapes=(SHAPE,), threads=1)

    def test_its_kind_is_in_the_table(self, uri: str) -> None:
        kind = KINDS[open_device(uri).facts.kind] if "://" not in uri else KINDS[uri.split(":")[0]]
        assert kind.availability()
        assert open_device(kind.example).uri == kind.example

    def test_misspelt_options_are_told(self, uri: str) -> None:
        with pytest.raises(UserError, match="no option"):
            open_device(f"{uri}{'&' if '?' in uri else '?'}zzz=1")

    def test_facts_are_plain_data_and_asked_once(self, device: Device) -> None:
        facts = device.facts
        assert facts == device.facts
        assert facts.model
        assert facts.kind
        assert DeviceFacts.model_validate(json.loads(facts.model_dump_json())) == facts

    def test_commands_answer_with_code_and_text(self, device: Device) -> None:
        commands = self._commands(device)
        told = commands.run(["echo", "two  blanks", "$HOME", "it's"])
        assert (told.code, told.stdout) == (0, "two  blanks $HOME it's\n")
        assert commands.run(["cat"], stdin=b"given\n").stdout == "given\n"
        assert commands.run(["false"]).code == 1
        assert commands.run(["no-such-program-anywhere"]).code == 127

    def test_files_travel_once_and_come_back_whole(self, device: Device, tmp_path: Path) -> None:
        files = self._files(device)
        source = tmp_path / "a file.bin"
        source.write_bytes(bytes(range(256)) * 300)
        there = files.push(source)
        assert files.push(source) == there
        files.pull(there, tmp_path / "back.bin")
        assert (tmp_path / "back.bin").read_bytes() == source.read_bytes()
        (tmp_path / "a copy.bin").write_bytes(source.read_bytes())
        assert files.push(tmp_path / "a copy.bin") == there
        files.remove(there)
        files.remove(there)
        with pytest.raises(DeviceError, match="no file"):
            files.pull(there, tmp_path / "gone.bin")
        assert not (tmp_path / "gone.bin").exists()
        with pytest.raises(UserError, match="no file"):
            files.push(tmp_path / "never.bin")

    def test_sensors_tell_or_say_nothing(self, device: Device) -> None:
        if device.sensors is None:
            return
        conditions = device.sensors.conditions()
        assert all(-40 < value < 150 for value in conditions.temperatures_c.values())
        with device.sensors.watch(0.05) as watch:
            pass
        times = [reading.seconds for reading in watch.readings]
        assert times == sorted(times)

    def test_a_model_times_itself_in_turns(self, device: Device, job: Job) -> None:
        x = np.random.default_rng(0).random(SHAPE, np.float32)
        with device.load(job) as model:
            assert model.loaded.runtime
            first = model.prepare(x * model.loaded.card.value_range, runs=1, seconds=0)
            assert first is None or first > 0
            for _ in range(2):
                turn = model.turn(0.05)
                assert turn.samples_ms
                assert min(turn.samples_ms) > 0
                assert len(turn.compute_ms) in (0, len(turn.samples_ms))
                assert all(
                    part <= whole * 1.001 + 1e-3
                    for part, whole in zip(turn.compute_ms, turn.samples_ms, strict=False)
                )
            memory = model.peak_mb()
            assert memory is None or memory > 0

    def test_what_it_says_can_be(self, device: Device, job: Job) -> None:
        gate = checked(device)
        x = np.random.default_rng(2).random(SHAPE, np.float32)
        assert gate.facts == device.facts
        if gate.sensors is not None:
            gate.sensors.conditions()
        with gate.load(job) as model:
            model.prepare(x * model.loaded.card.value_range, runs=0, seconds=0)
            assert model.turn(0.02).samples_ms
            assert np.isfinite(model.run(x * model.loaded.card.value_range)).all()

    def test_outputs_are_the_networks(self, device: Device, job: Job) -> None:
        x = np.random.default_rng(1).random(SHAPE, np.float32)
        with device.load(job) as model, open_device("local") as here:
            card = model.loaded.card
            with here.load(job) as reference:
                assert reference.loaded.card == card
                expected = reference.run(x * card.value_range)
            found = model.run(x * card.value_range)
        assert found.shape == expected.shape
        assert found.dtype == np.float32
        if self.exact:
            assert np.abs(found - expected).max() < 0.02 * card.value_range

    def test_quality_comes_from_its_own_outputs(
        self, device: Device, job: Job, small_set: Path
    ) -> None:
        shapes: tuple[Shape, ...] = ((1, 3, 16, 24), (1, 3, 24, 16))
        with device.load(replace(job, shapes=shapes)) as model:
            quality = evaluate(DeviceSession(model), small_set, 2, progress=False)
        assert [row["psnr_y"] for row in quality.per_image] != []
        assert 22 < quality.psnr_y < 60
        if self.exact:
            reference = evaluate(load_network(NETWORK), small_set, 2, progress=False)
            assert abs(quality.psnr_y - reference.psnr_y) < 0.05

    def test_an_artifact_that_is_not_there_is_the_jobs_fault(self, device: Device) -> None:
        with pytest.raises(SrdeployError, match="no-such-network") as caught:
            device.load(Job("no-such-network.onnx"))
        assert not isinstance(caught.value, DeviceError)

    def _commands(self, device: Device) -> Commands:
        if device.commands is None:
            assert not self.runs_commands
            pytest.skip("this kind runs no commands")
        return device.commands

    def _files(self, device: Device) -> Files:
        if device.files is None:
            assert not self.runs_commands
            pytest.skip("this kind moves no files")
        return device.files
