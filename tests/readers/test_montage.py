# SPDX-License-Identifier: BSD-3-Clause
"""Which channel is read as what, and what is subtracted from it."""

import dataclasses
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleep2vec_sklearn.errors import (
    InvalidRecordingError,
    InvalidSignalError,
    NoUsableChannelError,
    ReadError,
    UnknownModalityError,
)
from sleep2vec_sklearn.readers._montage import Channel, pick_montage
from sleep2vec_sklearn.recordings import MODALITIES


def channels(*labels, rate=128.0, unit="uV"):
    return [Channel(i, label, rate, unit) for i, label in enumerate(labels)]


def picks(*args, **kwargs):
    return {name: d.label for name, d in pick_montage(*args, **kwargs).derivations.items()}


def test_referenced_channel_is_preferred():
    assert picks(channels("C4", "C3-M2", "M1")) == {"eeg": "C3-M2"}


def test_ipsilateral_mastoid_as_fallback():
    assert picks(channels("C4", "A2")) == {"eeg": "C4 - A2"}


def test_bare_electrode_is_used():
    assert picks(channels("C4", "LOC")) == {"eeg": "C4", "eog": "LOC"}


def test_other_rates_are_not_subtracted():
    mixed = [Channel(0, "C4", 256.0), Channel(1, "M1", 128.0)]
    assert picks(mixed) == {"eeg": "C4"}


def test_slow_channel_gives_way():
    mixed = [Channel(0, "C4-M1", 1.0), Channel(1, "O1-M2", 100.0)]
    montage = pick_montage(mixed)
    assert montage.derivations["eeg"].label == "O1-M2"
    assert "1 Hz, eeg needs at least 50 Hz" in montage.reasons[0][2]
    assert any("'C4-M1' left out" in note for note in montage.notes)


def test_overrides_take_precedence():
    file_channels = channels("C4-M1", "F3-M2", "weird", "ref2")
    assert picks(file_channels, overrides={"eeg": "F3-M2"}) == {"eeg": "F3-M2"}
    assert picks(file_channels, overrides={"ecg": ("weird", "ref2")})["ecg"] == "weird - ref2"
    assert picks(channels("C4-M1", "ECG"), overrides={"eeg": None}) == {"ecg": "ECG"}


def test_wrong_overrides_say_why():
    with pytest.raises(ReadError, match=r"Did you mean 'C4-M1'\?"):
        pick_montage(channels("C4-M1"), overrides={"eeg": "C4-M11"})
    with pytest.raises(
        InvalidSignalError, match=r"1 Hz, emg needs at least 50 Hz.*\{'emg': None\}"
    ):
        pick_montage(channels("EMG", rate=1.0), overrides={"emg": "EMG"})
    with pytest.raises(UnknownModalityError, match="Did you mean 'eeg'"):
        pick_montage(channels("C4"), overrides={"EEGs": "C4"})


def test_no_channel_lists_labels():
    with pytest.raises(NoUsableChannelError, match="'xyzzy', 'HR'") as caught:
        pick_montage(channels("xyzzy", "HR"), where="night.edf")
    text = str(caught.value)
    assert text.startswith("night.edf")
    assert "describe_channels" in text
    assert "channels={'eeg': 'label'}" in text


def test_montage_can_be_pickled():
    montage = pick_montage(channels("C4", "M1"))
    assert pickle.loads(pickle.dumps(montage)) == montage


MONTAGE = ["C3", "C4", "M1", "M2", "LOC", "ROC", "ECG1", "ECG2", "Chin1", "Chin2", "SpO2", "HR"]


def picks_of(*labels, **kwargs):
    montage = pick_montage(channels(*labels), **kwargs)
    return {name: d.label for name, d in montage.derivations.items()}


@pytest.mark.parametrize(
    ("electrode", "reference"),
    [("C3", "M2"), ("C4", "M1"), ("F3", "A2"), ("F4", "A1"), ("O1", "M2"), ("O2", "M1"),
     ("Cz", "M1"), ("Fp1", "A2"), ("C5", "M2")],
)  # fmt: skip
def test_contralateral_mastoid_is_subtracted(electrode, reference):
    mastoids = ["A1", "A2"] if reference.startswith("A") else ["M1", "M2"]
    assert picks_of(electrode, *mastoids) == {"eeg": f"{electrode} - {reference}"}


@pytest.mark.parametrize(
    ("eye", "reference"),
    [("LOC", "M2"), ("E1", "M2"), ("ROC", "M1"), ("E2", "M1"), ("EOG-L", "M2")],
)
def test_eye_against_contralateral_mastoid(eye, reference):
    assert picks_of(eye, "M1", "M2") == {"eog": f"{eye} - {reference}"}


