# SPDX-License-Identifier: BSD-3-Clause
import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from sleep2vec_sklearn import Recording
from sleep2vec_sklearn.errors import CheckpointError, InvalidRecordingError
from sleep2vec_sklearn.model import SpectralTokenizer, TokenizerConfig
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


def conditioned(cohort, store):
    """Index, modality and conditioned signal of every signal of a cohort that can be used."""
    for k, recording in enumerate(cohort):
        for name in set(recording) & set(store.contents):
            modality = MODALITIES[name]
            signal = recording.signal(name)
            night = condition(signal, modality, modality.conditioning, recording.n_epochs)
            if night is not None:
                yield k, name, night


@pytest.mark.parametrize("content", KINDS)
def test_memory_and_folder_agree(cohort, small_config, content, tmp_path, assert_same):
    in_memory = NightStore.from_recordings(cohort, contents_of(small_config, content))
    written = prepare_cohort(cohort, tmp_path, encoder=small_config, content=content)
    opened = NightStore.open(tmp_path)
    for store in (written, opened):
        assert_same(in_memory, store)
        assert store.identify() == in_memory.identify()


def test_samples_are_within_half_step(cohort, small_config):
    store = NightStore.from_recordings(cohort, contents_of(small_config, "samples"))
    for k, name, night in conditioned(cohort, store):
        stored = store.window(k, name, 0, 10**6)
        assert np.abs(stored - night.epochs)[night.valid].max() <= 20 / 65534 + 3e-6
        assert (stored[~night.valid] == 0).all()


def test_features_keep_eleven_bits(cohort, small_config):
    store = NightStore.from_recordings(cohort[:3], contents_of(small_config))
    for k, name, night in conditioned(cohort[:3], store):
        rate = MODALITIES[name].conditioning.rate
        tokenizer = SpectralTokenizer(rate, TokenizerConfig("spectral", 8))
        exact = tokenizer.features(torch.from_numpy(night.epochs)).numpy()[night.valid]
        stored = store.window(k, name, 0, 10**6)[night.valid]
        assert (np.abs(stored - exact) <= np.abs(exact) / 2048 + 1e-5).all()


@pytest.mark.parametrize(("name", "largest"), [("spo2", 0.0016), ("ibi", 0.000062)])
def test_physical_units_keep_resolution(name, largest):
    conditioning = MODALITIES[name].conditioning
    content = Content.samples(conditioning)
    exact = np.linspace(*conditioning.limits, 100_001)
    scaled = ((exact - conditioning.center) / conditioning.scale).astype(np.float32)
    back = content.unpack(content.pack(scaled)) * conditioning.scale + conditioning.center
    assert np.abs(back - exact).max() < largest


@pytest.mark.parametrize("name", sorted(MODALITIES))
def test_clipping_bounds_are_exact(name):
    content = Content.samples(MODALITIES[name].conditioning)
    values = np.array([-20, 0, 20], dtype=np.float32)
    np.testing.assert_allclose(content.unpack(content.pack(values)), values, rtol=1e-6)


@pytest.mark.parametrize("value", [1e5, np.nan])
def test_unstorable_values_are_refused(value):
    content = Content.features(MODALITIES["spo2"].conditioning)
    with pytest.raises(InvalidRecordingError, match="a store holds finite numbers"):
        content.pack(np.array([0, value], dtype=np.float32))


@pytest.fixture
def raw_config(small_config):
    """An encoder one tokenizer of which reads samples."""
    first, *others = small_config.modalities
    first = dataclasses.replace(first, tokenizer=TokenizerConfig("linear", first.tokenizer.out_dim))
    return dataclasses.replace(small_config, modalities=(first, *others))


def test_unknown_contents_are_refused(small_config, raw_config):
    with pytest.raises(ValueError, match="content must be one of"):
        contents_of(content="tokens")
    with pytest.raises(CheckpointError, match=r"reads eeg, .* not ppg"):
        contents_of(small_config, modalities=["eeg", "ppg"])
    with pytest.raises(ValueError, match=r"content must be .* fixed front end"):
        contents_of(raw_config, modalities=raw_config.names[0])
    eeg = Recording({"eeg": np.random.default_rng(0).standard_normal(3840)}, id="a")
    with pytest.raises(InvalidRecordingError, match="none of which is among spo2"):
        NightStore.from_recordings([eeg], contents_of(modalities="spo2"), on_error="raise")


