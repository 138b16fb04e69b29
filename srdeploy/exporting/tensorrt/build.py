"""ONNX -> TensorRT engine: parsed, typed by the ONNX, built, read back, refused if it differs.

Any ONNX file with one image in and one out will do. Nothing here chooses a precision: the ONNX
holds it, the parser tells it (:func:`convolution_precisions`), and a request for another one is
refused before the build.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.tensorrt.accept import require_onnx
from srdeploy.exporting.tensorrt.inspect import (
    BuiltLayer,
    contradiction,
    count_layers,
    layers_of_json,
    layers_of_log,
)
from srdeploy.exporting.tensorrt.toolkit import Toolkit, load_toolkit, parser_errors, refusal
from srdeploy.runtime.tensorrt.cuda import Gpu, find_gpu
from srdeploy.runtime.tensorrt.sidecar import ShapeProfile, Tensor
from srdeploy.util.files import atomic_path

_DTYPES = {
    **{"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16", "INT8": "int8"},
    **{"FP8": "float8", "INT32": "int32", "INT64": "int64", "BOOL": "bool", "UINT8": "uint8"},
}
_PRECISIONS = {"FLOAT": "fp32", "HALF": "fp16", "BF16": "bf16", "INT8": "int8", "FP8": "fp8"}
_ENDS = ("float32", "float16")


@dataclass(frozen=True)
class BuildRequest:
    """What to build.

    Attributes:
        builder: ``tensorrt`` or ``tensorrt_rtx``.
        profile: Input shapes.
        precision: What the ONNX must hold: ``fp32``, ``fp16``, ``bf16``, ``int8`` (the first for
            all convolutions, the others for at least one), ``mixed`` (several); None for any.
        capabilities: Compute capabilities to build for; TensorRT-RTX only.
        workspace_mb: Limit of scratch memory, MiB; None for TensorRT's own.
        tf32: Let fp32 convolutions round their factors to 10 bits (faster from Ampere on).
        timing_cache: File of kernel timings, read and updated; ``tensorrt`` only.
    """

    builder: str
    profile: ShapeProfile
    precision: str | None = None
    capabilities: tuple[str, ...] = ()
    workspace_mb: int | None = None
    tf32: bool = False
    timing_cache: Path | None = None


@dataclass(frozen=True)
class Built:
    """A finished engine and what is known of it.

    Attributes:
        engine: The serialised engine.
        version: The builder's version.
        convolutions: How many the ONNX has in each precision.
        input: The engine's input.
        output: Its output.
        capabilities: Compute capabilities it runs on.
        gpu: The GPU it was built with, None without one.
        layers: Built layers by precisions.
        verified: It was loaded and read back.
        verification: How far it is known to be what was asked.
        warnings: What TensorRT warned of.
    """

    engine: bytes
    version: str
    convolutions: dict[str, int]
    input: Tensor
    output: Tensor
    capabilities: tuple[str, ...]
    gpu: Gpu | None
    layers: dict[str, int]
    verified: bool
    verification: str
    warnings: list[str] = field(default_factory=list)

    @property
    def precision(self) -> str:
        """One precision, or ``mixed``."""
        return next(iter(self.convolutions)) if len(self.convolutions) == 1 else "mixed"


def build_engine(
    model: bytes, request: BuildRequest, *, toolkit: Toolkit | None = None, gpu: Gpu | None = None
) -> Built:
    """Build an engine.

    Args:
        model: A serialised ONNX model.
        request: What to build.
        toolkit: The TensorRT to build with; default: the request's.
        gpu: The GPU here; default: looked up.

    Raises:
        UserError: the model is no ONNX or not of the precision asked for, shapes do not suit it, or
            TensorRT is missing.
        SrdeployError: TensorRT cannot build it, or what it built is not what was asked.
    """
    require_onnx(model, "the model")
    toolkit = toolkit or load_toolkit(request.builder)
    gpu = gpu or find_gpu()
    builder = toolkit.api.Builder(toolkit.logger)
    network = toolkit.create_network(builder)
    parser = toolkit.parser(network)
    if not parser.parse(model) or not network.num_layers:
        reasons = parser_errors(parser) or [toolkit.log.reason()]
        raise refusal(f"{toolkit.name} {toolkit.version}", reasons)
    ends = _ends(network)
    convolutions = convolution_precisions(toolkit, network)
    check_precision(request.precision, convolutions)
    config = _configure(toolkit, builder, network, request, convolutions)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise _not_built(toolkit, request)
    _save_timings(config, request)
    built = Built(
        engine=bytes(plan),
        version=toolkit.version,
        convolutions=convolutions,
        input=ends[0],
        output=ends[1],
        capabilities=request.capabilities or ((gpu.capability,) if gpu else ()),
        gpu=gpu,
        layers={},
        verified=False,
        verification="",
        warnings=list(toolkit.log.warnings),
    )
    return _verify(toolkit, built, request)


def convolution_precisions(toolkit: Toolkit, network: Any) -> dict[str, int]:
    """Convolutions of a parsed network by the precision that its ONNX gives them.

    A convolution whose input was dequantised counts as int8 (or fp8): TensorRT fuses the two.
    """
    kinds = toolkit.api.LayerType
    counted: Counter[str] = Counter()
    dequantised: dict[str, str] = {}
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.type == kinds.DEQUANTIZE:
            source = _name(layer.get_input(0).dtype)
            dequantised[layer.get_output(0).name] = _PRECISIONS.get(source, source.lower())
        elif layer.type in (kinds.CONVOLUTION, kinds.DECONVOLUTION):
            tensor = layer.get_input(0)
            kind = _name(tensor.dtype)
            counted[dequantised.get(tensor.name) or _PRECISIONS.get(kind, kind.lower())] += 1
    if not counted:
        raise SrdeployError("The network has no convolution, so it has no precision either.")
    return dict(sorted(counted.items()))


def check_precision(asked: str | None, found: dict[str, int]) -> None:
    """See that an ONNX has its convolutions in what was asked for.

    Args:
        asked: A precision, ``mixed``, or None for any.
        found: Convolutions by precision.

    Raises:
        UserError: it has them otherwise.
    """
    # Of a network that bears it everywhere, mixed is int8.
    mixed = len(found) > 1 or "int8" in found
    fits = {None: True, "fp32": set(found) == {"fp32"}, "mixed": mixed}
    if not fits.get(asked, asked in found):
        there = ", ".join(f"{count} in {kind}" for kind, count in found.items())
        raise UserError(
            f"{asked} was asked, but the ONNX has its convolutions otherwise ({there}), and "
            f"TensorRT takes precisions from nowhere else; export the ONNX in {asked} first."
        )


def _not_built(toolkit: Toolkit, request: BuildRequest) -> SrdeployError:
    reason = toolkit.log.reason()
    scarce = "OutOfMemory" in reason or "within workspace limit" in reason
    if request.workspace_mb is not None and scarce:
        asked = re.search(r"Requested size was (\d+) bytes", reason)
        needed = f"{-(-int(asked[1]) >> 20)} MiB" if asked else "more"
        return UserError(
            f"The engine needs {needed} of scratch memory, and --workspace {request.workspace_mb} "
            "is the limit; raise it, leave it out, or lower the largest --input."
        )
    return SrdeployError(f"{toolkit.name} cannot build the network: {reason}.")


def _ends(network: Any) -> tuple[Tensor, Tensor]:
    if network.num_inputs != 1 or network.num_outputs != 1:
        raise UserError(
            f"The ONNX has {network.num_inputs} inputs and {network.num_outputs} outputs; a "
            "super-resolution network has one image of each."
        )
    return _end(network.get_input(0)), _end(network.get_output(0))


def _end(tensor: Any) -> Tensor:
    dtype, shape = _DTYPES.get(_name(tensor.dtype), "unknown"), tuple(tensor.shape)
    if dtype not in _ENDS or len(shape) != 4:
        raise UserError(
            f"'{tensor.name}' of the ONNX is {dtype} of shape {list(shape)}; srdeploy runs engines "
            "with float ends [N, C, H, W]."
        )
    return Tensor(name=tensor.name, dtype=dtype, shape=shape)


def _configure(
    toolkit: Toolkit,
    builder: Any,
    network: Any,
    request: BuildRequest,
    convolutions: dict[str, int],
) -> Any:
    api = toolkit.api
    config = builder.create_builder_config()
    config.profiling_verbosity = api.ProfilingVerbosity.DETAILED
    if request.workspace_mb is not None:
        config.set_memory_pool_limit(api.MemoryPoolType.WORKSPACE, request.workspace_mb << 20)
    (config.set_flag if request.tf32 else config.clear_flag)(api.BuilderFlag.TF32)
    if not toolkit.strongly_typed:
        _allow_precisions(api, config, network, convolutions)
    if toolkit.rtx:
        config.num_compute_capabilities = len(request.capabilities)
        for index, name in enumerate(request.capabilities):
            member = f"SM{name.replace('.', '')}"
            config.set_compute_capability(getattr(api.ComputeCapability, member), index)
    elif request.timing_cache is not None:
        _load_timings(config, request.timing_cache)
    _add_profile(builder, config, network.get_input(0), request.profile)
    return config


def _add_profile(builder: Any, config: Any, tensor: Any, profile: ShapeProfile) -> None:
    for shape in (profile.min, profile.opt, profile.max):
        fits = zip(tuple(tensor.shape), shape, strict=True)
        if any(fixed not in (-1, n) for fixed, n in fits):
            raise UserError(
                f"The ONNX takes {'x'.join('?' if n == -1 else str(n) for n in tensor.shape)}, "
                f"not {'x'.join(str(n) for n in shape)}."
            )
    made = builder.create_optimization_profile()
    made.set_shape(tensor.name, profile.min, profile.opt, profile.max)
    if config.add_optimization_profile(made) < 0:
        raise UserError(f"TensorRT refuses input shapes from {profile.min} to {profile.max}.")


def _allow_precisions(api: Any, config: Any, network: Any, convolutions: dict[str, int]) -> None:
    # TensorRT 8: without these flags half-precision layers are run in fp32, or not at all.
    for kind in set(convolutions) - {"fp32"}:
        member = getattr(api.BuilderFlag, kind.upper(), None)
        if member is None:
            raise UserError(f"This TensorRT has no {kind}; use version 10 or later.")
        config.set_flag(member)
    config.set_flag(api.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.type in (api.LayerType.CONVOLUTION, api.LayerType.DECONVOLUTION):
            layer.precision = layer.get_input(0).dtype


def _load_timings(config: Any, path: Path) -> None:
    held = path.read_bytes() if path.is_file() else b""
    cache = config.create_timing_cache(held)
    if cache is None or not config.set_timing_cache(cache, False):  # foreign or damaged: start anew
        config.set_timing_cache(config.create_timing_cache(b""), False)


def _save_timings(config: Any, request: BuildRequest) -> None:
    if request.timing_cache is not None and (cache := config.get_timing_cache()) is not None:
        with atomic_path(request.timing_cache) as temporary:
            temporary.write_bytes(bytes(cache.serialize()))


def _verify(toolkit: Toolkit, built: Built, request: BuildRequest) -> Built:
    """Read the engine back where a GPU allows it, else trust the builder's own list of layers."""
    gpu = built.gpu
    if gpu is not None and gpu.capability in built.capabilities:
        layers = _read_back(toolkit, built, request)
        verified, how = True, "the engine inspector's list of layers was read from the engine"
    else:
        layers, verified = layers_of_log(toolkit.log.layers), False
        why = (
            "loading it needs an NVIDIA driver, and there is none here"
            if gpu is None
            else f"it is not for the {gpu.name} here"
        )
        how = (
            f"not verified: the engine was not loaded ({why}); the builder's list of layers agrees"
        )
    if not layers:
        if verified or toolkit.rtx:
            how = how.split(";")[0] + "; no list of layers was to be had"
        return replace(built, verified=False, verification=how)
    if wrong := contradiction(layers, built.convolutions):
        raise SrdeployError(
            f"{toolkit.name} {toolkit.version} built something else than was asked: {wrong}; the "
            "engine was thrown away."
        )
    return replace(built, layers=count_layers(layers), verified=verified, verification=how)


