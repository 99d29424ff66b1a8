# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import pickle

import pytest

from sleep2vec_sklearn.errors import (
    InvalidSignalError,
    NoUsableChannelError,
    ReadError,
    UnknownModalityError,
)
from sleep2vec_sklearn.readers._channels import parse_dimension
from sleep2vec_sklearn.readers._montage import Channel, pick_montage


def channels(*labels, rate=128.0, unit="uV"):
    return [Channel(i, label, rate, unit) for i, label in enumerate(labels)]


def picks(*args, **kwargs):
    return {name: d.label for name, d in pick_montage(*args, **kwargs).derivations.items()}


def test_a_referenced_channel_is_preferred_to_a_subtraction():
    assert picks(channels("C4", "C3-M2", "M1")) == {"eeg": "C3-M2"}


def test_the_mastoid_of_the_same_side_serves_where_the_other_is_missing():
    assert picks(channels("C4", "A2")) == {"eeg": "C4 - A2"}


def test_an_electrode_without_a_mastoid_is_taken_as_it_is():
    assert picks(channels("C4", "LOC")) == {"eeg": "C4", "eog": "LOC"}


def test_numbered_leads_are_not_subtracted_where_nothing_is_stored_unreferenced():
    assert picks(channels("ECG1", "ECG2", "EMG1", "EMG2")) == {"emg": "EMG1", "ecg": "ECG1"}


def test_references_of_another_rate_are_not_subtracted():
    mixed = [Channel(0, "C4", 256.0), Channel(1, "M1", 128.0)]
    assert picks(mixed) == {"eeg": "C4"}


def test_a_slow_channel_gives_way_to_a_faster_one_of_lower_rank():
    mixed = [Channel(0, "C4-M1", 1.0), Channel(1, "O1-M2", 100.0)]
    montage = pick_montage(mixed)
    assert montage.derivations["eeg"].label == "O1-M2"
    assert "1 Hz, eeg needs at least 50 Hz" in montage.reasons[0][2]
    assert any("'C4-M1' left out" in note for note in montage.notes)


def test_overrides_go_before_the_table():
    given = channels("C4-M1", "F3-M2", "weird", "ref2")
    assert picks(given, overrides={"eeg": "F3-M2"}) == {"eeg": "F3-M2"}
    assert picks(given, overrides={"ecg": ("weird", "ref2")})["ecg"] == "weird - ref2"
    assert picks(channels("C4-M1", "ECG"), overrides={"eeg": None}) == {"ecg": "ECG"}


def test_overrides_say_what_is_wrong_with_them():
    with pytest.raises(ReadError, match=r"Did you mean 'C4-M1'\?"):
        pick_montage(channels("C4-M1"), overrides={"eeg": "C4-M11"})
    with pytest.raises(
        InvalidSignalError, match=r"1 Hz, emg needs at least 50 Hz.*\{'emg': None\}"
    ):
        pick_montage(channels("EMG", rate=1.0), overrides={"emg": "EMG"})
    with pytest.raises(UnknownModalityError, match="Did you mean 'eeg'"):
        pick_montage(channels("C4"), overrides={"EEGs": "C4"})


def test_only_the_modalities_asked_for_are_picked():
    assert picks(channels("C4-M1", "ECG", "EMG"), modalities=["ecg"]) == {"ecg": "ECG"}


def test_no_usable_channel_lists_what_was_found_and_a_way_out():
    with pytest.raises(NoUsableChannelError, match="'xyzzy', 'HR'") as caught:
        pick_montage(channels("xyzzy", "HR"), where="night.edf")
    text = str(caught.value)
    assert text.startswith("night.edf")
    assert "describe_channels" in text
    assert "channels={'eeg': 'label'}" in text


def test_a_montage_survives_pickling():
    montage = pick_montage(channels("C4", "M1"))
    assert pickle.loads(pickle.dumps(montage)) == montage


@pytest.mark.parametrize(
    ("dimension", "modality", "unit"),
    [
        ("uV", "eeg", "uV"),
        ("µV", "eeg", "uV"),
        ("Âµv", "eog", "uV"),
        ("UV", "emg", "uV"),
        ("MV", "ecg", "mV"),
        (" V ", "eeg", "V"),
        ("%", "spo2", "%"),
        ("Percent", "spo2", "%"),
        ("ms", "ibi", "ms"),
        ("cmH2O", "airflow", "cmH2O"),
        ("ML", "effort", "a.u."),
        ("", "airflow", "a.u."),
    ],
)
def test_physical_dimensions_become_units(dimension, modality, unit):
    assert parse_dimension(dimension, modality) == (unit, None)


def test_an_empty_or_odd_dimension_is_assumed_with_a_note():
    assert parse_dimension("", "spo2") == ("%", "states no unit; taken as %")
    assert parse_dimension("parsec", "eeg") == ("uV", "states the unit 'parsec'; taken as uV")
