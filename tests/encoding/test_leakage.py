# SPDX-License-Identifier: BSD-3-Clause
"""The guard against test rows of subjects that were in training."""

import copy
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import GroupKFold, KFold, cross_val_score
from sklearn.pipeline import make_pipeline

from sleep2vec_sklearn import (
    EpochSequence,
    PrecomputedEmbeddings,
    Recording,
    Sleep2VecTransformer,
    config_context,
    get_config,
)
from sleep2vec_sklearn.encoding._leakage import RowsBySubject
from sleep2vec_sklearn.encoding.inputs import read_input
from sleep2vec_sklearn.errors import LeakageError, LeakageWarning


@pytest.fixture
def nights(noise):
    """Function of (subject, id) pairs: nights of four epochs."""

    def make(*names):
        return [
            Recording({"ibi": noise("ibi", seed=i)}, subject=subject, id=name)
            for i, (subject, name) in enumerate(names)
        ]

    return make


@pytest.fixture
def fitted(checkpoint_path):
    """Function of X: a transformer fitted on it."""
    return lambda X: Sleep2VecTransformer(checkpoint_path).fit(X)


@pytest.fixture
def two_subjects(nights):
    return EpochSequence(nights(("a", "a1"), ("b", "b1")))


def leaks(train, test):
    fitted, given = (RowsBySubject.of_input(read_input(X)) for X in (train, test))
    return fitted.leaks_to(given)


def test_only_other_nights_leak(nights):
    first, second, other = nights(("a", "a1"), ("a", "a2"), ("b", "b1"))
    assert leaks([first], [second, other]) == ["a"]
    assert leaks([first, other], [second]) == ["a"]
    assert leaks([first], [other]) == []
    assert leaks([first], [first]) == []
    assert leaks([first, second], [first]) == []
    assert leaks([first], [second, first]) == []


def test_nights_without_subject_never_leak(nights):
    X = nights((None, "v"), (float("nan"), "x"), (float("nan"), "y"), (pd.NA, "z"), (pd.NA, "w"))
    assert leaks(X[::2], X[1::2]) == []
    assert leaks(X, X[:1]) == []


@pytest.mark.parametrize("missing", [np.nan, pd.NA, pd.NaT])
def test_table_without_subjects_never_leaks(fitted, nights, missing):
    X = nights((missing, "n1"), (missing, "n2"))
    table = fitted(X).embed(X)
    assert table.X.groups.tolist() == ["n1", "n2"]
    assert len(PrecomputedEmbeddings(table).fit(X[:1]).transform(X[1:])) == 1


def test_subject_lists_leak_by_night(nights):
    first, second, third = nights(("a", "a1"), ("a", "a2"), ("a", "a3"))
    assert leaks([[first, second]], [[third]]) == ["a"]
    assert leaks([[first, second]], [[second]]) == []
    first, second = nights((["site", 1], "x"), (["site", 1], "y"))
    assert leaks([first], [second]) == ["['site', 1]"]


@pytest.mark.parametrize(
    ("train", "test", "subjects"),
    [([0, 1, 4], [2, 3], ["a"]), ([0, 1, 4], [2, 6], ["a", "b"]), ([0, 1, 2], [1, 2, 3], ["a"]),
     ([0, 1], [0, 1, 2, 3], []), ([0, 1, 2, 3], [2], []), ([0, 1, 2, 3], [4, 5, 6, 7], []),
     ([3, 0], [0, 3], [])],
)  # fmt: skip
def test_overlapping_epochs_leak(two_subjects, train, test, subjects):
    assert leaks(two_subjects[train], two_subjects[test]) == subjects


def test_nights_are_known_without_subject(noise):
    first, second = ({"ibi": noise("ibi", seed=seed)} for seed in range(2))
    X, again = EpochSequence([first, second]), EpochSequence([second])
    assert len(leaks(X[[0, 4, 5]], again[[2]])) == 1
    assert leaks(X[[0, 1]], again[[2]]) == []
    night = Recording({"ibi": noise("ibi"), "ecg": noise("ecg")}, subject="a")
    assert leaks([night], [night.without("ecg")]) == []


def test_epochs_are_kept_as_bits(noise):
    nights = [
        Recording({"ibi": np.full(960 * 30 * 4, 0.9)}, subject=f"s{i}", id=f"night-{i}")
        for i in range(20)
    ]
    size = len(pickle.dumps(RowsBySubject.of_input(read_input(EpochSequence(nights)))))
    assert size < 20 * 250


