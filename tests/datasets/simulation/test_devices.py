# SPDX-License-Identifier: BSD-3-Clause
"""Sites and their devices: rates, units, gain, filters, hum, and failures of sensors."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import welch

from sleep2vec_sklearn.datasets.simulation import cohort as sensors
from sleep2vec_sklearn.datasets.simulation._night import draw_night
from sleep2vec_sklearn.datasets.simulation._subjects import (
    SITE_KINDS,
    _spread,
    draw_site,
    draw_subject,
)
from sleep2vec_sklearn.datasets.simulation.cohort import (
    Failure,
    SimulatedSource,
    _amplify,
    draw_failures,
    record,
)
from sleep2vec_sklearn.recordings import MODALITIES

few = settings(max_examples=30)

kinds = st.sampled_from(sorted(SITE_KINDS))
SUBJECT = draw_subject(0, 1)
PLAIN = dataclasses.replace(
    draw_site(1, 1, "full_laboratory"),
    rates=tuple({"eeg": 100.0, "ecg": 128.0, "actigraphy": 1.0}.get(n, 8.0) for n in MODALITIES),
    units=tuple("uV" if n in ("eeg", "eog", "emg", "ecg") else "a.u." for n in MODALITIES),
    gain=1.0,
    noise=1.0,
    line_amplitude=0.0,
    low_pass=45.0,
    high_pass=0.3,
    counts_smoothing=0.0,
)


def night_at(n_epochs=60, **site):
    return draw_night((8, 1), SUBJECT, dataclasses.replace(PLAIN, **site), n_epochs)


def with_unit(name, unit):
    return tuple(unit if n == name else u for n, u in zip(MODALITIES, PLAIN.units, strict=True))


@few
@given(seed=st.integers(0, 2**32), index=st.integers(1, 40), kind=kinds)
def test_site_has_accepted_units(seed, index, kind):
    site = draw_site(seed, index, kind)
    assert site == draw_site(seed, index, kind)
    assert (site.name, site.kind) == (f"site-{index}", kind)
    assert set(site.modalities) == set(SITE_KINDS[kind])
    assert list(site.modalities) == [n for n in MODALITIES if n in site.modalities]
    for name in site.modalities:
        assert site.unit(name) in MODALITIES[name].units
        needed = MODALITIES[name].conditioning.min_rate
        assert needed is None or site.rate(name) >= needed
        assert (30 * site.rate(name)).is_integer()
    assert site.has_watch == (kind in ("wearable", "watch_laboratory"))
    device = ("bpm", 1) if site.has_watch else ("s", 4)
    assert (site.unit("ibi"), site.rate("ibi")) == device


@few
@given(seed=st.integers(0, 2**32), name=st.sampled_from(["eeg tilt", "alpha share"]))
def test_consecutive_sites_differ(seed, name):
    values = [_spread(seed, index, name) for index in range(1, 9)]
    assert np.abs(np.diff(values)).min() > 0.5
    assert np.abs(values).max() < 2.4


def test_sites_are_normally_distributed():
    values = [_spread(3, index, "eeg tilt") for index in range(1, 1001)]
    assert np.mean(values) == pytest.approx(0, abs=0.02)
    # the outermost hundredths are left out
    assert np.std(values) == pytest.approx(0.94, abs=0.02)


def test_unit_and_gain_scale_voltages():
    plain = record(night_at(), "eeg")
    for unit, factor in (("mV", 1e-3), ("V", 1e-6)):
        scaled = record(night_at(units=with_unit("eeg", unit)), "eeg")
        np.testing.assert_allclose(scaled, plain * factor, rtol=1e-5, atol=1e-12)
    for name, factor in (("eeg", 1.5), ("ecg", 1.5), ("spo2", 1.0), ("resp", 1.0), ("ppg", 1.0)):
        plain, louder = (record(night_at(gain=gain), name) for gain in (1.0, 1.5))
        np.testing.assert_allclose(louder, factor * plain, rtol=1e-4, atol=1e-6)


def density(signal, rate):
    return welch(signal, rate, nperseg=round(8 * rate))


def test_hum_is_at_line_frequency():
    rates = (200.0 if n == "eeg" else r for n, r in zip(MODALITIES, PLAIN.rates, strict=True))
    fast, above_nyquist = {"rates": tuple(rates), "low_pass": 70.0}, {"line_frequency": 60.0}
    for site in ({**fast, "line_frequency": 50.0}, {**fast, "line_frequency": 60.0}, above_nyquist):
        clean, humming = (record(night_at(**site, line_amplitude=a), "eeg") for a in (0.0, 5.0))
        grid, extra = density(humming - clean, 200)
        assert grid[extra.argmax()] == (0 if site is above_nyquist else site["line_frequency"])
    np.testing.assert_array_equal(clean, humming)


def test_filters_attenuate_their_bands():
    grid, plain = density(record(night_at(), "ecg"), 128)
    _, dull = density(record(night_at(low_pass=10.0), "ecg"), 128)
    _, sharp = density(record(night_at(high_pass=3.0), "ecg"), 128)
    fast, slow = (grid > 30) & (grid < 40), (grid > 0.1) & (grid < 0.5)
    assert dull[fast].mean() < 0.35 * plain[fast].mean()
    assert sharp[slow].mean() < 0.35 * plain[slow].mean()
    assert dull[(grid > 1) & (grid < 4)].mean() > 0.7 * plain[(grid > 1) & (grid < 4)].mean()


def test_amplifier_adds_noise():
    night = night_at(noise=4.0, high_pass=0.1, low_pass=45.0)
    still = dataclasses.replace(night, movements=dataclasses.replace(
        night.movements, onset=np.empty(0), duration=np.empty(0), size=np.empty(0)))  # fmt: skip
    noise = _amplify(still, "eeg", np.zeros(1800 * 100, np.float32), 100.0)
    middle = np.median(np.abs(noise)) / 0.6745
    assert 2.5 < middle < 4


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("name", ["eeg", "ibi", "spo2"])
def test_failure_spares_other_samples(name, flat):
    night = night_at()
    rate = night.site.rate(name)
    plain, failed = record(night, name), record(night, name, Failure(300, 600, flat))
    span = slice(round(300 * rate), round(600 * rate))
    assert (failed[span] == 0).all() if flat else np.isnan(failed[span]).all()
    np.testing.assert_array_equal(np.delete(failed, span), np.delete(plain, span))


@few
@given(seed=st.integers(0, 2**32), chance=st.floats(0, 0.99), kind=kinds, data=st.data())
def test_draws_spare_one_sensor(seed, chance, kind, data):
    recorded = tuple(n for n in MODALITIES if n in SITE_KINDS[kind])
    selected = tuple(sorted(data.draw(st.sets(st.sampled_from(recorded), min_size=1))))
    rng = np.random.default_rng(seed)
    present, failures = draw_failures(recorded, selected, 3600.0, chance, rng)
    assert set(failures) <= set(present) <= set(selected)
    assert set(present) - set(failures)
    for failure in failures.values():
        assert 0 <= failure.start < failure.stop <= 3600
        assert failure.stop - failure.start <= 0.65 * 3600 + 1e-6


@few
@given(seed=st.integers(0, 2**32))
def test_more_failures_keep_earlier_ones(seed):
    everything = tuple(MODALITIES)
    draws = [everything]
    for chance in (0.0, 0.2, 0.5, 0.9):
        rng = np.random.default_rng(seed)
        draws.append(draw_failures(everything, everything, 3600.0, chance, rng)[0])
    assert draws[0] == draws[1]
    assert all(set(fewer) <= set(more) for more, fewer in pairwise(draws))


def test_slow_sensors_fail_as_gaps():
    for seed in range(200):
        rng = np.random.default_rng(seed)
        _, failures = draw_failures(tuple(MODALITIES), tuple(MODALITIES), 3600.0, 0.4, rng)
        assert not any(failures[n].flat for n in ("spo2", "ibi", "resp") if n in failures)


def test_source_makes_requested_signals(monkeypatch):
    made = []

    def noted(name, generate):
        return lambda night, rate: made.append(name) or generate(night, rate)

    generators = {name: noted(name, g) for name, g in sensors.GENERATORS.items()}
    monkeypatch.setattr(sensors, "GENERATORS", generators)
    source = SimulatedSource(night_at(30), ("eeg", "spo2", "ibi"))
    assert set(source.layout) == {"eeg", "spo2", "ibi"}
    assert made == []
    source.read(["spo2"])
    assert made == ["spo2"]


def test_fingerprint_covers_every_setting(monkeypatch):
    night = night_at(30)
    changes = [{"gain": 1.01}, {"eeg_tilt": 0.9}, {"counts_scale": 9.0}]
    nights = [night_at(30, **c) for c in (*changes, {"units": with_unit("eeg", "mV")})]
    sources = [
        *(SimulatedSource(n, ("eeg",)) for n in (night, *nights, night_at(31))),
        SimulatedSource(night, ("eeg", "ibi")),
        SimulatedSource(night, ("eeg",), {"eeg": Failure(0, 60, True)}),
        SimulatedSource(night, ("eeg",), {"eeg": Failure(0, 60, False)}),
    ]
    fingerprints = [source.fingerprint() for source in sources]
    monkeypatch.setattr(sensors, "SIMULATION_REVISION", sensors.SIMULATION_REVISION + 1)
    fingerprints.append(sources[0].fingerprint())
    assert len(set(fingerprints)) == len(sources) + 1
