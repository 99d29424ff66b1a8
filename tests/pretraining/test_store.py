# SPDX-License-Identifier: BSD-3-Clause
import importlib.util
import json
import pickle
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from sleep2vec_sklearn import Recording
from sleep2vec_sklearn.errors import CheckpointError, InvalidRecordingError, ReadError
from sleep2vec_sklearn.model import SpectralTokenizer, TokenizerConfig
from sleep2vec_sklearn.nightstore import _files as manifest
from sleep2vec_sklearn.pretraining import (
    Content,
    Demography,
    NightStore,
    contents_of,
    prepare_cohort,
)
from sleep2vec_sklearn.recordings import MODALITIES
from sleep2vec_sklearn.recordings._conditioning import condition

KINDS = ("features", "samples")


@pytest.fixture(params=KINDS)
def content(request):
    return request.param


@pytest.fixture
def in_memory(cohort, small_config, content):
    return NightStore.from_recordings(cohort, contents_of(small_config, content))


@pytest.fixture
def folder(nights, tmp_path):
    prepare_cohort(nights, tmp_path / "store", modalities=["ibi", "spo2"])
    return tmp_path / "store"


def conditioned(recording, name):
    modality = MODALITIES[name]
    signal = recording.signal(name)
    return condition(signal, modality, modality.conditioning, recording.n_epochs)


def same(store, other):
    pd.testing.assert_frame_equal(store.table, other.table)
    for k in range(len(store)):
        for name in store.contents:
            np.testing.assert_array_equal(store.valid(k, name), other.valid(k, name))
            windows = [s.window(k, name, 0, 10**6) for s in (store, other)]
            np.testing.assert_array_equal(*windows)


def test_memory_and_folder_hold_the_same(in_memory, cohort, small_config, content, tmp_path):
    written = prepare_cohort(cohort, tmp_path, encoder=small_config, content=content)
    same(in_memory, written)
    same(in_memory, NightStore.open(tmp_path))


def test_samples_are_the_conditioned_epochs_within_half_a_step(cohort, small_config):
    store = NightStore.from_recordings(cohort, contents_of(small_config, "samples"))
    for k, recording in enumerate(cohort):
        for name in set(recording) & set(store.contents):
            night = conditioned(recording, name)
            if night is None:
                continue
            stored = store.window(k, name, 0, recording.n_epochs)
            error = np.abs(stored - night.epochs)[night.valid]
            assert error.max() <= 20 / 65534 + 3e-6
            assert (stored[~night.valid] == 0).all()


def test_features_are_those_of_the_tokenizer_to_eleven_bits(cohort, small_config):
    store = NightStore.from_recordings(cohort[:3], contents_of(small_config))
    for k, recording in enumerate(cohort[:3]):
        for name in set(recording) & set(store.contents):
            night = conditioned(recording, name)
            if night is None:
                continue
            tokenizer = SpectralTokenizer(
                MODALITIES[name].conditioning.rate, TokenizerConfig("spectral", 8)
            )
            exact = tokenizer.features(torch.from_numpy(night.epochs)).numpy()[night.valid]
            stored = store.window(k, name, 0, recording.n_epochs)[night.valid]
            assert (np.abs(stored - exact) <= np.abs(exact) / 2048 + 1e-5).all()


def test_saturation_and_intervals_keep_their_resolution():
    largest = {"spo2": 0.0016, "ibi": 0.000062}
    for name, bound in largest.items():
        conditioning = MODALITIES[name].conditioning
        content = Content.samples(conditioning)
        low, high = conditioning.limits
        exact = np.linspace(low, high, 100_001)
        scaled = ((exact - conditioning.center) / conditioning.scale).astype(np.float32)
        back = content.unpack(content.pack(scaled)) * conditioning.scale + conditioning.center
        assert np.abs(back - exact).max() < bound


@pytest.mark.parametrize("name", sorted(MODALITIES))
def test_the_bounds_of_the_conditioning_are_exact(name):
    content = Content.samples(MODALITIES[name].conditioning)
    values = np.array([-20, 0, 20], dtype=np.float32)
    np.testing.assert_allclose(content.unpack(content.pack(values)), values, rtol=1e-6)


def test_what_a_store_cannot_hold_is_refused():
    content = Content.features(MODALITIES["spo2"].conditioning)
    for value in (1e5, np.nan):
        with pytest.raises(InvalidRecordingError, match="a store cannot hold"):
            content.pack(np.array([0, value], dtype=np.float32))
    with pytest.raises(ValueError, match="content must be one of"):
        contents_of(content="tokens")


def test_contents_name_what_an_encoder_does_not_read(small_config):
    with pytest.raises(CheckpointError, match=r"reads eeg, .* not ppg"):
        contents_of(small_config, modalities=["eeg", "ppg"])
    with pytest.raises(ValueError, match="content='samples'"):
        contents_of("sleep2vec-mini", modalities="actigraphy")
    kinds = {name: content.kind for name, content in contents_of("sleep2vec-mini").items()}
    assert kinds.pop("actigraphy") == "samples"
    assert set(kinds.values()) == {"features"}


