"""What people mean by words that are not ours."""

from __future__ import annotations

from typing import Any

import pytest
import typer

from srdeploy.cli.main import app
from srdeploy.devices.table import KINDS
from srdeploy.errors import unknown_name
from srdeploy.exporting.targets import ONNX_PRECISIONS, TARGETS
from srdeploy.runtime.onnx.providers import PROVIDERS
from srdeploy.runtime.table import RUNTIMES
from srdeploy.util.synonyms import INSTEAD, OPTIONS, SAME, VALUES, meaning, nearest


@pytest.mark.parametrize(
    ("word", "known", "name"),
    [
        ("tensorrt", TARGETS, "trt"),
        ("TensorRT", TARGETS, "trt"),
        ("trt", TARGETS, "trt"),
        ("engine", TARGETS, "trt"),
        ("tensorrt-rtx", TARGETS, "trt-rtx"),
        ("tflite", TARGETS, "litert"),
        ("mlmodel", TARGETS, "coreml"),
        ("mlpackage", TARGETS, "coreml"),
        ("onnxruntime", TARGETS, "onnx"),
        ("ONNX", TARGETS, "onnx"),
        ("jetson", TARGETS, None),
        ("android", TARGETS, None),
        ("cuda", TARGETS, None),
        ("trt", RUNTIMES, "tensorrt"),
        ("engine", RUNTIMES, "tensorrt"),
        ("tensorrt_rtx", RUNTIMES, "tensorrt_rtx"),
        ("trt-rtx", RUNTIMES, "tensorrt_rtx"),
        ("tflite", RUNTIMES, "litert"),
        ("cuda", RUNTIMES, "onnxruntime-cuda"),
        ("gpu", RUNTIMES, "onnxruntime-cuda"),
        ("onnxruntime-gpu", RUNTIMES, "onnxruntime-cuda"),
        ("onnx", RUNTIMES, "onnxruntime"),
        ("mlmodel", RUNTIMES, "coreml"),
        ("vulkan", RUNTIMES, "ncnn-vulkan"),
        ("gpu", PROVIDERS, "cuda"),
        ("trt", PROVIDERS, "tensorrt"),
        ("half", ONNX_PRECISIONS, "fp16"),
        ("FP16", ONNX_PRECISIONS, "fp16"),
        ("float32", ONNX_PRECISIONS, "fp32"),
        ("android", KINDS, "adb"),
        ("localhost", KINDS, "local"),
        ("jetson", KINDS, None),
    ],
)
def test_words_that_mean_the_same(word: str, known: dict[str, object], name: str | None) -> None:
    assert meaning(word, known) == name


@pytest.mark.parametrize(
    ("kind", "word", "known", "told"),
    [
        ("export target", "jetson", TARGETS, "--target onnx"),
        ("export target", "android", TARGETS, "--target litert"),
        ("export target", "gpu", TARGETS, "--runtime onnxruntime-cuda"),
        ("runtime", "trt", ["litert", "torch"], "known: litert, torch."),
        ("runtime", "jetson", RUNTIMES, "--device ssh://user@host"),
        ("kind of device", "jetson", KINDS, "ssh://user@host"),
        ("kind of device", "iphone", KINDS, "apple://user@mac"),
        ("command", "Quantize", ["export"], "--precision int8"),
        ("precision of --target coreml", "int8", ["fp32"], "--quantise w8"),
        ("runtime", "torhc", RUNTIMES, "did you mean 'torch'?"),
        ("export target", "tensorrt", TARGETS, "did you mean 'trt'?"),
    ],
)
def test_what_is_offered_is_what_is_meant(
    kind: str, word: str, known: list[str], told: str
) -> None:
    sentence = str(unknown_name(kind, word, known))
    assert sentence.startswith(f"There is no {kind} named '{word}'; ")
    assert told in sentence
    assert sentence.endswith((".", "?"))


def test_a_word_with_a_meaning_is_no_misspelling_of_another() -> None:
    assert nearest("trt", ["litert"]) is None
    assert nearest("trx", ["litert", "trt"]) == "trt"


def test_a_row_has_one_name_of_every_table() -> None:
    for row in SAME:
        for known in (TARGETS, RUNTIMES, PROVIDERS, KINDS, ONNX_PRECISIONS):
            assert len({word for word in row if word in known}) <= 1, row


def test_every_option_that_is_meant_exists() -> None:
    commands = _commands()
    flags = {name: {f for p in one.params for f in p.opts} for name, one in commands.items()}
    for spelling, ours in OPTIONS.items():
        verb, _, flag = spelling.rpartition(" ")
        there = [verb] if verb else list(flags)
        assert any(ours.split()[0] in flags[name] for name in there), spelling
        assert not any(flag in flags[name] for name in there if verb), spelling


def test_every_value_that_is_meant_exists() -> None:
    commands = _commands()
    for spelling, ours in VALUES.items():
        verb, flag, _ = spelling.split(" ")
        flags = {f for one in commands[verb].params for f in one.opts}
        assert {flag, ours.split()[0]} <= flags


def test_every_command_that_is_offered_exists() -> None:
    commands = _commands()
    for kind in ("command", "command of `srdeploy farm`"):
        for word, clause in INSTEAD[kind].items():
            assert word not in commands, word
            offered = [part for part in clause.split("`")[1::2] if "--" not in part.split()[1]]
            for part in offered:
                words = part.split()[1:]
                names = [" ".join(words[:n]) for n in (2, 1)]
                assert any(name in commands for name in names), part


def _commands() -> dict[str, Any]:
    root: Any = typer.main.get_command(app)
    found = dict(root.commands)
    for name in ("bench", "farm"):
        group = found[name]
        found |= {f"{name} {inner}": one for inner, one in group.commands.items()}
        found[name] = getattr(group, "usual", group)
    return found