@pytest.mark.parametrize("label", ["C4-M2", "C3-Cz", "E1-M1", "EOG horizontal"])
def test_referenced_channels_stay(label):
    assert list(picks_of(label, "M1", "M2").values()) == [label]


@pytest.mark.parametrize(
    ("pair", "name"),
    [(("ECG L", "ECG R"), "ecg"), (("LChin", "RChin"), "emg"), (("Chin-L", "Chin-R"), "emg"),
     (("EMG L", "EMG R"), "emg")],
)  # fmt: skip
def test_paired_leads_are_subtracted(pair, name):
    assert picks_of(*pair) == {name: f"{pair[0]} - {pair[1]}"}
    assert picks_of(*pair[::-1]) == {name: f"{pair[0]} - {pair[1]}"}


@pytest.mark.parametrize("pair", [("ECG1", "ECG2"), ("EKG1", "EKG2"), ("EMG1", "EMG2"),
                                  ("Chin1", "Chin2")])  # fmt: skip
def test_numbered_leads_need_mastoids(pair):
    assert list(picks_of(*pair).values()) == [pair[0]]
    assert f"{pair[0]} - {pair[1]}" in picks_of(*pair, "C4", "M1").values()


def test_subtraction_is_noted():
    montage = pick_montage(channels("C4", "LOC", "M1", "M2"))
    assert "eeg: formed as C4 - M1, stored against a common reference" in montage.notes
    assert montage.reasons[0] == ("eeg", True, "read as C4 - M1")
    assert montage.reasons[2][1:] == (True, "subtracted from C4 (eeg)")
    assert montage.reasons[3][1:] == (True, "subtracted from LOC (eog)")


def test_shared_mastoid_is_noted():
    montage = pick_montage(channels("C4", "ROC", "M1"))
    assert montage.reasons[2][2] == "subtracted from C4 (eeg), subtracted from ROC (eog)"


@given(st.permutations(MONTAGE))
def test_channel_order_is_ignored(labels):
    expected = {"eeg": "C4 - M1", "eog": "LOC - M2", "emg": "Chin1 - Chin2", "ecg": "ECG1 - ECG2",
                "spo2": "SpO2"}  # fmt: skip
    assert picks_of(*labels) == expected


@given(st.permutations(MONTAGE), st.sets(st.sampled_from(sorted(MODALITIES)), min_size=1))
def test_fewer_modalities_change_none(labels, names):
    whole = pick_montage(channels(*labels)).derivations
    some = pick_montage(channels(*labels), modalities=sorted(names), strict=False).derivations
    assert some == {name: d for name, d in whole.items() if name in names}


def test_first_of_equals_wins():
    montage = pick_montage(channels("C4-M1", "C4-M1"))
    assert montage.derivations["eeg"].channel.index == 0
    why = "EEG at C4 against M1; 'C4-M1' is preferred unless this one is good for longer"
    assert montage.reasons[1][1:] == (False, why)


@pytest.mark.parametrize("name", [n for n, m in MODALITIES.items() if m.conditioning.min_rate])
def test_slowest_usable_rate(name):
    label = {"eeg": "C4-M1", "eog": "LOC", "emg": "Chin", "ecg": "ECG", "airflow": "Flow"}
    label |= {"effort": "Thorax", "spo2": "SpO2", "ppg": "Pleth"}
    needed = MODALITIES[name].conditioning.min_rate
    just, slow = (Channel(0, label[name], rate) for rate in (needed, needed * 0.99))
    assert list(pick_montage([just]).derivations) == [name]
    with pytest.raises(NoUsableChannelError, match=f"{name} needs at least {needed:g} Hz"):
        pick_montage([slow])


@pytest.mark.parametrize("choice", ["EEG 1", " eeg 1 ", "eeg-1", ("EEG 1",)])
def test_override_spelling_is_free(choice):
    assert picks_of("C4-M1", "EEG 1", overrides={"eeg": choice}) == {"eeg": "EEG 1"}


def test_exact_label_takes_precedence():
    assert picks_of("eeg1", "EEG 1", overrides={"eeg": "EEG 1"}) == {"eeg": "EEG 1"}


