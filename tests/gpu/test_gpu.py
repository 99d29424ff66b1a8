# SPDX-License-Identifier: BSD-3-Clause
"""Encoding, fine-tuning and pretraining on a GPU, against the same on a CPU.

``python -m pytest -m gpu``. Where the last bits would be multiplied by training, a few steps are
compared.
"""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch

from sleep2vec_sklearn import (
    EpochSequence,
    Sleep2VecClassifier,
    Sleep2VecCoxRegressor,
    Sleep2VecEventDetector,
    Sleep2VecRegressor,
    Sleep2VecTransformer,
    make_sleep_cohort,
    stage_night,
)
from sleep2vec_sklearn.encoding.cache import MEMORY_CACHE
from sleep2vec_sklearn.pretraining import prepare_cohort
from tests.finetuning.simple_nights import QUICK, make_nights
from tests.pretraining import steps
from tests.pretraining.nights import make_night, tiny_pretrainer
from tests.pretraining.ranks import Ranks

DEVICE = "cuda"
TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}
SENSORS = ("eeg", "ecg", "effort", "spo2", "ibi")
# so small a rate that the rounding of some steps stays small
SLOWLY = {"optimizer__lr": 1e-5, "steps_per_epoch": 4, "max_epochs": 2}

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"),
]


def close(found, expected):
    torch.testing.assert_close(found, expected, **TOLERANCE)


@pytest.fixture(scope="module")
def nights():
    """Three simulated nights of an hour."""
    return make_sleep_cohort(3, hours=1, modalities=SENSORS, missing=0.2, random_state=3)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    names = ["effort", "spo2", "ibi"]
    folder = tmp_path_factory.mktemp("nights")
    return prepare_cohort([make_night(k) for k in range(8)], folder, modalities=names)


@pytest.mark.parametrize("unit", [list, EpochSequence])
@pytest.mark.parametrize("fusion", ["mean", "concat"])
def test_rows_equal_those_of_cpu(nights, unit, fusion):
    X = unit(nights)
    rows = {}
    for device in ("cpu", DEVICE):
        transformer = Sleep2VecTransformer(fusion=fusion, device=device, cache=None)
        rows[device] = transformer.fit_transform(X)
        assert transformer.device_ == device
    assert rows[DEVICE].dtype == np.float32
    np.testing.assert_allclose(rows[DEVICE], rows["cpu"], **TOLERANCE)


def test_auto_is_the_gpu(nights):
    transformer = Sleep2VecTransformer(device="auto", cache=None).fit(nights)
    assert transformer.device_ == DEVICE
    again = pickle.loads(pickle.dumps(transformer))
    np.testing.assert_array_equal(again.transform(nights), transformer.transform(nights))


def test_batch_size_changes_no_rows(nights):
    alone, together = (
        Sleep2VecTransformer(device=DEVICE, batch_size=size, cache=None).fit_transform(nights)
        for size in (1, 8)
    )
    np.testing.assert_allclose(alone, together, **TOLERANCE)


def test_bfloat16_rows_are_near(nights):
    rows = {
        precision: Sleep2VecTransformer(
            device=DEVICE, precision=precision, cache=None
        ).fit_transform(EpochSequence(nights))
        for precision in ("float32", "bfloat16")
    }
    correlation = np.corrcoef(rows["float32"].ravel(), rows["bfloat16"].ravel())[0, 1]
    assert correlation > 0.99


def test_cache_serves_both_devices(nights):
    MEMORY_CACHE.clear()
    on_gpu = Sleep2VecTransformer(device=DEVICE).fit_transform(nights)
    # the same bits, as nothing is encoded again
    np.testing.assert_array_equal(Sleep2VecTransformer(device="cpu").fit_transform(nights), on_gpu)
    MEMORY_CACHE.clear()


def test_stages_equal_those_of_cpu(nights):
    found, expected = (stage_night(nights[0], device=d, cache=None) for d in (DEVICE, "cpu"))
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-3)


