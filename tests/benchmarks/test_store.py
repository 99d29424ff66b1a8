# SPDX-License-Identifier: BSD-3-Clause
"""What the bundled encoder is made of: its nights, its features on disk, its card."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sleep2vec_sklearn import Recording, make_sleep_cohort
from sleep2vec_sklearn.model import Sleep2Vec
from sleep2vec_sklearn.signals import MODALITIES, get_modality
from sleep2vec_sklearn.signals.conditioning import condition


@pytest.fixture(scope="module")
def config(bundled):
    return bundled("configuration").mini_config(n_layers=1, context_epochs=8)


@pytest.fixture(scope="module")
def nights():
    return make_sleep_cohort(
        2, hours=0.25, modalities=["ibi", "spo2", "actigraphy"], site_kinds="full_laboratory",
        missing=0, random_state=0,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(bundled, tmp_path_factory, config, nights):
    folder = tmp_path_factory.mktemp("store") / "simulated"
    bundled("store").write_store(nights, folder, config, n_jobs=1)
    return folder


def test_the_bundled_encoder_reads_every_modality_of_the_catalogue(bundled):
    config = bundled("configuration").mini_config()
    assert config.names == tuple(MODALITIES)
    assert config.token_dim == bundled("configuration").TOKEN_SIZE
    assert config.projection is not None
    assert config.context_epochs == 120


def test_counts_reach_the_encoder_as_one_value_an_epoch(bundled):
    config = bundled("configuration").mini_config()
    counts = config.modalities[config.names.index("actigraphy")]
    assert counts.conditioning.width == 1
    others = [m for m in config.modalities if m.name != "actigraphy"]
    assert all(m.conditioning == MODALITIES[m.name].conditioning for m in others)
    assert {m.tokenizer.name for m in others} == {"spectral"}


def test_changes_of_a_configuration_replace_its_fields(bundled, config):
    assert (config.n_layers, config.context_epochs) == (1, 8)
    assert (
        dataclasses.replace(config, n_layers=4, context_epochs=120)
        == bundled("configuration").mini_config()
    )


def test_nights_come_back_sorted_with_features_and_validity(bundled, folder, nights, config):
    stored = bundled("store").read_store(folder)
    assert [night.name for night in stored] == sorted(night.id for night in nights)
    for night in stored:
        assert set(night.features) == set(night.valid) == {"ibi", "spo2", "actigraphy"}
        assert night.n_epochs == 30
        assert all(valid.dtype == bool and valid.all() for valid in night.valid.values())


def test_stored_features_are_those_of_the_tokenizer(bundled, folder, nights, config):
    night = bundled("store").read_store(folder)[0]
    network = Sleep2Vec.from_seed(config, 5)
    (conditioning,) = [m.conditioning for m in config.modalities if m.name == "spo2"]
    signal = nights[0].signal("spo2")
    epochs = condition(signal, get_modality("spo2"), conditioning, 30).epochs
    features = network.tokenizers["spo2"].features(torch.from_numpy(epochs))
    torch.testing.assert_close(torch.from_numpy(night.features["spo2"]), features)
    assert night.features["actigraphy"].shape == (30, 1)


def test_a_store_goes_on_where_it_was_interrupted(bundled, folder, nights, config, tmp_path):
    store = bundled("store")
    store.write_store(nights[:1], tmp_path, config, n_jobs=1)
    (first,) = tmp_path.iterdir()
    before = first.stat().st_mtime_ns
    store.write_store(nights, tmp_path, config, n_jobs=1)
    assert first.stat().st_mtime_ns == before
    assert {p.name for p in tmp_path.iterdir()} == {p.name for p in folder.iterdir()}


def test_a_flat_sensor_and_a_gap_are_stored_as_what_they_are(bundled, tmp_path, config):
    values = 0.9 + 0.05 * np.random.default_rng(0).standard_normal(10 * 120)
    values[3 * 120 : 5 * 120] = np.nan
    night = Recording({"ibi": (values, 4), "spo2": (np.full(1200, 97.0), 4)}, id="a")
    bundled("store").write_store([night], tmp_path, config, n_jobs=1)
    (stored,) = bundled("store").read_store(tmp_path)
    assert set(stored.features) == {"ibi"}
    assert np.flatnonzero(~stored.valid["ibi"]).tolist() == [3, 4]
    assert np.isfinite(stored.features["ibi"][stored.valid["ibi"]]).all()


def test_simulated_training_nights_are_one_per_person_from_many_sites(bundled):
    nights = bundled("nights").simulated_nights(40)
    assert len({night.subject for night in nights}) == len(nights) == 40
    assert nights.metadata["site"].nunique() == 20
    again = bundled("nights").simulated_nights(3)
    assert [n.fingerprint for n in again] == [n.fingerprint for n in nights[:3]]


def test_what_is_evaluated_on_is_not_trained_on(bundled, monkeypatch, tmp_path):
    nights, card = bundled("nights"), bundled("card")
    asked = []
    monkeypatch.setattr(nights, "load_mmash", lambda folder: asked.append(folder) or [])
    assert nights.real_nights(tmp_path) == {"mmash": []}
    assert asked == [tmp_path / "mmash"]
    assert not set(card.SOURCES) & set(card.NEVER_SEEN.replace(",", "").split())
    assert "sleep-accel" in card.NEVER_SEEN
    assert set(card.SOURCES) == {"simulated", "mmash"}


def test_the_card_counts_what_was_seen(bundled, config, nights):
    options = SimpleNamespace(
        name="mine", temperature=0.1, negatives="night", noise=0.2, offset=0.3, steps=7, batch=5,
        seed=3,
    )  # fmt: skip
    network = Sleep2Vec.from_seed(config, 0)
    both = [*nights, nights[0].without("spo2")]
    made = bundled("card").make_card(options, config, {"simulated": both}, network)
    (data,) = made["training_data"]
    assert (data["recordings"], data["subjects"]) == (3, 2)
    assert data["hours_by_modality"] == {"actigraphy": 1, "ibi": 1, "spo2": 0}
    assert made["parameters"] == sum(p.numel() for p in network.parameters())
    assert "other epochs of the same night" in made["objective"]
    assert (made["steps"], made["windows_per_step"], made["seed"]) == (7, 5, 3)


def test_a_card_can_be_stored_in_a_checkpoint(bundled, config, nights, tmp_path):
    from sleep2vec_sklearn import load_checkpoint, save_checkpoint

    options = SimpleNamespace(
        name="mine", temperature=0.1, negatives="both", noise=0.2, offset=0.3, steps=7, batch=5,
        seed=3,
    )  # fmt: skip
    network = Sleep2Vec.from_seed(config, 0)
    made = bundled("card").make_card(options, config, {"simulated": nights}, network)
    save_checkpoint(tmp_path / "m.safetensors", network, config, card=made, dtype="float16")
    assert load_checkpoint(tmp_path / "m.safetensors").card == made
