# SPDX-License-Identifier: BSD-3-Clause
import pytest

from sleep2vec_sklearn.errors import UnknownModalityError
from sleep2vec_sklearn.signals import EPOCH_SECONDS, MODALITIES, get_modality

all_modalities = pytest.mark.parametrize("modality", MODALITIES.values(), ids=MODALITIES)


def test_the_catalogue_names_every_modality():
    names = "eeg, eog, emg, ecg, airflow, effort, spo2, ibi, resp, ppg, actigraphy"
    assert ", ".join(MODALITIES) == names


def test_the_catalogue_cannot_be_changed():
    with pytest.raises(TypeError):
        MODALITIES["eeg"] = None


@all_modalities
def test_the_canonical_unit_is_accepted(modality):
    assert modality.unit in modality.units


@all_modalities
def test_bands_fit_below_half_the_rate(modality):
    low, high = modality.conditioning.band
    half = modality.conditioning.rate / 2
    assert 0 <= (low or 0) < (half if high is None else high) <= half


@all_modalities
def test_an_epoch_holds_whole_samples(modality):
    conditioning = modality.conditioning
    assert conditioning.width == conditioning.rate * EPOCH_SECONDS


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [("EEG", "eeg"), ("ekg", "ecg"), ("spo", "spo2"), ("breath", "resp"), ("eeg_original", "eeg")],
)
def test_an_unknown_name_suggests_the_nearest(name, suggestion):
    with pytest.raises(UnknownModalityError, match=f"Did you mean '{suggestion}'"):
        get_modality(name)


@pytest.mark.parametrize("name", ["temperature", 3, None, ["eeg"]])
def test_a_name_like_none_lists_what_is_accepted(name):
    with pytest.raises(UnknownModalityError, match="Accepted: eeg, eog, emg"):
        get_modality(name)
