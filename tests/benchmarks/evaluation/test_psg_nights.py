# SPDX-License-Identifier: BSD-3-Clause
"""Simulated polysomnography: new people and sites, sensors lost the same way at every call."""

import numpy as np
import pytest

from benchmarks.evaluation.psg_nights import (
    BRAIN_BANDS,
    BREATH_BANDS,
    MODALITIES,
    SITES,
    WIDTHS,
    EncoderRows,
    HandCrafted,
    Loss,
    epoch_features,
    prepare,
    simulated_psg,
)
from benchmarks.evaluation.psg_nights import _Kept as Kept
from benchmarks.weights.pretrain import simulated_nights
from sleep2vec_sklearn import EpochSequence, Recording
from sleep2vec_sklearn.datasets.simulation.cohort import SimulatedSource
from sleep2vec_sklearn.recordings import Signal

SENSORS = ("eeg", "ecg", "effort", "spo2", "ibi")
STRETCH = Loss(0.5, share=0.5)


@pytest.fixture(scope="module")
def nights():
    return simulated_psg(6, SENSORS, hours=0.25)


@pytest.fixture
def encoder(checkpoint_in_memory, tmp_path):
    return EncoderRows("small", checkpoint_in_memory, "concat", str(tmp_path))


@pytest.fixture
def no_reading(monkeypatch):
    def read(source, names):
        raise AssertionError(f"{names} simulated again")

    return lambda: monkeypatch.setattr(SimulatedSource, "read", read)


def test_subjects_differ_from_pretraining():
    ours, theirs = simulated_psg(2 * SITES), simulated_nights(2 * SITES)
    for cohort in (ours, theirs):
        cohort.people = {(row.age, row.bmi) for row in cohort.metadata.itertuples()}
        cohort.devices = {night._source.night.site.gain for night in cohort}
    assert len(ours.devices) == SITES
    assert not ours.people & theirs.people
    assert not ours.devices & theirs.devices


def test_nights_have_all_sensors():
    cohort = simulated_psg(SITES)
    assert len(MODALITIES) == 9
    assert {night.modalities for night in cohort} == {MODALITIES}
    assert cohort.metadata["site"].nunique() == SITES
    assert str(Loss(0.25)) == "each sensor lost for the night with p = 0.25"
    assert "50% of the night" in str(STRETCH)


def test_night_loss_is_repeatable(nights):
    loss = Loss(0.99)
    for night in nights:
        assert loss.apply(night).modalities == loss.apply(night).modalities
        assert len(loss.apply(night).modalities) >= 1
    lost = [len(SENSORS) - len(Loss(0.5).apply(night).modalities) for night in nights]
    assert 0 < sum(lost) < len(SENSORS) * len(nights)


def test_stretch_loss_hits_some_sensors(nights):
    hit = []
    for night in nights:
        whole, cut = night.read(), STRETCH.apply(night)
        for name, signal in cut.read().items():
            gap = np.isnan(signal.values)
            np.testing.assert_array_equal(signal.values[~gap], whole[name].values[~gap])
            same = cut.signal_fingerprint(name) == night.signal_fingerprint(name)
            assert gap.mean() == (0 if same else pytest.approx(0.5, abs=0.01))
            hit.append(not same)
    assert 0 < np.mean(hit) < 1


def test_loss_is_same_in_memory(nights):
    for loss in (Loss(0.5), STRETCH):
        lazy, kept = (loss.apply(n) for n in (nights[0], Kept(nights[0]).as_recording()))
        assert lazy.modalities == kept.modalities
        for name in lazy.modalities:
            assert lazy.signal_fingerprint(name) == kept.signal_fingerprint(name)


def test_rows_come_from_prepared_signals(nights, encoder, no_reading):
    losses = (Loss(0.5), STRETCH)
    hand_crafted = prepare(nights[:2], [encoder], losses, n_jobs=1)
    no_reading()
    for variant in (list(nights[:2]), *([loss.apply(n) for n in nights[:2]] for loss in losses)):
        for rows in (encoder, hand_crafted):
            assert len(rows.epochs(variant, SENSORS)) == 60
            assert rows.epochs(variant[:1], SENSORS).dtype == np.float32
    assert len(encoder.nights(nights[:2], SENSORS)) == 2
    assert len(hand_crafted.epochs(nights[:2], ["ecg"])) == 60


def test_lossy_rows_match_plain_samples(nights, encoder, embed):
    cut = STRETCH.apply(nights[1])
    plain = Recording({n: (s.values, s.rate) for n, s in cut.read().items()}, units=cut.units)
    expected = embed(EpochSequence([plain]), modalities=list(SENSORS), fusion="concat")
    np.testing.assert_allclose(encoder.epochs([cut], SENSORS), expected, atol=1e-5)
    of_plain, of_cut = (HandCrafted().epochs([night], SENSORS) for night in (plain, cut))
    np.testing.assert_array_equal(of_plain, of_cut)


