# SPDX-License-Identifier: BSD-3-Clause

import pytest

from sleep2vec_sklearn.errors import UnknownModalityError
from sleep2vec_sklearn.recordings import EPOCH_SECONDS, MODALITIES, get_modality, list_modalities

all_modalities = pytest.mark.parametrize("modality", MODALITIES.values(), ids=MODALITIES)


def test_catalogue_names_every_modality():
    names = "eeg, eog, emg, ecg, airflow, effort, spo2, ibi, resp, ppg, actigraphy"
    assert ", ".join(MODALITIES) == names
    with pytest.raises(TypeError):
        MODALITIES["eeg"] = None


@all_modalities
def test_epochs_and_bands_fit(modality):
    assert modality.unit in modality.units
    low, high = modality.conditioning.band
    half = modality.conditioning.rate / 2
    assert 0 <= (low or 0) < (half if high is None else high) <= half
    conditioning = modality.conditioning
    assert conditioning.width == conditioning.rate * EPOCH_SECONDS


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [("EEG", "eeg"), ("ekg", "ecg"), ("spo", "spo2"), ("breath", "resp"), ("eeg_original", "eeg")],
)
def test_unknown_name_suggests_nearest(name, suggestion):
    with pytest.raises(UnknownModalityError, match=f"Did you mean '{suggestion}'"):
        get_modality(name)


@pytest.mark.parametrize("name", ["temperature", 3, None, ["eeg"]])
def test_unknown_name_lists_accepted(name):
    with pytest.raises(UnknownModalityError, match="Accepted: eeg, eog, emg"):
        get_modality(name)


@pytest.mark.parametrize(
    ("name", "rate", "min_rate", "band", "scaling", "unit"),
    [("eeg", 128, 50, (0.3, 35), "robust", "uV"), ("eog", 128, 50, (0.3, 35), "robust", "uV"),
     ("emg", 128, 50, (10, 60), "robust", "uV"), ("ecg", 128, 64, (0.5, 45), "robust", "uV"),
     ("airflow", 4, 4, (0.05, 1), "robust", "a.u."), ("effort", 4, 4, (0.05, 1), "robust", "a.u."),
     ("resp", 4, None, (0.05, 1), "robust", "a.u."), ("ppg", 100, 25, (0.4, 12), "robust", "a.u."),
     ("spo2", 4, 0.5, (None, None), "absolute", "%"),
     ("ibi", 4, None, (None, None), "absolute", "s"),
     ("actigraphy", 1, None, (None, None), "counts", "counts")],
)  # fmt: skip
def test_documented_table_is_used(name, rate, min_rate, band, scaling, unit):
    modality = get_modality(name)
    found = modality.conditioning
    assert (found.rate, found.min_rate, found.band) == (rate, min_rate, band)
    assert (found.scaling, modality.unit, found.clip) == (scaling, unit, 20.0)


def test_upstream_keys_are_unique():
    keys = {m.upstream_key: m.name for m in MODALITIES.values()}
    assert len(keys) == len(MODALITIES)
    assert keys["resp_nasal_original"] == "airflow"
    assert keys["resp_original"] == "effort"
    assert (keys["heartbeat"], keys["breath"]) == ("ibi", "resp")


def test_choice_keeps_its_order():
    assert list_modalities(["spo2", "eeg", "spo2"]) == ["spo2", "eeg"]
    assert list_modalities("eeg") == ["eeg"]
    assert list_modalities(None) == list(MODALITIES)
    assert list_modalities([]) == []
    with pytest.raises(UnknownModalityError, match=r"'flow'\. Did you mean 'airflow'"):
        list_modalities(["eeg", "flow"])


@all_modalities
def test_modality_is_frozen_and_hashable(modality):
    assert hash(modality) == hash(get_modality(modality.name))
    with pytest.raises(AttributeError):
        modality.unit = "V"
    with pytest.raises(AttributeError):
        modality.conditioning.rate = 1
