# SPDX-License-Identifier: BSD-3-Clause
"""Gaps, missing epochs, units, bands and scales of conditioned signals."""

import dataclasses
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn.errors import InvalidSignalError
from sleep2vec_sklearn.recordings import MODALITIES, Conditioning, Recording, Signal
from sleep2vec_sklearn.recordings._conditioning import condition, read_conditioned
from sleep2vec_sklearn.recordings._usable import check_size
from sleep2vec_sklearn.recordings.sources import to_canonical_unit
from tests.strategies import NATIVE_RATES, signals

N_EPOCHS = 4
ROBUST = [name for name, m in MODALITIES.items() if m.conditioning.scaling == "robust"]


def conditioned(name, values, rate=None, unit=None, n_epochs=N_EPOCHS, **changes):
    modality = MODALITIES[name]
    conditioning = dataclasses.replace(modality.conditioning, **changes)
    rate = conditioning.rate if rate is None else rate
    signal = Signal(np.asarray(values), rate, modality.unit if unit is None else unit)
    return condition(signal, modality, conditioning, n_epochs)


@pytest.fixture
def eeg(noise):
    return noise("eeg")[0]


@settings(max_examples=60)
@given(name=st.sampled_from(sorted(NATIVE_RATES)), n_epochs=st.integers(2, 6), data=st.data())
def test_epochs_are_finite_and_bounded(name, n_epochs, data):
    values, rate = data.draw(signals(name, data.draw(st.integers(1, n_epochs))))
    night = conditioned(name, values, rate, n_epochs=n_epochs)
    assert night.epochs.shape == (n_epochs, MODALITIES[name].conditioning.width)
    assert night.epochs.dtype == np.float32
    assert np.isfinite(night.epochs).all()
    assert np.abs(night.epochs).max() <= 20


@pytest.mark.parametrize("rate", [99.9, 1000 / 7, 50.0, 512])
def test_odd_rates_fill_every_epoch(noise, rate):
    night = conditioned("eeg", noise("eeg", rate=rate)[0], rate)
    assert night.epochs.shape == (4, 3840)
    assert night.valid.all()


@settings(max_examples=20)
@given(gain=st.floats(0.1, 10), offset=st.floats(-100, 100))
def test_gain_and_offset_cancel(gain, offset):
    eeg = 30 * np.random.default_rng(1).standard_normal(N_EPOCHS * 3840)
    plain, changed = conditioned("eeg", eeg), conditioned("eeg", gain * eeg + offset)
    np.testing.assert_allclose(changed.epochs, plain.epochs, atol=2e-3)


@pytest.mark.parametrize(
    ("name", "unit", "factor"),
    [("eeg", "V", 1e-6), ("eeg", "mV", 1e-3), ("eeg", "nV", 1e3), ("ibi", "ms", 1e3),
     ("spo2", "fraction", 0.01)],
)  # fmt: skip
def test_units_are_equivalent(noise, name, unit, factor):
    values = noise(name)[0].astype(float)
    plain, other = conditioned(name, values), conditioned(name, values * factor, unit=unit)
    np.testing.assert_allclose(other.epochs, plain.epochs, atol=1e-3)


@pytest.mark.parametrize("value", [0.0, 5.3, np.nan])
def test_flat_or_empty_sensor_missing(value):
    assert conditioned("eeg", np.full(N_EPOCHS * 3840, value)) is None


@settings(max_examples=30)
@given(n_off=st.integers(1, 6 * 3840))
def test_detached_sensor_keeps_its_unit(n_off):
    ecg = 200 * np.random.default_rng(2).standard_normal(8 * 3840)
    ecg[:n_off] = 0
    assert conditioned("ecg", ecg, n_epochs=8).valid.sum() >= 8 - np.ceil(n_off / 3840)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [("spo2", [0.97, 0.93] * 240, r"no value between 40 and 101 %.*Accepted units: %, fraction"),
     ("ibi", [970, 930] * 240, r"no value between 0.25 and 3 s.*Accepted units: s, ms, bpm"),
     ("eeg", [3e-5, -3e-5] * 7680, r'interquartile .* like V: pass units=\{"eeg": "V"\}'),
     ("ecg", [0.5, -0.5] * 7680, r'like mV: pass units=\{"ecg": "mV"\}')],
)  # fmt: skip
def test_wrong_unit_raises(name, values, message):
    with pytest.raises(InvalidSignalError, match=message):
        conditioned(name, values)


