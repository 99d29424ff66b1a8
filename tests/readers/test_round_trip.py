# SPDX-License-Identifier: BSD-3-Clause
"""What was written as EDF comes back: samples, scales, references, times."""

from __future__ import annotations

import edfio
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn import read_recording
from sleep2vec_sklearn.errors import InvalidSignalError, NoUsableChannelError, ReadError
from sleep2vec_sklearn.readers import EdfSource

few = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(path, channels, *, seconds=60, bits=16):
    """Channels are (label, rate, unit, samples, physical range)."""
    kind, container = {
        16: (edfio.EdfSignal, edfio.Edf),
        24: (edfio.BdfSignal, edfio.Bdf),
    }[bits]
    signals = [
        kind(values, rate, label=label, physical_dimension=unit, physical_range=limits)
        for label, rate, unit, values, limits in channels
    ]
    container(signals).write(path)
    return path


def noise(n, seed=0, spread=30.0):
    return np.random.default_rng(seed).normal(0, spread, n)


@few
@given(
    rate=st.sampled_from([50, 64, 100, 128, 200, 256, 500]),
    seconds=st.integers(30, 45),
    low=st.integers(-9000, -200),
    high=st.integers(200, 9000),
    seed=st.integers(0, 99),
    bits=st.sampled_from([16, 24]),
)
def test_samples_come_back_to_half_a_step(tmp_path, rate, seconds, low, high, seed, bits):
    values = noise(rate * seconds, seed).clip(low, high)
    path = tmp_path / f"night.{'edf' if bits == 16 else 'bdf'}"
    write(path, [("C4-M1", rate, "uV", values, (low, high))], bits=bits)
    night = read_recording(path)
    assert (night.rates, night.units) == ({"eeg": rate}, {"eeg": "uV"})
    assert night.duration == seconds
    step = (high - low) / (2**bits - 1)
    np.testing.assert_allclose(night["eeg"], values, atol=0.51 * step + 1e-3)


@few
@given(rates=st.lists(st.sampled_from([50, 100, 128, 256]), min_size=4, max_size=4))
def test_every_channel_keeps_its_own_rate_and_samples(tmp_path, rates):
    labels = {"eeg": "C4-M1", "eog": "E1-M2", "emg": "Chin", "ppg": "Pleth"}
    channels = [
        (label, rate, "uV", noise(rate * 60, i), (-500, 500))
        for i, (label, rate) in enumerate(zip(labels.values(), rates, strict=True))
    ]
    night = read_recording(write(tmp_path / "a.edf", channels), derive=False)
    assert night.rates == dict(zip(labels, rates, strict=True))
    for name, channel in zip(labels, channels, strict=True):
        np.testing.assert_allclose(night[name], channel[3], atol=0.01)


@pytest.mark.parametrize("names", [["eeg"], ["emg", "eeg"], ["eog"], []])
def test_a_channel_read_alone_is_the_one_read_with_others(tmp_path, names):
    labels = ("C4", "M1", "Chin", "E1", "M2")
    channels = [(x, 128, "uV", noise(128 * 60, i), (-500, 500)) for i, x in enumerate(labels)]
    source = EdfSource(write(tmp_path / "a.edf", channels))
    everything = source.read(["eeg", "eog", "emg"])
    found = source.read(names)
    assert list(found) == names
    for name in names:
        np.testing.assert_array_equal(found[name].values, everything[name].values)


@pytest.mark.parametrize(
    ("unit", "reference_unit", "factor"),
    [("uV", "uV", 1.0), ("uV", "mV", 1e3), ("mV", "uV", 1e-3), ("V", "mV", 1e-3), ("uV", "V", 1e6)],
)
def test_a_reference_is_brought_to_the_unit_of_its_channel(tmp_path, unit, reference_unit, factor):
    c4, m1 = noise(7680, 1), noise(7680, 2) / factor
    limits = 200 / factor
    channels = [
        ("C4", 128, unit, c4, (-300, 300)),
        ("M1", 128, reference_unit, m1, (-limits, limits)),
    ]
    night = read_recording(write(tmp_path / "a.edf", channels))
    assert night.units["eeg"] == unit
    np.testing.assert_allclose(night["eeg"], c4 - factor * m1, atol=0.02)


def test_a_reference_read_twice_is_not_spoilt_by_the_first(tmp_path):
    labels = ("C4", "LOC", "M1", "M2")
    channels = [(x, 128, "uV", noise(7680, i), (-500, 500)) for i, x in enumerate(labels)]
    night = read_recording(write(tmp_path / "a.edf", channels))
    values = {label: samples for label, _, _, samples, _ in channels}
    np.testing.assert_allclose(night["eeg"], values["C4"] - values["M1"], atol=0.03)
    np.testing.assert_allclose(night["eog"], values["LOC"] - values["M2"], atol=0.03)
    np.testing.assert_array_equal(night["eeg"], night.read()["eeg"].values)


def test_an_inverted_physical_range_turns_the_signal_over(tmp_path):
    values = noise(7680)
    path = write(tmp_path / "a.edf", [("C4-M1", 128, "uV", values, (-500, 500))])
    data = bytearray(path.read_bytes())
    least, most = 256 + 16 + 80 + 8, 256 + 16 + 80 + 8 + 8
    data[least : least + 8], data[most : most + 8] = data[most : most + 8], data[least : least + 8]
    path.write_bytes(data)
    np.testing.assert_allclose(read_recording(path)["eeg"], -values, atol=0.02)


@pytest.mark.parametrize("unit", ["mV", "V", "nV", "uV"])
def test_the_unit_of_a_file_is_the_unit_of_the_recording(tmp_path, unit):
    path = write(tmp_path / "a.edf", [("ECG", 128, unit, noise(7680), (-500, 500))])
    night = read_recording(path, derive=False)
    assert (night.units, night.notes) == ({"ecg": unit}, ())


def test_a_file_that_shrank_since_it_was_opened_is_named(tmp_path):
    path = write(tmp_path / "a.edf", [("ECG", 128, "uV", noise(7680), (-500, 500))])
    night = read_recording(path)
    write(path, [("ECG", 128, "uV", noise(3840), (-500, 500))])
    with pytest.raises(
        ReadError, match=r"a\.edf: 'ECG' has 3840 samples, its header announced 7680"
    ):
        night.read()


def test_a_file_that_vanished_is_named(tmp_path):
    path = write(tmp_path / "a.edf", [("ECG", 128, "uV", noise(7680), (-500, 500))])
    night = read_recording(path)
    path.unlink()
    with pytest.raises(ReadError, match=r"a\.edf: edfio cannot read it \(FileNotFoundError\)"):
        night.read()


def test_a_channel_named_by_hand_is_read_whatever_its_label(tmp_path):
    channels = [
        ("x1", 128, "uV", noise(7680, 1), (-500, 500)),
        ("x2", 128, "uV", noise(7680, 2), (-500, 500)),
    ]
    path = write(tmp_path / "a.edf", channels)
    with pytest.raises(NoUsableChannelError, match="found 'x1', 'x2'"):
        read_recording(path)
    night = read_recording(path, channels={"ecg": ("x1", "x2")})
    np.testing.assert_allclose(night["ecg"], channels[0][3] - channels[1][3], atol=0.03)
    write(path, [("x1", 128, *channels[0][2:]), ("x2", 64, "uV", noise(3840), (-200, 200))])
    with pytest.raises(InvalidSignalError, match="accepted are channels of one rate"):
        read_recording(path, channels={"ecg": ("x1", "x2")})
