# SPDX-License-Identifier: BSD-3-Clause
"""Simulated polysomnography: new people and sites, sensors lost the same way at every call."""

import numpy as np
import pytest

from benchmarks.evaluation.psg_nights import (
    MODALITIES,
    SITES,
    EncoderRows,
    HandCrafted,
    Loss,
    prepare,
    simulated_psg,
)
from benchmarks.evaluation.psg_nights import _Kept as Kept
from benchmarks.weights.pretrain import simulated_nights
from sleep2vec_sklearn import EpochSequence, Recording
from sleep2vec_sklearn.datasets.simulation.cohort import SimulatedSource

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


def test_loss_describes_itself():
    assert str(Loss(0.25)) == "each sensor lost for the night with p = 0.25"
    assert "50% of the night" in str(STRETCH)
