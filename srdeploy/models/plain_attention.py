"""``torch.nn.MultiheadAttention`` as layers that can be pruned.

torch keeps the three projections in one parameter and does all the rest in one function, which
takes the width of a head, and by it the scale, from the width of its input. Here queries, keys and
values have a layer each, and the scale is a number of its own, so that channels can be removed from
inside the heads (:mod:`srdeploy.pruning.tracing.rules.products`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class PlainAttention(nn.Module):
    """Computes what a module of torch's does, and is called like it.

    Args:
        given: Its projections are copied.
    """

    in_proj_bias = None
    """Tells torch's transformer layers to call the module instead of taking it apart."""

    def __init__(self, given: nn.MultiheadAttention) -> None:
        super().__init__()
        if given._qkv_same_embed_dim:
            weights: list[Tensor] = list(given.in_proj_weight.chunk(3))
        else:
            weights = [given.q_proj_weight, given.k_proj_weight, given.v_proj_weight]
        bias = given.in_proj_bias
        biases = [None] * 3 if bias is None else list(bias.chunk(3))
        trained = any(weight.requires_grad for weight in weights)
        layers = [_linear(*pair, trained) for pair in zip(weights, biases, strict=True)]
        self.queries, self.keys, self.values = layers
        own = given.out_proj
        self.out_proj = _linear(own.weight, own.bias, own.weight.requires_grad)
        self.num_heads, self.scale = given.num_heads, given.head_dim**-0.5
        self.dropout, self.batch_first = given.dropout, given.batch_first
        self._qkv_same_embed_dim = True

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As ``torch.nn.MultiheadAttention``: ``[L, N, E]``, ``[N, L, E]`` or ``[L, E]``.

        Returns:
            What is attended to, and the weights ``[N, L, S]``, per head ``[N, heads, L, S]``, or
            None.
        """
        single, swapped = query.dim() == 2, query.dim() == 3 and not self.batch_first
        if single:
            query, key, value = query[None], key[None], value[None]
            key_padding_mask = None if key_padding_mask is None else key_padding_mask[None]
        elif swapped:
            query, key, value = (t.transpose(0, 1) for t in (query, key, value))
        q, k, v = (
            layer(t).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
            for layer, t in ((self.queries, query), (self.keys, key), (self.values, value))
        )
        weights = (q * self.scale) @ k.transpose(-2, -1)
        if attn_mask is not None:
            if attn_mask.dim() == 3:  # one for each image and head
                attn_mask = attn_mask.unflatten(0, (-1, self.num_heads))
            weights = weights + _added(attn_mask, weights)
        if key_padding_mask is not None:
            weights = weights + _added(key_padding_mask, weights)[:, None, None]
        weights = functional.dropout(weights.softmax(-1), self.dropout, self.training)
        y = self.out_proj((weights @ v).transpose(1, 2).flatten(2))
        told = (weights.mean(1) if average_attn_weights else weights) if need_weights else None
        if single:
            return y[0], None if told is None else told[0]
        return (y.transpose(0, 1) if swapped else y), told


def unpack_attention(module: nn.Module) -> None:
    """Put layers that can be pruned in the place of torch's attention, in place.

    Left as they are: keys and values with a bias of their own (``add_bias_kv``), or with zeros
    (``add_zero_attn``), and classes derived from torch's.
    """
    for owner in list(module.modules()):
        for name, layer in owner._modules.items():
            plain = type(layer) is nn.MultiheadAttention and not layer.add_zero_attn
            if plain and layer.bias_k is None:  # type: ignore[union-attr]
                setattr(owner, name, PlainAttention(layer).train(layer.training))  # type: ignore


def _linear(weight: Tensor, bias: Tensor | None, trained: bool) -> nn.Linear:
    made = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    made.weight = nn.Parameter(weight.detach().clone(), requires_grad=trained)
    if bias is not None:
        made.bias = nn.Parameter(bias.detach().clone(), requires_grad=trained)
    return made


def _added(mask: Tensor, like: Tensor) -> Tensor:
    """A mask as numbers that are added: where it is true, nothing is attended to."""
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill_(mask, -torch.inf)
