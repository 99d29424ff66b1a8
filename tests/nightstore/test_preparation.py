# SPDX-License-Identifier: BSD-3-Clause
"""Preparation that is repeated, interrupted, short of room, or given what cannot be used."""

import errno
import os
import time
import tracemalloc
from concurrent.futures import CancelledError

import numpy as np
import pandas as pd
import pytest

from sleep2vec_sklearn import Recording, make_sleep_cohort
from sleep2vec_sklearn.errors import (
    ClusterError,
    InvalidRecordingError,
    ReadError,
    RecordingWarning,
)
from sleep2vec_sklearn.model import EncoderConfig
from sleep2vec_sklearn.nightstore import store as preparation
from sleep2vec_sklearn.pretraining import NightStore, prepare_cohort
from tests.pretraining.nights import tiny_pretrainer

FLAT = Recording({"ibi": (np.full(1440, 0.9), 4)}, id="flat")


@pytest.fixture
def prepared(monkeypatch):
    """Ids of the nights that are prepared, as they are."""
    ids = []
    prepare_night = preparation.prepare_night

    def counting(recording, *arguments):
        ids.append(recording.id)
        return prepare_night(recording, *arguments)

    monkeypatch.setattr(preparation, "prepare_night", counting)
    return ids


def test_night_is_prepared_once(nights, tmp_path, prepare, prepared, assert_same):
    first = prepare(nights[:3], tmp_path)
    second = prepare(nights, tmp_path)
    assert prepared == ["n0", "n1", "n2", "n3", "n4"]
    assert_same(second.take(slice(3)), first)


def test_changed_night_is_prepared_again(night, nights, tmp_path, prepare, prepared, assert_same):
    prepare(nights, tmp_path)
    prepared.clear()
    nights[1] = night("n1", seed=77)
    store = prepare(nights, tmp_path)
    assert prepared == ["n1"]
    assert_same(NightStore.open(tmp_path), store)
    assert not np.array_equal(store.window(1, "ibi", 0, 9), store.window(2, "ibi", 0, 9))


def test_new_metadata_prepare_nothing(night, tmp_path, prepare, prepared):
    prepare([night("a")], tmp_path)
    store = prepare([night("b", metadata={"age": 33})], tmp_path)
    assert prepared == ["a"]
    assert store.table["age"].tolist() == [33]


def test_calls_add_their_nights(nights, tmp_path, prepare, assert_same):
    prepare(nights[:3], tmp_path)
    added = prepare(nights[2:], tmp_path)
    assert added.table.index.tolist() == ["n2", "n3", "n4"]
    assert set(NightStore.open(tmp_path).table.index) == {f"n{k}" for k in range(5)}
    everything = prepare(nights, tmp_path)
    assert len(list(tmp_path.glob("manifest*"))) == 1
    assert_same(NightStore.open(tmp_path), everything)


@pytest.mark.parametrize("n_bytes", [-7, 300, 3, 0])
def test_damaged_night_is_prepared_again(
    nights, tmp_path, prepare, prepared, caplog, assert_same, n_bytes
):
    whole = prepare(nights, tmp_path / "whole")
    key = prepare(nights, tmp_path / "cut")._nights[3].key
    prepared.clear()
    (path,) = (tmp_path / "cut").glob(f"nights/*/{key}*")
    path.write_bytes(path.read_bytes()[:n_bytes])
    store = prepare(nights, tmp_path / "cut")
    assert prepared == ["n3"]
    assert "is damaged and made again" in caplog.text
    assert_same(store, whole)


def test_processes_agree(nights, tmp_path, prepare, assert_same):
    assert_same(prepare(nights, tmp_path / "two", n_jobs=2), prepare(nights, tmp_path / "one"))


