# SPDX-License-Identifier: BSD-3-Clause
"""The layout of the authors' NPZ files: keys, rates that are guessed, tracks of events."""

import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn import describe_channels, read_recording
from sleep2vec_sklearn.errors import (
    InvalidSignalError,
    NoUsableChannelError,
    ReadError,
    RecordingWarning,
)
from sleep2vec_sklearn.readers import NpzSource, npz
from sleep2vec_sklearn.recordings import MODALITIES

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


def test_authors_layout_is_read(night):
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


def test_own_names_rates_units(tmp_path):
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


def test_samples_are_loaded_lazily(night, monkeypatch):
    loaded = []
    original = npz.load_arrays
    monkeypatch.setattr(
        npz, "load_arrays", lambda p, keys: loaded.extend(keys) or original(p, keys)
    )
    recording = read_recording(night)
    assert not {"ibi", "heartbeat"} & set(loaded)
    before = len(loaded)
    assert recording["ibi"].dtype == np.float32
    assert len(loaded) == before + 1
    assert recording.fingerprint == read_recording(night).fingerprint


def test_units_can_be_stated(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, eeg=np.ones(7680), ecg_original=np.ones(7680), unit_eeg="uV")
    units = {"eeg": "mV", "ecg_original": "V"}
    assert read_recording(path, units=units, derive=False).units == {"eeg": "mV", "ecg": "V"}
    with pytest.raises(InvalidSignalError, match="the unit of 'eeg' is 'bpm'; accepted"):
        read_recording(path, units={"eeg": "bpm"})
    with pytest.warns(RecordingWarning, match="names 'EOG', which is no modality and no array"):
        read_recording(path, units={"EOG": "mV"})


@pytest.mark.parametrize(
    ("arrays", "options", "word"),
    [({"rate_eeg": "fast"}, {}, "ValueError"), ({"rate_eeg": np.inf}, {}, "rate inf"),
     ({"stage5": np.array(["N1"])}, {}, "TypeError"), ({"z": "x"}, {"eeg": "z"}, "no samples"),
     ({"z": np.zeros(99, complex)}, {"eeg": "z"}, "no samples"), ({}, {"eeg": ["eeg"]}, "no array"),
     ({}, {"eeg": 3}, "no array 3")],
)  # fmt: skip
def test_odd_arrays_are_read_errors(tmp_path, arrays, options, word):
    path = tmp_path / "a.npz"
    np.savez(path, **{"eeg": np.ones(7680), **arrays})
    with pytest.raises(ReadError, match=r"a\.npz") as caught:
        read_recording(path, channels=options)
    assert word in str(caught.value)


def test_labels_are_not_pickled(night, tmp_path):
    with np.load(night) as archive:
        arrays = dict(archive)
    np.savez(tmp_path / "unlabelled.npz", **{k: v for k, v in arrays.items() if "event" not in k})
    sizes = [len(pickle.dumps(NpzSource(p))) for p in (night, tmp_path / "unlabelled.npz")]
    assert sizes[0] - sizes[1] < arrays["arousal_event"].nbytes


def test_objects_are_never_loaded(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, eeg=np.array([{"a": 1}], dtype=object))
    with pytest.raises(NoUsableChannelError):
        read_recording(path)


@pytest.mark.parametrize(
    ("content", "error"), [(b"", ReadError), (b"PK\x03\x04 broken", ReadError)]
)
def test_damaged_archive_is_named(tmp_path, content, error):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(error, match=r"a\.npz: NumPy cannot read it \(BadZipFile\)"):
        read_recording(path)


def test_npz_recording_can_be_pickled(night):
    restored = pickle.loads(pickle.dumps(read_recording(night)))
    assert restored["eeg"].shape == (120 * 128,)


def test_channel_table_names_labels(night, tmp_path):
    table = describe_channels(night).set_index("label")
    assert table.loc[["eeg_original", "heartbeat"], "modality"].tolist() == ["eeg", "ibi"]
    assert not table.loc[["stage5", "ahi"], "used"].any()
    np.savez(tmp_path / "odd.npz", x=np.zeros(9))
    assert describe_channels(tmp_path / "odd.npz")["why"].tolist() == ["unknown key"]


def test_unknown_unit_raises_error(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, eeg=np.zeros(7680), unit_eeg="parsec")
    with pytest.raises(ReadError, match=r"'eeg' has unit 'parsec'.*accepted are uV"):
        read_recording(path)


def test_only_requested_modalities(night):
    assert read_recording(night, modalities=["ibi"]).modalities == ("ibi",)
    assert read_recording(night, modalities="ibi").modalities == ("ibi",)
    assert read_recording(night, channels={"eeg": None, "resp": None}).modalities == (
        "airflow",
        "ibi",
        "actigraphy",
    )


def test_truncated_array_is_named(night):
    data = night.read_bytes()
    recording = read_recording(night)
    night.write_bytes(data[:5000])
    with pytest.raises(ReadError, match=r"night\.npz"):
        recording.read()


@pytest.fixture
def write_npz(tmp_path):
    def _write(name="a.npz", **arrays):
        np.savez(tmp_path / name, **arrays)
        return tmp_path / name

    return _write


@pytest.mark.parametrize("name", MODALITIES)
def test_both_keys_are_known(write_npz, name):
    modality = MODALITIES[name]
    values = np.linspace(1, 2, 2 * modality.conditioning.width).astype(np.float32)
    for key in sorted({modality.upstream_key, name}):
        night = read_recording(write_npz(**{key: values}), derive=False)
        assert night.modalities == (name,)
        assert (night.rates, night.n_epochs) == ({name: modality.conditioning.rate}, 2)
        np.testing.assert_array_equal(night[name], values)


