# SPDX-License-Identifier: BSD-3-Clause
"""Rows of an encoder that reads expert columns: states, then columns, sensor by sensor."""

from __future__ import annotations

import numpy as np
import pytest

from sleep2vec_sklearn import (
    EpochSequence,
    Recording,
    Sleep2VecClassifier,
    Sleep2VecPretrainer,
    Sleep2VecTransformer,
    make_sleep_cohort,
)
from sleep2vec_sklearn.encoding import ExpertFeatures
from sleep2vec_sklearn.errors import CheckpointError, RecordingWarning
from sleep2vec_sklearn.pretraining import EncoderSpec

SENSORS = ["spo2", "ibi", "actigraphy"]
WIDTH = 8


@pytest.fixture(scope="module")
def nights():
    """Two simulated nights of four hours."""
    site = {"n_sites": 1, "site_kinds": ["full_laboratory"]}
    return [*make_sleep_cohort(2, hours=4, modalities=SENSORS, missing=0, **site, random_state=3)]


@pytest.fixture(scope="module")
def checkpoint(nights):
    """An encoder that has learned for one step."""
    spec = EncoderSpec(tokenizer="expert", hidden_size=WIDTH, n_layers=1, n_heads=2, token_dim=8)
    pretrainer = Sleep2VecPretrainer(
        encoder=spec, context_epochs=40, batch_size=2, max_epochs=1, steps_per_epoch=1,
        validation=None, random_state=0,
    )  # fmt: skip
    return pretrainer.fit(nights).checkpoint()


@pytest.fixture
def frame_of(checkpoint):
    """Function of (X, **parameters): rows with the names of their columns."""

    def embed(X, **parameters):
        transformer = Sleep2VecTransformer(checkpoint, **parameters)
        return transformer.set_output(transform="pandas").fit_transform(X)

    return embed


def expert_frame(X, **parameters):
    return ExpertFeatures(SENSORS, **parameters).set_output(transform="pandas").fit_transform(X)


def test_columns_follow_the_states(frame_of, nights):
    rows = frame_of(EpochSequence(nights))
    assert [*rows.columns[:2]] == ["sleep2vec_000", "sleep2vec_001"]
    assert rows.columns[WIDTH] == "spo2_mean"
    assert [*rows.columns[-4:]] == ["time_hours", "time_hours2", "time_settling", "time_share"]
    assert np.isfinite(rows.to_numpy()).all()


def test_columns_are_expert_features(frame_of, nights):
    X = EpochSequence(nights)
    rows, expert = frame_of(X, center=None), expert_frame(X)
    shared = [name for name in rows.columns if name in expert]
    assert shared == [*rows.columns[WIDTH:]]
    # all but those that centring makes of the levels
    assert all(name.endswith("_rel") for name in set(expert) - set(shared))
    np.testing.assert_allclose(rows[shared], expert[shared], rtol=1e-6)


def test_centring_makes_levels_relative(frame_of, nights):
    X = EpochSequence(nights)
    rows, levels = frame_of(X, center="night"), frame_of(X, center=None)
    taken_off = (levels["ibi_hr"] - rows["ibi_hr"]).groupby("recording")
    np.testing.assert_allclose(taken_off.std(), 0, atol=1e-4)
    # the mean between lights off and on
    np.testing.assert_allclose(
        taken_off.first(), levels["ibi_hr"].groupby("recording").mean(), 0.01
    )
    # the time is no sensor
    np.testing.assert_array_equal(rows["time_hours"], levels["time_hours"])


def test_nights_have_levels_and_counts(frame_of, nights):
    rows, expert = frame_of(nights), expert_frame(nights)
    assert [*rows.columns[WIDTH:]] == [*expert.columns]
    np.testing.assert_allclose(rows[expert.columns], expert, rtol=1e-5)


