# SPDX-License-Identifier: BSD-3-Clause
"""Modalities that a reader derived: used where the checkpoint has them, silent where not."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from sleep2vec_sklearn import Recording, Sleep2VecTransformer, read_recording
from sleep2vec_sklearn.errors import InvalidRecordingError, ModalityWarning, RecordingWarning
from sleep2vec_sklearn.readers.formats import DerivedSource


@pytest.fixture
def file(noise, tmp_path):
    """A night whose ECG and belt imply ``ibi`` and ``resp``, of which the checkpoint has one."""
    path = tmp_path / "night.npz"
    np.savez(path, ecg=noise("ecg")[0], effort=noise("effort")[0])
    return path


@pytest.fixture
def made(monkeypatch):
    """What was derived, in order."""
    names = []
    read = DerivedSource.read

    def noted(self, wanted):
        names.extend(name for name in wanted if name in self.recipes)
        return read(self, wanted)

    monkeypatch.setattr(DerivedSource, "read", noted)
    return names


def test_recording_lists_derived_modalities(file):
    night = read_recording(file)
    assert night.modalities == ("ecg", "effort", "ibi", "resp")
    assert night.derived == ("ibi", "resp")
    assert night.without("ibi").derived == ("resp",)
    assert read_recording(file, derive=False).derived == ()
    assert Recording(night.read()).derived == ()


def test_unsupported_derived_modality_is_silent(embed, file, made):
    with warnings.catch_warnings():
        warnings.simplefilter("error", ModalityWarning)
        rows = embed([read_recording(file)])
    assert made == ["ibi"]
    np.testing.assert_array_equal(rows, embed([read_recording(file, channels={"resp": None})]))


def test_unusable_modalities_are_told(embed, file, noise, tmp_path):
    np.savez(file, ecg=noise("ecg")[0], resp=noise("resp")[0])
    with pytest.warns(ModalityWarning, match="^resp: not supported"):
        embed([read_recording(file)])
    path = tmp_path / "night.npz"
    np.savez(path, ecg=np.zeros_like(noise("ecg")[0]))
    with pytest.raises(InvalidRecordingError, match="no usable signal: ibi"):
        embed([read_recording(path, modalities=["ibi"])])


def test_only_recorded_sensors_reported_flat(embed, noise, tmp_path):
    path = tmp_path / "night.npz"
    np.savez(path, ecg=np.zeros_like(noise("ecg")[0]), eeg=noise("eeg")[0])
    night = read_recording(path)
    assert night.derived == ("ibi", "resp")
    with pytest.warns(RecordingWarning, match=r"flat.*\n.*: ecg$") as caught:
        embed([night])
    assert len(caught) == 1


def test_unused_modalities_are_not_derived(checkpoint_path, file, made):
    night = read_recording(file)
    transformer = Sleep2VecTransformer(checkpoint_path, modalities=["ecg", "effort"], cache=None)
    rows = transformer.fit_transform([night])
    assert made == []
    plain = read_recording(file, derive=False)
    np.testing.assert_array_equal(rows, transformer.transform([plain]))