@pytest.mark.parametrize(
    ("choice", "error", "words"),
    [
        (("a", "b", "c"), ReadError, "accepted are a label, a pair (label, reference label), or"),
        ((), ReadError, "accepted are a label, a pair (label, reference label), or None"),
        ("C4-M3", ReadError, "f.edf has no channel 'C4-M3'. Did you mean 'C4-M1'? It has 'C4-M1'"),
        (("C4-M1", "none"), ReadError, "f.edf has no channel 'none'."),
        (3, ReadError, "accepted are a label, a pair (label, reference label), or None"),
        ("flat", InvalidSignalError, "cannot serve: its header gives no usable scale or rate"),
        (
            ("C4-M1", "fast"),
            InvalidSignalError,
            "cannot subtract 'fast' (256 Hz) from 'C4-M1' (128",
        ),
    ],
)
def test_impossible_overrides_say_why(choice, error, words):
    found = [*channels("C4-M1"), Channel(1, "flat", 0.0), Channel(2, "fast", 256.0)]
    with pytest.raises(error) as caught:
        pick_montage(found, overrides={"eeg": choice}, where="f.edf")
    assert words in str(caught.value)


def test_empty_montage_raises_error():
    with pytest.raises(NoUsableChannelError, match="found none: it holds annotations only"):
        pick_montage([], where="f.edf")
    assert pick_montage([], strict=False).derivations == {}


def test_settings_distinguish_choices():
    given_channels = channels("C4", "M1", "M2", "ECG")
    settings = [
        pick_montage(given_channels, overrides=overrides).settings
        for overrides in (None, {"eeg": "C4"}, {"eeg": ("C4", "M2")}, {"ecg": None})
    ]
    settings.append(pick_montage(channels("C4", "M1", "M2", "ECG", unit="mV")).settings)
    assert len({repr(setting) for setting in settings}) == 5


@pytest.mark.parametrize("mastoid", ["EEG M1", "EEG_A1", "M1"])
def test_prefixed_mastoid_is_subtracted(mastoid):
    assert picks_of("EEG C4", mastoid) == {"eeg": f"EEG C4 - {mastoid}"}


@pytest.mark.parametrize("reference", ["CLE", "LER", "LM", "AR", "Vref", "linked ears", "M1M2"])
def test_electrode_decides_not_reference(reference):
    labels = [f"EEG {electrode}-{reference}" for electrode in ("O1", "C4", "A2")]
    assert picks_of(*labels) == {"eeg": labels[1]}


def test_foreign_unit_comes_last():
    units = {"SaO2": "bpm", "SpO2": "%"}
    found = [
        Channel(i, *pair) for i, pair in enumerate(zip(units, (1, 1), units.values(), strict=True))
    ]
    assert picks(found) == {"spo2": "SpO2"}
    assert picks(found[:1]) == {"spo2": "SaO2"}


@pytest.mark.parametrize("key", ["ecg", "ECG", "ecg "])
def test_units_take_precedence(key):
    montage = pick_montage(channels("ECG", "C4-M1"), units={key: "millivolt"})
    assert {name: d.unit for name, d in montage.derivations.items()} == {"eeg": "uV", "ecg": "mV"}


def test_reference_unit_can_be_stated():
    montage = pick_montage(channels("C4", "M1"), units={"M1": "mV"})
    assert montage.derivations["eeg"].reference_factor == pytest.approx(1e3)
    assert montage.settings != pick_montage(channels("C4", "M1")).settings


def test_impossible_units_say_why():
    with pytest.raises(
        InvalidSignalError, match=r"file: units\['ecg'\] is '%'; accepted for 'ecg'"
    ):
        pick_montage(channels("ECG"), units={"ecg": "%"})
    with pytest.raises(InvalidSignalError, match=r"units\['ECG'\] is 5"):
        pick_montage(channels("ECG"), units={"ECG": 5})
    with pytest.raises(InvalidRecordingError, match="units is 'mV'; accepted is a mapping"):
        pick_montage(channels("ECG"), units="mV")
    (note,) = pick_montage(channels("ECG"), units={"EKG": "mV"}).notes
    assert note.kind == "units= names 'EKG', which is no modality and no channel of the file"


def test_montage_is_frozen():
    montage = pick_montage(channels("C4-M1"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        montage.derivations = {}
    with pytest.raises(dataclasses.FrozenInstanceError):
        montage.derivations["eeg"].channel.rate = 1.0


@pytest.mark.parametrize(
    ("unit", "notes"), [("%", ()), ("", ("spo2: channel 'SpO2' states no unit; taken as %",))]
)
def test_assumed_unit_is_noted(unit, notes):
    assert pick_montage(channels("SpO2", unit=unit)).notes == notes
