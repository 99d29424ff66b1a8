# SPDX-License-Identifier: BSD-3-Clause
"""YASA, and the vote of several programs; YASA itself is run only where it is installed."""

import sys
from importlib.util import find_spec
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from sleep2vec_sklearn import Recording, stage_night
from sleep2vec_sklearn.errors import CheckpointError, InvalidRecordingError
from sleep2vec_sklearn.finetuning import _stage_programs as programs
from tests.seqsleepnet import named_night, noise, random_state

N = 30
PROBABILITIES = np.random.default_rng(0).dirichlet(np.ones(5), N)
NETWORK = "sleep2vec_sklearn.model.external.seqsleepnet"


@pytest.fixture
def fake_yasa(monkeypatch):
    """A module that gives ``PROBABILITIES``; what it was called with is kept in it."""
    pytest.importorskip("mne")
    yasa = ModuleType("yasa")
    yasa.__version__, yasa.__spec__ = "0", object()

    class SleepStaging:
        def __init__(self, raw, **settings):
            yasa.raw, yasa.settings = raw, settings

        def predict_proba(self):
            columns = ["WAKE", "N1", "N2", "N3", "REM"]
            return pd.DataFrame(PROBABILITIES, columns=columns)[columns[::-1]]

    yasa.SleepStaging = SleepStaging
    monkeypatch.setitem(sys.modules, "yasa", yasa)
    return yasa


@pytest.fixture
def no_yasa(monkeypatch):
    monkeypatch.setitem(sys.modules, "yasa", None)
    monkeypatch.setattr(programs, "find_spec", lambda name: None)


@pytest.fixture
def no_file(monkeypatch):
    """SeqSleepNet was not downloaded, and must not be."""
    monkeypatch.setattr(f"{NETWORK}.find_file", lambda: None)
    monkeypatch.setattr(f"{NETWORK}.fetch_file", lambda: pytest.fail("downloads"))


def test_yasa_reads_three_sensors(fake_yasa):
    eeg = noise(N).astype(float)
    eeg[3000:6000] = np.nan
    emg, eog = np.random.default_rng(1).standard_normal((2, N * 30 * 200))
    night = Recording(
        {"eeg": (1e-6 * eeg, 100), "emg": (emg, 200), "eog": (eog[::4], 50)}, units={"eeg": "V"},
        metadata={"age": 40, "sex": "F"},
    )  # fmt: skip
    staged = stage_night(night, stager="yasa")
    np.testing.assert_array_equal(staged.probabilities.drop(1), np.delete(PROBABILITIES, 1, axis=0))
    assert staged.stages[1] == -1
    assert staged.modalities == ("eeg", "emg")
    assert fake_yasa.settings.pop("metadata") == {"age": 40.0, "male": False}
    assert fake_yasa.settings == {"eeg_name": "eeg", "emg_name": "emg"}
    assert fake_yasa.raw.get_data().shape == (2, N * 3000)
    assert fake_yasa.raw.get_data()[0].std() == pytest.approx(2e-5, rel=0.1)


@pytest.mark.skipif(find_spec("yasa") is None, reason="YASA is not installed")
def test_yasa_itself_stages():
    staged = stage_night(named_night({"C4-A1": noise(N)}), stager="yasa")
    np.testing.assert_allclose(staged.probabilities.sum(axis=1), 1, atol=1e-6)
    assert "eeg (C4-A1) 100 %; staged by: yasa" in staged.rests_on


def test_missing_programs_are_named(no_yasa, no_file):
    night = named_night({"C4-A1": noise(N)})
    with pytest.raises(CheckpointError, match="pip install yasa"):
        stage_night(night, stager="yasa")
    with pytest.raises(CheckpointError, match=r"downloads none by itself.*\n.*load_checkpoint"):
        stage_night(night, stager="vote")


@pytest.mark.parametrize("stager", ["seqsleepnet", "yasa", "vote"])
def test_eeg_is_asked_for_first(no_yasa, no_file, stager):
    heart = {"ibi": (np.full(3600, 0.9), 4)}
    with pytest.raises(InvalidRecordingError, match="the night has ibi; stager="):
        stage_night(heart, stager=stager)
    with pytest.raises(InvalidRecordingError, match="chooses its own"):
        stage_night(heart, stager=stager, modalities=["eeg", "ibi"])


def test_flat_eeg_is_refused(fake_yasa):
    with pytest.raises(InvalidRecordingError, match="no usable signal: eeg flat"):
        stage_night({"eeg": (np.zeros(9000), 100)}, stager="yasa")


def test_all_programs_vote(fake_yasa, no_file, tmp_path, monkeypatch):
    path = tmp_path / "eeg.safetensors"
    save_file({name: tensor.numpy() for name, tensor in random_state().items()}, path)
    night = named_night({"C4-A1": noise(N)})
    both = stage_night(night, stager="vote")
    monkeypatch.setattr(f"{NETWORK}.find_file", lambda: path)
    voted = stage_night(night, stager="vote")
    assert both.voters == ("bundled", "yasa")
    assert voted.voters == ("bundled", "seqsleepnet", "yasa")
    assert "staged by: bundled, seqsleepnet, yasa" in voted.rests_on
    assert voted.card["weights"] == dict.fromkeys(voted.voters, 1.0)
    each = [stage_night(night, stager=stager) for stager in ("bundled", path, "yasa")]
    mean = np.mean([np.log(np.maximum(staged.probabilities, 1e-3)) for staged in each], axis=0)
    np.testing.assert_array_equal(voted.stages, mean.argmax(axis=1))
    agreement = np.mean([staged.stages == voted.stages for staged in each], axis=0)
    np.testing.assert_allclose(voted.agreement, agreement)


def test_votes_need_an_opinion():
    silent = np.full((1, N, 5), np.nan)
    for others, expected in ((PROBABILITIES[None], 1.0), (silent, np.nan)):
        found, agreement = programs.vote(np.concatenate([silent, others]), np.ones(2))
        np.testing.assert_array_equal(agreement, np.full(N, expected))
        assert np.isfinite(found).all() == np.isfinite(expected)
