# SPDX-License-Identifier: BSD-3-Clause
"""Batches by their number: pairs, nights, windows, masks."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sleep2vec_sklearn.pretraining import Augmentation
from sleep2vec_sklearn.pretraining._sampling import (
    PairSampler,
    as_view,
    draw_losses,
    draw_masks,
    find_pools,
    resolve_pair_weights,
)

NAMES = ("effort", "spo2", "ibi")


class CountingStore:
    """Nights whose first column tells the epoch, and the second the night."""

    def __init__(self, lengths, missing=(), gaps=()):
        self.lengths, self.gaps = lengths, set(gaps)
        self.contents = {name: SimpleNamespace(width=2) for name in NAMES}
        rows = {"n_epochs": lengths}
        for name in NAMES:
            known = [n * ((i, name) not in missing) for i, n in enumerate(lengths)]
            rows[f"coverage_{name}"] = known
        self.table = pd.DataFrame(rows)

    def __len__(self):
        return len(self.lengths)

    def valid(self, night, name):
        valid = np.ones(self.lengths[night], dtype=bool)
        valid[: valid.size // 2] = (night, name) not in self.gaps
        return valid

    def window(self, night, name, start, length):
        assert 0 <= start < self.lengths[night]
        epochs = np.arange(start, min(start + length, self.lengths[night]))
        return np.stack([epochs, np.full(len(epochs), night)], axis=1).astype(np.float32)


def sampler_of(store, batch_size=4, context=5, seed=0, pools=None, shares=None, **augmentation):
    pools = find_pools(store, NAMES) if pools is None else pools
    options = {
        k: augmentation.pop(k) for k in ("rank", "world", "night_weights") if k in augmentation
    }
    options["probabilities"] = resolve_pair_weights(list(pools), shares)
    options["augmentation"] = Augmentation(**augmentation)
    return PairSampler(store, pools, context, batch_size, seed, **options)


def test_views_are_of_equal_times():
    batch = sampler_of(CountingStore([30] * 6), max_shift=3).draw(7)
    first, second = (view.values.numpy() for view in batch.views)
    np.testing.assert_array_equal(first[:, 0, 1], batch.nights)
    np.testing.assert_array_equal(first[:, 0, 0], batch.starts)
    np.testing.assert_array_equal(second[:, :, 0], first[:, :, 0] + batch.shift)
    a, b = batch.spans
    np.testing.assert_array_equal(first[:, a, 0], second[:, b, 0])


@given(number=st.integers(0, 10**9), seed=st.integers(0, 2**62))
@settings(max_examples=20)
def test_batches_follow_seed_and_number(number, seed):
    store = CountingStore([30, 17, 4, 50, 9], gaps={(1, "ibi")})
    samplers = (sampler_of(store, seed=seed, modality_dropout=0.5, max_shift=2) for _ in range(2))
    for one, other in zip(*(sampler.draw(number).views for sampler in samplers), strict=True):
        for part in ("values", "valid", "lost", "masked"):
            assert torch.equal(getattr(one, part), getattr(other, part))


def test_other_numbers_give_other_batches():
    store = CountingStore([300] * 9)
    starts = {
        tuple(sampler_of(store, seed=seed).draw(number).starts)
        for seed in range(3)
        for number in range(3)
    }
    assert len(starts) == 9


@given(
    lengths=st.lists(st.integers(1, 12), min_size=2, max_size=5),
    batch_size=st.integers(2, 20),
    max_shift=st.integers(0, 4),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60)
def test_no_window_comes_twice(lengths, batch_size, max_shift, seed):
    sampler = sampler_of(CountingStore(lengths), batch_size, seed=seed, max_shift=max_shift)
    batch = sampler.draw(0)
    places = list(zip(batch.nights.tolist(), batch.starts.tolist(), strict=True))
    assert len(set(places)) == len(places) <= batch_size


def test_small_pools_are_even():
    batch = sampler_of(CountingStore([40] * 3), batch_size=9).draw(0)
    assert np.bincount(batch.nights).tolist() == [3, 3, 3]
    assert len(sampler_of(CountingStore([5, 6, 5]), batch_size=9).draw(0)) == 4
    store = CountingStore([20] * 4, missing={(0, "ibi"), (1, "ibi"), (2, "ibi"), (3, "effort")})
    pools = {pair: pool.tolist() for pair, pool in find_pools(store, NAMES).items()}
    assert pools == {("effort", "spo2"): [0, 1, 2], ("spo2", "ibi"): [3]}


def test_ranks_share_one_batch():
    store = CountingStore([30] * 8)
    whole = sampler_of(store, modality_dropout=0.5).draw(3)
    for rank in range(2):
        part = sampler_of(store, modality_dropout=0.5, rank=rank, world=2).draw(3)
        for mine, all_rows in zip(part.views, whole.views, strict=True):
            assert torch.equal(mine.values, all_rows.values[rank::2])
            assert torch.equal(mine.masked, all_rows.masked)
            assert torch.equal(mine.lost, all_rows.lost)


def test_windows_start_where_valid():
    store = CountingStore([40] * 8, gaps={(night, "ibi") for night in range(8)})
    pools = {("spo2", "ibi"): np.arange(8)}
    sampler = sampler_of(store, context=8, pools=pools)
    share = np.mean([sampler.draw(k).views[1].valid.float().mean() for k in range(20)])
    assert share > 0.7


def test_pairs_and_nights_by_weight():
    store = CountingStore([30] * 6)
    shares = {("ibi", "effort"): 3, ("spo2", "ibi"): 1}
    sampler = sampler_of(store, shares=shares)
    pairs = [sampler.draw(k).pair for k in range(400)]
    assert set(pairs) == {"effort-ibi", "spo2-ibi"}
    assert 0.65 < pairs.count("effort-ibi") / 400 < 0.85
    weights = np.array([1.0, 1, 1, 1, 1, 15])
    sampler = sampler_of(CountingStore([90] * 6), batch_size=2, night_weights=weights)
    counts = np.bincount(np.concatenate([sampler.draw(k).nights for k in range(200)]), minlength=6)
    assert counts[5] > 2 * counts[:5].max()


def test_pair_weights_change_over_time():
    pairs = [("effort", "ibi"), ("spo2", "ibi")]
    stages = [(0.5, {pairs[0]: 1}), (1.0, {pairs[1]: 2})]
    shares = resolve_pair_weights(pairs, stages)
    assert shares(0.0).tolist() == shares(0.49).tolist() == [1, 0]
    assert shares(0.5).tolist() == shares(1.3).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({("eeg", "ibi"): 1}, "eeg-ibi"),
        ({("spo2", "ibi"): -1}, "not negative"),
        ({("spo2", "ibi"): 0}, "all zero"),
        ({("spo2", "ibi"): float("nan")}, "finite"),
        *(
            (wrong, "must be a mapping such as")
            for wrong in ({("spo2", "ibi"): "often"}, {"spo2-ibi": 1}, [], 3, [(1.0, 3)], [3])
        ),
        ([(0.8, {("spo2", "ibi"): 1}), (0.5, {("spo2", "ibi"): 1})], "in their order"),
        ([(50, {("spo2", "ibi"): 1})], "from 0 to 1"),
    ],
)
def test_wrong_pair_weights_are_refused(shares, message):
    with pytest.raises(ValueError, match=message):
        resolve_pair_weights([("spo2", "ibi")], shares)


@given(
    valid=hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40)),
    share=st.floats(0, 0.99),
    seed=st.integers(0, 100),
)
def test_valid_epochs_are_masked(valid, share, seed):
    masked = draw_masks(np.random.default_rng(seed), valid, share)
    assert not (masked & ~valid).any()
    expected = np.floor(share * valid.sum(axis=1) + 1e-9)
    np.testing.assert_array_equal(masked.sum(axis=1), expected)


def test_losses_and_masks_over_time():
    lost = draw_losses(np.random.default_rng(0), (500, 60), 0.3)
    assert 0.2 < lost.any(axis=1).mean() < 0.35
    changes = np.abs(np.diff(lost.astype(int), axis=1)).sum(axis=1)
    assert changes.max() <= 2
    assert lost.all(axis=1).any()
    assert not draw_losses(np.random.default_rng(0), (9, 7), 0.0).any()
    masked = draw_masks(np.random.default_rng(0), np.ones((50, 120), dtype=bool), 0.15)
    assert set(masked.sum(axis=1)) == {18}
    assert masked.any(axis=0).all()


def test_lost_epochs_are_not_seen():
    valid = np.array([[True, True, True, False]])
    lost, masked = np.array([[1, 0, 0, 0]], bool), np.array([[0, 1, 0, 0]], bool)
    view = as_view("ibi", np.zeros((1, 4, 2), np.float32), valid, lost, masked)
    assert torch.equal(view.seen, torch.tensor([[False, True, True, False]]))
    assert torch.equal(view.replaced, torch.tensor([[True, True, False, True]]))
