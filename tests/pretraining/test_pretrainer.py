# SPDX-License-Identifier: BSD-3-Clause
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from sleep2vec_sklearn import Recording, Sleep2VecPretrainer, Sleep2VecTransformer, load_checkpoint
from sleep2vec_sklearn.errors import InvalidRecordingError, TrainingError, TrainingWarning
from sleep2vec_sklearn.pretraining import NightStore, prepare_cohort
from tests.pretraining.nights import tiny_pretrainer


def hash_of(fitted):
    """Of all averaged weights and of the configuration."""
    return fitted.checkpoint().sha256


@pytest.fixture(scope="module")
def fitted(montage_store):
    """For tests that leave it as it is."""
    return tiny_pretrainer().fit(montage_store)


def test_saved_encoders_transform(fitted, montages, tmp_path):
    path = tmp_path / "mine.safetensors"
    sha256 = fitted.save(path, card={"name": "mine"})
    checkpoint = load_checkpoint(path)
    rows = Sleep2VecTransformer(checkpoint).fit_transform(montages)
    assert rows.shape == (8, 8)
    assert np.isfinite(rows).all()
    assert checkpoint.sha256 == sha256 == fitted.checkpoint().sha256
    assert checkpoint.card["name"] == "mine"
    assert checkpoint.card["training_data"]["recordings"] == 6


def test_recordings_and_stores_train_alike(pretrainer, montages, fitted, tmp_path):
    folder = tmp_path / "store"
    prepare_cohort(montages, folder, modalities=["effort", "spo2", "ibi"])
    assert hash_of(fitted) == hash_of(pretrainer().fit(folder))
    assert hash_of(fitted) == hash_of(pretrainer(n_workers=2).fit(NightStore.open(folder)))
    assert hash_of(fitted) == hash_of(pretrainer().fit(montages))


def test_dicts_train_too(pretrainer, montages):
    dicts = [{name: night[name] for name in ("spo2", "ibi")} for night in montages]
    fitted = pretrainer(validation=2, objective="dash").fit(dicts)
    assert fitted.pairs_ == (("spo2", "ibi"),)
    assert np.isfinite(fitted.score(dicts))


def test_seeds_decide_and_workers_not(pretrainer, montage_store, fitted):
    noisy = {"dropout": 0.1, "noise": 0.1, "modality_dropout": 0.3, "max_shift": 2}
    noisy["reconstruction_weight"] = 0.5
    first = pretrainer(**noisy).fit(montage_store)
    assert hash_of(first) == hash_of(pretrainer(**noisy, n_workers=2).fit(montage_store))
    assert hash_of(pretrainer(random_state=1).fit(montage_store)) != hash_of(fitted)


def test_global_randomness_stays(pretrainer, montage_store):
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    pretrainer(dropout=0.1, random_state=None).fit(montage_store)
    np.testing.assert_array_equal(before[0], np.random.get_state()[1])  # noqa: NPY002
    assert torch.equal(before[1], torch.get_rng_state())


def test_partial_fits_equal_fit(pretrainer, montage_store, fitted):
    by_parts = pretrainer()
    for _ in range(2):
        by_parts.partial_fit(montage_store)
    assert hash_of(fitted) == hash_of(by_parts)
    assert len(by_parts.partial_fit(montage_store).history_) == 3


def test_warm_starts_change_the_optimizer(pretrainer, montage_store):
    fitted = pretrainer().fit(montage_store)
    net = fitted.net_
    again = fitted.set_params(warm_start=True, optimizer__lr=1e-9, optimizer__weight_decay=0.5)
    again.fit(montage_store)
    assert [row["epoch"] for row in again.history_] == [1, 2, 3, 4]
    assert again.net_.step_ == 12
    assert again.net_.module_.network is net.module_.network
    assert again.history_[-1, "batches", 0, "lr"] < 1e-8
    assert [g["weight_decay"] for g in again.net_.optimizer_.param_groups] == [0.5, 0.0]


def test_warm_starts_need_the_encoder(pretrainer, montage_store):
    fitted = pretrainer(warm_start=True, max_epochs=1).fit(montage_store)
    fitted.set_params(context_epochs=8)
    with pytest.raises(TrainingError, match=r"context_epochs: 6 before, 8 now"):
        fitted.fit(montage_store)
    fitted.set_params(context_epochs=6, encoder__hidden_size=16)
    with pytest.raises(TrainingError, match=r"hidden_size: 8 before, 16 now"):
        fitted.fit(montage_store)


