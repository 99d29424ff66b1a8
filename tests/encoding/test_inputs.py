# SPDX-License-Identifier: BSD-3-Clause
"""Bad input: every error names the recording, the modality, what was found and a way out."""

import threading

import numpy as np
import pytest

from sleep2vec_sklearn import EpochSequence, Recording, Sleep2VecTransformer
from sleep2vec_sklearn.errors import (
    InvalidRecordingError,
    InvalidSignalError,
    ReadError,
    RecordingWarning,
    UnknownModalityError,
)

GOOD = np.random.default_rng(0).standard_normal(60 * 128) * 30
SPOILED = GOOD.copy()
SPOILED[7] = np.inf
BAD_RECORDINGS = {
    "empty": ({}, "no modality has a signal. Pass at least one array"),
    "only-none": ({"eeg": None}, "no modality has a signal"),
    "unknown": ({"ekg": GOOD}, "unknown modality 'ekg'. Did you mean 'ecg'?"),
    "upstream-key": ({"heartbeat": GOOD}, "Did you mean 'ibi'?"),
    "scalar": ({"eeg": 3.0}, "'eeg' has shape (); accepted are one channel"),
    "cube": ({"eeg": np.zeros((2, 2, 2))}, "'eeg' has shape (2, 2, 2); accepted are one channel"),
    "objects": ({"eeg": np.array([1.0, None] * 9)}, "'eeg' has dtype object; accepted are real"),
    "strings": ({"eeg": ["a", "b"]}, "'eeg' has dtype <U1; accepted are real numbers"),
    "complex": ({"eeg": GOOD + 1j}, "'eeg' has dtype complex128; accepted are real numbers"),
    "ragged": ({"eeg": [[1.0], [1.0, 2.0]]}, "'eeg' is a list that numpy makes no array of"),
    "short": ({"eeg": GOOD[:128]}, "lasts 1 s, shorter than one epoch of 30 s. Check the rates"),
    "rate-zero": ({"eeg": (GOOD, 0)}, "'eeg' has rate 0 Hz; accepted is a positive"),
    "rate-negative": ({"eeg": (GOOD, -1)}, "'eeg' has rate -1 Hz; accepted is a positive"),
    "rate-nan": ({"eeg": (GOOD, np.nan)}, "'eeg' has rate nan Hz; accepted is a positive"),
    "rate-text": ({"eeg": (GOOD, "100")}, "'eeg' has rate '100'; accepted is a number in Hz"),
    "triple": ({"eeg": (GOOD, 1, 2)}, "'eeg' is a tuple of 3 items; accepted is (array, rate)"),
}
BAD_SIGNALS = {
    "infinite": ({"eeg": SPOILED}, "'eeg' has 1 infinite values; accepted are finite numbers"),
    "slow": ({"eeg": (GOOD, 10)}, "'eeg' has rate 10 Hz, this checkpoint needs at least 50 Hz."),
    "volts": ({"eeg": GOOD * 1e-6}, 'It looks like V: pass units={"eeg": "V"}'),
    "saturation": ({"spo2": GOOD[:240] / 1e4 + 0.96}, "the unit must be another"),
    "flat": ({"eeg": GOOD * 0, "spo2": None}, "no usable signal: eeg flat or mostly without"),
    "all-nan": ({"eeg": GOOD * np.nan}, "no usable signal: eeg flat or mostly without samples"),
    "unsupported": ({"ppg": GOOD}, "has ppg, none of which is among the modalities to encode"),
}
all_bad_signals = pytest.mark.parametrize(
    ("bad", "message"), BAD_SIGNALS.values(), ids=BAD_SIGNALS.keys()
)


@pytest.fixture
def transformer(checkpoint_path):
    return Sleep2VecTransformer(checkpoint_path, modalities=["eeg", "spo2"], cache=None)


@pytest.mark.parametrize(("bad", "message"), BAD_RECORDINGS.values(), ids=BAD_RECORDINGS.keys())
def test_invalid_dict_is_refused(transformer, bad, message):
    with pytest.raises(InvalidRecordingError) as caught:
        transformer.fit([{"eeg": GOOD}, bad])
    assert "recording 1" in str(caught.value)
    assert message in str(caught.value)


@all_bad_signals
def test_invalid_signal_is_refused(transformer, bad, message):
    X = [Recording({"eeg": GOOD}), Recording(bad, id="shhs1-17")]
    with pytest.raises(InvalidRecordingError) as caught:
        transformer.fit_transform(X)
    assert str(caught.value).startswith("recording 1 (shhs1-17)")
    assert message in str(caught.value)
    assert "Or pass on_error='nan'" in str(caught.value)


@all_bad_signals
def test_on_error_nan_warns_once(transformer, bad, message):
    X = [{"eeg": GOOD}, Recording(bad, id="shhs1-17")]
    transformer.set_params(on_error="nan").fit(X)
    with pytest.warns(RecordingWarning) as caught:
        rows = transformer.transform(X)
    np.testing.assert_array_equal(np.isnan(rows).all(axis=1), [False, True])
    assert len(caught) == 1
    assert "recording 1 (shhs1-17)" in str(caught[0].message)
    assert message in str(caught[0].message)
    assert caught[0].filename == __file__


