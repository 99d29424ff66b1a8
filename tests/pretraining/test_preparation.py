# SPDX-License-Identifier: BSD-3-Clause
"""Preparation that goes on, is cramped, or fed with what cannot be used."""

import errno
import os
import time
import tracemalloc

import numpy as np
import pandas as pd
import pytest

from sleep2vec_sklearn import Recording, Sleep2VecPretrainer, make_sleep_cohort
from sleep2vec_sklearn.errors import InvalidRecordingError, ReadError, RecordingWarning
from sleep2vec_sklearn.model import EncoderConfig
from sleep2vec_sklearn.nightstore import store as preparation
from sleep2vec_sklearn.pretraining import NightStore, prepare_cohort
from tests.pretraining.nights import TINY

NAMES = ["ibi", "spo2"]


@pytest.fixture
def made(monkeypatch):
    """Ids of the nights that are prepared, as they are."""
    ids = []
    prepare_night = preparation.prepare_night

    def counting(recording, contents):
        ids.append(recording.id)
        return prepare_night(recording, contents)

    monkeypatch.setattr(preparation, "prepare_night", counting)
    return ids


def prepare(recordings, folder, **settings):
    return prepare_cohort(recordings, folder, modalities=NAMES, **settings)


def windows(store):
    return {
        (recording, name): store.window(k, name, 0, 10**6)
        for k, recording in enumerate(store.table.index)
        for name in NAMES
    }


def same(store, other):
    pd.testing.assert_frame_equal(store.table, other.table)
    found, expected = windows(store), windows(other)
    assert list(found) == list(expected)
    for key, values in found.items():
        np.testing.assert_array_equal(values, expected[key])


def nights_in(folder):
    return {path.name: path.read_bytes() for path in folder.glob("nights/??/*")}


def test_a_night_is_prepared_once(nights, tmp_path, made):
    first = prepare(nights[:3], tmp_path)
    second = prepare(nights, tmp_path)
    assert made == ["n0", "n1", "n2", "n3", "n4"]
    same(second.take(slice(3)), first)


def test_a_night_that_changed_is_prepared_again(night, nights, tmp_path, made):
    prepare(nights, tmp_path)
    made.clear()
    nights[1] = night("n1", seed=77)
    store = prepare(nights, tmp_path)
    assert made == ["n1"]
    same(NightStore.open(tmp_path), store)
    assert not np.array_equal(store.window(1, "ibi", 0, 9), store.window(2, "ibi", 0, 9))


def test_a_name_or_an_age_alone_prepares_nothing_again(night, tmp_path, made):
    prepare([night("a")], tmp_path)
    store = prepare([night("b", metadata={"age": 33})], tmp_path)
    assert made == ["a"]
    assert store.table["age"].tolist() == [33]


def test_another_call_adds_its_nights(nights, tmp_path):
    prepare(nights[:3], tmp_path)
    added = prepare(nights[2:], tmp_path)
    assert added.table.index.tolist() == ["n2", "n3", "n4"]
    assert set(NightStore.open(tmp_path).table.index) == {f"n{k}" for k in range(5)}
    everything = prepare(nights, tmp_path)
    assert len(list(tmp_path.glob("manifest*"))) == 1
    same(NightStore.open(tmp_path), everything)


@pytest.mark.parametrize("left", [-7, 300, 3, 0])
def test_a_damaged_night_is_prepared_again(nights, tmp_path, made, caplog, left):
    whole = prepare(nights, tmp_path)
    expected = windows(whole)
    made.clear()
    path = whole._reader.folder.place_of(whole._reader.keys[3])
    path.write_bytes(path.read_bytes()[:left])
    store = prepare(nights, tmp_path)
    assert made == ["n3"]
    assert "is damaged and made again" in caplog.text
    for key, values in windows(store).items():
        np.testing.assert_array_equal(values, expected[key])


def test_processes_prepare_what_one_does(nights, tmp_path):
    same(prepare(nights, tmp_path / "two", n_jobs=2), prepare(nights, tmp_path / "one"))


