# SPDX-License-Identifier: BSD-3-Clause
"""How often the network is called in whole studies."""

import itertools
import subprocess
import sys

import joblib
import numpy as np
from joblib import parallel_config
from sklearn.model_selection import GroupKFold, cross_val_score

from sleep2vec_sklearn import (
    EpochSequence,
    Recording,
    Sleep2VecTransformer,
    cache_info,
    clear_cache,
    config_context,
    make_sleep_cohort,
    read_cohort,
    set_config,
)
from sleep2vec_sklearn.datasets import write_edf_cohort


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


def test_use_changes_no_hash(checkpoint_path, noise, tmp_path):
    names = ["eeg", "effort"]
    cohort = make_sleep_cohort(1, hours=0.25, modalities=names, missing=0, random_state=0)
    write_edf_cohort(cohort, tmp_path)
    in_memory = Recording({"ibi": noise("ibi")})
    for night in (in_memory, *read_cohort(tmp_path)):
        X = EpochSequence([night])
        # by which joblib.Memory, thus Pipeline(memory=...), finds X again
        before = joblib.hash(X)
        Sleep2VecTransformer(checkpoint_path).fit_transform(X)
        assert X.stages.shape == X.groups.shape
        assert joblib.hash(X) == before


def test_cached_rows_are_equal():
    X = EpochSequence(make_sleep_cohort(2, hours=3.5, modalities=["ibi"], random_state=0))
    for options in ({"center": None}, {}, {"context_minutes": 5}):
        encoder = Sleep2VecTransformer(cache=None, **options).fit(X)
        expected = encoder.transform(X)
        encoder.set_params(cache="memory")
        for _ in range(2):
            assert np.array_equal(encoder.transform(X), expected)
        some = np.array([400, 3, 4, 5, 5])
        assert np.array_equal(encoder.transform(X[some]), expected[some])
