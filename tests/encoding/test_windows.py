# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sleep2vec_sklearn import EpochSequence
from sleep2vec_sklearn.encoding._engine import cut_windows, merge_windows, window_starts

lengths = st.integers(1, 60)
contexts = st.integers(1, 20)


@given(n=lengths, context=contexts)
def test_windows_cover_every_epoch_and_stay_inside(n, context):
    covered = {s + i for s in window_starts(n, context) for i in range(min(n, context))}
    assert covered == set(range(n))


@given(n=st.integers(9, 60))
def test_windows_overlap_by_at_least_half(n):
    assert np.diff(window_starts(n, 8)).max(initial=0) <= 4


@given(n=lengths, context=contexts)
def test_windows_that_agree_are_put_together_unchanged(n, context):
    rows = torch.randn(n, 3, generator=torch.Generator().manual_seed(n))
    merged = merge_windows(cut_windows(rows, context), n, context)
    torch.testing.assert_close(merged, rows, rtol=1e-5, atol=1e-5)


def test_the_middle_of_a_window_weighs_most():
    windows = torch.zeros(2, 8, 1)
    windows[1] = 1
    share = merge_windows(windows, 12, 8)[:, 0]
    assert share[:4].tolist() == [0] * 4
    assert share[8:].tolist() == [1] * 4
    torch.testing.assert_close(share[4:8], torch.tensor([0.2, 0.4, 0.6, 0.8]))


def test_a_night_within_the_context_is_one_window():
    assert window_starts(8, 8).tolist() == [0]
    assert window_starts(9, 8).tolist() == [0, 1]


@pytest.mark.parametrize("n_epochs", [1, 7, 8, 9, 12, 13, 41])
def test_a_night_of_any_length_is_encoded(embed, noise, n_epochs):
    night = {"ibi": noise("ibi", n_epochs=n_epochs)}
    rows = embed(EpochSequence([night]))
    assert rows.shape == (n_epochs, 32)
    assert np.isfinite(rows).all()
    assert np.isfinite(embed([night], pooling="cls")).all()


def test_what_is_far_away_does_not_change_an_epoch(embed, noise):
    ibi, rate = noise("ibi", n_epochs=40)
    other = ibi.copy()
    other[30 * 120 :] += 0.2
    rows, changed = (embed(EpochSequence([{"ibi": (x, rate)}])) for x in (ibi, other))
    np.testing.assert_array_equal(rows[:20], changed[:20])
    assert (rows[30:] != changed[30:]).any(axis=1).all()