def test_what_cannot_be_used_is_listed_with_why(nights, tmp_path):
    flat = Recording({"ibi": (np.full(1440, 0.9), 4)}, id="flat")
    wrong = Recording({"spo2": (np.full(1440, 1e9) + np.arange(1440), 4)}, id="wrong")
    with pytest.warns(
        RecordingWarning, match=r"2 of 7 recordings are left out(.|\n)*\(flat\)"
    ) as told:
        store = prepare([flat, *nights, wrong], tmp_path)
    assert told[0].filename == __file__
    assert len(store) == 5
    assert store.failures["recording"].tolist() == ["flat", "wrong"]
    assert "flat or mostly without samples" in store.failures["reason"][0]
    assert "the unit must be another" in store.failures["reason"][1]
    pd.testing.assert_frame_equal(NightStore.open(tmp_path).failures, store.failures)
    with pytest.raises(InvalidRecordingError, match=r"recording 0 \(flat\): no usable"):
        prepare([flat, *nights], tmp_path, on_error="raise")
    with pytest.raises(InvalidRecordingError, match="none of 1 recordings can be used"):
        prepare([flat], tmp_path)


def test_a_slow_sensor_is_told_what_helps_here(tmp_path):
    slow = Recording({"ppg": (np.arange(1200.0), 4)}, id="slow")
    with pytest.raises(InvalidRecordingError, match=r"recording\.without\('ppg'\)\.$"):
        prepare_cohort([slow], tmp_path, modalities="ppg", content="samples")


def test_a_night_repaired_is_no_failure_any_more(night, tmp_path):
    flat = Recording({"ibi": (np.full(1440, 0.9), 4)}, id="a")
    with pytest.warns(RecordingWarning):
        prepare([flat, night("b")], tmp_path)
    prepare([night("a")], tmp_path)
    assert NightStore.open(tmp_path).failures.empty


def test_a_file_that_cannot_be_read_is_a_failure_of_its_night(nights, tmp_path, counting_source):
    class Broken(counting_source):
        def read(self, names):
            raise OSError(errno.EIO, "Input/output error")

    source = Broken({"ibi": (np.ones(1440), 4, "s")})
    with pytest.warns(RecordingWarning, match="Input/output error"):
        store = prepare([*nights, Recording.from_source(source, id="broken")], tmp_path)
    assert store.failures["recording"].tolist() == ["broken"]


@pytest.mark.parametrize("full_after", [0, 3, 5, 6])
def test_a_full_disk_stops_it_and_loses_nothing(nights, tmp_path, monkeypatch, made, full_after):
    fsync, synced = os.fsync, []

    def full(handle):
        synced.append(handle)
        if len(synced) > full_after:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(handle)

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        prepare(nights, tmp_path / "store")
    assert caught.value.errno == errno.ENOSPC
    assert "make room" in str(caught.value)
    assert list((tmp_path / "store" / "unfinished").iterdir()) == []
    monkeypatch.undo()
    there = len(nights_in(tmp_path / "store"))
    assert there == max(full_after - 1, 0)
    same(prepare(nights, tmp_path / "store"), prepare(nights, tmp_path / "other"))


def test_a_store_of_other_contents_is_refused(nights, tmp_path, small_config):
    prepare(nights, tmp_path)
    with pytest.raises(ReadError, match=r"holds nights of spo2, ibi, not of spo2"):
        prepare_cohort(nights, tmp_path, modalities="spo2")
    with pytest.raises(ReadError, match=r"'spo2' has kind 'features' there and 'samples' here"):
        prepare(nights, tmp_path, content="samples")
    described = small_config.to_dict()
    for modality in described["modalities"]:
        modality["conditioning"]["clip"] = 10.0
    other = EncoderConfig.from_dict(described)
    with pytest.raises(ReadError, match=r"clip 20.0 there and 10.0 here.*another folder"):
        prepare(nights, tmp_path, encoder=other)
    assert len(NightStore.open(tmp_path)) == 5


