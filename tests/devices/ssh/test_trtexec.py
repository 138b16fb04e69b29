from __future__ import annotations

import json

import pytest

from srdeploy.devices.errors import DeviceError, DeviceFull, DeviceUnfit
from srdeploy.devices.ssh.trtexec import (
    Trtexec,
    check_passed,
    parse_help,
    parse_version,
    read_output,
    read_times,
    timing_arguments,
    told_seconds,
)
from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.tensorrt.script import trtexec_arguments
from srdeploy.runtime.tensorrt.sidecar import ShapeProfile

BANNER = "&&&& RUNNING TensorRT.trtexec [TensorRT v{}] # /usr/src/tensorrt/bin/trtexec --help\n"
ELEVEN = "--includeDataTransfers --noCudaGraph --noSpinWait --loadEngine"


@pytest.mark.parametrize(
    ("number", "version"),
    [("8502", (8, 5, 2)), ("8601", (8, 6, 1)), ("100300", (10, 3, 0)), ("101601", (10, 16, 1)),
     ("110100", (11, 1, 0))],
)  # fmt: skip
def test_versions_from_the_banner(number: str, version: tuple[int, int, int]) -> None:
    assert parse_version(number) == version
    assert parse_help("t", BANNER.format(number)).version == version


def test_a_program_that_does_not_start_is_no_trtexec() -> None:
    said = "trtexec: error while loading shared libraries: libnvinfer.so.8: cannot open"
    with pytest.raises(DeviceUnfit, match=r"libnvinfer\.so\.8"):
        parse_help("/usr/bin/trtexec", said)


@pytest.mark.parametrize(("help_text", "uniform"), [("--loadEngine", 0), (ELEVEN, 3)])
def test_timing_means_the_same_on_all_versions(help_text: str, uniform: int) -> None:
    program = parse_help("t", BANNER.format("110000") + help_text)
    arguments = timing_arguments(
        program,
        engine="/e/net.engine",
        input_name="lr",
        tensor="/r/x.bin",
        shape=(1, 3, 270, 480),
        seconds=0.5,
        warmup_ms=200,
        times="/r/t.json",
    )
    assert "--shapes=lr:1x3x270x480" in arguments
    assert "--loadInputs=lr:/r/x.bin" in arguments
    assert "--exportTimes=/r/t.json" in arguments
    asked = {"--includeDataTransfers", "--noCudaGraph", "--noSpinWait"} & set(arguments)
    assert len(asked) == uniform


@pytest.mark.parametrize("name", ["a,b", "a:b", "a,b:/etc/passwd", "'a'", "a\n", ""])
def test_a_name_does_not_become_two_inputs(name: str) -> None:
    program = Trtexec("t", (8, 5, 2), frozenset())
    for input_name, tensor in ((name, "/r/x.bin"), ("lr", f"/r{name}/x.bin")):
        if not name and input_name:
            continue  # a path with nothing in between is a path
        with pytest.raises(UserError, match="take apart; rename it"):
            timing_arguments(
                program,
                engine="e",
                input_name=input_name,
                tensor=tensor,
                shape=None,
                seconds=0,
                warmup_ms=0,
            )
    profile = ShapeProfile(min=(1, 3, 8, 8), opt=(1, 3, 8, 8), max=(1, 3, 8, 8))
    with pytest.raises(UserError, match="take apart"):
        trtexec_arguments((10, 3), onnx="n.onnx", engine="e", input_name=name, profile=profile)


def test_fixed_engines_get_no_shapes() -> None:
    program = Trtexec("t", (8, 5, 2), frozenset())
    arguments = timing_arguments(
        program, engine="e", input_name="lr", tensor="x", shape=None, seconds=0, warmup_ms=0
    )
    assert not any(argument.startswith("--shapes") for argument in arguments)


def test_times_keep_compute_apart_from_end_to_end() -> None:
    rows = [
        {"startEnqMs": 0.1, "endEnqMs": 0.3, "h2dMs": 0.2, "computeMs": 30.3, "d2hMs": 0.1,
         "latencyMs": 30.6},
        {"startEnqMs": 31.1, "endEnqMs": 31.3, "h2dMs": 0.2, "computeMs": 30.1, "d2hMs": 0.1,
         "latencyMs": 30.4},
    ]  # fmt: skip
    turn = read_times(json.dumps(rows))
    assert turn.samples_ms == [30.6, 30.4]
    assert turn.compute_ms == [30.3, 30.1]


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "[]",
            "{}",
            '[{"latencyMs": 1}]',
            "7",
            "null",
            "[7]",
            '[{"latencyMs": [], "computeMs": 1}]',
        ),
        '[{"latencyMs": Infinity, "computeMs": 1}]',
        '[{"latencyMs": NaN, "computeMs": 1}]',
        pytest.param("[" * 100_000, id="deep"),
        pytest.param('[{"latencyMs": ' + "1" * 5000 + "}]", id="digits"),
    ],
)
def test_broken_times(text: str) -> None:
    with pytest.raises(SrdeployError, match="trtexec"):
        read_times(text)


def test_outputs_have_their_shape() -> None:
    text = '[ { "name" : "sr" , "dimensions" : "1x1x2x2" , "values" : [ 0, 0.25, 1e-05, 255 ] } ]'
    assert read_output(text).tolist() == [[[[0, 0.25], [pytest.approx(1e-5), 255]]]]
    with pytest.raises(SrdeployError, match="cannot be read"):
        read_output('[{"dimensions": "1x1x2x2", "values": [0]}]')


@pytest.mark.parametrize(
    ("said", "code", "kind", "sentence"),
    [
        ("[E] Error[1]: Cuda Runtime (out of memory)", 1, DeviceError, "out of memory"),
        ("[E] cannot write: No space left on device", 1, DeviceFull, "No space"),
        ("sh: trtexec: not found", 127, DeviceUnfit, "does not start"),
        ("&&&& RUNNING TensorRT.trtexec", 139, DeviceError, "signal 11"),
        ("[E] Error[4]: bad node\n[E] later", 1, SrdeployError, r"bad node\."),
    ],
)
def test_failures_in_one_sentence(said: str, code: int, kind: type, sentence: str) -> None:
    with pytest.raises(kind, match=sentence) as caught:
        check_passed(said, code, "board", "building net.onnx")
    assert "\n" not in str(caught.value)
    assert type(caught.value) is kind


def test_success_needs_both_the_line_and_the_code() -> None:
    check_passed("&&&& PASSED TensorRT.trtexec [TensorRT v8502] # t", 0, "board", "x")
    with pytest.raises(SrdeployError):
        check_passed("&&&& PASSED TensorRT.trtexec", 1, "board", "x")
    with pytest.raises(SrdeployError):
        check_passed("", 0, "board", "x")


def test_seconds_told() -> None:
    assert told_seconds("[I] Engine built in 12.5 sec.") == {"built": 12.5}
    assert told_seconds("[I] Engine deserialized in 0.06 sec.") == {"loaded": 0.06}
    assert told_seconds("[I] Engine loaded in 0.02 sec.") == {"loaded": 0.02}