def test_failures_are_listed(nights, tmp_path, prepare):
    wrong = Recording({"spo2": (np.full(1440, 1e9) + np.arange(1440), 4)}, id="wrong")
    message = r"2 of 7 recordings are left out(.|\n)*\(flat\)"
    with pytest.warns(RecordingWarning, match=message) as caught:
        store = prepare([FLAT, *nights, wrong], tmp_path)
    assert len(store) == 5
    assert store.failures["recording"].tolist() == ["flat", "wrong"]
    assert "flat or mostly without samples" in store.failures["reason"][0]
    assert "the unit must be another" in store.failures["reason"][1]
    pd.testing.assert_frame_equal(NightStore.open(tmp_path).failures, store.failures)
    # the call of the fixture
    assert "tests" in caught[0].filename


def test_unusable_recordings_raise(nights, tmp_path, prepare):
    with pytest.raises(InvalidRecordingError, match=r"recording 0 \(flat\): no usable"):
        prepare([FLAT, *nights], tmp_path, on_error="raise")
    with pytest.raises(InvalidRecordingError, match="none of 1 recordings can be used"):
        prepare([FLAT], tmp_path)
    with pytest.raises(ValueError, match="on_error must be"):
        prepare(nights, tmp_path, on_error="nan")
    slow = Recording({"ppg": (np.arange(1200.0), 4)}, id="slow")
    with pytest.raises(InvalidRecordingError, match=r"recording\.without\('ppg'\)\.$"):
        prepare_cohort([slow], tmp_path / "slow", modalities="ppg", content="samples")


def test_repaired_night_is_no_failure(night, tmp_path, prepare):
    flat = Recording({"ibi": (np.full(1440, 0.9), 4)}, id="a")
    with pytest.warns(RecordingWarning):
        prepare([flat, night("b")], tmp_path)
    prepare([night("a")], tmp_path)
    assert NightStore.open(tmp_path).failures.empty


def test_unreadable_file_fails_alone(nights, tmp_path, prepare, counting_source):
    class Broken(counting_source):
        def read(self, names):
            raise OSError(errno.EIO, "Input/output error")

    source = Broken({"ibi": (np.ones(1440), 4, "s")})
    with pytest.warns(RecordingWarning, match="Input/output error"):
        store = prepare([*nights, Recording.from_source(source, id="broken")], tmp_path)
    assert store.failures["recording"].tolist() == ["broken"]


def test_lost_cluster_tells_progress(nights, tmp_path, prepare, prepared, counting_source):
    class Lost(counting_source):
        def read(self, names):
            raise CancelledError("scheduler-restart")

    lost = Recording.from_source(Lost({"ibi": (np.ones(1440), 4, "s")}), id="lost")
    message = r"(?s)CancelledError: scheduler-restart.*5 of 6 nights were prepared"
    with pytest.raises(ClusterError, match=message) as caught:
        prepare([*nights, lost], tmp_path)
    assert isinstance(caught.value.__cause__, CancelledError)
    prepared.clear()
    assert len(prepare(nights, tmp_path)) == 5
    assert prepared == []


@pytest.mark.parametrize("full_after", [0, 3, 5, 6])
def test_full_disk_loses_nothing(nights, tmp_path, monkeypatch, prepare, assert_same, full_after):
    fsync, synced = os.fsync, []

    def full(handle):
        synced.append(handle)
        if len(synced) > full_after:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(handle)

    folder = tmp_path / "store"
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=r"No space left on device.*make room") as caught:
        prepare(nights, folder)
    assert caught.value.errno == errno.ENOSPC
    assert list((folder / "unfinished").iterdir()) == []
    monkeypatch.undo()
    assert len(list(folder.glob("nights/??/*"))) == max(full_after - 1, 0)
    assert_same(prepare(nights, folder), prepare(nights, tmp_path / "other"))


