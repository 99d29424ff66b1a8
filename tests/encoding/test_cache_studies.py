# SPDX-License-Identifier: BSD-3-Clause
"""How often the network is called in whole studies."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
from joblib import parallel_config
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline

from sleep2vec_sklearn import Recording, Sleep2VecTransformer, cache_info, clear_cache, set_config
from sleep2vec_sklearn.config import config_context

CANDIDATES = {"ridgeclassifier__alpha": [0.01, 0.1, 1, 10, 100]}


@pytest.fixture
def search(checkpoint_path):
    """Function of the cache and other parameters: a grid search over the head."""

    def make(cache="memory", cv=4, **parameters):
        encoder = Sleep2VecTransformer(checkpoint_path, cache=cache)
        pipeline = make_pipeline(encoder, RidgeClassifier())
        return GridSearchCV(pipeline, CANDIDATES, cv=cv, **parameters)

    return make


@pytest.fixture
def answers():
    return np.arange(12) % 2


def test_grid_search_encodes_once(search, twelve_nights, answers, encodes):
    search().fit(twelve_nights, answers)
    assert len(encodes) == 12


def test_another_process_encodes_nothing(checkpoint_path, noise, tmp_path):
    values, rate = noise("ibi")
    np.save(tmp_path / "ibi.npy", values)
    program = f"""
import numpy as np
from sleep2vec_sklearn import Sleep2VecTransformer, cache_info
night = {{"ibi": (np.load({str(tmp_path / "ibi.npy")!r}, mmap_mode="r"), {rate})}}
transformer = Sleep2VecTransformer({str(checkpoint_path)!r}, cache={str(tmp_path / "cache")!r})
print(transformer.fit_transform([night]).tolist(), cache_info().hits, cache_info().misses)
"""
    X = [{"ibi": (values, rate)}]
    rows = Sleep2VecTransformer(checkpoint_path, cache=tmp_path / "cache").fit_transform(X)
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert told.strip() == f"{rows.tolist()} 1 0"


def test_nested_cross_validation_encodes_once(search, twelve_nights, answers, encodes):
    groups = [night.subject for night in twelve_nights]
    cross_val_score(
        search(cv=3), twelve_nights, answers, cv=GroupKFold(4), groups=groups, error_score="raise"
    )
    assert len(encodes) == 12


def test_threads_encode_once_without_races(search, twelve_nights, answers, encodes):
    alone = search().fit(twelve_nights, answers)
    clear_cache()
    with parallel_config("threading"):
        together = search(n_jobs=2).fit(twelve_nights, answers)
    assert 24 <= len(encodes) <= 36
    np.testing.assert_array_equal(
        alone.cv_results_["mean_test_score"], together.cv_results_["mean_test_score"]
    )


def test_processes_share_a_folder(search, twelve_nights, answers, encodes, tmp_path):
    together = search(tmp_path, n_jobs=2).fit(twelve_nights, answers)
    assert cache_info(tmp_path).n_files == 12
    assert encodes == []
    alone = search(None).fit(twelve_nights, answers)
    np.testing.assert_array_equal(
        alone.cv_results_["mean_test_score"], together.cv_results_["mean_test_score"]
    )


def test_processes_follow_configured_folder(search, twelve_nights, answers, tmp_path):
    with config_context(cache_dir=tmp_path):
        search(n_jobs=2, refit=False).fit(twelve_nights, answers)
        assert cache_info().n_files == 12


def test_modality_subsets_encode_once(checkpoint_path, noise, encodes):
    names = ("ecg", "effort", "spo2", "ibi")
    nights = [Recording({name: noise(name, seed=seed) for name in names}) for seed in range(2)]
    for size in range(1, 5):
        for subset in itertools.combinations(names, size):
            transformer = Sleep2VecTransformer(checkpoint_path, modalities=subset)
            transformer.fit_transform(nights)
            dropped = [name for name in names if name not in subset]
            smaller = [night.without(*dropped) for night in nights]
            Sleep2VecTransformer(checkpoint_path).fit_transform(smaller)
    assert len(encodes) == 2 * len(names)


def test_hits_are_counted_and_shown(checkpoint_path, noise, capsys):
    clear_cache()
    X = [{"ibi": noise("ibi", seed=seed), "ecg": noise("ecg", seed=seed)} for seed in range(2)]
    transformer = Sleep2VecTransformer(checkpoint_path, verbose=1).fit(X)
    transformer.transform(X)
    assert "0 signals from the cache" in capsys.readouterr().err
    transformer.transform(X)
    assert "4 signals from the cache" in capsys.readouterr().err
    info = cache_info()
    assert (info.hits, info.misses, info.n_entries, info.directory) == (4, 4, 4, None)
    assert 0 < info.n_bytes < info.max_bytes


def test_settings_bound_the_memory(checkpoint_path, noise, encodes):
    transformer = Sleep2VecTransformer(checkpoint_path).fit([{"ibi": noise("ibi")}])
    with config_context(cache_bytes=0):
        transformer.transform([{"ibi": noise("ibi")}])
        transformer.transform([{"ibi": noise("ibi")}])
        set_config(cache_bytes=2**20)
        transformer.transform([{"ibi": noise("ibi")}])
        transformer.transform([{"ibi": noise("ibi")}])
    assert len(encodes) == 3