def test_a_window_ends_with_the_night(folder):
    store = NightStore.open(folder)
    whole = store.window(1, "spo2", 0, 12)
    np.testing.assert_array_equal(store.window(1, "spo2", 9, 120), whole[9:])
    assert whole.dtype == np.float32
    for start in (-1, 12):
        with pytest.raises(IndexError, match="has 12 epochs"):
            store.window(1, "spo2", start, 4)
    with pytest.raises(KeyError, match="keeps spo2, ibi"):
        store.window(1, "eeg", 0, 4)


def test_a_window_depends_on_none_of_the_bytes_around_it(folder):
    store = NightStore.open(folder)
    expected = store.window(2, "ibi", 4, 3)
    path = store._reader.folder.place_of(store._reader.keys[2])
    first = int(store._reader.offsets[2, list(store.contents).index("ibi")])
    row = store.contents["ibi"].width * 2
    data = bytearray(path.read_bytes())
    data[: first + 4 * row] = b"\xff" * (first + 4 * row)
    path.write_bytes(data[: first + 7 * row])
    np.testing.assert_array_equal(store.window(2, "ibi", 4, 3), expected)
    with pytest.raises(ReadError, match="shorter than it was written"):
        store.window(2, "ibi", 5, 3)


def test_the_table_tells_who_and_how_much(folder):
    table = NightStore.open(folder).table
    assert table.index.tolist() == ["n0", "n1", "n2", "n3", "n4"]
    assert table["subject"].tolist() == ["s0", "s1", "s2", "s0", "s1"]
    assert table["age"].tolist() == [50, 51, 52, 53, 54]
    assert table["sex"].isna().all()
    assert table["coverage_ibi"].tolist() == [10] * 5
    assert table["coverage_spo2"].tolist() == [12] * 5


def test_an_absent_modality_is_zeros_that_are_not_valid(night, tmp_path):
    recordings = [night("a"), night("b").without("ibi")]
    store = prepare_cohort(recordings, tmp_path, modalities=["ibi", "spo2"])
    assert store.table["coverage_ibi"].tolist() == [10, 0]
    assert not store.valid(1, "ibi").any()
    assert not store.window(1, "ibi", 2, 5).any()
    assert np.flatnonzero(~store.valid(0, "ibi")).tolist() == [3, 4]


@pytest.mark.parametrize("chosen", [[3, 1], np.array([False, True, False, True, True]), slice(2)])
def test_some_nights_are_a_store_too(folder, chosen):
    store = NightStore.open(folder)
    some = store.take(chosen)
    for k, name in enumerate(some.table.index):
        place = store.table.index.get_loc(name)
        np.testing.assert_array_equal(some.window(k, "ibi", 2, 6), store.window(place, "ibi", 2, 6))
    assert some.table.index.tolist() == store.table.index[chosen].tolist()


def test_a_whole_night_can_be_mapped(night, tmp_path):
    recordings = [night("a"), night("b").without("ibi")]
    contents = contents_of(modalities=["ibi", "spo2"], content="samples")
    prepare_cohort(recordings, tmp_path, modalities=["ibi", "spo2"], content="samples")
    on_disk = NightStore.open(tmp_path)
    for store in (on_disk, NightStore.from_recordings(recordings, contents)):
        stored = store.mapped(0, "ibi")
        assert not stored.flags.writeable
        np.testing.assert_allclose(
            stored * contents["ibi"].scale, store.window(0, "ibi", 0, 12), rtol=1e-6
        )
        with pytest.raises(KeyError, match="coverage_ibi"):
            store.mapped(1, "ibi")
    assert isinstance(on_disk.mapped(0, "ibi"), np.memmap)


def test_a_pickled_store_reads_the_same_folder(folder):
    store = NightStore.open(folder)
    data = pickle.dumps(store)
    assert len(data) < 10_000
    same(store, pickle.loads(data))


def test_nights_without_ids_are_counted_in_memory(night):
    contents = contents_of(modalities=["ibi", "spo2"])
    store = NightStore.from_recordings([dict(night(None)), night(None, 1)], contents)
    assert store.table.index.tolist() == ["recording 0", "recording 1"]


def test_a_table_without_pyarrow_holds_the_same(folder, nights, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    prepare_cohort(nights, tmp_path / "other", modalities=["ibi", "spo2"])
    assert [p.suffix for p in (tmp_path / "other").glob("manifest*")] == [".npz"]
    assert [p.suffix for p in folder.glob("manifest*")] == [".parquet"]
    same(NightStore.open(folder), NightStore.open(tmp_path / "other"))


def test_a_parquet_manifest_without_pyarrow_names_the_way_out(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"sleep2vec-sklearn\[parquet\].*another folder"):
        NightStore.open(folder)


def test_a_folder_of_something_else_is_no_store(tmp_path):
    with pytest.raises(ReadError, match="is no store of nights"):
        NightStore.open(tmp_path)
    (tmp_path / "store.json").write_text("{")
    with pytest.raises(ReadError, match="cannot be read"):
        NightStore.open(tmp_path)


def test_a_store_of_a_newer_version_is_refused(folder, nights):
    path = folder / "store.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": 99}))
    with pytest.raises(ReadError, match=r"format 99.*Upgrade"):
        NightStore.open(folder)
    with pytest.raises(ReadError, match=r"format 99.*Upgrade"):
        prepare_cohort(nights, folder, modalities=["ibi", "spo2"])