@pytest.mark.parametrize("unit", ["uV", "V"])
def test_infinite_values_raise(eeg, unit):
    eeg[[3, 5]] = np.inf, -np.inf
    with pytest.raises(InvalidSignalError, match="'eeg' has 2 infinite values"):
        conditioned("eeg", eeg, unit=unit)


def test_artefact_does_not_dominate(eeg):
    plain = conditioned("eeg", eeg).epochs[3]
    eeg[100] = 1e6
    loud = conditioned("eeg", eeg).epochs
    assert np.abs(loud).max() == 20
    np.testing.assert_allclose(loud[3], plain, atol=0.2)


def test_input_is_not_modified(eeg):
    eeg[5:9] = np.nan
    before = eeg.copy()
    eeg.flags.writeable = False
    conditioned("eeg", eeg)
    np.testing.assert_array_equal(eeg, before)


@pytest.mark.parametrize("rate", [16, 32, 64])
def test_acceleration_stays_acceleration(rate):
    taken = Conditioning(rate=32, min_rate=16, scaling="absolute")
    seconds = np.arange(N_EPOCHS * 30 * rate) / rate
    signal = Signal(1 + 0.5 * np.sin(seconds), rate, "g")
    found = condition(signal, MODALITIES["actigraphy"], taken, N_EPOCHS).epochs
    expected = 1 + 0.5 * np.sin(np.arange(found.size) / 32)
    np.testing.assert_allclose(found.reshape(-1)[99:-99], expected[99:-99], atol=2e-3)


def test_acceleration_becomes_counts():
    swing = Signal(0.5 * np.sin(2 * np.pi * np.arange(3000) / 50), 50, "g")
    modality = MODALITIES["actigraphy"]
    night = condition(swing, modality, modality.conditioning, 2)
    assert night.epochs.shape == (2, 30)
    assert (night.epochs > 0).all()
    taken = Conditioning(rate=32, min_rate=16)
    with pytest.raises(InvalidSignalError, match=r"'actigraphy' is in counts.*vector magnitude"):
        condition(Signal(np.arange(120.0), 1, "counts"), MODALITIES["actigraphy"], taken, N_EPOCHS)


def percent(night):
    """Undo the scaling of saturation."""
    return night.epochs * 5 + 95


def breathing(n_epochs, rate, seed=0):
    """A slow waveform with a little noise, for effort."""
    time = np.arange(round(n_epochs * 30 * rate)) / rate
    noise = np.random.default_rng(seed).standard_normal(len(time))
    return np.sin(2 * np.pi * 0.25 * time) + 0.1 * noise


@settings(max_examples=60)
@given(
    missing=st.lists(st.integers(0, 120), min_size=4, max_size=4).filter(lambda n: min(n) <= 60),
    seed=st.integers(0, 99),
)
def test_half_an_epoch_suffices(missing, seed):
    rng = np.random.default_rng(seed)
    rows = rng.uniform(90, 99, (4, 120))
    for row, count in zip(rows, missing, strict=True):
        row[rng.choice(120, count, replace=False)] = np.nan
    night = conditioned("spo2", rows.reshape(-1))
    assert night.valid.tolist() == [count <= 60 for count in missing]


@pytest.mark.parametrize("rate", [0.5, 1, 3, 4, 7.3, 10])
@pytest.mark.parametrize(("seconds", "valid"), [(44, False), (45.5, True)])
def test_half_is_measured_in_time(rate, seconds, valid):
    values = np.full(round(120 * rate), 95.0)
    values[::2] = 96
    values[int(np.ceil(seconds * rate)) :] = np.nan
    assert conditioned("spo2", values, rate).valid.tolist() == [True, valid, False, False]


def test_samples_can_span_epochs():
    night = conditioned("actigraphy", [5.0, np.nan, 7.0], 1 / 45)
    # 0-45 s and 90-135 s are there: all of epoch 0, half of 1, nothing of 2, all of 3
    assert night.valid.tolist() == [True, True, False, True]
    values = np.full(480, np.nan)
    values[::3] = np.linspace(90, 99, 160)
    assert conditioned("spo2", values) is None


