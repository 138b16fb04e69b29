from __future__ import annotations

import torch

from srdeploy.models.network import Network
from srdeploy.train.precision import autocast, exact_float32, mixed

CPU = torch.device("cpu")


def test_pixels_stay_in_float32_and_the_body_does_not(tiny: Network) -> None:
    kinds: dict[str, torch.dtype] = {}
    hooks = [
        layer.register_forward_hook(lambda _, __, out, name=name: kinds.update({name: out.dtype}))
        for name, layer in tiny.module.named_modules()
        if isinstance(layer, torch.nn.Conv2d)
    ]
    x = torch.rand(1, 3, 8, 8) * 255
    with torch.no_grad(), mixed(tiny.module, "bf16", CPU), autocast("bf16", CPU):
        low = tiny.module(x)
    for hook in hooks:
        hook.remove()
    pixels = {"sub_mean", "head.0", "tail.0", "add_mean"}
    assert {name for name, kind in kinds.items() if kind == torch.float32} == pixels
    assert all(kinds[name] == torch.bfloat16 for name in kinds.keys() - pixels)
    assert low.dtype == torch.float32
    with torch.no_grad():
        assert float((low - tiny.module(x)).abs().max()) < 1.0


def test_the_module_is_left_as_it_was(tiny: Network) -> None:
    before = {name: set(vars(m)) for name, m in tiny.module.named_modules()}
    with mixed(tiny.module, "bf16", CPU):
        pass
    assert {name: set(vars(m)) for name, m in tiny.module.named_modules()} == before


def test_fp32_is_untouched(tiny: Network) -> None:
    x = torch.rand(1, 3, 8, 8) * 255
    with torch.no_grad():
        expected = tiny.module(x)
        with mixed(tiny.module, "fp32", CPU), autocast("fp32", CPU):
            assert torch.equal(tiny.module(x), expected)


def test_float32_is_exact_on_gpus_within_and_as_it_was_afterwards() -> None:
    flags = torch.backends.cudnn
    before = flags.enabled, flags.benchmark, flags.allow_tf32
    with exact_float32():
        assert (flags.enabled, flags.benchmark, flags.allow_tf32) == (True, True, False)
    assert (flags.enabled, flags.benchmark, flags.allow_tf32) == before


def test_numbers_of_a_precision() -> None:
    for precision, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16)):
        with autocast(precision, CPU):
            assert (torch.rand(2, 2) @ torch.rand(2, 2)).dtype == dtype
    with autocast("fp32", CPU):
        assert (torch.rand(2, 2) @ torch.rand(2, 2)).dtype == torch.float32


def test_a_network_of_one_convolution_is_all_pixels() -> None:
    module = torch.nn.Conv2d(3, 3, 1)
    with torch.no_grad(), mixed(module, "bf16", CPU), autocast("bf16", CPU):
        assert module(torch.rand(1, 3, 2, 2)).dtype == torch.float32