def test_only_shuffled_folds_warn(checkpoint_path, cohort):
    X = EpochSequence(cohort[:4])
    y = np.arange(len(X)) % 2
    probe = make_pipeline(Sleep2VecTransformer(checkpoint_path), RidgeClassifier())
    cross_val_score(probe, X, y, groups=X.groups, cv=GroupKFold(2), error_score="raise")
    with pytest.warns(LeakageWarning, match="other rows of 4 of the subjects"):
        cross_val_score(probe, X, y, cv=KFold(2, shuffle=True, random_state=0))


def test_predicting_the_fitted_night_silent(fitted, two_subjects):
    transformer = fitted(two_subjects[[1, 2, 5]])
    transformer.transform(two_subjects)
    transformer.fit_transform(two_subjects)
    transformer.transform(two_subjects[:3])


def test_warning_names_caller_and_subjects(fitted, nights):
    first = nights(*((f"s{i}", f"s{i}-1") for i in range(5)))
    second = nights(*((f"s{i}", f"s{i}-2") for i in range(5)))
    with pytest.warns(LeakageWarning) as caught:
        fitted(first).transform(second)
    assert caught[0].filename == __file__
    assert "5 of the subjects" in str(caught[0].message)
    assert "(s0, s1, s2 and 2 more)" in str(caught[0].message)


def test_the_setting_decides(fitted, nights):
    first, second = nights(("a", "a1"), ("a", "a2"))
    transformer = fitted([first])
    with config_context(leakage="raise"), pytest.raises(LeakageError, match="Split by subject"):
        transformer.transform([second])
    with config_context(leakage="ignore"):
        transformer.transform([second])


@pytest.mark.parametrize("send", [lambda t: pickle.loads(pickle.dumps(t)), copy.deepcopy])
def test_pickles_hide_the_subjects(fitted, nights, send):
    first, second = nights(("a-subject", "a-recording"), ("a-subject", "another"))
    transformer = fitted([first])
    assert b"a-subject" not in pickle.dumps(transformer)
    assert b"a-recording" not in pickle.dumps(transformer)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        send(transformer).transform([second])


def test_settings_travel_with_unfitted_estimators(fitted, nights, checkpoint_path):
    with config_context(leakage="ignore", cache_dir="/a/private/folder"):
        sent = pickle.dumps(Sleep2VecTransformer(checkpoint_path))
        published = pickle.dumps(fitted(nights(("a", "a1"))))
    assert b"private" in sent
    assert b"private" not in published
    assert not hasattr(pickle.loads(sent), "_settings")
    assert get_config()["leakage"] == "warn"


def test_missing_file_is_no_leak(checkpoint_path, noise, counting_source):
    class Gone(counting_source):
        def fingerprint(self):
            raise FileNotFoundError("night.edf")

    night = Recording.from_source(Gone({"ibi": (*noise("ibi"), "s")}), subject="a")
    transformer = Sleep2VecTransformer(checkpoint_path, on_error="nan").fit([night])
    with pytest.warns(UserWarning, match=r"night\.edf"):
        assert np.isnan(transformer.transform([night])).all()


def test_table_epochs_are_guarded(fitted, nights):
    X = EpochSequence(nights(("a", "a1"), ("a", "a2"), ("b", "b1")))
    table = fitted(X).embed(X)
    lookup = PrecomputedEmbeddings(table).fit(table.X[:4])
    assert len(lookup.transform(table.X[8:])) == 4
    assert len(lookup.transform(X[:2])) == 2
    with pytest.warns(LeakageWarning, match=r"1 of the subjects .*\(a\)"):
        lookup.transform(table.X[4:8])
    with config_context(leakage="raise"), pytest.raises(LeakageError):
        lookup.transform(table.X[2:8])
    assert "a1" not in str(pickle.loads(pickle.dumps(lookup)).__dict__)


def test_table_nights_are_guarded(fitted, nights):
    X = nights(("a", "a1"), ("a", "a2"), (None, "n1"), (None, "n2"))
    table = fitted(X).embed(X)
    lookup = PrecomputedEmbeddings(table).fit(table.X[[0, 2]])
    assert len(lookup.transform(table.X[[0, 3]])) == 2
    with pytest.warns(LeakageWarning, match=r"\(a\)"):
        lookup.transform(table.X[[1, 3]])
