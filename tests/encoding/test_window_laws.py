# SPDX-License-Identifier: BSD-3-Clause
"""Windows of any night: where they begin, what they hold, how they are joined."""

from itertools import pairwise

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn.encoding._engine import cut_windows, merge_windows, window_starts

few = settings(max_examples=30)

lengths, contexts = st.integers(1, 200), st.integers(1, 40)


@few
@given(n=lengths, context=contexts)
def test_windows_begin_in_order_at_half_a_context_and_the_last_ends_with_the_night(n, context):
    starts = window_starts(n, context).tolist()
    assert starts[0] == 0
    assert all(a < b for a, b in pairwise(starts))
    assert starts[-1] == max(n - context, 0)
    assert set(np.diff(starts[:-1])) <= {max(context // 2, 1)}


@few
@given(n=lengths, context=contexts)
def test_there_are_no_more_windows_than_needed(n, context):
    step = max(context // 2, 1)
    assert len(window_starts(n, context)) <= 1 + -(-max(n - context, 0) // step)


@few
@given(n=lengths, context=contexts)
def test_a_window_holds_neighbouring_epochs_in_order(n, context):
    windows = cut_windows(torch.arange(n), context)
    assert windows.shape == (len(window_starts(n, context)), min(n, context))
    assert windows[:, 0].tolist() == window_starts(n, context).tolist()
    assert (windows.diff(dim=1) == 1).all()


@few
@given(n=lengths, context=contexts)
def test_flags_and_tokens_are_cut_alike(n, context):
    flags, tokens = torch.arange(n) % 3 == 0, torch.arange(n * 2.0).reshape(n, 2)
    both = cut_windows(tokens, context)[cut_windows(flags, context)]
    assert set(both[:, 0].tolist()) == {2.0 * k for k in range(0, n, 3)}


@few
@given(n=lengths, context=contexts, seed=st.integers(0, 99))
def test_an_epoch_is_a_mean_of_its_own_tokens_alone(n, context, seed):
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
def test_morning_and_evening_are_merged_alike(context, n_steps):
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