def test_raw_tokenizers_keep_samples(raw_config):
    kinds = {name: content.kind for name, content in contents_of(raw_config).items()}
    assert kinds.pop(raw_config.names[0]) == "samples"
    assert set(kinds.values()) == {"features"}
    assert {content.kind for content in contents_of("sleep2vec-mini").values()} == {"features"}


def test_window_ends_with_night(folder):
    store = NightStore.open(folder)
    whole = store.window(1, "spo2", 0, 12)
    np.testing.assert_array_equal(store.window(1, "spo2", 9, 120), whole[9:])
    assert whole.dtype == np.float32
    for start in (-1, 12):
        with pytest.raises(IndexError, match="has 12 epochs"):
            store.window(1, "spo2", start, 4)
    with pytest.raises(KeyError, match="store has spo2, ibi"):
        store.window(1, "eeg", 0, 4)


def test_table_describes_nights(folder):
    table = NightStore.open(folder).table
    assert table.index.tolist() == ["n0", "n1", "n2", "n3", "n4"]
    assert table["subject"].tolist() == ["s0", "s1", "s2", "s0", "s1"]
    assert table["age"].tolist() == [50, 51, 52, 53, 54]
    assert table["sex"].isna().all()
    assert table["coverage_ibi"].tolist() == [10] * 5
    assert table["coverage_spo2"].tolist() == [12] * 5
    cohort = Demography.from_metadata(table, table.index, table["subject"])
    assert cohort.age.tolist() == [50, 51, 52, 53, 54]
    assert cohort.subject.tolist() == [0, 1, 2, 0, 1]
    # s0 and s1 slept twice
    assert cohort.weights()[1].sum() == 4


def test_absent_modality_reads_zeros(night, prepare, tmp_path):
    store = prepare([night("a"), night("b").without("ibi")], tmp_path)
    assert store.table["coverage_ibi"].tolist() == [10, 0]
    assert [store.present(k) for k in (0, 1)] == [["spo2", "ibi"], ["spo2"]]
    assert not store.valid(1, "ibi").any()
    assert not store.window(1, "ibi", 2, 5).any()
    assert np.flatnonzero(~store.valid(0, "ibi")).tolist() == [3, 4]


@pytest.mark.parametrize("chosen", [[3, 1], np.array([False, True, False, True, True]), slice(2)])
def test_taken_nights_form_store(folder, chosen):
    store = NightStore.open(folder)
    some = store.take(chosen)
    for k, name in enumerate(some.table.index):
        index = store.table.index.get_loc(name)
        np.testing.assert_array_equal(some.window(k, "ibi", 2, 6), store.window(index, "ibi", 2, 6))
    assert some.table.index.tolist() == store.table.index[chosen].tolist()


def test_pickled_store_is_small(folder, assert_same):
    store = NightStore.open(folder)
    data = pickle.dumps(store)
    assert len(data) < 10_000
    assert_same(store, pickle.loads(data))


def test_nights_without_ids_are_numbered(night):
    contents = contents_of(modalities=["ibi", "spo2"])
    store = NightStore.from_recordings([dict(night(None)), night(None, 1)], contents)
    assert store.table.index.tolist() == ["recording 0", "recording 1"]


@pytest.mark.parametrize("content", KINDS)
def test_docs_state_disk_usage(content):
    page = (Path(__file__).parents[2] / "docs" / "pretraining_data.md").read_text()
    nine = ["eeg", "eog", "emg", "ecg", "airflow", "effort", "spo2", "ibi", "resp"]
    widths = [c.width for c in contents_of(content=content, modalities=nine).values()]
    night = sum(widths) * 960 * 2
    figures = [f"{sum(widths):,}", f"{night / 1e6:.3g} MB", f"{96 * night / 9 / 8e6:.3g} MB"]
    figures += [f"{20 * 96 * night / 9 / 8e6:.0f} MB/s", f"{640 * night / 9 / 1e6:,.0f} MB"]
    disk = 42_249 * night / 1e9
    for figure in [*figures, f"{disk:.1f} GB" if disk < 100 else f"{disk:,.0f} GB"]:
        assert f" {figure} " in page.replace("*", "").replace("\n", " "), figure
