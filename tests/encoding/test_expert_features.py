# SPDX-License-Identifier: BSD-3-Clause
"""Expert features as a transformer and as an encoder."""

from __future__ import annotations

import pickle
import re
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler

from sleep2vec_sklearn import (
    EpochSequence,
    Recording,
    Sleep2VecClassifier,
    Sleep2VecTransformer,
    make_sleep_cohort,
)
from sleep2vec_sklearn.encoding import (
    EncoderUnion,
    ExpertFeatures,
    PrecomputedEmbeddings,
    feature_table,
)
from sleep2vec_sklearn.errors import InvalidRecordingError, InvalidSignalError
from sleep2vec_sklearn.recordings import MODALITIES

SLOW = ("spo2", "ibi", "actigraphy", "resp")


@pytest.fixture(scope="module")
def watch():
    """Four nights of two sensors, one of which the last night lacks."""
    nights = make_sleep_cohort(
        4, hours=1, modalities=["ibi", "actigraphy"], missing=0, random_state=0
    )
    return [*nights[:3], nights[3].without("actigraphy")]


@pytest.fixture
def all_sensors(noise):
    """A night of ten minutes with every sensor."""
    return Recording({name: noise(name, 20) for name in MODALITIES}, subject="s1", id="n1")


def rows_of(X, **options):
    features = ExpertFeatures(**options).set_output(transform="pandas")
    return features.fit_transform(X)


def test_table_names_all_columns(all_sensors):
    table = feature_table()
    rows = rows_of(EpochSequence([all_sensors]))
    assert list(rows) == list(table.index)
    assert table.index.is_unique
    assert all(re.fullmatch("[a-z][a-z0-9_]{0,31}", name) for name in table.index)
    assert table.notna().all(axis=None)
    assert (table.loc[table["relative"], "typical"] == 0).all()
    assert table["minutes"].max() == 40.5


def test_night_names_are_valid(all_sensors):
    rows = rows_of([all_sensors])
    assert rows.columns.is_unique
    assert np.isfinite(rows).all(axis=None)
    assert all(re.fullmatch("[a-z][a-z0-9_]{0,31}", name) for name in rows)


def test_levels_can_be_left_out(watch):
    X = EpochSequence(watch)
    features = {"modalities": ["ibi", "actigraphy"], "time": False}
    rows, relative = rows_of(X, **features), rows_of(X, **features, levels=False)
    names = feature_table(["ibi", "actigraphy"]).query("relative").index
    assert list(relative) == list(names)
    assert np.allclose(rows[names], relative)
    nights = (rows_of(watch, **features, levels=levels) for levels in (True, False))
    assert np.array_equal(*nights)


def test_night_rows_summarise_epochs(watch):
    epochs, nights = rows_of(EpochSequence(watch[:1])), rows_of(watch[:1])
    heart = epochs["ibi_hr"]
    row = nights.iloc[0]
    assert row["ibi_hr_mean"] == pytest.approx(heart.mean(), rel=1e-4)
    assert row["ibi_hr_sd"] == pytest.approx(heart.std(ddof=0), rel=1e-3)
    assert row["ibi_hr_p95"] == pytest.approx(np.percentile(heart, 95), rel=1e-4)
    assert row["ibi_on"] == row["time_recorded"] == 1


