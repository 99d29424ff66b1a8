# SPDX-License-Identifier: BSD-3-Clause
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn.pretraining._sampling import (
    Augmentation,
    PairSampler,
    find_pools,
    resolve_shares,
)

NAMES = ("effort", "spo2", "ibi")


class CountingStore:
    """Nights whose first column tells the epoch, and the second the night."""

    def __init__(self, lengths, missing=(), gaps=()):
        self.lengths, self.gaps = lengths, set(gaps)
        self.contents = {name: SimpleNamespace(width=2) for name in NAMES}
        rows = {"n_epochs": lengths}
        for name in NAMES:
            rows[f"coverage_{name}"] = [
                0 if (i, name) in missing else n for i, n in enumerate(lengths)
            ]
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
    return PairSampler(
        store,
        pools,
        context,
        batch_size,
        seed,
        augmentation=Augmentation(**augmentation),
        shares=resolve_shares(list(pools), shares),
        **options,
    )


def test_pools_hold_the_nights_that_have_both():
    store = CountingStore([20] * 4, missing={(0, "ibi"), (1, "ibi"), (2, "ibi"), (3, "effort")})
    pools = {pair: pool.tolist() for pair, pool in find_pools(store, NAMES).items()}
    assert pools == {("effort", "spo2"): [0, 1, 2], ("spo2", "ibi"): [3]}


def test_both_views_are_of_the_same_nights_and_times():
    batch = sampler_of(CountingStore([30] * 6), max_shift=3).draw(7)
    first, second = (view.values.numpy() for view in batch.views)
    np.testing.assert_array_equal(first[:, 0, 1], batch.nights)
    np.testing.assert_array_equal(first[:, 0, 0], batch.starts)
    np.testing.assert_array_equal(second[:, :, 0], first[:, :, 0] + batch.shift)
    a, b = batch.spans
    np.testing.assert_array_equal(first[:, a, 0], second[:, b, 0])


@given(number=st.integers(0, 10**9), seed=st.integers(0, 2**62))
@settings(max_examples=20)
def test_a_batch_follows_from_seed_and_number(number, seed):
    store = CountingStore([30, 17, 4, 50, 9], gaps={(1, "ibi")})
    draws = [
        sampler_of(store, seed=seed, sensor_loss=0.5, max_shift=2).draw(number) for _ in range(2)
    ]
    for one, other in zip(*(draw.views for draw in draws), strict=True):
        for part in ("values", "valid", "lost", "masked"):
            assert torch.equal(getattr(one, part), getattr(other, part))


def test_other_numbers_and_other_seeds_give_other_batches():
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
def test_no_window_comes_twice_in_a_batch(lengths, batch_size, max_shift, seed):
    sampler = sampler_of(CountingStore(lengths), batch_size, seed=seed, max_shift=max_shift)
    batch = sampler.draw(0)
    places = list(zip(batch.nights.tolist(), batch.starts.tolist(), strict=True))
    assert len(set(places)) == len(places) <= batch_size


def test_a_small_pool_gives_every_night_as_often():
    batch = sampler_of(CountingStore([40] * 3), batch_size=9).draw(0)
    assert np.bincount(batch.nights).tolist() == [3, 3, 3]


def test_a_pool_without_enough_windows_gives_a_smaller_batch():
    assert len(sampler_of(CountingStore([5, 6, 5]), batch_size=9).draw(0)) == 4


def test_ranks_share_one_batch():
    store = CountingStore([30] * 8)
    whole = sampler_of(store, sensor_loss=0.5).draw(3)
    for rank in range(2):
        part = sampler_of(store, sensor_loss=0.5, rank=rank, world=2).draw(3)
        for mine, all_rows in zip(part.views, whole.views, strict=True):
            assert torch.equal(mine.values, all_rows.values[rank::2])
            assert torch.equal(mine.masked, all_rows.masked)
            assert torch.equal(mine.lost, all_rows.lost)


def test_windows_start_where_both_sensors_are_on():
    store = CountingStore([40] * 8, gaps={(night, "ibi") for night in range(8)})
    pools = {("spo2", "ibi"): np.arange(8)}
    sampler = sampler_of(store, context=8, pools=pools)
    share = np.mean([sampler.draw(k).views[1].valid.float().mean() for k in range(20)])
    assert share > 0.7


def test_pairs_come_as_often_as_their_shares():
    store = CountingStore([30] * 6)
    shares = {("ibi", "effort"): 3, ("spo2", "ibi"): 1}
    sampler = sampler_of(store, shares=shares)
    pairs = [sampler.draw(k).pair for k in range(400)]
    assert set(pairs) == {"effort-ibi", "spo2-ibi"}
    assert 0.65 < pairs.count("effort-ibi") / 400 < 0.85


def test_shares_change_over_the_run():
    pairs = [("effort", "ibi"), ("spo2", "ibi")]
    stages = [(0.5, {pairs[0]: 1}), (1.0, {pairs[1]: 2})]
    shares = resolve_shares(pairs, stages)
    assert shares(0.0).tolist() == shares(0.49).tolist() == [1, 0]
    assert shares(0.5).tolist() == shares(1.3).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({("eeg", "ibi"): 1}, "eeg-ibi"),
        ({("spo2", "ibi"): -1}, "not negative"),
        ({("spo2", "ibi"): 0}, "all zero"),
        ({("spo2", "ibi"): float("nan")}, "finite"),
        ({("spo2", "ibi"): "often"}, "must be a mapping such as"),
        ({"spo2-ibi": 1}, "must be a mapping such as"),
        ([], "must be a mapping such as"),
        (3, "must be a mapping such as"),
        ([(1.0, 3)], "must be a mapping such as"),
        ([3], "must be a mapping such as"),
        ([(0.8, {("spo2", "ibi"): 1}), (0.5, {("spo2", "ibi"): 1})], "in their order"),
        ([(50, {("spo2", "ibi"): 1})], "from 0 to 1"),
    ],
)
def test_shares_that_cannot_be_are_refused(shares, message):
    with pytest.raises(ValueError, match=message):
        resolve_shares([("spo2", "ibi")], shares)


def test_nights_come_as_often_as_their_weights():
    weights = np.array([1.0, 1, 1, 1, 1, 15])
    sampler = sampler_of(CountingStore([90] * 6), batch_size=2, night_weights=weights)
    counts = np.bincount(np.concatenate([sampler.draw(k).nights for k in range(200)]), minlength=6)
    assert counts[5] > 2 * counts[:5].max()
