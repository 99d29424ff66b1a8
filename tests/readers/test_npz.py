# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import pickle

import numpy as np
import pytest

from sleep2vec_sklearn import describe_channels, read_recording
from sleep2vec_sklearn.errors import NoUsableChannelError, ReadError
from sleep2vec_sklearn.readers import NpzSource

RNG = np.random.default_rng(0)


@pytest.fixture
def night(tmp_path):
    path = tmp_path / "night.npz"
    events = np.zeros(120)
    events[40:55] = 1
    arousals = np.zeros((120, 4), dtype=np.float32)
    arousals[60:63, 1] = 1
    np.savez(
        path,
        eeg_original=RNG.normal(size=120 * 128),
        resp_nasal_original=RNG.normal(size=120 * 4),
        heartbeat=RNG.uniform(0.7, 1.1, 120 * 4),
        actigraphy=RNG.normal(size=120 * 32),
        stage5=np.array([0, 2, -1, 4]),
        ah_event=events,
        arousal_event=arousals,
        ahi=np.float64(12.5),
        tst=6.5,
    )
    return path


def test_the_authors_layout_is_read(night):
    recording = read_recording(night, derive=False)
    assert recording.modalities == ("eeg", "airflow", "ibi", "actigraphy")
    assert recording.rates == {"eeg": 128, "airflow": 4, "ibi": 4, "actigraphy": 32}
    assert recording.units["actigraphy"] == "g"
    assert recording.stages.tolist() == [0, 2, -1, 4]
    assert dict(recording.metadata) == {"ahi": 12.5, "tst": 6.5}
    assert recording.events.to_numpy().tolist() == [
        [40.0, 15.0, "apnea or hypopnea"],
        [60.0, 3.0, "arousal (spontaneous)"],
    ]
    with np.load(night) as archive:
        np.testing.assert_array_equal(recording["eeg"], archive["eeg_original"].astype("f4"))


def test_catalogue_names_rates_and_units_are_accepted(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, eeg=np.ones((4, 3000)), rate_eeg=100.0, unit_eeg="mV", actigraphy=np.ones(120))
    recording = read_recording(path)
    assert (recording.rates["eeg"], recording.units["eeg"]) == (100, "mV")
    assert (recording.rates["actigraphy"], recording.units["actigraphy"]) == (1, "counts")
    assert recording.n_epochs == 4
    assert not recording.metadata


def test_overrides_choose_the_array(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, eeg=np.zeros(7680), other=np.ones(7680))
    assert read_recording(path, channels={"eeg": "other"})["eeg"].all()
    with pytest.raises(ReadError, match=r"no array 'third'\. It has eeg, other"):
        read_recording(path, channels={"eeg": "third"})


def test_no_samples_are_loaded_at_construction(night, monkeypatch):
    loaded = []
    original = np.load
    monkeypatch.setattr(np, "load", lambda *a, **k: loaded.append(original(*a, **k)) or loaded[-1])
    recording = read_recording(night)
    before = len(loaded)
    assert recording["ibi"].dtype == np.float32
    assert len(loaded) == before + 1
    assert recording.fingerprint == read_recording(night).fingerprint


def test_labels_are_not_held_by_every_night(night, tmp_path):
    with np.load(night) as archive:
        arrays = dict(archive)
    np.savez(tmp_path / "unlabelled.npz", **{k: v for k, v in arrays.items() if "event" not in k})
    sizes = [len(pickle.dumps(NpzSource(p))) for p in (night, tmp_path / "unlabelled.npz")]
    assert sizes[0] - sizes[1] < arrays["arousal_event"].nbytes


def test_pickled_objects_are_never_loaded(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, eeg=np.array([{"a": 1}], dtype=object))
    with pytest.raises(NoUsableChannelError):
        read_recording(path)


@pytest.mark.parametrize(
    ("content", "error"), [(b"", ReadError), (b"PK\x03\x04 broken", ReadError)]
)
def test_damaged_archives_are_named(tmp_path, content, error):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(error, match=r"a\.npz: not a readable NPZ file"):
        read_recording(path)


def test_a_recording_from_npz_survives_pickling_and_describes_itself(night):
    restored = pickle.loads(pickle.dumps(read_recording(night)))
    assert restored["eeg"].shape == (120 * 128,)


def test_describe_channels_tells_signals_from_labels(night, tmp_path):
    table = describe_channels(night).set_index("label")
    assert table.loc[["eeg_original", "heartbeat"], "modality"].tolist() == ["eeg", "ibi"]
    assert not table.loc[["stage5", "ahi"], "used"].any()
    np.savez(tmp_path / "odd.npz", x=np.zeros(9))
    assert describe_channels(tmp_path / "odd.npz")["why"].tolist() == ["unknown key"]


def test_a_unit_the_modality_does_not_have_is_an_error(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, eeg=np.zeros(7680), unit_eeg="parsec")
    with pytest.raises(ReadError, match=r"'eeg' has unit 'parsec'.*accepted are uV"):
        read_recording(path)


def test_only_the_modalities_asked_for_are_read(night):
    assert read_recording(night, modalities=["ibi"]).modalities == ("ibi",)
    assert read_recording(night, modalities="ibi").modalities == ("ibi",)
    assert read_recording(night, channels={"eeg": None, "resp": None}).modalities == (
        "airflow",
        "ibi",
        "actigraphy",
    )


def test_an_array_cut_short_is_named(night):
    data = night.read_bytes()
    recording = read_recording(night)
    night.write_bytes(data[:5000])
    with pytest.raises(ReadError, match=r"night\.npz"):
        recording.read()