@pytest.mark.parametrize("n_samples", [1, 59, 60, 119, 120, 121, 179, 180])
def test_early_end_leaves_missing_epochs(n_samples):
    values = np.tile([95.0, 97.0], 120)[:n_samples]
    night = conditioned("spo2", values)
    expected = [n_samples >= 60 + 120 * i for i in range(4)]
    assert ([False] * 4 if night is None else night.valid.tolist()) == expected


@given(start=st.integers(1, 200), length=st.integers(1, 200))
def test_bridge_is_a_straight_line(start, length):
    values = np.random.default_rng(start).uniform(85, 99, 480).astype(np.float32)
    banks = values[start - 1], values[start + length]
    values[start : start + length] = np.nan
    line = np.linspace(*banks, length + 2)[1:-1]
    bridged = percent(conditioned("spo2", values)).reshape(-1)
    np.testing.assert_allclose(bridged[start : start + length], line, atol=1e-4)
    np.testing.assert_allclose(bridged[:start], values[:start], atol=1e-4)
    np.testing.assert_allclose(bridged[start + length :], values[start + length :], atol=1e-4)


@pytest.mark.parametrize("gap", [np.s_[:50], np.s_[-50:]], ids=["start", "end"])
def test_open_gap_holds_its_value(gap):
    values = np.random.default_rng(0).uniform(85, 99, 480).astype(np.float32)
    bank = values[50] if gap.start is None else values[-51]
    values[gap] = np.nan
    np.testing.assert_allclose(
        percent(conditioned("spo2", values)).reshape(-1)[gap], bank, atol=1e-4
    )


@pytest.mark.parametrize(
    ("name", "usual", "value", "there"),
    [("spo2", (95, 97), 40, True), ("spo2", (95, 97), 39.9, False), ("spo2", (95, 97), 0, False),
     ("spo2", (95, 97), 101, True), ("spo2", (95, 97), 101.1, False),
     ("spo2", (95, 97), -1, False), ("ibi", (0.9, 1.0), 0.25, True),
     ("ibi", (0.9, 1.0), 0.24, False), ("ibi", (0.9, 1.0), 3, True),
     ("ibi", (0.9, 1.0), 4, False), ("actigraphy", (3, 9), -1, False)],
)  # fmt: skip
def test_impossible_values_are_gaps(name, usual, value, there):
    width = MODALITIES[name].conditioning.width
    values = np.tile(np.float32(usual), 2 * width)
    values[width : 2 * width] = value
    assert conditioned(name, values).valid.tolist() == [True, there, True, True]


@pytest.mark.parametrize("level", [0.0, np.nan, 96.0])
def test_constant_saturation_is_missing(level):
    # of two levels, every epoch counts
    assert conditioned("spo2", np.repeat([96.0, 91.0], 240)).valid.all()
    assert conditioned("spo2", np.full(480, level)) is None


@given(offset=st.floats(-1e3, 1e3), rate=st.sampled_from([4, 5, 10, 16.67, 32]))
def test_still_belt_is_missing(offset, rate):
    values = breathing(6, rate) + offset
    values[round(60 * rate) : round(90 * rate)] = offset
    valid = conditioned("effort", values, rate, n_epochs=6).valid
    assert valid.tolist() == [True, True, False, True, True, True]


@pytest.mark.parametrize(("share", "moves"), [(2e-4, True), (0.5e-4, False)])
def test_movement_threshold_is_relative(share, moves):
    values = breathing(6, 10)
    iqr = np.subtract(*np.percentile(np.delete(values, np.s_[600:900]), [75, 25]))
    values[600:900] = np.linspace(0, share * iqr, 300)
    assert conditioned("effort", values, 10, n_epochs=6).valid[2] == moves


def test_faint_stretch_still_moves():
    values = breathing(40, 4)
    values[: 4 * 30 * 30] *= 0.01
    assert conditioned("effort", values, 4, n_epochs=40).valid.all()


def test_signal_beyond_night_ignored():
    values = np.concatenate([np.zeros(480), breathing(4, 4)])
    assert conditioned("effort", values, 4, n_epochs=4) is None
    assert conditioned("effort", values, 4, n_epochs=8).valid.tolist() == [False] * 4 + [True] * 4
    later = np.concatenate([breathing(4, 4), np.full(480, np.inf)])
    assert conditioned("effort", later, 4, n_epochs=4).valid.all()


def white(name, seed=0, n_epochs=N_EPOCHS):
    n = n_epochs * MODALITIES[name].conditioning.width
    return 30 * np.random.default_rng(seed).standard_normal(n)


