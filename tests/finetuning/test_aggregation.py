# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn.encoding._pooling import fuse
from sleep2vec_sklearn.encoding.cache import EncodedModality
from sleep2vec_sklearn.finetuning._heads import build_aggregation, fill_gaps
from sleep2vec_sklearn.finetuning.config import HeadConfig

NAMES = ("eeg", "spo2", "ibi", "resp")


def build(aggregation):
    return build_aggregation(HeadConfig(6, NAMES, 2, aggregation=aggregation))


@st.composite
def nights(draw):
    """Values of 5 to 12 epochs, and any choice of modalities in each, often none."""
    n_epochs = draw(st.integers(5, 12))
    flags = st.lists(st.booleans(), min_size=4, max_size=4)
    present = torch.tensor(draw(st.lists(flags, min_size=n_epochs, max_size=n_epochs)))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    values = torch.randn(n_epochs, 4, 6, generator=generator)
    return values.masked_fill(~present[..., None], 0.0), present


@settings(max_examples=40)
@given(nights())
def test_gates_are_shared_anew_among_those_present(night):
    values, present = night
    gated = build("gated")
    torch.nn.init.normal_(gated.gates)
    with torch.no_grad():
        found, gates = gated(values, present), gated.gates.exp()
    for row, here, epoch in zip(found, present, values, strict=True):
        weights = gates[here] / gates[here].sum()
        torch.testing.assert_close(row, weights @ epoch[here] if here.any() else torch.zeros(6))


def test_a_gate_far_below_the_others_still_counts_when_alone():
    gated = build("gated")
    gated.gates.data = torch.tensor([0.0, 0.0, 0.0, -1000.0])
    values, present = torch.zeros(1, 4, 6), torch.tensor([[False, False, False, True]])
    values[:, 3] = 2.0
    torch.testing.assert_close(gated(values, present).detach(), torch.full((1, 6), 2.0))


@pytest.mark.parametrize("fusion", ["mean", "concat"])
@settings(max_examples=40)
@given(nights())
def test_mean_and_concat_are_those_of_the_transformer(fusion, night):
    values, present = night
    there = [i for i in range(4) if present[:, i].any()]
    if not there:
        return
    encoded = {
        NAMES[i]: EncodedModality(values[:, i].numpy(), present[:, i].numpy()) for i in there
    }
    expected, _ = fuse(encoded, NAMES, fusion)
    rows = build(fusion)(values, present)
    found = fill_gaps(rows[None], present.any(dim=1)[None])[0]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_a_night_without_any_signal_gives_zeros():
    rows = fill_gaps(torch.ones(2, 4, 3), torch.tensor([[False] * 4, [True] * 4]))
    assert rows[0].eq(0).all()
    assert rows[1].eq(1).all()


@settings(max_examples=40)
@given(nights())
def test_a_gap_is_filled_alike_whatever_padding_follows(night):
    values, present = night
    rows, measured = values[:, 0][None], present.any(dim=1)[None]
    longer = torch.cat([rows, torch.full((1, 7, 6), 9.0)], dim=1)
    padded = torch.cat([measured, torch.zeros(1, 7, dtype=torch.bool)], dim=1)
    found = fill_gaps(longer, padded)[:, : rows.shape[1]]
    torch.testing.assert_close(found, fill_gaps(rows, measured))
