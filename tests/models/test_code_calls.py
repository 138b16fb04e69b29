"""What calls ask for, in the ways in which code can write them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from srdeploy.models.code_calls import Site, call, sites

X = torch.arange(2 * 8 * 3 * 4.0).reshape(2, 8, 3, 4)


@pytest.mark.parametrize(
    ("func", "args", "kwargs", "found"),
    [
        (Tensor.view, (X, 2, 8, -1), {}, [Site("reshape", (2, 8, -1))]),
        (torch.reshape, (X, (2, -1)), {}, [Site("reshape", (2, -1))]),
        (Tensor.view, (X, torch.int32), {}, []),
        (Tensor.__getitem__, (X, slice(None, 3)), {}, [Site("slice 0 of 4", (None, 3), 0, 0)]),
        (Tensor.__getitem__, (X, (slice(None), slice(2, None))), {},
         [Site("slice 1 of 4", (2, None), 1, 1)]),
        (Tensor.__getitem__, (X, (0, slice(None, 5), None, slice(1, 2))), {},
         [Site("slice 1 of 4", (None, 5), 0, 1), Site("slice 2 of 4", (1, 2), 2, 3)]),
        (Tensor.__getitem__, (X, (Ellipsis, slice(None, -1))), {},
         [Site("slice 3 of 4", (None, -1), 3, 1)]),
        (Tensor.__getitem__, (X, (slice(None), slice(0, 8, 2))), {}, []),
        (Tensor.__getitem__, (X, [0, 1]), {}, []),
        (Tensor.__getitem__, (X, (True, slice(None, 1))), {}, []),
        (Tensor.__getitem__, (X, torch.zeros(2, dtype=torch.bool)), {}, []),
        (Tensor.narrow, (X, 1, 2, 3), {}, [Site("narrow 1 of 4", (2, 3), 1)]),
        (torch.narrow, (X,), {"dim": -1, "start": 0, "length": 2},
         [Site("narrow 3 of 4", (0, 2), 3)]),
        (Tensor.split, (X, 4), {"dim": 1}, [Site("split each 1 of 4", (4,), 1)]),
        (torch.split, (X,), {"split_size_or_sections": [3, 5], "dim": 1},
         [Site("split 1 of 4", (3, 5), 1)]),
        (torch.split, (X, (1, 1)), {}, [Site("split 0 of 4", (1, 1), 0)]),
        (torch.relu, (X,), {}, []),
    ],
)  # fmt: skip
def test_what_a_call_asks_for(func: Any, args: Any, kwargs: Any, found: list[Site]) -> None:
    said = sites(func, args, kwargs)
    assert all(site.kind.endswith(" at test_what_a_call_asks_for 2") for site in said)
    assert [site._replace(kind=site.kind.split(" at ")[0]) for site in said] == found
    wanted, got = func(*args, **kwargs), call(func, args, kwargs, said)
    parts = ((t if isinstance(t, tuple) else (t,)) for t in (wanted, got))
    for one, other in zip(*parts, strict=True):
        assert torch.equal(one, other)
