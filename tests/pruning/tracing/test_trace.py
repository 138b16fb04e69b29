"""Networks that are refused in one sentence, what is kept whole, and what is followed."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations

from srdeploy.compacting.surgery import compact
from srdeploy.errors import UserError
from srdeploy.models.count import count
from srdeploy.pruning.tracing.channel_labels import UnsupportedOperationError
from srdeploy.pruning.tracing.groups import find_groups
from srdeploy.pruning.tracing.trace import trace
from tests.pruning.helpers import group_with, groups_of, random_plan, user_network

HERE = "the network's own forward"


class Custom(nn.Module):
    """Two 1x1 convolutions around whatever ``middle(self, y)`` does."""

    def __init__(self, middle=lambda n, y: y, c=8):
        super().__init__()
        self.a, self.b, self.middle = nn.Conv2d(3, c, 1), nn.Conv2d(c, 3, 1), middle

    def forward(self, x):
        return self.b(self.middle(self, self.a(x)))


def refused(module, match, kind=UserError):
    with pytest.raises(kind, match=match) as error:
        groups_of(module)
    assert "\n" not in str(error.value)


def kept(module, *told):
    """What ``a`` issues stays, because of the operations named here."""
    grouping = groups_of(module)
    group = group_with(grouping, "a")
    assert group.status == "untouchable"
    assert set(told) <= {(operation, place) for operation, place, _ in grouping.not_followed}
    return group.why[0]


def test_weight_normalisation_keeps_what_it_reads():
    net = Custom()
    parametrizations.weight_norm(net.b)
    norm = "_weight_norm_interface", "'b.parametrizations.weight.0'"
    why = kept(net, norm, ("convolution", "'b'"))
    assert why == "read by convolution (a weight that is computed, not stored) in 'b'"


@pytest.mark.filterwarnings("ignore")
def test_old_weight_normalisation_keeps_what_it_reads():
    net = Custom()
    nn.utils.weight_norm(net.b)
    kept(net, ("_weight_norm_interface", HERE), ("convolution", "'b'"))


def test_scripted_and_compiled_modules():
    net = Custom()
    net.middle = None
    inner = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 3, 1))
    refused(torch.jit.script(inner), "The network is compiled or scripted")
    refused(nn.Sequential(torch.compile(inner)), r"Layer '0' is compiled or scripted \(Optimized")


def test_half_precision_parameters():
    refused(Custom().half(), "'a.weight' is of type float16")
    refused(Custom().bfloat16(), "bfloat16")


class Returns(Custom):
    def forward(self, x):
        return {"sr": super().forward(x), "lr": x}


class NeedsMore(Custom):
    def forward(self, x, noise_level):
        return super().forward(x * noise_level)


def test_outputs_and_inputs_that_are_not_one_image():
    refused(Returns(), "returns a dict, not an image")
    refused(NeedsMore(), "the network's own forward fails .*noise_level")


def test_a_layer_that_fails_is_named():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.Conv2d(5, 3, 1)))
    refused(net, r"'1\.0' fails")


def test_data_dependent_values():
    refused(
        Custom(lambda n, y: y if float(y.max()) > 0 else -y),
        "'_local_scalar_dense' in the network's own forward .*read into Python",
        UnsupportedOperationError,
    )
    for middle, operation in (
        (lambda n, y: y[y > 0].mean() * y, "nonzero|index"),
        (lambda n, y: y * len(torch.unique(y.round())), "_unique2"),
        (lambda n, y: y if torch.equal(y, y.abs()) else -y, "equal"),
    ):
        refused(Custom(middle), operation, UnsupportedOperationError)


def test_a_parameter_that_decides_is_kept():
    net = Custom(lambda n, y: y * n.gamma if float(n.gamma.abs().max()) > 0 else y)
    net.gamma = nn.Parameter(torch.ones(1, 8, 1, 1))
    kept(net, ("_local_scalar_dense", HERE))


def test_a_parameter_that_is_written_into_is_refused():
    def middle(n, y):
        n.memory.copy_(y.mean((0, 2, 3)))
        return y * n.memory.view(1, -1, 1, 1)

    net = Custom(middle)
    net.register_buffer("memory", torch.ones(8))
    refused(net, "'copy' .*writes into a parameter or buffer", UnsupportedOperationError)


@pytest.mark.parametrize(
    ("middle", "operation"),
    [
        (lambda n, y: torch.einsum("nchw,nchw->nchw", y, y).cumsum(1), "cumsum"),
        (lambda n, y: y[:, y.mean((0, 2, 3)).argsort()], "sort"),
        (lambda n, y: torch.cummax(torch.cummax(y, 1)[0], 1)[0], "cummax"),
        (lambda n, y: y * (y.mean((2, 3)) @ torch.rand(8, 8)).view(1, 8, 1, 1), "mm"),
        (lambda n, y: y * F.conv2d(y, n.b.weight.mean(0, keepdim=True)), "convolution"),
        (lambda n, y: F.pad(y, (1, 1, 1, 1), mode="circular"), "copy"),
        (lambda n, y: torch.add(y, 1, out=torch.empty_like(y)), "add"),
    ],
)  # fmt: skip
def test_what_cannot_be_followed_is_kept_and_named(middle, operation):
    assert f"read by {operation} (" in kept(Custom(middle), (operation, HERE))


def test_writing_into_part_of_a_tensor():
    def middle(n, y):
        y = y.clone()
        y[..., :2] = 0.5
        return y

    kept(Custom(middle), ("fill", HERE))


def test_change_in_place_behind_a_view():
    def middle(n, y):
        z = y.view(y.shape)
        y.sigmoid_()
        return z

    assert "memory that other tensors share" in kept(Custom(middle), ("sigmoid", HERE))


def test_one_weight_in_both_directions():
    def middle(n, y):
        return F.conv_transpose2d(F.conv2d(y, n.c.weight), n.c.weight)

    net = Custom(middle)
    net.c = nn.Conv2d(8, 5, 1, bias=False)
    assert "dimension 0 of 'c.weight'" in kept(net, ("convolution", HERE))
    assert group_with(groups_of(net), "c").status == "untouchable"


def test_a_layer_behind_what_is_kept_can_be_pruned():
    net = Custom(lambda n, y: n.d(F.relu(n.c(y.cumsum(1)))))
    net.c, net.d = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
    found = groups_of(net)
    assert {g.layers[0]: g.status for g in found.groups} == {
        "a": "untouchable", "c": "free", "d": "free", "b": "untouchable"
    }  # fmt: skip


def test_what_is_kept_could_be_anything_on_another_image():
    """It is zero on this one: relu(-1e3 + cumsum)."""

    def middle(n, y):
        return n.c(y) + F.relu(y.cumsum(1) - 1e3)[:, :1]

    net = Custom(middle)
    net.c = nn.Conv2d(8, 8, 1)
    assert group_with(groups_of(net), "c").why == [
        "removed, it would not be zero where 'b' reads it"
    ]


@pytest.mark.parametrize(
    "middle",
    [
        lambda n, y: F.interpolate(y, size=(9, 9)),
        lambda n, y: nn.Upsample(scale_factor=2, mode="bicubic")(y),
        lambda n, y: F.leaky_relu_(y, 0.1),
        lambda n, y: F.hardswish(y, inplace=True),
        lambda n, y: torch.cat(torch.unbind(y, 0)).unsqueeze(0),
        lambda n, y: y.flatten(1).unflatten(1, (-1, *y.shape[2:])) * 1.0,
        lambda n, y: y.repeat_interleave(2, 2),
        lambda n, y: y.flip(3).transpose(2, 3).contiguous(),
        lambda n, y: torch.atleast_3d(y[0])[None],
        lambda n, y: y.to(torch.float64).float(),
        lambda n, y: y * y.new_full((1,), 2.0) + torch.zeros_like(y),
        lambda n, y: y.masked_fill(y < 0, 0.0),
        lambda n, y: F.normalize(y, dim=(2, 3)),
        lambda n, y: F.dropout(y, 0.5, training=False),
        lambda n, y: y.unsqueeze(2).amax(2),
        lambda n, y: y[..., ::2, 1:],
        lambda n, y: torch.logaddexp(y, y) - torch.logaddexp(y, y),
        lambda n, y: 1.0 - y,
    ],
)
def test_forms_of_operations_that_are_followed(middle):
    network = user_network(lambda: Custom(middle))
    grouping = find_groups(network)
    removable = group_with(grouping, "a").status != "untouchable"
    plan = random_plan(grouping, 3)
    assert removable == bool(plan.keep)
    if removable:
        proof = compact(network, plan).card.proof
        assert proof["max_difference"] <= proof["tolerance"] <= 2e-5


def test_convolutions_of_other_dimensions_are_followed():
    class Lines(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv1d(3, 6, 3, padding=1), nn.Conv3d(6, 4, 1)
            self.pool, self.c = nn.MaxPool1d(3, 1, 1), nn.Conv2d(4, 3, 1)

        def forward(self, x):
            y = self.pool(F.relu(self.a(x.flatten(2)))).view(1, -1, 1, *x.shape[2:])
            return self.c(self.b(y).squeeze(2))

    network = user_network(Lines)
    small = compact(network, random_plan(find_groups(network), 0))
    assert small.card.widths["a"] < 6
    assert small.card.widths["b"] < 4


def test_tied_weights_stay_tied():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
            self.c.weight, self.d = self.b.weight, nn.Conv2d(8, 3, 1)

        def forward(self, x):
            return self.d(F.relu(self.c(F.relu(self.b(self.a(x))))))

    network = user_network(Tied)
    grouping = find_groups(network)
    # What the second use reads is what the first issues, and both read through the same columns.
    assert group_with(grouping, "b").status == "coupled"
    small = compact(network, random_plan(grouping, 0))
    assert small.module.b.weight is small.module.c.weight
    assert small.card.widths["b"] == small.card.widths["c"] < 8
    assert count(small).params < count(network).params


def test_networks_that_need_a_larger_image_are_traced_on_one():
    class Deep(Custom):
        def forward(self, x):
            return super().forward(F.avg_pool2d(x, 20).repeat_interleave(20, 2))

    assert group_with(groups_of(Deep()), "a").status == "free"


def test_luma_network_traces_too():
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1))
    found = trace(net, torch.rand(1, 1, 8, 8))
    assert len(found.axes) == 6 - 1  # a bias of one number has no channels to cut


@pytest.mark.parametrize("chunk", [torch.chunk, torch.Tensor.chunk])
def test_chunks_by_function_and_by_method(chunk):
    def middle(n, y):
        first, second = chunk(y, 2, 1)
        return torch.cat([first * second, second], 1)

    group = group_with(groups_of(Custom(middle)), "a")
    assert (group.status, len(group.atoms)) == ("coupled", 4)


@pytest.mark.parametrize(
    ("shape", "seen"),
    [
        ((8,), lambda y, gamma: (y.transpose(1, 3) * gamma.t()).transpose(1, 3)),
        ((1, 1, 8, 1), lambda y, gamma: y * gamma.permute(3, 2, 1, 0)),
        ((8, 1), lambda y, gamma: (y.flatten(2) * gamma).view(y.shape)),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_numbers_per_channel_are_followed_however_they_are_turned(shape, seen):
    """Only two-dimensional ones may be the weights of a linear layer, which are taken apart."""
    net = Custom(lambda n, y: seen(y, n.gamma))
    net.gamma = nn.Parameter(torch.ones(shape))
    group = group_with(groups_of(net), "a")
    assert group.status == "free"
    assert "gamma" in {axis.tensor for axis in group.atoms[0].members}


def test_activations_that_are_transposed_are_no_weights():
    def middle(n, y):
        return y * torch.sigmoid(y.mean((2, 3)).t().t())[:, :, None, None]

    assert group_with(groups_of(Custom(middle)), "a").status == "free"


def test_whole_numbers_among_the_parameters():
    net = Custom()
    net.steps = nn.Parameter(torch.arange(3), requires_grad=False)
    assert group_with(groups_of(net), "a").status == "free"


def test_a_network_that_switches_to_inference_mode_itself():
    """Then torch hands its operations on whole: a convolution is a conv2d, a layer a linear."""

    class Inferring(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 6, 1, bias=False)
            self.l, self.c = nn.Linear(6, 4), nn.Conv2d(4, 3, 1)

        def forward(self, x):
            with torch.inference_mode():
                y = F.relu(self.b(F.relu(self.a(x)))).permute(0, 2, 3, 1)
                return self.c(F.relu(self.l(y)).permute(0, 3, 1, 2))

    found = groups_of(Inferring())
    assert {g.layers[0]: g.status for g in found.groups} == {
        "a": "free", "b": "free", "l": "free", "c": "untouchable"
    }  # fmt: skip


def test_every_place_where_channels_are_tied_or_kept_is_an_event():
    net = Custom(lambda n, y: torch.sigmoid(F.relu(y) + y))
    events = trace(net, torch.rand(1, 3, 8, 8)).events
    here = "the network's own forward"
    assert events == [
        ("'a'", "convolution"), (here, "sigmoid"), ("'b'", "convolution")
    ]  # fmt: skip