def test_one_sensor_alone(nights, encoder):
    others = [name for name in SENSORS if name != "ecg"]
    alone = encoder.epochs([nights[0].without(*others)], ["ecg"])
    np.testing.assert_array_equal(encoder.epochs(nights[:1], ["ecg"]), alone)


N_EPOCHS = 6


def test_units_and_gain_cancel(noise):
    values, rate = noise("eeg", N_EPOCHS)
    rows = [
        HandCrafted().epochs([Recording({"eeg": (scaled, rate)}, units={"eeg": unit})], ["eeg"])
        for scaled, unit in ((values, "uV"), (values * 3, "uV"), (values / 1000, "mV"))
    ]
    np.testing.assert_allclose(rows[1], rows[0], atol=1e-3)
    np.testing.assert_allclose(rows[2], rows[0], atol=1e-3)


def test_missing_sensor_is_nan(noise):
    night = Recording({name: noise(name, N_EPOCHS) for name in ("eeg", "spo2")})
    both = HandCrafted().epochs([night], ["eeg", "spo2"])
    without = HandCrafted().epochs([night.without("spo2")], ["eeg", "spo2"])
    lost = np.isnan(without).all(axis=0)
    np.testing.assert_allclose(without[:, ~lost], both[:, ~lost], atol=1e-5)
    assert lost.sum() == 5 * WIDTHS["spo2"]


def test_minutes_around_skip_gaps():
    values = np.full(4 * 30 * N_EPOCHS, 95.0)
    values[120:240] = np.nan
    values[240:360] = 90.0
    rows = HandCrafted().epochs([Recording({"spo2": (values, 4)})], ["spo2"])
    mean_of_five = rows[:, WIDTHS["spo2"]]
    np.testing.assert_allclose(mean_of_five[0], -2.5, atol=1e-5)
    np.testing.assert_allclose(mean_of_five[3], -1.25, atol=1e-5)


def test_night_summary_is_absolute(noise, counting_source):
    values, rate = noise("spo2", N_EPOCHS)
    rows = HandCrafted().nights([Recording({"spo2": (values, rate)})], ["spo2"])
    assert rows.shape == (1, 4 * WIDTHS["spo2"])
    assert rows[0, 0] == pytest.approx(values.mean(), abs=0.01)
    source = counting_source({"spo2": (*noise("spo2", N_EPOCHS), "%")})
    features = HandCrafted()
    for _ in range(2):
        features.epochs([Recording.from_source(source)], ["spo2"])
    assert source.reads == [("spo2",)]


def wave(frequency, rate, n_epochs=N_EPOCHS, size=30.0):
    times = np.arange(round(30 * rate * n_epochs)) / rate
    noise = np.random.default_rng(0).standard_normal(len(times))
    return size * (np.sin(2 * np.pi * frequency * times) + 0.05 * noise)


@pytest.mark.parametrize("name", WIDTHS)
def test_every_sensor_has_its_features(name, noise):
    values, rate = noise(name, N_EPOCHS)
    values[: round(30 * rate)] = np.nan
    features = epoch_features(Signal(values, rate, {"spo2": "%", "ibi": "s"}.get(name, "uV")),
                              name, N_EPOCHS)  # fmt: skip
    assert features.shape == (N_EPOCHS, WIDTHS[name])
    assert np.isnan(features[0]).all()
    assert np.isfinite(features[1:]).mean() > (0.3 if name == "ecg" else 0.999)


@pytest.mark.parametrize(("frequency", "band"), [(1, 0), (6, 2), (10, 3), (20, 5)])
def test_rhythm_is_in_its_band(frequency, band):
    features = epoch_features(Signal(wave(frequency, 128), 128.0, "uV"), "eeg", N_EPOCHS)
    assert (features[:, : len(BRAIN_BANDS)].argmax(axis=1) == band).all()


def test_rates_of_breath_and_heart():
    features = epoch_features(Signal(wave(0.2, 8), 8.0, "a.u."), "airflow", N_EPOCHS)
    assert (features[:, : len(BREATH_BANDS)].argmax(axis=1) == 1).all()
    np.testing.assert_allclose(features[:, len(BREATH_BANDS)], 0.2, atol=0.02)
    rate, bpm = 200, 75
    values = 0.02 * np.random.default_rng(0).standard_normal(30 * rate * N_EPOCHS)
    for beat in np.arange(0.3, 30 * N_EPOCHS - 1, 60 / bpm):
        first = round(beat * rate)
        values[first : first + 8] += np.hanning(8)
    features = epoch_features(Signal(values, float(rate), "mV"), "ecg", N_EPOCHS)
    np.testing.assert_allclose(features[:, 0], bpm, atol=1.5)
