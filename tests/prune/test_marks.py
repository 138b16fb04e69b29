"""Marks are kept small, and say of each element what the full tensors would."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from srdeploy.prune.marks import Axis, Marks


def test_constant_dimensions_have_size_one() -> None:
    labels = torch.arange(1.0, 4.0).view(1, 3, 1, 1).expand(2, 3, 4, 5)
    marks = Marks.of(labels, torch.ones(2, 3, 4, 5))
    assert (marks.labels.shape, marks.clean.shape) == ((1, 3, 1, 1), (1, 1, 1, 1))
    assert marks.shape == (2, 3, 4, 5)
    assert torch.equal(marks.full_labels(), labels)
    assert torch.equal(marks.full_clean(), torch.ones(2, 3, 4, 5))


def test_what_varies_is_kept() -> None:
    labels = torch.randint(0, 3, (2, 3, 4)).double()
    labels[0, 0], labels[1, 1] = torch.arange(4), torch.arange(4).flip(0)
    clean = torch.zeros(2, 3, 4)
    clean[:, 1] = 1
    marks = Marks.of(labels, clean)
    assert torch.equal(marks.full_labels(), labels)
    assert torch.equal(marks.full_clean(), clean)
    assert marks.clean.shape == (1, 3, 1)
    assert marks.clean_channels(1).tolist() == [0, 1, 0]
    assert marks.clean_channels(0).tolist() == [0, 0]
    assert np.array_equal(marks.nodes(), marks.labels.numpy())


def test_one_unclean_element_makes_its_channel_so() -> None:
    clean = torch.ones(1, 2, 3, 3)
    clean[0, 1, 2, 0] = 0
    marks = Marks.of(torch.zeros(1, 2, 3, 3), clean)
    assert marks.clean_channels(1).tolist() == [1, 0]


def test_lower_dimensional_tensors_lie_at_the_end() -> None:
    marks = Marks.of(torch.tensor([1.0, 2.0]), torch.tensor(1.0), torch.Size([3, 4, 2]))
    assert marks.labels.shape == (1, 1, 2)
    assert marks.full_labels()[2, 3].tolist() == [1.0, 2.0]


@pytest.mark.parametrize("clean", [None, torch.tensor([1.0, 0.0, 1.0])])
def test_channels_of_one_dimension(clean: torch.Tensor | None) -> None:
    nodes = np.array([4, 5, 6])
    marks = Marks.broadcast(nodes, 1, torch.Size([2, 3, 7]), clean)
    assert marks.full_labels()[1, :, 6].tolist() == [4, 5, 6]
    wanted = [1.0, 1.0, 1.0] if clean is None else clean.tolist()
    assert marks.full_clean()[1, :, 6].tolist() == wanted


def test_the_layer_of_an_axis() -> None:
    assert Axis("body.0.weight", 0, "out").layer == "body.0"
    assert Axis("scale", 0, "along").layer == "scale"
