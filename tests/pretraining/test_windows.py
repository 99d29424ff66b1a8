# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sleep2vec_sklearn.pretraining._sampling import as_view, draw_losses, draw_masks


@given(
    valid=hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40)),
    share=st.floats(0, 0.99),
    seed=st.integers(0, 100),
)
def test_the_share_of_the_valid_epochs_is_masked(valid, share, seed):
    masked = draw_masks(np.random.default_rng(seed), valid, share)
    assert not (masked & ~valid).any()
    expected = np.floor(share * valid.sum(axis=1) + 1e-9)
    np.testing.assert_array_equal(masked.sum(axis=1), expected)


def test_fifteen_percent_of_a_window_are_eighteen_epochs():
    masked = draw_masks(np.random.default_rng(0), np.ones((50, 120), dtype=bool), 0.15)
    assert set(masked.sum(axis=1)) == {18}
    assert masked.any(axis=0).all()


def test_lost_sensors_are_off_for_one_stretch():
    lost = draw_losses(np.random.default_rng(0), (500, 60), 0.3)
    assert 0.2 < lost.any(axis=1).mean() < 0.35
    changes = np.abs(np.diff(lost.astype(int), axis=1)).sum(axis=1)
    assert changes.max() <= 2
    assert lost.all(axis=1).any()


def test_no_sensor_is_lost_by_default():
    assert not draw_losses(np.random.default_rng(0), (9, 7), 0.0).any()


def test_lost_epochs_are_not_seen_and_masked_ones_are():
    valid = np.array([[True, True, True, False]])
    lost, masked = np.array([[1, 0, 0, 0]], bool), np.array([[0, 1, 0, 0]], bool)
    view = as_view("ibi", np.zeros((1, 4, 2), np.float32), valid, lost, masked)
    assert torch.equal(view.seen, torch.tensor([[False, True, True, False]]))
    assert torch.equal(view.replaced, torch.tensor([[True, True, False, True]]))