def test_encoders_go_on(pretrainer, montage_store, fitted):
    slow = pretrainer(encoder=fitted.checkpoint(), lr=1e-12, modalities=["spo2", "ibi"])
    slow.fit(montage_store)
    assert slow.encoder_config_.names == ("effort", "spo2", "ibi")
    before, after = (network.net_.averaged().state_dict() for network in (fitted, slow))
    for name, value in before.items():
        if "running" not in name and value.is_floating_point():
            torch.testing.assert_close(after[name], value, rtol=0, atol=1e-6)


def test_unlearned_modalities_are_dropped(pretrainer, montage_store):
    stages = [(0.5, {("ibi", "spo2"): 1, ("ibi", "effort"): 0}), (1.0, {("ibi", "spo2"): 1})]
    with pytest.warns(TrainingWarning, match="effort: .*pair_weights names no pair of it"):
        fitted = pretrainer(pair_weights=stages).fit(montage_store)
    assert fitted.pairs_ == (("spo2", "ibi"),)
    assert fitted.modalities_ == fitted.checkpoint().config.names == ("spo2", "ibi")


def test_history_is_skorchs(fitted):
    steps = fitted.history_[-1, "batches", :, ("train_loss", "pair", "lr", "data_wait")]
    assert len(steps) == 3
    assert {pair for _, pair, _, _ in steps} <= {"effort-spo2", "effort-ibi", "spo2-ibi"}
    first, last = fitted.history_[:, "valid_loss_spo2-ibi"]
    assert first > 0
    assert last > 0
    assert all(0 <= recall <= 1 for recall in fitted.history_[:, "valid_recall"])


def test_training_learns(pretrainer, montage_store):
    trained = pretrainer(
        max_epochs=8, steps_per_epoch=15, lr=1e-2, hidden_size=16, negatives="both", ema_decay=0.9
    ).fit(montage_store)
    first, *_, last = trained.history_[:, "train_loss"]
    assert last < 0.8 * first
    found = trained.retrieval(montage_store)["spo2", "ibi"]
    assert found.recall > 2 * found.chance
    assert found.median_rank < found.n_candidates / 3


def test_clones_pickles_and_cards(fitted, montages):
    assert str(clone(fitted).get_params()) == str(fitted.get_params())
    assert not hasattr(clone(fitted), "net_")
    assert pickle.loads(pickle.dumps(fitted)).score(montages) == fitted.score(montages)
    text = str(fitted.checkpoint().card).replace('"', "'")
    assert not any(repr(night.id) in text or repr(night.subject) in text for night in montages)


def test_metadata_replace_the_recordings(pretrainer, montages, fitted):
    table = fitted_table(montages).assign(age=30.0)
    assert hash_of(fitted) != hash_of(pretrainer().fit(montages, table))
    unweighted = pretrainer(objective="info_nce").fit(montages, table)
    assert hash_of(unweighted) == hash_of(pretrainer(objective="info_nce").fit(montages))


def fitted_table(montages):
    import pandas as pd

    rows = [{"age": night.metadata["age"], "sex": night.metadata["sex"]} for night in montages]
    return pd.DataFrame(rows, index=[night.id for night in montages])


def test_subjects_come_from_metadata(pretrainer, montages, tmp_path):
    nobody = [
        Recording({n: (s.values, s.rate) for n, s in night.read().items()}, id=night.id)
        for night in montages
    ]
    store = prepare_cohort(nobody, tmp_path, modalities=["effort", "spo2", "ibi"])
    table = fitted_table(montages).assign(subject=[night.subject for night in montages])
    given = pretrainer(validation=["s0"], objective="info_nce").fit(store, table)
    assert given.checkpoint().card["training_data"]["held_out_recordings"] == 2


def test_missing_columns_come_from_nights(pretrainer, montages, montage_store):
    table = fitted_table(montages)[["sex"]].assign(subject=list("aabbccde"), sex="F")
    given = pretrainer(validation=["b"])
    from_store = given.fit(montage_store, table).checkpoint()
    trained_on = from_store.card["training_data"]
    assert trained_on["subjects"] == 4
    assert trained_on["female"] == trained_on["age"]["known"] == 6
    assert from_store.sha256 == given.fit(montages, table).checkpoint().sha256


def test_wrong_metadata_are_refused(pretrainer, montages):
    table = fitted_table(montages)
    tables = {"130": table.assign(age=130), "'Q'": table.assign(sex="Q"), "n3": table.drop("n3")}
    for message, metadata in tables.items():
        with pytest.raises(InvalidRecordingError, match=message):
            pretrainer().fit(montages, metadata)