def test_other_contents_are_refused(nights, tmp_path, prepare, small_config):
    prepare(nights, tmp_path)
    with pytest.raises(ReadError, match=r"holds nights of spo2, ibi, not of spo2"):
        prepare_cohort(nights, tmp_path, modalities="spo2")
    with pytest.raises(ReadError, match=r"ibi.kind: 'features' before, 'samples' now"):
        prepare(nights, tmp_path, content="samples")
    values = small_config.to_dict()
    for modality in values["modalities"]:
        modality["conditioning"]["clip"] = 10.0
    with pytest.raises(ReadError, match=r"clip: 20.0 before, 10.0 now.*another folder"):
        prepare(nights, tmp_path, encoder=EncoderConfig.from_dict(values))
    assert len(NightStore.open(tmp_path)) == 5


def test_unfit_ids_are_refused(night, tmp_path, prepare):
    with pytest.raises(InvalidRecordingError, match="recording 1 has no id"):
        prepare([night("a"), night(None)], tmp_path)
    with pytest.raises(InvalidRecordingError, match=r"several recordings, for example 'a'"):
        prepare([night("a"), night("a", 1)], tmp_path)
    with pytest.raises(InvalidRecordingError, match="not valid Unicode"):
        prepare([night("caf\udce9")], tmp_path)


@pytest.mark.parametrize("recordings", [[], None, "my_study", {"ibi": [1.0]}])
def test_bad_input_makes_no_folder(recordings, tmp_path, prepare):
    with pytest.raises(InvalidRecordingError, match=r"recordings is (empty|of type)"):
        prepare(recordings, tmp_path / "store")
    assert not list(tmp_path.iterdir())


def test_any_id_comes_back(night, tmp_path, prepare):
    ids = ["a/b", "../../x", "C:\\n\\1", "夜", " ", "a\nb", "x" * 5000]
    prepare([night(name, k) for k, name in enumerate(ids)], tmp_path)
    assert NightStore.open(tmp_path).table.index.tolist() == ids
    names = sorted(path.name.split("-")[0] for path in tmp_path.iterdir())
    assert names == ["manifest", "nights", "store.json", "unfinished"]


def test_metadata_are_matched_first(nights, tmp_path, prepare, prepared):
    table = pd.DataFrame({"age": [60, 61, 62, 63, 64], "sex": list("FMFMF"), "site": "x"})
    table.index = ["n4", "n3", "n2", "n1", "n0"]
    store = prepare(nights, tmp_path, metadata=table)
    assert store.table["age"].tolist() == [64, 63, 62, 61, 60]
    assert store.table["sex"].tolist() == [0, 1, 0, 1, 0]
    assert store.table["subject"].tolist() == ["s0", "s1", "s2", "s0", "s1"]
    prepared.clear()
    with pytest.raises(InvalidRecordingError, match="no row for 1 of 5"):
        prepare(nights, tmp_path / "new", metadata=table[1:])
    with pytest.raises(InvalidRecordingError, match="0 to 120 years"):
        prepare(nights, tmp_path / "new", metadata=table.assign(age=-1))
    assert prepared == []


def test_memory_does_not_grow(tmp_path):
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


def test_old_temporary_files_go(nights, tmp_path, prepare):
    prepare(nights[:1], tmp_path)
    for name, age in [("old", 7200), ("new", 60)]:
        (tmp_path / "unfinished" / name).write_bytes(b"half")
        os.utime(tmp_path / "unfinished" / name, (time.time() - age,) * 2)
    prepare(nights[:1], tmp_path)
    assert [path.name for path in (tmp_path / "unfinished").iterdir()] == ["new"]


def test_default_contents_suit_pretrainer(tmp_path):
    nights = make_sleep_cohort(
        3, hours=0.25, n_sites=1, site_kinds="watch_laboratory", missing=0, random_state=0,
        modalities=["ibi", "spo2", "actigraphy"],
    )  # fmt: skip
    settings = {"validation": None, "batch_size": 3}
    direct = tiny_pretrainer(**settings).fit(nights)
    prepare_cohort(nights, tmp_path)
    stored = tiny_pretrainer(**settings).fit(tmp_path)
    assert stored.modalities_ == ("spo2", "ibi", "actigraphy")
    assert stored.checkpoint().sha256 == direct.checkpoint().sha256
    assert direct.score(tmp_path) == direct.score(nights)