def tone(frequency, rate, n_epochs=N_EPOCHS, amplitude=30.0):
    return amplitude * np.sin(2 * np.pi * frequency * np.arange(round(n_epochs * 30 * rate)) / rate)


def gain(name, frequency):
    """How much of a tone conditioning leaves, against one in the middle of the band."""
    rate = MODALITIES[name].conditioning.rate
    low, high = MODALITIES[name].conditioning.band
    middle = np.sqrt(low * high)
    # half of the night carries the middle tone, which sets the scale of the night
    night = np.concatenate([tone(frequency, rate), tone(middle, rate, 12)])
    epochs = conditioned(name, night, n_epochs=16).epochs
    return np.ptp(epochs[2]) / np.ptp(epochs[10])


@pytest.mark.parametrize("name", ROBUST)
def test_band_corners_halve_amplitude(name):
    # 3 dB at each corner, passed forwards and backwards: 6 dB
    low, high = MODALITIES[name].conditioning.band
    if high < 0.4 * MODALITIES[name].conditioning.rate:
        assert gain(name, high) == pytest.approx(0.5, abs=0.06)
    assert gain(name, low) == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("name", ROBUST)
def test_nothing_remains_below_band(name):
    low, _ = MODALITIES[name].conditioning.band
    assert gain(name, low / 8) < 0.03


def test_filters_keep_the_timing():
    values = white("eeg") / 10
    values[5000:5100] += np.hanning(100) * 500
    epochs = conditioned("eeg", values, clip=1e9).epochs.reshape(-1)
    assert abs(int(np.argmax(epochs)) - 5050) <= 2


@pytest.mark.parametrize("offset", [-5e4, 5e4])
def test_large_offset_keeps_precision(offset):
    plain = conditioned("ecg", white("ecg")).epochs
    moved = conditioned("ecg", (white("ecg") + offset).astype(np.float64)).epochs
    np.testing.assert_allclose(moved[1:-1], plain[1:-1], atol=0.02)


@pytest.mark.parametrize("name", ROBUST)
def test_robust_scale_has_normal_quartiles(name):
    epochs = conditioned(name, white(name, n_epochs=20), n_epochs=20).epochs
    low, middle, high = np.percentile(epochs, [25, 50, 75])
    assert middle == pytest.approx(0, abs=1e-4)
    assert high - low == pytest.approx(1.349, rel=1e-3)


@settings(max_examples=20)
@given(
    name=st.sampled_from(["effort", "airflow", "ppg", "resp"]),
    exponent=st.floats(-6, 6),
    sign=st.sampled_from([-1, 1]),
)
def test_arbitrary_gain_cancels(name, exponent, sign):
    plain = conditioned(name, white(name)).epochs
    changed = conditioned(name, sign * 10**exponent * white(name)).epochs
    np.testing.assert_allclose(changed, sign * plain, atol=2e-3)


@settings(max_examples=20)
@given(factor=st.floats(0.98, 1.02).filter(lambda f: abs(f - 1) > 1e-3))
@pytest.mark.parametrize(("name", "center", "scale"), [("spo2", 95, 5), ("ibi", 0.9, 0.2)])
def test_level_gain_matters(name, center, scale, factor):
    values = center * np.linspace(0.95, 1.03, 480)
    plain, changed = (conditioned(name, v).epochs.reshape(-1) for v in (values, values * factor))
    np.testing.assert_allclose(plain, (values - center) / scale, atol=1e-4)
    np.testing.assert_allclose(changed, (values * factor - center) / scale, atol=1e-4)


def test_valid_epochs_set_the_scale():
    values = white("eeg", n_epochs=8)
    alone = conditioned("eeg", values[: 5 * 3840], n_epochs=5, band=(None, None)).epochs
    values[5 * 3840 :] = 0
    values[5 * 3840 : 5 * 3840 + 1900] = 1e4
    values[5 * 3840 + 1900 : 6 * 3840] = np.nan
    night = conditioned("eeg", values, n_epochs=8, band=(None, None))
    assert night.valid.tolist() == [True] * 5 + [False] * 3
    np.testing.assert_allclose(night.epochs[:5], alone, atol=1e-5)


@pytest.mark.parametrize("clip", [20.0, 5.0])
def test_clip_is_symmetric(clip):
    values = white("eeg")
    values[4000:4010], values[6000:6010] = 1e5, -1e5
    epochs = conditioned("eeg", values, clip=clip).epochs
    assert (epochs.max(), epochs.min()) == (clip, -clip)