@pytest.mark.parametrize(("bad", "message"), BAD_RECORDINGS.values(), ids=BAD_RECORDINGS.keys())
def test_nan_takes_invalid_dicts(transformer, bad, message):
    X = [bad, {"eeg": GOOD}, [{"eeg": GOOD}, bad]]
    transformer.set_params(on_error="nan").fit(X)
    with pytest.warns(RecordingWarning) as caught:
        rows = transformer.transform(X)
    assert len(caught) == 1
    assert message in str(caught[0].message)
    assert "recording 2, night 1: " in str(caught[0].message)
    assert np.isnan(rows[0]).all()
    np.testing.assert_array_equal(rows[2], rows[1])


def test_flat_sensor_warns(transformer):
    X = [{"eeg": GOOD}, {"eeg": GOOD, "spo2": np.full(240, 97.0)}]
    with pytest.warns(RecordingWarning, match="recording 1: spo2"):
        rows = transformer.fit_transform(X)
    np.testing.assert_array_equal(rows[0], rows[1])


def test_bad_recordings_share_a_warning(transformer):
    X = [{"eeg": SPOILED}] * 12
    transformer.set_params(on_error="nan").fit(X)
    with pytest.warns(RecordingWarning, match="^12 of the recordings") as caught:
        transformer.transform(X)
    assert len(caught) == 1
    assert "and 4 more" in str(caught[0].message)


def test_epochs_of_bad_recordings(transformer):
    X = EpochSequence([{"eeg": GOOD}, {"eeg": GOOD}, {"eeg": SPOILED}])
    with pytest.raises(InvalidSignalError, match=r"^recording 2: 'eeg'"):
        transformer.fit_transform(X[X.recording_index == 2])
    transformer.set_params(on_error="nan").fit(X)
    with pytest.warns(RecordingWarning, match="recording 2: 'eeg'"):
        rows = transformer.transform(X[::-1])
    np.testing.assert_array_equal(np.isnan(rows).any(axis=1), [1, 1, 0, 0, 0, 0])


def test_bad_night_leaves_subject_mean(transformer):
    X = [[{"eeg": GOOD}, {"eeg": SPOILED}], {"eeg": GOOD}]
    transformer.set_params(on_error="nan").fit(X)
    with pytest.warns(RecordingWarning, match="recording 0, night 1: 'eeg'"):
        rows = transformer.transform(X)
    np.testing.assert_array_equal(rows[0], rows[1])


def test_errors_leave_no_threads(transformer):
    before = threading.active_count()
    with pytest.raises(InvalidSignalError) as caught:
        transformer.fit_transform([{"eeg": SPOILED}] * 5)
    assert caught.value.__traceback__ is not None
    assert threading.active_count() == before


def test_broken_file_is_read_error(transformer, counting_source):
    class BrokenSource(counting_source):
        def read(self, names):
            raise OSError("night.edf: unexpected end of file")

    X = [Recording.from_source(BrokenSource({"eeg": (GOOD, 128.0, "uV")}), id="a")]
    with pytest.raises(ReadError, match=r"^recording 0 \(a\): night.edf: unexpected end"):
        transformer.fit_transform(X)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ({"eeg": GOOD}, r"X is one recording; .* Wrap it: transform\(\[recording\]\)"),
        (Recording({"eeg": GOOD}), "X is one recording"),
        ([], "X has 0 recordings"),
        (EpochSequence([{"eeg": GOOD}])[:0], "X has 0 epochs"),
        ([[]], "recording 0 is an empty list of nights"),
        (
            [[Recording({"eeg": GOOD}, subject=who) for who in ("ann", None, "bob")]],
            "recording 0 lists nights of the subjects 'ann' and 'bob'; accepted are nights of one",
        ),
        (GOOD.reshape(60, -1), r"X is an array of shape \(60, \d+\); accepted are a list of rec"),
        ("night.edf", "X is of type str; accepted are a list of recordings"),
        (["night.edf"], r"recording 0 is a str; .* Read a file by read_recording"),
        (3, "X is of type int"),
        ([*EpochSequence([{"eeg": GOOD}]), {"eeg": GOOD}], "X mixes epochs with other things"),
    ],
)
def test_invalid_X_is_refused(transformer, X, message):
    with pytest.raises(InvalidRecordingError, match=message):
        transformer.fit(X)


def test_unfit_choices_are_refused(checkpoint_path, transformer):
    with pytest.raises(UnknownModalityError, match="Did you mean 'spo2'"):
        Sleep2VecTransformer(checkpoint_path, modalities=["sp02"]).fit([{"eeg": GOOD}])
    transformer.fit([{"eeg": GOOD}])
    with pytest.raises(InvalidRecordingError, match=r"X holds epochs, .* fitted on nights"):
        transformer.transform(EpochSequence([{"eeg": GOOD}]))
    with pytest.raises(InvalidRecordingError, match="recording 1 is a str"):
        transformer.set_params(on_error="nan").fit([{"eeg": GOOD}, "night.edf"])