def make_target(kind, nights):
    random = np.random.default_rng(0)
    if kind is Sleep2VecClassifier:
        return [0, 1] * (len(nights) // 2)
    if kind is Sleep2VecRegressor:
        return np.linspace(-1, 1, len(nights))
    dtype = [("event", bool), ("time", float)]
    # two nights are of one subject
    times = np.repeat(random.exponential(size=len(nights) // 2) + 0.1, 2)
    return np.array(list(zip([True] * len(nights), times, strict=True)), dtype=dtype)


@pytest.mark.parametrize("kind", [Sleep2VecClassifier, Sleep2VecRegressor, Sleep2VecCoxRegressor])
@pytest.mark.parametrize("finetune", ["head", "lora", "full"])
def test_fine_tuning_equals_cpu(checkpoint_path, kind, finetune):
    nights = make_nights(8)
    y = make_target(kind, nights)
    options = {"finetune": finetune, "dropout": 0.0, "modality_dropout": 0.0, "lr": 1e-4}
    predicted = {}
    for device in ("cpu", DEVICE):
        estimator = kind(checkpoint_path, device=device, cache=None, **(QUICK | options))
        estimator.fit(nights, y)
        assert estimator.device_ == device
        name = "predict_proba" if kind is Sleep2VecClassifier else "predict"
        predicted[device] = getattr(estimator, name)(nights)
        again = pickle.loads(pickle.dumps(estimator))
        np.testing.assert_allclose(getattr(again, name)(nights), predicted[device], **TOLERANCE)
    np.testing.assert_allclose(predicted[DEVICE], predicted["cpu"], rtol=1e-3, atol=1e-3)


def test_events_are_trained(checkpoint_path):
    nights = make_nights(6)
    table = pd.DataFrame({"onset": [60.0], "duration": [30.0], "type": ["apnea"]})
    events = [table] * len(nights)
    detector = Sleep2VecEventDetector(checkpoint_path, device=DEVICE, cache=None, **QUICK)
    assert len(detector.fit(nights, events).predict(nights)) == len(nights)


def losses(pretrainer):
    steps_of = pretrainer.history_[:, "batches", :, ("train_loss", "grad_norm")]
    return np.array([step for epoch in steps_of for step in epoch])


@pytest.mark.parametrize(
    "options",
    [{}, {"objective__reconstruction_weight": 0.5}, {"max_shift": 2, "modality_dropout": 0.5}],
)
def test_pretraining_equals_cpu(store, options):
    found, expected = (
        tiny_pretrainer(device=device, **SLOWLY, **options).fit(store) for device in (DEVICE, "cpu")
    )
    np.testing.assert_allclose(losses(found), losses(expected), rtol=1e-3, atol=1e-4)
    networks = [p.net_.averaged().cpu().state_dict() for p in (found, expected)]
    # a shift that BatchNorm takes out has no gradient but rounding, which AdamW makes steps of
    for network in networks:
        del network["projection.hidden_norm.running_mean"]
    torch.testing.assert_close(*networks, rtol=1e-3, atol=1e-3)


def test_bfloat16_pretraining_learns(store):
    pretrainer = tiny_pretrainer(
        device=DEVICE, precision="bfloat16", steps_per_epoch=30, max_epochs=3
    ).fit(store)
    contrast = [row["contrast"] for row in pretrainer.history_]
    assert contrast[-1] < contrast[0]
    assert pretrainer.checkpoint().state["input_projection.weight"].device.type == "cpu"


def test_interrupted_runs_resume(store, tmp_path):
    request = {"device": DEVICE, **SLOWLY}
    expected = steps.pretrained(store, [tmp_path / "whole"], request)
    assert steps.pretrained(store, [tmp_path / "part"], request, 5) is None
    close(steps.pretrained(store, [tmp_path / "part"], request), expected)


def test_runs_change_device(store, tmp_path):
    request = {"device": "cpu", **SLOWLY}
    expected = steps.pretrained(store, [tmp_path / "whole"], request)
    assert steps.pretrained(store, [tmp_path / "part"], request, 5) is None
    found = steps.pretrained(store, [tmp_path / "part"], {**request, "device": DEVICE})
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-3, atol=1e-4)


# NCCL gives each rank a GPU of its own; over gloo both share one
@pytest.mark.parametrize("backend", ["gloo", "nccl"])
def test_two_ranks_equal_one(store, tmp_path, backend):
    if backend == "nccl" and torch.cuda.device_count() < 2:
        pytest.skip("NCCL needs a GPU for each rank")
    request = {"device": DEVICE, **SLOWLY}
    expected = steps.pretrained(store, [tmp_path / "alone"], request)
    ranks = Ranks(tmp_path, backend=backend)
    try:
        found = ranks(steps.pretrained, store, [tmp_path / "first", tmp_path / "second"], request)
    finally:
        ranks.close()
    for of_rank in found:
        np.testing.assert_allclose(of_rank[0], expected[0], rtol=1e-3, atol=1e-4)
