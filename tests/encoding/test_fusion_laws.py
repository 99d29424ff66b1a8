# SPDX-License-Identifier: BSD-3-Clause
"""Fusion and pooling for any subset of modalities and any pattern of gaps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn.encoding.cache import EncodedModality
from sleep2vec_sklearn.encoding.fusion import fuse, fuse_summaries, pool

few = settings(max_examples=30)

NAMES = ("eeg", "ecg", "spo2", "ibi")
WIDTH = 3


@st.composite
def encoded_nights(draw, min_modalities=1):
    """A night of any non-empty subset of modalities, each with any gaps."""
    n_epochs = draw(st.integers(1, 6))
    names = draw(st.sets(st.sampled_from(NAMES), min_size=min_modalities))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    night = {}
    for name in sorted(names):
        valid = draw(st.lists(st.booleans(), min_size=n_epochs, max_size=n_epochs))
        tokens = rng.standard_normal((n_epochs, WIDTH)).astype(np.float32)
        summary = rng.standard_normal(WIDTH).astype(np.float32)
        night[name] = EncodedModality(tokens, np.array(valid), summary)
    return night


@few
@given(encoded_nights())
def test_an_epochs_row_is_the_mean_of_what_it_has_else_of_what_was_inferred(night):
    rows, valid = fuse(night, NAMES, "mean")
    for epoch, row in enumerate(rows):
        there = [m.tokens[epoch] for m in night.values() if m.valid[epoch]]
        assert valid[epoch] == bool(there)
        inferred = [m.tokens[epoch] for m in night.values()]
        np.testing.assert_allclose(row, np.mean(there or inferred, axis=0), atol=1e-6)


@few
@given(encoded_nights())
def test_every_block_is_its_modality_or_the_mean(night):
    mean, anything = fuse(night, NAMES, "mean")
    blocks, valid = fuse(night, NAMES, "concat")
    np.testing.assert_array_equal(valid, anything)
    blocks = blocks.reshape(len(mean), len(NAMES), WIDTH)
    for place, name in enumerate(NAMES):
        for epoch in range(len(mean)):
            own = name in night and (night[name].valid[epoch] or not anything[epoch])
            expected = night[name].tokens[epoch] if own else mean[epoch]
            np.testing.assert_array_equal(blocks[epoch, place], expected)


@few
@given(encoded_nights(), st.sampled_from(["mean", "concat"]))
def test_rows_are_finite_float32_for_any_subset(night, fusion):
    rows, _ = fuse(night, NAMES, fusion)
    assert rows.dtype == np.float32
    assert np.isfinite(rows).all()
    assert rows.shape[1] == WIDTH * (len(NAMES) if fusion == "concat" else 1)


@few
@given(encoded_nights(), st.randoms(use_true_random=False))
def test_the_order_of_a_nights_modalities_does_not_matter(night, random):
    shuffled = list(night)
    random.shuffle(shuffled)
    again = {name: night[name] for name in shuffled}
    for fusion in ("mean", "concat"):
        np.testing.assert_array_equal(fuse(again, NAMES, fusion)[0], fuse(night, NAMES, fusion)[0])


@few
@given(encoded_nights(min_modalities=2), st.data())
def test_a_modality_without_a_valid_epoch_changes_no_valid_row(night, data):
    name = data.draw(st.sampled_from(sorted(night)))
    silent = EncodedModality(night[name].tokens, np.zeros(len(night[name].valid), bool))
    rest = {n: m for n, m in night.items() if n != name}
    with_it, valid = fuse({**night, name: silent}, NAMES, "mean")
    without, expected = fuse(rest, NAMES, "mean")
    np.testing.assert_array_equal(valid, expected)
    np.testing.assert_array_equal(with_it[valid], without[valid])


@few
@given(encoded_nights())
def test_summaries_fuse_as_one_epoch_would(night):
    as_epoch = {
        name: EncodedModality(m.summary[None], np.ones(1, bool)) for name, m in night.items()
    }
    for fusion in ("mean", "concat"):
        expected = fuse(as_epoch, NAMES, fusion)[0][0]
        np.testing.assert_allclose(fuse_summaries(night, NAMES, fusion), expected, atol=1e-6)


@few
@given(seed=st.integers(0, 99), valid=st.lists(st.booleans(), min_size=1, max_size=9).filter(any))
def test_pooling_is_numpys_over_the_valid_epochs(seed, valid):
    valid = np.array(valid)
    rows = np.random.default_rng(seed).standard_normal((len(valid), WIDTH)).astype(np.float32)
    kept = rows[valid].astype(np.float64)
    for pooling, expected in {
        "mean": kept.mean(axis=0),
        "max": kept.max(axis=0),
        "mean_std": np.concatenate([kept.mean(axis=0), kept.std(axis=0)]),
    }.items():
        np.testing.assert_allclose(pool(rows, valid, pooling), expected, atol=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "mean_std"])
def test_a_long_night_loses_no_digits_in_its_mean(pooling):
    rows = np.full((100_000, 2), 1000.1, dtype=np.float32)
    pooled = pool(rows, np.ones(len(rows), bool), pooling)
    np.testing.assert_allclose(pooled[:2], rows[0], rtol=1e-7)
    np.testing.assert_allclose(pooled[2:], 0, atol=1e-3)