def test_nights_have_ids_of_their_own(night, tmp_path):
    with pytest.raises(InvalidRecordingError, match="recording 1 has no id"):
        prepare([night("a"), night(None)], tmp_path)
    with pytest.raises(InvalidRecordingError, match=r"several recordings, for example 'a'"):
        prepare([night("a"), night("a", 1)], tmp_path)
    with pytest.raises(InvalidRecordingError, match="not valid Unicode"):
        prepare([night("caf\udce9")], tmp_path)


@pytest.mark.parametrize("given", [[], None, "my_study", {"ibi": [1.0]}])
def test_what_is_no_list_of_recordings_leaves_no_folder(given, tmp_path):
    with pytest.raises(InvalidRecordingError, match=r"recordings is (empty|of type)"):
        prepare_cohort(given, tmp_path / "store")
    assert not list(tmp_path.iterdir())


def test_an_id_comes_back_whatever_it_is_made_of(night, tmp_path):
    ids = ["a/b", "../../x", "C:\\n\\1", "夜", " ", "a\nb", "x" * 5000]
    prepare([night(name, k) for k, name in enumerate(ids)], tmp_path)
    assert NightStore.open(tmp_path).table.index.tolist() == ids
    assert sorted(path.name.split("-")[0] for path in tmp_path.iterdir()) == [
        "manifest",
        "nights",
        "store.json",
        "unfinished",
    ]


def test_metadata_are_matched_by_id_before_anything_is_read(nights, tmp_path, made):
    table = pd.DataFrame({"age": [60, 61, 62, 63, 64], "sex": list("FMFMF"), "site": "x"})
    table.index = ["n4", "n3", "n2", "n1", "n0"]
    store = prepare(nights, tmp_path, metadata=table)
    assert store.table["age"].tolist() == [64, 63, 62, 61, 60]
    assert store.table["sex"].tolist() == [0, 1, 0, 1, 0]
    assert store.table["subject"].tolist() == ["s0", "s1", "s2", "s0", "s1"]
    made.clear()
    with pytest.raises(InvalidRecordingError, match="no row for 1 of 5"):
        prepare(nights, tmp_path / "new", metadata=table[1:])
    with pytest.raises(InvalidRecordingError, match="0 to 120 years"):
        prepare(nights, tmp_path / "new", metadata=table.assign(age=-1))
    assert made == []


def test_memory_does_not_grow_with_the_nights(tmp_path):
    def peak(n_subjects):
        cohort = make_sleep_cohort(
            n_subjects, hours=0.25, modalities=["eeg"], missing=0, random_state=0
        )
        tracemalloc.start()
        prepare_cohort(cohort, tmp_path / str(n_subjects), content="samples", modalities="eeg")
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    peak(1)
    # an EEG of 15 minutes as stored has 230 kB
    assert peak(9) < peak(3) + 300_000


def test_what_killed_processes_leave_is_swept_when_old(nights, tmp_path):
    prepare(nights[:1], tmp_path)
    for name, age in [("old", 7200), ("new", 60)]:
        (tmp_path / "unfinished" / name).write_bytes(b"half")
        os.utime(tmp_path / "unfinished" / name, (time.time() - age,) * 2)
    prepare(nights[:1], tmp_path)
    assert [path.name for path in (tmp_path / "unfinished").iterdir()] == ["new"]


def test_what_is_prepared_by_default_is_trained_by_default(tmp_path):
    nights = make_sleep_cohort(
        3, hours=0.25, n_sites=1, site_kinds="watch_laboratory", missing=0, random_state=0,
        modalities=["ibi", "spo2", "actigraphy"],
    )  # fmt: skip
    settings = {**TINY, "validation": None, "batch_size": 3}
    given = Sleep2VecPretrainer(**settings).fit(nights)
    prepare_cohort(nights, tmp_path)
    prepared = Sleep2VecPretrainer(**settings).fit(tmp_path)
    assert prepared.modalities_ == ("spo2", "ibi", "actigraphy")
    assert prepared.checkpoint().sha256 == given.checkpoint().sha256
    assert given.score(tmp_path) == given.score(nights)
