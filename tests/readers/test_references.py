# SPDX-License-Identifier: BSD-3-Clause
"""Which channel is read as what, and what is subtracted from it."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleep2vec_sklearn.errors import InvalidSignalError, NoUsableChannelError, ReadError
from sleep2vec_sklearn.readers._channels import parse_dimension
from sleep2vec_sklearn.readers._montage import Channel, pick_montage
from sleep2vec_sklearn.recordings import MODALITIES

MONTAGE = ["C3", "C4", "M1", "M2", "LOC", "ROC", "ECG1", "ECG2", "Chin1", "Chin2", "SpO2", "HR"]


def channels(*labels, rate=128.0, unit="uV"):
    return [Channel(i, label, rate, unit) for i, label in enumerate(labels)]


def picks(*labels, **kwargs):
    montage = pick_montage(channels(*labels), **kwargs)
    return {name: d.label for name, d in montage.derivations.items()}


@pytest.mark.parametrize(
    ("electrode", "reference"),
    [("C3", "M2"), ("C4", "M1"), ("F3", "A2"), ("F4", "A1"), ("O1", "M2"), ("O2", "M1"),
     ("Cz", "M1"), ("Fp1", "A2"), ("C5", "M2")],
)  # fmt: skip
def test_an_electrode_is_read_against_the_mastoid_of_the_other_side(electrode, reference):
    mastoids = ["A1", "A2"] if reference.startswith("A") else ["M1", "M2"]
    assert picks(electrode, *mastoids) == {"eeg": f"{electrode} - {reference}"}


@pytest.mark.parametrize(
    ("eye", "reference"),
    [("LOC", "M2"), ("E1", "M2"), ("ROC", "M1"), ("E2", "M1"), ("EOG-L", "M2")],
)
def test_an_eye_is_read_against_the_mastoid_of_the_other_side(eye, reference):
    assert picks(eye, "M1", "M2") == {"eog": f"{eye} - {reference}"}


@pytest.mark.parametrize("label", ["C4-M2", "C3-Cz", "E1-M1", "EOG horizontal"])
def test_what_has_a_reference_or_no_electrode_is_not_subtracted_from(label):
    assert list(picks(label, "M1", "M2").values()) == [label]


@pytest.mark.parametrize(
    ("pair", "name"),
    [(("ECG L", "ECG R"), "ecg"), (("LChin", "RChin"), "emg"), (("Chin-L", "Chin-R"), "emg"),
     (("EMG L", "EMG R"), "emg")],
)  # fmt: skip
def test_leads_of_two_sides_are_subtracted(pair, name):
    assert picks(*pair) == {name: f"{pair[0]} - {pair[1]}"}
    assert picks(*pair[::-1]) == {name: f"{pair[0]} - {pair[1]}"}


@pytest.mark.parametrize("pair", [("ECG1", "ECG2"), ("EKG1", "EKG2"), ("EMG1", "EMG2"),
                                  ("Chin1", "Chin2")])  # fmt: skip
def test_numbered_leads_are_subtracted_only_where_mastoids_are_stored(pair):
    assert list(picks(*pair).values()) == [pair[0]]
    assert f"{pair[0]} - {pair[1]}" in picks(*pair, "C4", "M1").values()


def test_a_common_reference_is_said_in_a_note_and_a_reason():
    montage = pick_montage(channels("C4", "LOC", "M1", "M2"))
    assert "eeg: formed as C4 - M1, stored against a common reference" in montage.notes
    assert montage.reasons[0] == ("eeg", True, "read as C4 - M1")
    assert montage.reasons[2][1:] == (True, "subtracted from C4 (eeg)")
    assert montage.reasons[3][1:] == (True, "subtracted from LOC (eog)")


def test_a_mastoid_that_serves_two_says_so():
    montage = pick_montage(channels("C4", "ROC", "M1"))
    assert montage.reasons[2][2] == "subtracted from C4 (eeg), subtracted from ROC (eog)"


@given(st.permutations(MONTAGE))
def test_the_order_of_channels_in_a_file_does_not_matter(labels):
    expected = {"eeg": "C4 - M1", "eog": "LOC - M2", "emg": "Chin1 - Chin2", "ecg": "ECG1 - ECG2",
                "spo2": "SpO2"}  # fmt: skip
    assert picks(*labels) == expected


@given(st.permutations(MONTAGE), st.sets(st.sampled_from(sorted(MODALITIES)), min_size=1))
def test_asking_for_fewer_modalities_changes_no_other(labels, names):
    whole = pick_montage(channels(*labels)).derivations
    some = pick_montage(channels(*labels), modalities=sorted(names), strict=False).derivations
    assert some == {name: d for name, d in whole.items() if name in names}


def test_the_first_of_two_equal_channels_is_taken_and_the_other_told():
    montage = pick_montage(channels("C4-M1", "C4-M1"))
    assert montage.derivations["eeg"].channel.index == 0
    assert montage.reasons[1][1:] == (False, "EEG at C4 against M1; 'C4-M1' is preferred")


@pytest.mark.parametrize("name", [n for n, m in MODALITIES.items() if m.conditioning.min_rate])
def test_the_slowest_channel_that_serves_has_the_catalogues_minimum(name):
    label = {"eeg": "C4-M1", "eog": "LOC", "emg": "Chin", "ecg": "ECG", "airflow": "Flow"}
    label |= {"effort": "Thorax", "spo2": "SpO2", "ppg": "Pleth"}
    needed = MODALITIES[name].conditioning.min_rate
    just, slow = (Channel(0, label[name], rate) for rate in (needed, needed * 0.99))
    assert list(pick_montage([just]).derivations) == [name]
    with pytest.raises(NoUsableChannelError, match=f"{name} needs at least {needed:g} Hz"):
        pick_montage([slow])


@pytest.mark.parametrize("choice", ["EEG 1", " eeg 1 ", "eeg-1", ("EEG 1",)])
def test_a_channel_named_by_hand_may_be_spelt_freely(choice):
    assert picks("C4-M1", "EEG 1", overrides={"eeg": choice}) == {"eeg": "EEG 1"}


def test_an_exact_label_goes_before_one_spelt_alike():
    assert picks("eeg1", "EEG 1", overrides={"eeg": "EEG 1"}) == {"eeg": "EEG 1"}


@pytest.mark.parametrize(
    ("choice", "error", "words"),
    [
        (("a", "b", "c"), ReadError, "accepted are a label, a pair (label, reference label), or"),
        ((), ReadError, "accepted are a label, a pair (label, reference label), or None"),
        ("C4-M3", ReadError, "f.edf has no channel 'C4-M3'. Did you mean 'C4-M1'? It has 'C4-M1'"),
        (("C4-M1", "none"), ReadError, "f.edf has no channel 'none'."),
        ("flat", InvalidSignalError, "cannot serve: its header gives no usable scale or rate"),
        (
            ("C4-M1", "fast"),
            InvalidSignalError,
            "cannot subtract 'fast' (256 Hz) from 'C4-M1' (128",
        ),
    ],
)
def test_a_choice_by_hand_that_cannot_be_says_why(choice, error, words):
    found = [*channels("C4-M1"), Channel(1, "flat", 0.0), Channel(2, "fast", 256.0)]
    with pytest.raises(error) as caught:
        pick_montage(found, overrides={"eeg": choice}, where="f.edf")
    assert words in str(caught.value)


def test_a_montage_without_signals_says_so():
    with pytest.raises(NoUsableChannelError, match="found none: it holds annotations only"):
        pick_montage([], where="f.edf")
    assert pick_montage([], strict=False).derivations == {}


def test_the_settings_of_a_fingerprint_tell_every_choice_apart():
    given_channels = channels("C4", "M1", "M2", "ECG")
    settings = [
        pick_montage(given_channels, overrides=overrides).settings
        for overrides in (None, {"eeg": "C4"}, {"eeg": ("C4", "M2")}, {"ecg": None})
    ]
    settings.append(pick_montage(channels("C4", "M1", "M2", "ECG", unit="mV")).settings)
    assert len({repr(setting) for setting in settings}) == 5


def test_a_montage_cannot_be_changed():
    montage = pick_montage(channels("C4-M1"))
    with pytest.raises(TypeError):
        montage.derivations["ecg"] = montage.derivations["eeg"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        montage.derivations["eeg"].channel.rate = 1.0


@pytest.mark.parametrize("name", MODALITIES)
def test_every_unit_of_a_modality_is_read_as_itself(name):
    for unit in MODALITIES[name].units:
        for spelled in (unit, unit.upper(), f" {unit} "):
            assert parse_dimension(spelled, name) == (unit, None)


@pytest.mark.parametrize(
    ("dimension", "name", "unit"),
    [("microvolts", "eeg", "uV"), ("μV", "eeg", "uV"), ("millivolt", "ecg", "mV"),
     ("Volts", "eog", "V"), ("nanovolt", "emg", "nV"), ("% SaO2", "spo2", "%"), ("sec", "ibi", "s"),
     ("msec", "ibi", "ms"), ("beats/min", "ibi", "bpm"), ("cnt", "actigraphy", "counts"),
     ("LPM", "airflow", "L/min"), ("l/sec", "airflow", "L/s"), ("cmH20", "airflow", "cmH2O")],
)  # fmt: skip
def test_units_are_known_by_their_other_spellings(dimension, name, unit):
    assert parse_dimension(dimension, name) == (unit, None)


@pytest.mark.parametrize(("dimension", "name"), [("%", "eeg"), ("uV", "spo2"), ("mV", "ibi")])
def test_a_unit_of_another_modality_is_not_believed(dimension, name):
    unit, note = parse_dimension(dimension, name)
    assert unit == MODALITIES[name].unit
    assert note == f"states the unit {dimension!r}; taken as {unit}"


@pytest.mark.parametrize(
    ("unit", "notes"),
    [("%", ()), ("", ("spo2: channel 'SpO2' states no unit; taken as %",))],
)
def test_a_unit_that_was_assumed_is_noted(unit, notes):
    assert pick_montage(channels("SpO2", unit=unit)).notes == notes
