# SPDX-License-Identifier: BSD-3-Clause
"""Windows of any night: where they begin, what they hold, how they are joined."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn import EpochSequence
from sleep2vec_sklearn.encoding._sleep2vec import cut_windows, merge_windows, window_starts

few = settings(max_examples=30)

lengths, contexts = st.integers(1, 200), st.integers(1, 40)


@few
@given(n=lengths, context=contexts)
def test_windows_cover_the_night(n, context):
    starts = window_starts(n, context).tolist()
    assert starts[0] == 0
    assert all(a < b for a, b in pairwise(starts))
    assert starts[-1] == max(n - context, 0)
    assert set(np.diff(starts[:-1])) <= {max(context // 2, 1)}
    windows = cut_windows(torch.arange(n), context)
    assert windows.shape == (len(window_starts(n, context)), min(n, context))
    assert windows[:, 0].tolist() == window_starts(n, context).tolist()
    assert (windows.diff(dim=1) == 1).all()


@few
@given(n=lengths, context=contexts)
def test_flags_cut_like_tokens(n, context):
    flags, tokens = torch.arange(n) % 3 == 0, torch.arange(n * 2.0).reshape(n, 2)
    both = cut_windows(tokens, context)[cut_windows(flags, context)]
    assert set(both[:, 0].tolist()) == {2.0 * k for k in range(0, n, 3)}


@few
@given(n=lengths, context=contexts, seed=st.integers(0, 99))
def test_epoch_averages_its_own_tokens(n, context, seed):
    starts = window_starts(n, context)
    length = min(n, context)
    generator = torch.Generator().manual_seed(seed)
    windows = torch.rand(len(starts), length, 1, generator=generator)
    merged = merge_windows(windows, n, context)
    assert merged.shape == (n, 1)
    for epoch in range(n):
        own = [windows[w, epoch - s, 0] for w, s in enumerate(starts) if 0 <= epoch - s < length]
        assert min(own) - 1e-5 <= merged[epoch, 0] <= max(own) + 1e-5


@few
@given(context=st.integers(2, 20), n_steps=st.integers(0, 6))
def test_merging_is_symmetric(context, n_steps):
    n = context + n_steps * (context // 2)
    generator = torch.Generator().manual_seed(n)
    windows = torch.rand(len(window_starts(n, context)), context, 2, generator=generator)
    turned = merge_windows(windows.flip(0, 1), n, context).flip(0)
    torch.testing.assert_close(merge_windows(windows, n, context), turned)


@few
@given(n=lengths, context=contexts)
def test_merging_is_linear(n, context):
    shape = (len(window_starts(n, context)), min(n, context), 2)
    first, second = torch.rand(2, *shape, generator=torch.Generator().manual_seed(n)).unbind()
    joined = merge_windows(2 * first - second, n, context)
    apart = 2 * merge_windows(first, n, context) - merge_windows(second, n, context)
    torch.testing.assert_close(joined, apart, rtol=1e-4, atol=1e-5)
    rows = torch.randn(n, 3, generator=torch.Generator().manual_seed(n))
    merged = merge_windows(cut_windows(rows, context), n, context)
    torch.testing.assert_close(merged, rows, rtol=1e-5, atol=1e-5)


def test_window_middle_weighs_most():
    windows = torch.zeros(2, 8, 1)
    windows[1] = 1
    share = merge_windows(windows, 12, 8)[:, 0]
    assert share[:4].tolist() == [0] * 4
    assert share[8:].tolist() == [1] * 4
    torch.testing.assert_close(share[4:8], torch.tensor([0.2, 0.4, 0.6, 0.8]))


@pytest.mark.parametrize("n_epochs", [1, 7, 8, 9, 12, 13, 41])
def test_any_length_is_encoded(embed, noise, n_epochs):
    night = {"ibi": noise("ibi", n_epochs=n_epochs)}
    rows = embed(EpochSequence([night]))
    assert rows.shape == (n_epochs, 32)
    assert np.isfinite(rows).all()
    assert np.isfinite(embed([night], pooling="cls")).all()


def test_distant_samples_change_nothing(embed, noise):
    ibi, rate = noise("ibi", n_epochs=40)
    other = ibi.copy()
    other[30 * 120 :] += 0.2
    rows, changed = (embed(EpochSequence([{"ibi": (x, rate)}])) for x in (ibi, other))
    np.testing.assert_array_equal(rows[:20], changed[:20])
    assert (rows[30:] != changed[30:]).any(axis=1).all()
