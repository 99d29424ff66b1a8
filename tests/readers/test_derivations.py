# SPDX-License-Identifier: BSD-3-Clause
"""Several channels of one modality: which is read, what fills it, what is kept next to it."""

import pickle

import numpy as np
import pytest

from sleep2vec_sklearn import describe_channels, read_cohort, read_recording
from sleep2vec_sklearn.readers._edf_header import EdfHeader

SECONDS = 120
RNG = np.random.default_rng(0)


def wave(off=0, rate=128, seed=0):
    """Noise whose first epochs are off."""
    values = np.random.default_rng(seed).normal(0, 30, SECONDS * rate)
    values[: 30 * rate * off] = 0
    return rate, "uV", values


@pytest.fixture
def write(write_edf):
    """Function of labels and the number of epochs that each is off for."""

    def make(**off):
        labels = [label.replace("_", "-") for label in off]
        channels = {
            label: wave(n, seed=i)
            for i, (label, n) in enumerate(zip(labels, off.values(), strict=True))
        }
        return write_edf(channels=channels, seconds=SECONDS)

    return make


@pytest.fixture
def channels_read(monkeypatch):
    """Indices of the channels whose samples are read."""
    indices = []
    original = EdfHeader.read_bytes

    def counted(self, path, channels):
        indices.extend(channel.index for channel in channels)
        return original(self, path, channels)

    monkeypatch.setattr(EdfHeader, "read_bytes", counted)
    return indices


@pytest.mark.parametrize(
    ("off", "label"),
    [({"C4_M1": 2, "C3_M2": 0}, "C3-M2"), ({"C4_M1": 2, "C3_M2": 1}, "C3-M2"),
     ({"C4_M1": 1, "C3_M2": 2}, "C4-M1"), ({"C4_M1": 2, "C3_M2": 2}, "C4-M1"),
     ({"C4_M1": 3, "O1_M2": 0}, "C4-M1"), ({"C4_M1": 3, "C3": 0}, "C4-M1"),
     ({"C3_M2": 4, "C4_M1": 4, "F4_M1": 0}, "C4-M1"), ({"E1_M2": 1, "E2_M1": 0}, "E2-M1"),
     ({"E1_M2": 1, "VEOG": 0}, "E1-M2"), ({"Thor": 2, "Abdo": 0}, "Thor"),
     ({"Cannula": 2, "Therm": 0}, "Cannula"), ({"Chin1": 2, "Chin2": 0}, "Chin2")],
)  # fmt: skip
def test_longest_of_region_is_read(write, off, label):
    night = read_recording(write(**off), derive=False)
    (name,) = night.modalities
    before = night.fingerprint
    values = night[name]
    index = list(off).index(label.replace("-", "_"))
    np.testing.assert_allclose(values, wave(list(off.values())[index], seed=index)[2], atol=0.02)
    assert night.derivations == {name: (label,)}
    assert night.fingerprint == before


def test_good_channel_is_read_alone(write, channels_read):
    path = write(C3_M2=0, C4_M1=0, Cz_M1=0)
    read_recording(path).read()
    assert channels_read == [1]
    channels_read.clear()
    read_recording(write(C3_M2=1, C4_M1=1, Cz_M1=1)).read()
    assert channels_read == [1, 0, 2]


def test_other_rates_only_fill(write_edf):
    path = write_edf(channels={"C4-M1": wave(1), "C3-M2": wave(0, 64)}, seconds=SECONDS)
    night = read_recording(path)
    assert len(night["eeg"]) == 128 * SECONDS
    filled = read_recording(path, derivations="fill")
    assert filled.derivations == {"eeg": ("C4-M1", "C3-M2")}
    assert filled.signal("eeg", 1).rate == 64
    assert filled.filled_epochs() == {"eeg": 1}


def test_implausible_channel_gives_way(write_edf):
    values = wave()[2]
    channels = {"C4-M1": (128, "mV", values), "C3-M2": (128, "mV", values / 1000)}
    night = read_recording(write_edf(channels=channels, seconds=SECONDS))
    assert np.abs(night["eeg"]).max() < 1
    assert night.derivations == {"eeg": ("C3-M2",)}


def test_fill_counts_epochs(write):
    path = write(C4_M1=2, C3_M2=0, O1_M2=0, E1_M2=1)
    night = read_recording(path, derivations="fill")
    assert night.derivations == {"eeg": ("C4-M1", "C3-M2"), "eog": ("E1-M2",)}
    assert night.derivation_mode == "fill"
    assert night.filled_epochs() == {"eeg": 2}
    assert "eeg: epochs where 'C4-M1' is off are filled from 'C3-M2'" in night.notes
    # the signal itself is never spliced
    np.testing.assert_allclose(night["eeg"], wave(2)[2], atol=0.02)
    assert read_recording(path).filled_epochs() == {}


def test_report_lists_derivations(write):
    path = write(C4_M1=2, C3_M2=0)
    report = read_cohort([path], derivations="fill", verbose=0).report(coverage=True)
    assert report["channels"].tolist() == ["eeg: C4-M1 + C3-M2"]
    assert report["filled_eeg"].tolist() == [2]
    assert report["coverage_eeg"].tolist() == [SECONDS / 3600]


