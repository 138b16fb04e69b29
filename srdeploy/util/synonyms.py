"""Words that people type for ours: the one table, read wherever a name is looked up."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

SAME: tuple[tuple[str, ...], ...] = (
    # formats, and what runs them
    ("trt", "tensorrt", "engine", "plan"),
    ("trt-rtx", "tensorrt_rtx", "tensorrt-rtx", "rtx"),
    ("litert", "tflite", "tf-lite", "tensorflow-lite"),
    ("coreml", "core-ml", "mlpackage", "mlmodel", "mlprogram"),
    ("onnx", "onnxruntime", "ort", "onnxruntime-cpu"),
    ("onnxruntime-tensorrt", "ort-tensorrt", "ort-trt"),
    ("local?provider=tensorrt", "tensorrt", "trt"),
    ("cuda", "onnxruntime-cuda", "local?provider=cuda", "gpu", "nvidia", "onnxruntime-gpu",
     "ort-cuda", "ort-gpu"),
    ("directml", "onnxruntime-directml", "local?provider=directml", "dml"),
    ("openvino", "local?provider=openvino", "ov"),
    ("ncnn-vulkan", "vulkan"),
    ("torch", "pytorch", "eager"),
    # precisions
    ("fp32", "float32", "float", "f32", "single", "full"),
    ("fp16", "float16", "half", "f16"),
    ("bf16", "bfloat16"),
    ("dynamic", "dynamic-range", "drq", "weight-only"),
    ("int8", "i8", "8bit", "8-bit", "quantized", "quantised"),
    # devices
    ("local", "localhost", "here", "cpu", "local?provider=cpu"),
    ("adb", "android"),
    ("browser", "web", "wasm", "webgpu"),
    # pruning and quality
    ("l1", "magnitude", "l1-norm"),
    ("l2", "l2-norm"),
    ("fpgm", "geometric-median"),
    ("rgb", "color", "colour"),
    ("jpeg", "jpg"),
    ("tiff", "tif"),
)  # fmt: skip
"""Words of a row mean the same; of each table of names, one of them is the name."""

INSTEAD: dict[str, dict[str, str]] = {
    "command": {
        **dict.fromkeys(
            ("quantize", "quantise"),
            "write `srdeploy export FILE --precision int8`, or train for it with "
            "`srdeploy finetune FILE --quantise int8`",
        ),
        **dict.fromkeys(
            ("convert", "save", "build"),
            "write `srdeploy export` (a network becomes an artifact) or `srdeploy import` (a "
            "foreign checkpoint becomes a network)",
        ),
        **dict.fromkeys(
            ("benchmark", "measure", "time", "latency", "perf"), "write `srdeploy bench`"
        ),
        **dict.fromkeys(
            ("test", "evaluate", "psnr", "validate", "quality", "metrics"), "write `srdeploy eval`"
        ),
        **dict.fromkeys(
            ("infer", "inference", "predict", "upsample", "enlarge", "superresolve", "sr"),
            "write `srdeploy upscale`",
        ),
        **dict.fromkeys(("load", "open"), "write `srdeploy import`"),
        **dict.fromkeys(
            ("info", "show", "summary", "describe", "stats"), "write `srdeploy inspect`"
        ),
        **dict.fromkeys(("list", "ls", "models"), "write `srdeploy zoo`"),
        **dict.fromkeys(("retrain", "tune", "fine-tune", "recover"), "write `srdeploy finetune`"),
        **dict.fromkeys(("sparsify", "slim", "compact", "compress"), "write `srdeploy prune`"),
        "diff": "write `srdeploy compare`",
        **dict.fromkeys(("check", "env", "setup"), "write `srdeploy doctor`"),
        **dict.fromkeys(("history", "story"), "write `srdeploy explain`"),
        **dict.fromkeys(("pipeline", "line"), "write `srdeploy run`"),
        "version": "write `srdeploy --version`",
        "help": "write `srdeploy --help`",
    },
    "command of `srdeploy farm`": dict.fromkeys(
        ("list", "ls", "status"), "write `srdeploy farm devices`"
    )
    | {"start": "write `srdeploy farm scheduler` on one host, `srdeploy farm worker` on each"},
    "export target": {
        "jetson": "a Jetson builds its engine itself, from --target onnx: `srdeploy bench FILE "
        "--device ssh://user@host` does it",
        **dict.fromkeys(
            ("android", "phone"), "phones run --target onnx (`--device adb`) and --target litert"
        ),
        **dict.fromkeys(("ios", "iphone", "ane", "apple"), "Apple's devices run --target coreml"),
        **dict.fromkeys(
            ("cuda", "gpu", "nvidia", "onnxruntime-gpu"),
            "NVIDIA's GPUs run --target onnx (`--runtime onnxruntime-cuda`) and --target trt",
        ),
        **dict.fromkeys(("openvino", "directml"), "it reads what --target onnx writes"),
    },
    "runtime": {
        "jetson": "a board is a device: `--device ssh://user@host`",
        "android": "a phone is a device: `--device adb`",
        "cpu": "onnxruntime, openvino and torch run on the CPU",
    },
    "kind of device": {
        "jetson": "write its address: ssh://user@host",
        **dict.fromkeys(("phone", "mobile"), "write adb (Android), or browser for any phone"),
        **dict.fromkeys(
            ("iphone", "ios", "ipad", "mac", "ane", "coreml"),
            "write apple://user@mac?device=NAME",
        ),
    },
    "precision of --target coreml": dict.fromkeys(
        ("int8", "w8", "a8", "w8a8"),
        "its 8-bit forms are --quantise w8 (weights), a8 (inputs) and w8a8",
    ),
    "option": {
        **{
            f"{verb} {flag}": "the precision lies in the file: `srdeploy export FILE --precision "
            f"{precision}`"
            for verb in ("bench", "eval", "compare", "upscale", "bench compare")
            for flag, precision in (
                *(("--precision", "int8"), ("--int8", "int8")),
                *(("--fp16", "fp16"), ("--half", "fp16")),
            )
        },
        **dict.fromkeys(
            ("eval --device", "upscale --device", "prune --device", "finetune --device"),
            "it runs on this machine; `srdeploy bench FILE --device URI` runs elsewhere",
        ),
        "--epochs": "training counts --iterations",
        "--resume": "the same command resumes; --fresh starts over",
        "export --device": "--target says what it becomes, `srdeploy bench FILE --device URI` runs "
        "it there",
    },
}
"""Words that are none of ours -> by kind of name, what to type."""

OPTIONS: dict[str, str] = {
    # what srdeploy 0.1 called otherwise
    "finetune --data": "--train-data",
    "finetune --eval": "--eval-data",
    "report --images": "--eval-data",
    "prune --finetune": "--iterations",
    "rebuild --on": "--device",
    "bench sparse --repeats": "--runs",
    "--data": "--eval-data",
    # what others call otherwise
    **dict.fromkeys(("--dataset", "--test-data", "--val-data"), "--eval-data"),
    **dict.fromkeys(("--sparsity", "--amount", "--prune-ratio", "--pruning-ratio"), "--ratio"),
    **dict.fromkeys(("--half", "--fp16"), "--precision fp16"),
    "--bf16": "--precision bf16",
    "finetune --int8": "--quantise int8",
    "--int8": "--precision int8",
    **dict.fromkeys(("--quantize", "--quantization", "--quant"), "--quantise"),
    **dict.fromkeys(("--dtype", "--data-type"), "--precision"),
    **dict.fromkeys(("--iters", "--steps", "--max-iterations"), "--iterations"),
    "--learning-rate": "--lr",
    "--batch-size": "--batch",
    "--patch-size": "--patch",
    "--output-dir": "--output",
    "--out": "--output",
    **dict.fromkeys(("--size", "--shape", "--input-size", "--input-shape"), "--input"),
    **dict.fromkeys(("--calib", "--calibration-data"), "--calibration"),
    "--num-threads": "--threads",
    "--provider": "--runtime",
    **dict.fromkeys(("--gpu", "--cuda"), "--runtime onnxruntime-cuda"),
    "--architecture": "--arch",
    "--factor": "--scale",
}
"""Other spellings of options, of one command or of all -> ours, with the value they stand for."""

VALUES: dict[str, str] = {
    "finetune --precision int8": "--quantise int8",
    "export --quantise int8": "--precision int8",
}
"""Options with a value that means what another option says -> that one."""


def meaning(word: str, known: Iterable[str]) -> str | None:
    """The name among ``known`` that a word means: itself, in other letters, or a synonym's."""
    names = list(known)
    if word in names:
        return word
    spelled = {_folded(name): name for name in names}
    if (own := _folded(word)) in spelled:
        return spelled[own]
    same = (other for row in SAME if own in map(_folded, row) for other in row)
    return next((other for other in same if other in names), None)


def instead(kind: str, word: str) -> str | None:
    """What to type in place of a word that is no name of that kind, as a clause."""
    return INSTEAD.get(kind, {}).get(_folded(word) if kind != "option" else word)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The name that a word means, or else is a misspelling of.

    A word that means something is no misspelling of another: ``trt`` is not ``litert``.
    """
    names = sorted(known)
    if (found := meaning(word, names)) is not None:
        return found
    if any(_folded(word) == _folded(one) for row in SAME for one in row):
        return None
    return next(iter(get_close_matches(word, names, n=1, cutoff=0.6)), None)


def _folded(word: str) -> str:
    return word.strip().lower().replace("_", "-").replace(" ", "-")