def test_minutes_below_ninety(noise):
    values, rate = noise("spo2", 40)
    values[: len(values) // 4] = 80
    row = rows_of([Recording({"spo2": (values, rate)})], modalities="spo2").iloc[0]
    assert row["spo2_t90"] == pytest.approx(5, abs=0.1)


def test_missing_sensors_are_typical(watch):
    rows = rows_of(EpochSequence(watch[3:]))
    typical = feature_table()["typical"]
    block = [name for name in rows if name.startswith("actigraphy")]
    assert np.allclose(rows[block], typical[block])
    night = rows_of(watch[3:]).iloc[0]
    assert night["actigraphy_counts_mean"] == typical["actigraphy_counts"]
    assert night["actigraphy_counts_sd"] == night["actigraphy_on"] == 0


def test_missing_sensors_are_nan(watch):
    options = {"modalities": ["ibi", "actigraphy"], "missing": "nan"}
    rows = rows_of(EpochSequence(watch[3:]), **options)
    assert rows.filter(like="actigraphy").isna().all(axis=None)
    assert rows.filter(like="ibi").notna().all(axis=None)
    night = rows_of(watch[3:], **options)
    assert night.filter(like="actigraphy_counts").isna().all(axis=None)


def test_gap_in_a_night(noise):
    values, rate = noise("ibi", 60)
    values[20 * 120 : 25 * 120] = np.nan
    X = EpochSequence([Recording({"ibi": (values, rate)})])
    rows = rows_of(X, modalities="ibi", time=False)
    assert np.allclose(rows.iloc[22], rows.drop(index=rows.index[20:25]).mean(), rtol=1e-4)
    assert rows_of(X, modalities="ibi", time=False, missing="nan").iloc[20:25].isna().all(axis=None)


def test_same_rows_as_encoder(watch):
    X = EpochSequence(watch)
    direct = ExpertFeatures(["ibi", "actigraphy"]).fit_transform(X)
    around = Sleep2VecTransformer(ExpertFeatures(["ibi", "actigraphy"])).fit_transform(X)
    assert np.array_equal(direct, around)


def test_composes_with_other_encoders(watch, checkpoint_in_memory):
    union = FeatureUnion(
        [
            ("expert", ExpertFeatures(["ibi", "actigraphy"])),
            ("embedding", Sleep2VecTransformer(checkpoint_in_memory)),
        ]
    )
    X = EpochSequence(watch[:3])
    model = make_pipeline(union, StandardScaler(), LogisticRegression(max_iter=50))
    scores = cross_val_score(model, X, X.stages > 0, groups=X.groups, cv=GroupKFold(3))
    assert np.isfinite(scores).all()


class Counted:
    """A source that counts how often it is read."""

    def __init__(self, recording):
        self.recording, self.reads = recording, []

    @property
    def layout(self):
        return {name: s.layout for name, s in self.recording.read().items()}

    def read(self, names):
        self.reads.append(sorted(names))
        return self.recording.read(names)

    def fingerprint(self):
        return self.recording.fingerprint


def test_signals_are_read_once(watch, checkpoint_in_memory):
    source = Counted(watch[0])
    embedding = Sleep2VecTransformer(checkpoint_in_memory, cache=None)
    union = EncoderUnion([("expert", ExpertFeatures(cache=None)), ("embedding", embedding)])
    union.fit_transform(EpochSequence([Recording.from_source(source)]))
    assert source.reads == [["actigraphy", "ibi"]]


def test_heads_train_on_features(watch):
    X = EpochSequence(watch)
    model = Sleep2VecClassifier(ExpertFeatures(["ibi", "actigraphy"]), max_epochs=1)
    assert model.fit(X, X.stages > 0).predict(X).shape == (len(X),)
    # ibi has the most columns
    assert model.predict(EpochSequence([watch[0].without("ibi")])).shape == (watch[0].n_epochs,)


def test_boosting_takes_missing_values(watch):
    X = EpochSequence(watch)
    features = ExpertFeatures(["ibi", "actigraphy"], missing="nan")
    model = make_pipeline(features, HistGradientBoostingClassifier(max_iter=3))
    assert len(clone(model).fit(X, X.stages > 0).predict(X)) == len(X)


def test_tables_keep_features(watch):
    X = EpochSequence(watch[:2])
    features = ExpertFeatures(["ibi"]).fit(X)
    table = features.embed(X)
    assert np.array_equal(PrecomputedEmbeddings(table).fit_transform(X), features.transform(X))


def test_pickle_is_small(watch):
    features = ExpertFeatures("ibi").fit(watch)
    dumped = pickle.dumps(features)
    assert len(dumped) < 20_000
    assert np.array_equal(pickle.loads(dumped).transform(watch), features.transform(watch))


def test_rows_ignore_the_selection(watch):
    X = EpochSequence(watch[:1])
    features = ExpertFeatures("ibi").fit(X)
    assert np.array_equal(features.transform(X[30:31]), features.transform(X)[30:31])


@pytest.fixture(scope="module")
def simulated():
    """Samples of half an hour of every sensor."""
    (night,) = make_sleep_cohort(
        1, hours=0.5, modalities=list(MODALITIES), missing=0, random_state=0
    )
    return night.read()


@pytest.mark.parametrize("name", MODALITIES)
def test_lost_minute_moves_little(name, simulated):
    signal = simulated[name]
    gap = signal.values.copy()
    gap[round(30 * 30 * signal.rate) : round(32 * 30 * signal.rate)] = np.nan
    nights = [
        Recording({name: (v, signal.rate)}, units={name: signal.unit}) for v in (signal.values, gap)
    ]
    whole, lost = (rows_of(EpochSequence([n]), modalities=name, time=False) for n in nights)
    absolute = ~feature_table([name])["relative"].to_numpy()
    spread = whole.std().to_numpy()[absolute]
    change = np.abs((whole - lost).to_numpy())[:, absolute]
    assert (change[np.r_[:10, 50:60]] < 0.1 * spread + 0.03).all()


@pytest.mark.parametrize("n_epochs", [1, 2, 21])
@pytest.mark.parametrize("name", MODALITIES)
@pytest.mark.parametrize("kind", ["noise", "half flat", "gap"])
def test_rows_are_always_finite(name, n_epochs, kind, noise):
    values, rate = noise(name, n_epochs)
    values = values.copy()
    if kind == "half flat":
        values[len(values) // 2 :] = values[0]
    if kind == "gap":
        values[len(values) // 4 : len(values) // 2] = np.nan
    X = EpochSequence([Recording({name: (values, rate)})])
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        rows = ExpertFeatures(name).fit_transform(X)
    assert np.isfinite(rows).all()


@pytest.mark.parametrize("time", [True, False])
def test_flat_sensor_is_missing(time):
    night = Recording({"spo2": (np.full(600, 96.0), 1)})
    with pytest.raises(InvalidRecordingError, match="no usable signal: spo2 flat"):
        ExpertFeatures("spo2", time=time).fit_transform([night])


def test_slow_rates_are_accepted(noise):
    signals = {name: noise(name, 40, 50) for name in ("eeg", "eog", "emg")}
    rows = rows_of(EpochSequence([Recording(signals)]), modalities=list(signals))
    typical = feature_table()["typical"]
    assert (rows["eeg_gamma_db"] == typical["eeg_gamma_db"]).all()
    assert rows["eeg_sigma_db"].std() > 0
    too_slow = Recording({"eeg": noise("eeg", 40, 40)})
    with pytest.raises(InvalidSignalError, match="40 Hz"):
        ExpertFeatures("eeg").fit_transform([too_slow])


def test_watch_has_no_beats(noise):
    values, _ = noise("ibi", 40)
    rows = rows_of(EpochSequence([Recording({"ibi": (values[::4], 1)})]), modalities="ibi")
    typical = feature_table()["typical"]
    assert (rows["ibi_rmssd"] == typical["ibi_rmssd"].astype(np.float32)).all()
    assert rows["ibi_hr"].std() > 0


def test_gain_only_moves_levels(noise):
    values, rate = noise("eeg", 40)
    plain, louder = (
        rows_of(EpochSequence([Recording({"eeg": (gain * values, rate)})]), modalities="eeg")
        for gain in (1, 2)
    )
    shift = louder["eeg_beta_db"] - plain["eeg_beta_db"]
    assert np.allclose(shift, 20 * np.log10(2), atol=0.01)
    relative = feature_table(["eeg"]).query("relative").index
    unscaled = [n for n in relative if "spindles" not in n and "slow_waves" not in n]
    assert np.allclose(plain[unscaled], louder[unscaled], atol=0.02)


def test_units_do_not_matter(noise):
    values, rate = noise("ecg", 20)
    nights = [Recording({"ecg": (values, rate)}), None]
    nights[1] = Recording({"ecg": (values / 1000, rate)}, units={"ecg": "mV"})
    plain, other = (rows_of(EpochSequence([n]), modalities="ecg") for n in nights)
    assert np.allclose(plain, other, atol=1e-2)


def test_median_is_of_the_night(noise):
    values, rate = noise("ibi", 1800, 1)
    # a day of fast beats, then eight hours of slow ones
    values[: 840 * 30] -= 0.3
    kept, known = (
        rows_of(
            EpochSequence([Recording({"ibi": (values, rate)}, lights=lights)]), modalities="ibi"
        )
        for lights in (None, (840 * 30.0, 1800 * 30.0))
    )
    for rows in (kept, known):
        assert abs(rows["ibi_hr_rel"].iloc[900:].median()) < 2
        assert rows["ibi_hr_rel"].iloc[:800].median() > 20


@pytest.mark.parametrize(
    ("options", "hint"),
    [({"missing": "zero"}, "missing"), ({"time": 1.5}, "time"), ({"on_error": "skip"}, "on_error")],
)
def test_parameters_are_checked(options, hint, watch):
    with pytest.raises(ValueError, match=hint):
        ExpertFeatures(**options).fit(watch)