def test_too_few_modalities_are_refused(pretrainer, montages):
    lonely = [night.without("effort", "ibi") for night in montages]
    with pytest.raises(InvalidRecordingError, match=r"two modalities.*found spo2"):
        pretrainer().fit(lonely)
    lacks = {0: "effort", 1: "ibi", 3: "spo2"}
    nights = [montages[k].without(name) for k, name in lacks.items()]
    with pytest.raises(TrainingError, match=r"that one has: effort-spo2, effort-ibi, spo2-ibi"):
        pretrainer(validation=0).fit(nights)


def test_single_pairs_are_left_out(pretrainer, montages):
    few = [montages[0], *(night.without("effort") for night in montages[1:] if "effort" in night)]
    with (
        pytest.warns(TrainingWarning, match="effort-spo2, effort-ibi"),
        pytest.warns(TrainingWarning, match="effort: no two recordings"),
    ):
        fitted = pretrainer(batch_size=2, validation=0).fit(few)
    assert fitted.modalities_ == ("spo2", "ibi")
    assert fitted.encoder_config_.names == ("spo2", "ibi")


def test_small_pools_warn(pretrainer, montages, monkeypatch):
    with pytest.warns(TrainingWarning, match="none of them twice"):
        fitted = pretrainer(batch_size=12).fit(montages)
    assert set(fitted.history_[-1, "batches", :, "train_batch_size"]) == {12}
    random = np.random.default_rng(0)
    names = ("airflow", "effort", "resp", "spo2", "actigraphy")
    signals = [{name: (90 + random.standard_normal(1200), 10) for name in names} for _ in "abc"]
    units = {"actigraphy": "counts"}
    with pytest.warns(TrainingWarning, match=r"\(3 recordings.* and 7 more pairs\.$"):
        pretrainer(validation=0, max_epochs=1).fit([Recording(s, units=units) for s in signals])
    monkeypatch.setattr("sleep2vec_sklearn.pretraining.pretrainer.world_size", lambda: 3)
    with pytest.raises(TrainingError, match="2 windows, which leaves some of 3 processes"):
        pretrainer(batch_size=2).fit(montages)


@pytest.mark.parametrize(
    "wrong",
    [
        {"objective": "clip"}, {"batch_size": 1}, {"mask_ratio": 1.0}, {"lr": 0}, {"max_shift": 6},
        {"temperature": float("nan")}, {"patience": 2, "validation": None}, {"n_workers": -1},
        {"validation": ["nobody"]}, {"validation": -1}, {"validation": True}, {"validation": 1.5},
        {"validation": "s3"}, {"pair_weights": {("eeg", "ibi"): 1}}, {"pair_weights": []},
        {"tokenizer": {"ibi": "spectral"}}, {"tokenizer": ["spectral"]}, {"random_state": -1},
        {"random_state": 2**63}, {"random_state": np.random.default_rng(0)}, {"modalities": 3},
        {"encoder": 3}, {"encoder": Sleep2VecPretrainer()}, {"state_dir": 3}, {"state_dir": ""},
        {"callbacks": [3]}, {"callbacks": "bar"}, {"verbose": None}, {"device": None},
    ],
)  # fmt: skip
def test_wrong_parameters_are_named(pretrainer, montage_store, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        pretrainer(**wrong).fit(montage_store)


@pytest.mark.parametrize("held_out", [np.int64(1), np.float32(0.2), ("s3",), np.array(["s3"])])
def test_held_out_may_be_numpy(pretrainer, montage_store, held_out):
    fitted = pretrainer(validation=held_out, max_epochs=1).fit(montage_store)
    card = fitted.checkpoint().card
    assert card["training_data"]["held_out_recordings"] >= 2
    assert "s3" not in str(card)
    named = card["parameters"]["validation"] == "1 subjects by name"
    assert named == (not np.isscalar(held_out))


@pytest.mark.parametrize("X", [None, [], {"ibi": [1.0]}, 3])
def test_wrong_inputs_are_refused(pretrainer, X):
    with pytest.raises(InvalidRecordingError, match="accepted are a list of recordings"):
        pretrainer().fit(X)


def test_unfitted_pretrainers_refuse(pretrainer, tmp_path, montages):
    with pytest.raises(NotFittedError):
        pretrainer().save(tmp_path / "x.safetensors")
    with pytest.raises(NotFittedError):
        pretrainer().score(montages)


def test_partial_fits_outlast_patience(pretrainer, montage_store):
    stopped = pretrainer(patience=1, max_epochs=30, lr=0.3, ema_decay=0.0).fit(montage_store)
    n_epochs = len(stopped.history_)
    assert n_epochs < 30
    assert len(stopped.partial_fit(montage_store).history_) == n_epochs + 1