def _read_back(toolkit: Toolkit, built: Built, request: BuildRequest) -> list[BuiltLayer]:
    api = toolkit.api
    runtime = api.Runtime(toolkit.logger)
    engine = runtime.deserialize_cuda_engine(built.engine)
    if engine is None:
        raise SrdeployError(
            f"{toolkit.name} cannot load the engine it has just built: {toolkit.log.reason()}."
        )
    found = {}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        found[name] = _DTYPES.get(_name(engine.get_tensor_dtype(name)), "unknown")
    for end in (built.input, built.output):
        if found.get(end.name) != end.dtype:
            raise SrdeployError(
                f"The engine's ends are {sorted(found)}, where '{end.name}' of {end.dtype} was "
                "asked; the engine was thrown away."
            )
    shapes = [tuple(s) for s in engine.get_tensor_profile_shape(built.input.name, 0)]
    profile = request.profile
    if shapes != [profile.min, profile.opt, profile.max]:
        raise SrdeployError(
            f"The engine takes {shapes}, where {profile} was asked; the engine was thrown away."
        )
    inspector = engine.create_engine_inspector()
    return layers_of_json(inspector.get_engine_information(api.LayerInformationFormat.JSON))


def _name(member: Any) -> str:
    """Name of an enumeration's member, whatever binding made it."""
    return str(member).rsplit(".", 1)[-1]