def test_report_names_own_channel(write):
    path = write(C4_M1=2, C3_M2=0)
    cohorts = {m: read_cohort([path], derivations=m, verbose=0) for m in ("one", "fill", "all")}
    expected = {"one": "C4-M1 or C3-M2", "fill": "C4-M1 + C3-M2", "all": "C4-M1 + C3-M2"}
    for mode, labels in expected.items():
        assert cohorts[mode].report()["channels"].tolist() == [f"eeg: {labels}"]
        cohorts[mode][0].read()
    expected["one"] = "C3-M2"
    for mode, labels in expected.items():
        report = cohorts[mode].report(coverage=True)
        assert report["channels"].tolist() == [f"eeg: {labels}"]
    (again,) = read_cohort([write(C4_M1=2, C3_M2=0, Thor=0)], verbose=0)
    before = again.fingerprint
    again.read()
    assert (again.derived, again.fingerprint) == (("resp",), before)


def test_all_keeps_every_region(write):
    path = write(C4_M1=0, C3_M2=1, O1_M2=0, E1_M2=0, E2_M1=0, Thor=0, Abdo=0, SUM=0, SpO2=0)
    (night,) = read_cohort(path.parent, derivations="all", derive=False, verbose=0)
    assert night.derivations == {
        "eeg": ("C4-M1", "C3-M2", "O1-M2"), "eog": ("E1-M2", "E2-M1"), "effort": ("Thor", "Abdo"),
        "spo2": ("SpO2",),
    }  # fmt: skip
    other = night.signal("eeg", 1)
    np.testing.assert_allclose(other.values, wave(1, seed=1)[2], atol=0.02)
    assert "eeg: 3 derivations, 'C4-M1', 'C3-M2', 'O1-M2'" in night.notes
    assert night.without("eog").derivations.keys() == {"eeg", "effort", "spo2"}


def test_halves_of_pairs_are_none(write):
    path = write(C4=0, C3=0, M1=0, M2=0, ECG1=0, ECG2=0, Chin1=0, Chin2=0, Chin3=0)
    pairs = {"eeg": ("C4 - M1", "C3 - M2"), "ecg": ("ECG1 - ECG2",), "emg": ("Chin1 - Chin2",)}
    assert read_recording(path, derivations="fill", derive=False).derivations == pairs
    pairs["emg"] += ("Chin3",)
    assert read_recording(path, derivations="all", derive=False).derivations == pairs


def test_named_channel_is_alone(write):
    night = read_recording(write(C4_M1=0, C3_M2=0), channels={"eeg": "C3-M2"}, derivations="all")
    assert night.derivations == {"eeg": ("C3-M2",)}


def test_fingerprints_tell_modes_apart(write):
    path = write(C4_M1=0, C3_M2=0)
    nights = {mode: read_recording(path, derivations=mode) for mode in ("one", "fill", "all")}
    nights |= {label: read_recording(path, channels={"eeg": label}) for label in ("C4-M1", "C3-M2")}
    assert len({night.fingerprint for night in nights.values()}) == 5
    prints = {name: night.signal_fingerprint("eeg") for name, night in nights.items()}
    # a derivation has the entry in the cache that it has when named alone
    assert prints["all"] == prints["C4-M1"] == nights["all"].signal_fingerprint("eeg", 0)
    assert prints["C3-M2"] == nights["all"].signal_fingerprint("eeg", 1)
    assert len(set(prints.values())) == 4


def test_derivations_can_be_pickled(write):
    night = read_recording(write(C4_M1=2, C3_M2=0, Thor=0, Abdo=0), derivations="all")
    copy = pickle.loads(pickle.dumps(night))
    assert (copy.derivations, copy.fingerprint) == (night.derivations, night.fingerprint)


@pytest.mark.parametrize(
    ("mode", "used", "why"),
    [("one", False, "is preferred unless this one is good for longer"),
     ("fill", True, "fills epochs where 'C4-M1' is off"), ("all", True, "EEG at C3 against M2")],
)  # fmt: skip
def test_channel_table_shows_derivations(write, mode, used, why):
    table = describe_channels(write(C3_M2=0, C4_M1=0, O1_M2=0), derivations=mode)
    assert table["used"].tolist() == [used, True, mode == "all"]
    assert table["why"][0].endswith(why)


@pytest.mark.parametrize("call", [read_recording, read_cohort, describe_channels])
def test_unknown_mode_raises_error(write, call):
    path = write(C4_M1=0)
    with pytest.raises(
        ValueError, match="derivations must be one of 'one', 'fill', 'all'; got 'both'"
    ):
        call(path.parent if call is read_cohort else path, derivations="both")


def test_absent_derivation_is_named(write):
    night = read_recording(write(C4_M1=0), derivations="all")
    for name, index in (("eeg", 1), ("eeg", -1)):
        with pytest.raises(KeyError, match=r"of 'eeg'; .* has C4-M1"):
            night.signal(name, index)