def test_lost_sensors_become_the_mean(frame_of, nights):
    X = EpochSequence([nights[0].without("ibi")])
    rows = frame_of(X, center="night")
    np.testing.assert_array_equal(rows.filter(like="ibi_"), 0)
    assert (rows["spo2_mean"] != 0).any()


def test_concat_keeps_one_block_each(frame_of, nights):
    rows = frame_of(EpochSequence(nights), fusion="concat")
    mean = frame_of(EpochSequence(nights))
    assert rows.columns[0] == "spo2_000"
    assert rows.shape[1] == mean.shape[1] + 2 * WIDTH


def test_epoch_alone_has_same_row(frame_of, nights):
    X = EpochSequence(nights)
    whole = frame_of(X, center="night", context_minutes=5)
    alone = frame_of(X[100:101], center="night", context_minutes=5)
    np.testing.assert_array_equal(alone, whole.iloc[100:101])


def test_short_nights_have_no_levels(frame_of, noise):
    night = Recording({"spo2": (95 + 0.1 * np.arange(30.0), 1)}, id="one")
    with pytest.warns(RecordingWarning, match="fewer than 20 epochs"):
        rows = frame_of(EpochSequence([night]), center="night")
    assert rows.shape[0] == 1
    np.testing.assert_array_equal(rows["spo2_mean"], 0)
    assert np.isfinite(rows.to_numpy()).all()


def test_time_comes_with_any_sensor(frame_of, nights):
    rows = frame_of(EpochSequence(nights), modalities=["ibi"])
    groups = {name.split("_")[0] for name in rows.columns}
    assert groups == {"sleep2vec", "ibi", "time"}


def test_excerpts_have_no_time(frame_of, nights):
    night = nights[0]
    excerpt = Recording({"ibi": (night["ibi"][: 2 * 3600 * 4], 4)}, id="excerpt")
    assert frame_of(EpochSequence([excerpt]))["time_hours"].nunique() == 1
    whole = Recording({"ibi": (night["ibi"], 4)}, id="night")
    assert frame_of(EpochSequence([whole]))["time_hours"].iloc[-1] == pytest.approx(4, abs=0.01)


def test_days_begin_with_the_night(frame_of, nights):
    rng = np.random.default_rng(0)
    wake = 200 * rng.random(10 * 3600) * (rng.random(10 * 3600) < 0.3)
    asleep = 0.02 * rng.random(6 * 3600)
    day = Recording({"actigraphy": (np.concatenate([wake, asleep, wake]), 1)}, id="day")
    hours = frame_of(EpochSequence([day]))["time_hours"].to_numpy()
    begin = np.flatnonzero(hours > 0)[0] / 120
    assert begin == pytest.approx(9.5, abs=0.5)
    assert hours.max() == 12


def test_heads_read_the_states(checkpoint, nights):
    X = EpochSequence(nights)
    head = Sleep2VecClassifier(checkpoint, max_epochs=1, random_state=0).fit(X, X.stages > 0)
    assert head.predict_proba(X).shape == (len(X), 2)
    assert head.modalities_ == tuple(SENSORS)


def test_flat_stretch_is_no_night():
    site = {"n_sites": 1, "site_kinds": ["full_laboratory"]}
    night = make_sleep_cohort(1, hours=8, modalities=["emg"], missing=0, **site, random_state=3)[0]
    rate = int(night.rates["emg"])
    unplugged = np.concatenate([np.zeros(7 * 3600 * rate), night["emg"]])
    day = Recording({"emg": (unplugged, rate)}, id="day")
    encoded = (
        ExpertFeatures("emg").set_output(transform="pandas").fit_transform(EpochSequence([day]))
    )
    begin = np.flatnonzero(encoded["time_hours"].to_numpy() > 0)[0] / 120
    assert begin == pytest.approx(7, abs=0.6)


def test_time_alone_is_refused(frame_of, nights):
    with pytest.raises(CheckpointError, match="Choose at least one"):
        frame_of(EpochSequence(nights), modalities=["time"])
