# SPDX-License-Identifier: BSD-3-Clause
"""Rows of nights with several derivations of a modality, or with one that cannot be used."""

import edfio
import numpy as np
import pytest

from sleep2vec_sklearn import EpochSequence, Sleep2VecTransformer, read_recording
from sleep2vec_sklearn.encoding import ExpertFeatures
from sleep2vec_sklearn.encoding.cache import MEMORY_CACHE
from sleep2vec_sklearn.errors import InvalidSignalError, RecordingWarning

N_EPOCHS = 12


@pytest.fixture
def write(tmp_path):
    """Function of (label, epochs that are off, unit): a night of these channels; V is wrong."""

    def make(*channels):
        signals = []
        for seed, (label, off, unit) in enumerate(channels):
            values = np.random.default_rng(seed).normal(0, 30, N_EPOCHS * 30 * 128)
            for epoch in off:
                values[epoch * 3840 : (epoch + 1) * 3840] = 0
            factor = {"mV": 1e-3}.get(unit, 1.0)
            options = {"physical_dimension": unit, "physical_range": (-300 * factor, 300 * factor)}
            signals.append(edfio.EdfSignal(values * factor, 128, label=label, **options))
        path = tmp_path / "night.edf"
        edfio.Edf(signals).write(path)
        return path

    return make


def test_all_derivations_are_averaged(embed, write):
    path = write(("C4-M1", [0, 1], "uV"), ("C3-M2", [1, 2], "uV"), ("O1-M2", range(12), "uV"))
    both = embed(EpochSequence([read_recording(path, derivations="all")]))
    first, second = (
        embed(EpochSequence([read_recording(path, channels={"eeg": label})]))
        for label in ("C4-M1", "C3-M2")
    )
    np.testing.assert_array_equal(both[0], second[0])
    np.testing.assert_array_equal(both[2], first[2])
    np.testing.assert_allclose(both[3:], (first + second)[3:] / 2, atol=1e-6)
    # epoch 1 has none: as between any other epochs, its row is made of its neighbours'
    assert np.isfinite(both).all()


def test_features_use_all_derivations(write):
    path = write(("C4-M1", [0, 5], "uV"), ("C3-M2", [], "uV"))
    both, filled, first, second = (
        ExpertFeatures("eeg", time=False).fit_transform(
            EpochSequence([read_recording(path, **options)])
        )
        for options in (
            {"derivations": "all"},
            {"derivations": "fill"},
            *({"channels": {"eeg": label}} for label in ("C4-M1", "C3-M2")),
        )
    )
    np.testing.assert_allclose(both[3], (first + second)[3] / 2, rtol=1e-5)
    np.testing.assert_array_equal(both[0], second[0])
    np.testing.assert_array_equal(filled[[0, 5]], second[[0, 5]])
    np.testing.assert_array_equal(filled[3], first[3])


def test_summaries_are_averaged(embed, write):
    path = write(("C4-M1", [], "uV"), ("C3-M2", [], "uV"))
    rows = [
        embed([read_recording(path, **options)], pooling="cls")
        for options in (
            {"derivations": "all"},
            *({"channels": {"eeg": e}} for e in ("C4-M1", "C3-M2")),
        )
    ]
    np.testing.assert_allclose(rows[0], (rows[1] + rows[2]) / 2, atol=1e-6)


def test_filled_epochs_count_as_on(embed, write):
    path = write(("C4-M1", [0, 1, 5], "uV"), ("C3-M2", [1], "mV"))
    night = read_recording(path, derivations="fill")
    assert night.filled_epochs() == {"eeg": 2}
    plain = read_recording(path, channels={"eeg": "C4-M1"})
    rows, others = (embed(EpochSequence([r])) for r in (night, plain))
    assert not np.array_equal(rows[5], others[5])
    assert np.isfinite(rows).all()


def test_each_derivation_is_cached(checkpoint_in_memory, write, monkeypatch):
    path = write(("C4-M1", [], "uV"), ("C3-M2", [], "uV"), ("ECG", [], "uV"))
    options = {"modalities": ["eeg"]}
    transformer = Sleep2VecTransformer(checkpoint_in_memory, **options)
    rows = transformer.fit_transform([read_recording(path, derivations="all")])
    assert len(MEMORY_CACHE) == 2
    monkeypatch.setattr(
        "sleep2vec_sklearn.readers.EdfSource._derive", lambda *_: pytest.fail("read again")
    )
    again = transformer.transform([read_recording(path, derivations="all")])
    np.testing.assert_array_equal(again, rows)
    transformer.transform([read_recording(path, channels={"eeg": "C3-M2"})])


def test_bad_lead_costs_itself(embed, write):
    path = write(("C4-M1", [], "V"), ("C3-M2", [], "uV"))
    with pytest.warns(RecordingWarning, match=r"derivation that cannot be used"):
        rows = embed([read_recording(path, derivations="all")])
    np.testing.assert_array_equal(rows, embed([read_recording(path, channels={"eeg": "C3-M2"})]))


def test_bad_sensor_costs_itself(embed, write):
    path = write(("C4-M1", [], "uV"), ("ECG", [], "V"))
    night = read_recording(path, derive=False)
    with pytest.raises(InvalidSignalError, match="looks like uV"):
        embed([night])
    with pytest.warns(RecordingWarning, match=r"cannot be used, which counts as missing:\n.*'ecg'"):
        rows = embed([night], on_error="nan")
    np.testing.assert_array_equal(rows, embed([night.without("ecg")]))
    stated = read_recording(path, derive=False, units={"ecg": "uV"})
    assert np.isfinite(embed([stated])).all()


def test_only_bad_sensor_gives_nan(embed, write):
    night = read_recording(write(("ECG", [], "V")), derive=False)
    with pytest.warns(RecordingWarning, match="could not be encoded"):
        assert np.isnan(embed([night], on_error="nan")).all()