def test_counts_follow_documented_formula():
    counts = np.random.default_rng(0).poisson(4, 120).astype(np.float32)
    epochs = conditioned("actigraphy", counts).epochs.reshape(-1)
    np.testing.assert_allclose(epochs, np.log1p(10 * counts / counts.mean()), rtol=1e-5)
    off = counts.copy()
    off[60:] = np.nan
    worn = counts[:60].mean()
    epochs = conditioned("actigraphy", off).epochs.reshape(-1)
    np.testing.assert_allclose(epochs[:60], np.log1p(10 * counts[:60] / worn), rtol=1e-5)


def test_still_wrist_is_calm():
    counts = np.zeros(120, dtype=np.float32)
    counts[70] = 5.0
    counts[60:90][np.arange(30) % 5 != 0] = np.nan
    night = conditioned("actigraphy", counts)
    assert night.valid.tolist() == [True, True, False, True]
    assert not night.epochs[0].any()


@pytest.mark.parametrize("name", ["eeg", "eog", "emg", "ecg", "airflow", "effort", "ppg", "spo2"])
def test_slowest_rate_is_the_checkpoints(name):
    needed = MODALITIES[name].conditioning.min_rate
    values = 95 + np.sin(np.arange(round(120 * needed)) * 1.3) * (3 if name == "spo2" else 30)
    assert conditioned(name, values, needed).valid.all()
    with pytest.raises(InvalidSignalError, match=f"needs at least {needed:g} Hz.*without"):
        conditioned(name, values, needed * 0.99)


@pytest.mark.parametrize("name", ["ibi", "resp", "actigraphy"])
def test_series_have_no_minimum_rate(name):
    values = 0.9 + 0.1 * np.sin(np.arange(12))
    assert conditioned(name, values, 0.1).valid.all()


_VOLTS = MODALITIES["eeg"].units


class TwoLeads:
    """A source of two derivations of the EEG, in different units."""

    derivation_mode = "fill"
    derivations: ClassVar = {"eeg": ("C4-M1", "C3-M2")}

    def __init__(self, *signals):
        self.signals = signals
        self.layout = {"eeg": signals[0].layout}

    def read(self, names):
        return dict.fromkeys(names, self.signals[0])

    def read_derivation(self, name, index):
        return self.signals[index]


def fill(first, second, unit="uV"):
    """Both leads conditioned alone, and the first filled by the second."""
    signals = Signal(first, 128.0, unit), Signal(second, 128.0, "mV")
    eeg, night = MODALITIES["eeg"], Recording.from_source(TwoLeads(*signals))
    ((_, filled),) = read_conditioned(night, {"eeg": eeg.conditioning})
    return [condition(s, eeg, eeg.conditioning, night.n_epochs) for s in signals[1:]], filled, night


def two_leads(off, other_off):
    waves = np.random.default_rng(0).normal(0, 30, (2, 6, 3840)).astype(np.float32)
    waves[0, off], waves[1, other_off] = 0, 0
    return waves[0].reshape(-1), waves[1].reshape(-1) / 1000


def test_fill_keeps_each_own_scale():
    first, second = two_leads([0, 1, 5], [1])
    (alone,), filled, night = fill(first, second)
    eeg = MODALITIES["eeg"]
    whole = condition(Signal(first, 128.0, "uV"), eeg, eeg.conditioning, 6)
    found = filled()
    assert found.valid.tolist() == [True, False, True, True, True, True]
    np.testing.assert_array_equal(found.epochs[[0, 5]], alone.epochs[[0, 5]])
    np.testing.assert_array_equal(found.epochs[1:5], whole.epochs[1:5])
    assert night.filled_epochs() == {"eeg": 2}


@pytest.mark.parametrize("unit", ["uV", "V"])
def test_unusable_lead_is_replaced(unit):
    first, second = two_leads(range(6) if unit == "uV" else [], [3])
    (alone,), filled, night = fill(first, second, unit)
    np.testing.assert_array_equal(filled().epochs, alone.epochs)
    assert night.filled_epochs() == {"eeg": 5}


def test_two_unusable_leads_raise_error():
    first, second = two_leads([], range(6))
    _, filled, _ = fill(first, second, "V")
    with pytest.raises(InvalidSignalError, match="looks like uV"):
        filled()