def test_a_store_conditioned_by_other_code_is_refused(folder, nights):
    path = folder / "store.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "revision": 0}))
    for refused in (NightStore.open, partial(prepare_cohort, nights)):
        with pytest.raises(ReadError, match=r"revision 0 of the conditioning.*another folder"):
            refused(folder)


def test_a_damaged_manifest_is_named(folder, nights):
    (path,) = folder.glob("manifest*")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ReadError, match=r"manifest-.*damaged.*run prepare_cohort again"):
        NightStore.open(folder)
    path.unlink()
    with pytest.raises(ReadError, match="no preparation of this store has ended"):
        NightStore.open(folder)
    same(prepare_cohort(nights, folder, modalities=["ibi", "spo2"]), NightStore.open(folder))


def test_nights_with_other_modalities_only_cannot_be_used():
    eeg = Recording({"eeg": np.random.default_rng(0).standard_normal(3840)}, id="a")
    with pytest.raises(InvalidRecordingError, match="none of which the store keeps"):
        NightStore.from_recordings([eeg], contents_of(modalities="spo2"), on_error="raise")


def test_the_page_states_what_the_papers_nights_take():
    page = (Path(__file__).parents[2] / "docs" / "pretraining_data.md").read_text()
    nine = ["eeg", "eog", "emg", "ecg", "airflow", "effort", "spo2", "ibi", "resp"]
    for content in KINDS:
        widths = [c.width for c in contents_of(content=content, modalities=nine).values()]
        night = sum(widths) * 960 * 2
        figures = [f"{sum(widths):,}", f"{night / 1e6:.3g} MB", f"{96 * night / 9 / 8e6:.3g} MB"]
        figures += [f"{20 * 96 * night / 9 / 8e6:.0f} MB/s", f"{640 * night / 9 / 1e6:,.0f} MB"]
        disk = 42_249 * night / 1e9
        for figure in [*figures, f"{disk:.1f} GB" if disk < 100 else f"{disk:,.0f} GB"]:
            assert f" {figure} " in page.replace("*", "").replace("\n", " "), figure


def test_the_table_is_what_weights_are_made_of(folder):
    table = NightStore.open(folder).table
    cohort = Demography.from_metadata(table, table.index, table["subject"])
    assert cohort.age.tolist() == [50, 51, 52, 53, 54]
    assert cohort.subject.tolist() == [0, 1, 2, 0, 1]
    # s0 and s1 slept twice
    assert cohort.weights()[1].sum() == 4


@pytest.fixture
def flipped(folder):
    """A folder in which one bit of one night is another, and the night's file."""
    store = NightStore.open(folder)
    stored = store.mapped(1, "spo2")
    path = store._reader.folder.place_of(store._reader.keys[1])
    data = bytearray(path.read_bytes())
    data[stored.offset + 5] ^= 1
    path.write_bytes(data)
    return folder, path


def test_a_flipped_bit_is_found_when_it_is_looked_for(folder, flipped, nights):
    _, path = flipped
    store = NightStore.open(folder)
    ((name, reason),) = store.verify().to_numpy()
    assert (name, reason) == ("n1", f"{path}: wrong checksum of spo2")
    assert store.take([0, 2]).verify().empty
    with pytest.raises(ReadError, match=r"1 of 5 nights are damaged.*\n- .*wrong checksum"):
        NightStore.open(folder, verify=True)
    path.unlink()
    prepare_cohort(nights, folder, modalities=["ibi", "spo2"])
    assert NightStore.open(folder, verify=True).verify().empty


def test_a_night_that_is_gone_is_found_too(folder):
    store = NightStore.open(folder)
    Path(store.mapped(1, "spo2").filename).unlink()
    assert store.verify()["recording"].tolist() == ["n1"]


def test_nights_of_before_there_were_checksums_are_read(nights, tmp_path, monkeypatch):
    columns_of = manifest._columns_of

    def without(*arguments):
        columns = columns_of(*arguments)
        return {n: values for n, values in columns.items() if not n.startswith("crc32_")}

    monkeypatch.setattr(manifest, "_columns_of", without)
    prepare_cohort(nights, tmp_path, modalities=["ibi", "spo2"])
    store = NightStore.open(tmp_path, verify=True)
    assert store.identify() == [[key] for key in store._reader.keys]


def test_a_flipped_bit_in_the_manifest_is_seen(folder):
    (path,) = folder.glob("manifest-*")
    data = bytearray(path.read_bytes())
    # neither the first name nor the last, which are in Parquet's statistics; of .npz any byte
    key = sorted(NightStore.open(folder)._reader.keys)[2].encode()
    pieces = (data.find(key[k : k + 8]) for k in range(56))
    data[next((place for place in pieces if place > 0), len(data) // 2)] ^= 1
    path.write_bytes(data)
    with pytest.raises(ReadError, match="damaged"):
        NightStore.open(folder)