@pytest.mark.parametrize(("key", "name"), [("psg_heartbeat", "ibi"), ("psg_breath", "resp")])
def test_older_keys_are_known(write_npz, key, name):
    assert read_recording(write_npz(**{key: np.ones(240)}), derive=False).modalities == (name,)


@pytest.mark.parametrize(
    ("n", "rate", "unit"), [(120, 1, "counts"), (600, 1, "counts"), (601, 32, "g"), (3840, 32, "g")]
)
@pytest.mark.parametrize("other", ["stage5", "spo2"])
def test_actigraphy_kind_by_length(write_npz, n, rate, unit, other):
    others = {"stage5": np.zeros(4, dtype=int), "spo2": np.full(480, 95.0)}
    layout = NpzSource(write_npz(actigraphy=np.ones(n), **{other: others[other]})).layout
    assert (layout["actigraphy"].rate, layout["actigraphy"].unit) == (rate, unit)


def test_lone_actigraphy_is_counts(write_npz):
    layout = NpzSource(write_npz(actigraphy=np.ones(9600))).layout["actigraphy"]
    assert (layout.rate, layout.unit) == (1, "counts")


def test_stated_rate_takes_precedence(write_npz):
    path = write_npz(actigraphy=np.ones(9600), stage5=np.zeros(4), rate_actigraphy=80.0)
    layout = NpzSource(path).layout["actigraphy"]
    assert (layout.rate, layout.unit, layout.duration) == (80.0, "g", 120.0)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(track=st.lists(st.booleans(), min_size=60, max_size=60))
def test_tracks_become_events(write_npz, track):
    path = write_npz(spo2=np.full(240, 95.0), ah_event=np.array(track, dtype=float))
    events = NpzSource(path).own_scoring().events
    again = np.zeros(60, dtype=bool)
    for onset, duration, kind in [] if events is None else events.itertuples(index=False):
        assert not again[int(onset) : int(onset + duration)].any()
        again[int(onset) : int(onset + duration)] = True
        assert kind == "apnea or hypopnea"
    assert again.tolist() == track
    runs = np.flatnonzero(np.diff([0, *track]) == 1)
    assert (0 if events is None else len(events)) == len(runs)


def test_arousal_columns_have_kinds(write_npz):
    arousals = np.zeros((60, 4))
    for column in range(4):
        arousals[10 * column : 10 * column + 3, column] = 1
    events = NpzSource(write_npz(spo2=np.ones(240), arousal_event=arousals)).own_scoring().events
    kinds = ["respiratory", "spontaneous", "limb movement", "periodic limb movement"]
    assert events["type"].tolist() == [f"arousal ({kind})" for kind in kinds]
    assert events["onset"].tolist() == [0, 10, 20, 30]
    assert set(events["duration"]) == {3.0}


@pytest.mark.parametrize(("code", "stage"), [(0, 0), (4, 4), (-1, -1), (9, -1)])
def test_unknown_codes_are_unscored(write_npz, code, stage):
    path = write_npz(spo2=np.linspace(90, 99, 240), stage5=np.array([2, code]))
    assert read_recording(path).stages.tolist() == [2, stage]


@pytest.mark.parametrize(
    ("codes", "words"), [([2, 5], "'stage 5' .1."), ([2], "nothing says when")]
)
def test_odd_stages_are_told(write_npz, codes, words):
    path = write_npz(spo2=np.linspace(90, 99, 240), stage5=np.array(codes))
    with pytest.warns(RecordingWarning, match=words):
        assert read_recording(path).stages.tolist() == [2, -1]


@pytest.mark.parametrize("shape", [(2, 120), (240,)])
def test_epoch_rows_are_concatenated(write_npz, shape):
    values = np.arange(240.0).reshape(shape)
    np.testing.assert_array_equal(read_recording(write_npz(resp=values))["resp"], np.arange(240))


@pytest.mark.parametrize("bad", [np.zeros((2, 2, 60)), np.array(["a"] * 240), np.ones(240) * 1j])
def test_non_signals_are_skipped(write_npz, bad):
    assert read_recording(write_npz(resp=np.ones(240), spo2=bad)).modalities == ("resp",)
    with pytest.raises(
        NoUsableChannelError, match=r"found spo2\. Accepted keys are the catalogue's"
    ):
        read_recording(write_npz(spo2=bad))


@pytest.mark.parametrize("rate", [0.0, -4.0, np.nan])
def test_impossible_rate_is_named(write_npz, rate):
    with pytest.raises(ReadError, match=r"'spo2' has unit '%' and rate .*Change unit_spo2 or rate"):
        read_recording(write_npz(spo2=np.ones(240), rate_spo2=rate))


def test_scalars_are_metadata(write_npz):
    path = write_npz(spo2=np.ones(240), rate_spo2=4.0, unit_spo2="%", age=61, site="b")
    assert dict(read_recording(path).metadata) == {"age": 61, "site": "b"}


def test_duplicate_is_read_once(write_npz):
    table = describe_channels(write_npz(eeg=np.ones(7680), eeg_original=np.zeros(7680)))
    assert table["used"].tolist() == [True, False]
    assert table["why"][1] == "unknown key, or a modality held twice"


def test_fingerprint_covers_settings(write_npz):
    values = np.linspace(90, 99, 240)
    prints = {
        NpzSource(write_npz("a.npz", spo2=values)).fingerprint(),
        NpzSource(write_npz("b.npz", spo2=values + 1)).fingerprint(),
        NpzSource(write_npz("c.npz", spo2=values, resp=values)).fingerprint(),
        NpzSource(write_npz("c.npz", spo2=values, resp=values), modalities=["resp"]).fingerprint(),
        NpzSource(
            write_npz("c.npz", spo2=values, resp=values), channels={"spo2": "resp"}
        ).fingerprint(),
    }
    assert len(prints) == 5
