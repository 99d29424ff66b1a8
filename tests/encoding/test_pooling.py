# SPDX-License-Identifier: BSD-3-Clause
"""Fusion and pooling for any subset of modalities and any pattern of gaps."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn import EpochSequence, Sleep2VecTransformer, make_sleep_cohort
from sleep2vec_sklearn.encoding._pooling import RowSummary, fuse, fuse_summaries, pool
from sleep2vec_sklearn.encoding.cache import EncodedModality

few = settings(max_examples=30)

NAMES = ("eeg", "ecg", "spo2", "ibi")
WIDTH = 3


@st.composite
def encoded_nights(draw, min_modalities=1):
    """A night of any non-empty subset of modalities with any gaps, not all of it gaps."""
    n_epochs = draw(st.integers(1, 6))
    names = draw(st.sets(st.sampled_from(NAMES), min_size=min_modalities))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    night = {}
    for name in sorted(names):
        valid = draw(st.lists(st.booleans(), min_size=n_epochs, max_size=n_epochs))
        tokens = rng.standard_normal((n_epochs, WIDTH)).astype(np.float32)
        summary = rng.standard_normal(WIDTH).astype(np.float32)
        night[name] = EncodedModality(tokens, np.array(valid), summary)
    assume(any(modality.valid.any() for modality in night.values()))
    return night


def rows_of_gaps(rows, measured):
    """What the rows of unmeasured epochs should be, epoch by epoch."""
    typical = np.mean([row for row, there in zip(rows, measured, strict=True) if there], axis=0)
    expected = {}
    for epoch in np.flatnonzero(~measured):
        before = [e for e in range(epoch) if measured[e]][-1:]
        after = [e for e in range(epoch + 1, len(rows)) if measured[e]][:1]
        weights = [np.exp(-abs(e - epoch) / 20) for e in before + after]
        rest = max(0, 1 - sum(weights))
        total = sum((w * rows[e] for w, e in zip(weights, before + after, strict=True)))
        expected[epoch] = (total + rest * typical) / (sum(weights) + rest)
    return expected


@few
@given(encoded_nights())
def test_row_is_mean_of_modalities(night):
    rows, valid = fuse(night, NAMES, "mean")
    for epoch, row in enumerate(rows):
        there = [m.tokens[epoch] for m in night.values() if m.valid[epoch]]
        assert valid[epoch] == bool(there)
        if there:
            np.testing.assert_allclose(row, np.mean(there, axis=0), atol=1e-6)


@few
@given(encoded_nights(), st.sampled_from(["mean", "concat"]))
def test_gap_fades_to_nights_mean(night, fusion):
    rows, valid = fuse(night, NAMES, fusion)
    for epoch, expected in rows_of_gaps(rows, valid).items():
        np.testing.assert_allclose(rows[epoch], expected, atol=1e-5)


def test_long_gap_is_nights_mean():
    valid = np.zeros(900, bool)
    valid[:10] = True
    tokens = np.random.default_rng(0).standard_normal((900, WIDTH)).astype(np.float32)
    rows, _ = fuse({"ibi": EncodedModality(tokens, valid)}, NAMES, "mean")
    np.testing.assert_allclose(rows[-1], tokens[:10].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(rows[10], tokens[9], atol=0.3)
    assert not np.allclose(rows[10], rows[-1], atol=0.3)


@few
@given(encoded_nights())
def test_block_is_modality_or_mean(night):
    mean, anything = fuse(night, NAMES, "mean")
    blocks, valid = fuse(night, NAMES, "concat")
    np.testing.assert_array_equal(valid, anything)
    blocks = blocks.reshape(len(mean), len(NAMES), WIDTH)
    for place, name in enumerate(NAMES):
        for epoch in range(len(mean)):
            own = name in night and night[name].valid[epoch]
            expected = night[name].tokens[epoch] if own else mean[epoch]
            if anything[epoch]:
                np.testing.assert_array_equal(blocks[epoch, place], expected)


@few
@given(encoded_nights(), st.sampled_from(["mean", "concat"]))
def test_rows_are_finite_float32(night, fusion):
    rows, _ = fuse(night, NAMES, fusion)
    assert rows.dtype == np.float32
    assert np.isfinite(rows).all()
    assert rows.shape[1] == WIDTH * (len(NAMES) if fusion == "concat" else 1)


@few
@given(encoded_nights(), st.randoms(use_true_random=False))
def test_modality_order_does_not_matter(night, random):
    shuffled = list(night)
    random.shuffle(shuffled)
    again = {name: night[name] for name in shuffled}
    for fusion in ("mean", "concat"):
        np.testing.assert_array_equal(fuse(again, NAMES, fusion)[0], fuse(night, NAMES, fusion)[0])


@few
@given(encoded_nights(min_modalities=2), st.data())
def test_silent_modality_changes_nothing(night, data):
    name = data.draw(st.sampled_from(sorted(night)))
    assume(any(m.valid.any() for n, m in night.items() if n != name))
    silent = EncodedModality(night[name].tokens, np.zeros(len(night[name].valid), bool))
    rest = {n: m for n, m in night.items() if n != name}
    with_it, valid = fuse({**night, name: silent}, NAMES, "mean")
    without, expected = fuse(rest, NAMES, "mean")
    np.testing.assert_array_equal(valid, expected)
    np.testing.assert_array_equal(with_it, without)


@few
@given(encoded_nights())
def test_summaries_fuse_like_epochs(night):
    as_epoch = {
        name: EncodedModality(m.summary[None], np.ones(1, bool)) for name, m in night.items()
    }
    for fusion in ("mean", "concat"):
        expected = fuse(as_epoch, NAMES, fusion)[0][0]
        np.testing.assert_allclose(fuse_summaries(night, NAMES, fusion), expected, atol=1e-6)


@few
@given(seed=st.integers(0, 99), valid=st.lists(st.booleans(), min_size=1, max_size=9).filter(any))
def test_pooling_equals_numpy(seed, valid):
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
def test_long_mean_keeps_precision(pooling):
    rows = np.full((100_000, 2), 1000.1, dtype=np.float32)
    pooled = pool(rows, np.ones(len(rows), bool), pooling)
    np.testing.assert_allclose(pooled[:2], rows[0], rtol=1e-7)
    np.testing.assert_allclose(pooled[2:], 0, atol=1e-3)


@few
@given(encoded_nights(), st.sampled_from(["mean", "concat"]))
def test_fusing_changes_no_tokens(night, fusion):
    before = {name: m.tokens.copy() for name, m in night.items()}
    fuse(night, list(night), fusion)[0][:] = 9
    for name, item in night.items():
        np.testing.assert_array_equal(item.tokens, before[name])


def test_cached_rows_are_read(monkeypatch):
    X = EpochSequence(make_sleep_cohort(1, hours=1, modalities=["ibi"], random_state=0))
    encoder = Sleep2VecTransformer().fit(X)
    rows = encoder.transform(X)
    # tokens are not fused again, and rows of other settings are not taken for these
    monkeypatch.setattr(RowSummary, "__call__", lambda *args: 1 / 0)
    assert np.array_equal(encoder.transform(X[:90]), rows[:90])
    with pytest.raises(ZeroDivisionError):
        encoder.set_params(center=None).fit_transform(X)
