# SPDX-License-Identifier: BSD-3-Clause
"""Rows relative to the mean of their night."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sleep2vec_sklearn import (
    EmbeddingTable,
    EpochSequence,
    PrecomputedEmbeddings,
    Recording,
    Sleep2VecClassifier,
    Sleep2VecTransformer,
)
from sleep2vec_sklearn.errors import RecordingWarning
from sleep2vec_sklearn.model import Encoder


@pytest.fixture
def nights(noise):
    """Two nights of an hour, two sensors each."""
    return [
        Recording({name: noise(name, 120, seed=seed) for name in ("ibi", "spo2")}, id=f"n{seed}")
        for seed in range(2)
    ]


@pytest.fixture
def rows_of(checkpoint_in_memory):
    """Function of (X, **parameters): rows and the transformer."""

    def embed(X, **parameters):
        transformer = Sleep2VecTransformer(checkpoint_in_memory, **parameters)
        return transformer.fit_transform(X)

    return embed


@pytest.mark.parametrize("fusion", ["mean", "concat"])
def test_mean_is_zero(rows_of, nights, fusion):
    rows = rows_of(EpochSequence(nights[:1]), center="night", fusion=fusion)
    uncentred = rows_of(EpochSequence(nights[:1]), fusion=fusion)
    np.testing.assert_allclose(rows.mean(axis=0), 0, atol=2e-6)
    np.testing.assert_allclose(rows, uncentred - uncentred.mean(axis=0), atol=1e-5)


def test_row_is_same_alone(rows_of, nights):
    X = EpochSequence(nights)
    whole = rows_of(X, center="night", context_minutes=10)
    np.testing.assert_array_equal(
        rows_of(X[37:38], center="night", context_minutes=10), whole[37:38]
    )


def test_dropped_epoch_moves_no_other(rows_of, nights):
    night = nights[0]
    ibi = np.array(night["ibi"], copy=True)
    ibi[50 * 120 : 51 * 120] = np.nan
    gapped = Recording({"ibi": ibi, "spo2": night["spo2"]}, id="gapped")
    first, second = (rows_of(EpochSequence([n]), center="night", layer=0) for n in (night, gapped))
    others = np.arange(night.n_epochs) != 50
    scale = first.std()
    assert np.abs(first - second)[others].max() < 0.05 * scale


def test_lights_bound_the_window(rows_of, nights):
    night = nights[0]
    lit = Recording({name: night[name] for name in night.modalities}, id="lit", lights=(600, 3000))
    rows = rows_of(EpochSequence([lit]), center="night")
    np.testing.assert_allclose(rows[20:100].mean(axis=0), 0, atol=2e-6)
    assert np.abs(rows.mean(axis=0)).max() > 1e-3


def test_days_change_little(rows_of):
    rng = np.random.default_rng(0)
    asleep, awake = 7 * 120, 7 * 120
    level = np.repeat([0.75, 1.0, 0.75], [awake, asleep, awake])
    ibi = np.repeat(level, 120) + 0.03 * rng.standard_normal(120 * len(level))
    counts = np.repeat(np.repeat([40.0, 0.5, 40.0], [awake, asleep, awake]), 30)
    counts = counts * rng.exponential(size=counts.size)

    def rows_of_part(first):
        signals = {
            "ibi": (ibi[first * 120 :], 4), "actigraphy": (counts[first * 30 :], 1),
        }  # fmt: skip
        night = Recording(signals, id=f"from {first}")
        return rows_of(EpochSequence([night]), center="night", modalities=["ibi"], layer=0)

    whole, cut = rows_of_part(0), rows_of_part(3 * 120)
    drift = np.abs(whole[3 * 120 :] - cut).max()
    assert drift < 1e-3 * whole.std()
    np.testing.assert_allclose(whole[awake : awake + asleep].mean(), 0, atol=0.5 * whole.std())


def test_short_night_stays_uncentred(rows_of, nights):
    signals = {"ibi": (np.asarray(nights[0]["ibi"])[: 10 * 120], 4)}
    X = EpochSequence([Recording(signals, id="nap")])
    with pytest.warns(RecordingWarning, match="fewer than 20 epochs .* uncentred"):
        rows = rows_of(X, center="night")
    np.testing.assert_array_equal(rows, rows_of(X))


class Interval(Encoder):
    """The mean interval between beats, and one more group that no night has."""

    def encode(self, recording, group):
        return recording["ibi"].reshape(recording.n_epochs, -1).mean(axis=1)[:, None]

    def neutral(self, group):
        return np.full(1, 7.0)


def test_encoders_of_long_nights():
    levels = np.repeat([0.75, 1.0], [700, 980])  # the mean is that of the night, not of the day
    night = Recording({"ibi": (np.repeat(levels, 120), 4)}, id="long")
    encoder = Interval(
        "interval", "1" * 64, {"heart": ("ibi",), "other": ("spo2",)}, {"heart": 1, "other": 1},
        shared_space=False,
    )  # fmt: skip
    rows = Sleep2VecTransformer(encoder, center="night").fit_transform(EpochSequence([night]))
    np.testing.assert_allclose(rows[900:, 0], 0, atol=0.02)
    np.testing.assert_allclose(rows[:600, 0], -0.25, atol=0.02)
    assert (rows[:, 1] == 0).all()


def test_nights_are_not_centred(rows_of, nights, checkpoint_in_memory):
    transformer = Sleep2VecTransformer(checkpoint_in_memory).fit(nights)
    assert transformer.center_ is None
    with pytest.raises(ValueError, match="is for rows of epochs"):
        rows_of(nights, center="night")


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_tables_keep_both(checkpoint_in_memory, nights, tmp_path, suffix):
    X = EpochSequence(nights)
    transformer = Sleep2VecTransformer(checkpoint_in_memory, center="night").fit(X)
    path = tmp_path / f"rows{suffix}"
    transformer.embed(X).save(path)
    table = EmbeddingTable.load(path)
    uncentred = Sleep2VecTransformer(checkpoint_in_memory).fit_transform(X)
    np.testing.assert_array_equal(table.values, uncentred)
    assert table.provenance["center"] == "night"
    lookup = PrecomputedEmbeddings(table)
    np.testing.assert_array_equal(lookup.fit_transform(X), transformer.transform(X))
    lookup = PrecomputedEmbeddings(table, center=None)
    np.testing.assert_array_equal(lookup.fit_transform(X), uncentred)
    joined = EmbeddingTable.concat([table, table])
    np.testing.assert_array_equal(
        joined.rows(slice(0, 5), "night"), table.rows(slice(0, 5), "night")
    )


def test_table_without_means_is_refused(checkpoint_in_memory, nights):
    X = EpochSequence(nights)
    table = Sleep2VecTransformer(checkpoint_in_memory).fit(X).embed(X)
    with pytest.raises(ValueError, match=r"Embed the nights with .*center='night'"):
        PrecomputedEmbeddings(table, center="night").fit(X)
    with pytest.raises(ValueError, match="must be one of 'night', None"):
        table.rows(center="auto")


def test_heads_see_centred_tokens(checkpoint_in_memory, nights):
    centred = dataclasses.replace(checkpoint_in_memory, card={"centered": True})
    X = EpochSequence(nights)
    y = np.arange(len(X)) % 2
    settings = {"head": "linear", "max_epochs": 1, "random_state": 0, "patience": None}
    model = Sleep2VecClassifier(centred, **settings).fit(X, y)
    assert Sleep2VecTransformer(centred).fit(X).center_ == "night"
    # a shift of a whole night by a constant is taken off its tokens, not off a plain head's
    mean = model.net_.module_.head.mean.numpy()
    np.testing.assert_allclose(mean, 0, atol=1e-5)
    nap = Recording({"ibi": (np.asarray(nights[0]["ibi"])[: 10 * 120], 4)}, id="nap")
    with pytest.warns(RecordingWarning, match=r"uncentred:\n.*nap"):
        model.predict(EpochSequence([nap]))