@pytest.mark.parametrize(
    ("name", "iqr", "stated", "unit"),
    [("ecg", 0.04, "uV", "mV"), ("ecg", 1.5, "uV", "mV"), ("ecg", 4e-5, "uV", "V"),
     ("eeg", 0.02, "uV", "mV"), ("emg", 0.005, "uV", "mV"), ("emg", 5e-6, "uV", "V"),
     ("ecg", 2e5, "uV", "nV"), ("eeg", 4e7, "V", "uV"), ("eeg", 4e4, "mV", "uV"),
     ("ecg", 0.04, "nV", "uV")],
)  # fmt: skip
def test_likelier_unit_is_named(name, iqr, stated, unit):
    with pytest.raises(InvalidSignalError, match=f'looks like {unit}: pass units={{"{name}": '):
        check_size(iqr, MODALITIES[name], stated)


@pytest.mark.parametrize(
    ("iqr", "hint"),
    [(3e-5, 'It looks like V: pass units={"eeg": "V"}'),
     (1e5, 'It looks like nV: pass units={"eeg": "nV"}'),
     (1e12, 'Check the gain, or pass units={"eeg": ...}, one of uV, mV, V, nV')],
)  # fmt: skip
def test_implausible_size_raises_error(iqr, hint):
    with pytest.raises(InvalidSignalError, match=r"accepted is 0.5 to 2000 uV") as caught:
        check_size(iqr, MODALITIES["eeg"])
    assert hint in str(caught.value)


@pytest.mark.parametrize("name", [n for n, m in MODALITIES.items() if m.unit == "uV"])
def test_voltage_units_are_converted(name):
    found = {u: to_canonical_unit(np.ones(2), 128, u, MODALITIES[name])[0][0] for u in _VOLTS}
    assert found == pytest.approx({"uV": 1, "mV": 1e3, "V": 1e6, "nV": 1e-3})


@pytest.mark.parametrize("name", ["airflow", "effort", "resp", "ppg"])
def test_arbitrary_units_are_equal(name):
    for unit in MODALITIES[name].units:
        values, rate = to_canonical_unit(np.array([2.5]), 32.0, unit, MODALITIES[name])
        assert (values[0], rate) == (2.5, 32.0)


@given(rate=st.floats(0.01, 10), counts=st.floats(0, 1e4))
def test_counts_are_per_second(rate, counts):
    values, same = to_canonical_unit(np.array([counts]), rate, "counts", MODALITIES["actigraphy"])
    assert same == rate
    assert values[0] == pytest.approx(counts * rate, rel=1e-5)


@pytest.mark.parametrize(
    ("bpm", "interval"), [(30, 2), (75, 0.8), (200, 0.3), (0, np.nan), (-5, np.nan)]
)
def test_heart_rate_is_inverted(bpm, interval):
    values, _ = to_canonical_unit(np.array([bpm]), 1.0, "bpm", MODALITIES["ibi"])
    assert values[0] == pytest.approx(interval, nan_ok=True)


@pytest.mark.parametrize(
    ("name", "unit"), [("eeg", "mV"), ("ibi", "bpm"), ("spo2", "fraction"), ("airflow", "L/s")]
)
def test_gaps_survive_conversion(name, unit):
    values, _ = to_canonical_unit(np.array([np.nan, 0.9, np.nan]), 4.0, unit, MODALITIES[name])
    assert np.isnan(values).tolist() == [True, False, True]


@pytest.mark.parametrize("dtype", [np.int16, np.int64, np.float64, bool])
def test_result_is_single_precision(dtype):
    canonical = np.ones(3, dtype=np.float32)
    assert to_canonical_unit(canonical, 128.0, "uV", MODALITIES["eeg"])[0] is canonical
    values, _ = to_canonical_unit(np.ones(3, dtype=dtype), 128.0, "mV", MODALITIES["eeg"])
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, 1000)


@pytest.mark.parametrize("name", [n for n, m in MODALITIES.items() if m.plausible])
def test_size_limits_are_inclusive(name):
    low, high = MODALITIES[name].plausible
    for iqr in (low, high, 0.0):
        assert check_size(iqr, MODALITIES[name]) is None
    for iqr in (low * 0.999, high * 1.001):
        with pytest.raises(InvalidSignalError, match=f"accepted is {low:g} to {high:g} uV"):
            check_size(iqr, MODALITIES[name])
