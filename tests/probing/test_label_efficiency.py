# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from joblib import parallel_config
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline

from sleep2vec_sklearn import EpochSequence, Recording, label_efficiency_curve, make_sleep_cohort
from sleep2vec_sklearn.errors import LeakageWarning
from sleep2vec_sklearn.probing import nested_subsets
from sleep2vec_sklearn.probing.label_efficiency import choose_sizes

TWO = {"linear": LogisticRegression(), "prior": DummyClassifier()}
SMALL = {"cv": 3, "n_repeats": 2, "n_resamples": 100}


def test_subsets_are_nested():
    subsets = nested_subsets([*"aabbccdde"], [1, 3, 5], 0)
    assert [len(set(subjects)) for subjects in subsets.values()] == [1, 3, 5]
    assert set(subsets[1]) < set(subsets[3]) < set(subsets[5]) == set("abcde")
    first, second = nested_subsets("abcdef", [3], 0), nested_subsets("fedcba", [3], 0)
    assert first[3].tolist() == second[3].tolist()
    assert set(nested_subsets([3, "a", 3], [2], 0)[2]) == {3, "a"}


@pytest.mark.parametrize(
    ("sizes", "n_subjects", "expected"),
    [(None, 1, [1]), (None, 8, [1, 2, 4, 8]), (None, 11, [1, 2, 4, 8, 11]),
     ([1.0, 4, 0.5, 0.01, 8], 8, [1, 4, 8]), (np.array([3, 2]), 8, [2, 3])],
)  # fmt: skip
def test_sizes_are_counts_or_shares(sizes, n_subjects, expected):
    assert choose_sizes(sizes, n_subjects) == expected


def test_estimators_share_training_subjects(rows):
    seen = {}

    class Watching(LogisticRegression):
        def __init__(self, name="first"):
            super().__init__()
            self.name = name

        def fit(self, X, y):
            seen.setdefault(self.name, []).append(X)
            return super().fit(X, y)

    label_efficiency_curve({"a": Watching("a"), "b": Watching("b")}, *rows(), **SMALL)
    for first, second in zip(seen["a"], seen["b"], strict=True):
        np.testing.assert_array_equal(first, second)


def test_labels_help_heads_not_guesses(rows):
    summary = label_efficiency_curve(TWO, *rows(), sizes=[1, 8], **SMALL).summary
    score = summary.set_index(["estimator", "n_subjects"])["score"]
    assert score["linear", 8] > score["linear", 1] + 0.03
    assert abs(score["prior", 8] - score["prior", 1]) < 0.1
    assert (summary["low"] <= summary["score"]).all()
    assert (summary["score"] <= summary["high"]).all()


def test_differences_are_paired(rows):
    curve = label_efficiency_curve(TWO, *rows(), sizes=[2, 8], **SMALL)
    table = curve.differences("linear").set_index(["estimator", "n_subjects"])
    assert tuple(table.loc[("linear", 8), ["difference", "low", "high"]]) == (0, 0, 0)
    assert table.loc[("prior", 8), "high"] < 0
    with pytest.raises(ValueError, match="accepted are linear, prior"):
        curve.differences("cubic")
    with pytest.raises(ValueError, match="accepted are 2, 8"):
        curve.differences("linear", 3)


def test_missing_classes_are_listed(rows):
    X, _, subjects = rows(each=1)
    y = (np.arange(12) % 4 == 0).astype(int)
    few = {**SMALL, "n_resamples": 20, "scoring": "roc_auc"}
    curve = label_efficiency_curve(TWO["linear"], X, y, subjects, sizes=[1, 2, 8], **few)
    alone = curve.subsets.query("n_subjects == 1")
    assert (alone["classes_missing"].map(len) == 1).all()
    assert curve.summary["score"].notna().all()
    # one class alone in training cannot rank anybody
    assert curve.summary["score"][0] == 0.5


def test_average_follows_rows_per_subject(rows):
    X, y, subjects = rows()
    few = label_efficiency_curve(TWO["linear"], X, y, subjects, sizes=[8], **SMALL)
    assert few.average == "subject"
    assert set(few.scores["subject"]) == set(subjects)
    many = label_efficiency_curve(TWO["linear"], *rows(each=2), sizes=[8], **SMALL)
    assert many.average == "pooled"
    assert many.scores["subject"].isna().all()


def test_regressors_and_several_metrics(rows):
    X, y, subjects = rows()
    metrics = ["r2", "neg_mean_absolute_error"]
    curve = label_efficiency_curve(
        Ridge(), X, X[:, 0] + y, subjects, sizes=[0.5, 1.0], scoring=metrics, **SMALL
    )
    assert list(curve.summary["metric"]) == metrics * 2
    assert list(curve.summary["n_subjects"].unique()) == [4, 8]


def test_draws_are_nested_and_reproducible(rows):
    once, again, other = (
        label_efficiency_curve(TWO["linear"], *rows(), sizes=[1, 4], random_state=seed, **SMALL)
        for seed in (0, 0, 1)
    )
    assert once.summary.equals(again.summary)
    assert once.subsets.equals(again.subsets)
    assert not once.subsets.equals(other.subsets)
    assert (once.subsets["rows"] == 25 * once.subsets["n_subjects"]).all()
    nested = once.subsets.groupby(["fold", "repeat"])["subjects"]
    assert all(set(few) < set(more) for few, more in nested.apply(list))


def test_workers_change_no_result(rows):
    alone = label_efficiency_curve(TWO, *rows(), sizes=[2, 4], **SMALL)
    with parallel_config("threading"):
        shared = label_efficiency_curve(TWO, *rows(), sizes=[2, 4], n_jobs=2, **SMALL)
    assert shared.summary.equals(alone.summary)


def test_each_signal_is_encoded_once(pipeline, asleep, encoded):
    other = make_pipeline(*[step for _, step in pipeline.steps[:2]], DummyClassifier())
    label_efficiency_curve({"a": pipeline, "b": other}, *asleep, sizes=[1, 2], **SMALL)
    assert sorted(encoded) == sorted(["effort", "spo2", "ibi"] * 6)


def test_repeated_subjects_without_groups_warn(pipeline, nights, night):
    again = [Recording(night(k + 10).read(), subject=f"s{k}", id=f"m{k}") for k in range(6)]
    with pytest.warns(LeakageWarning, match="12 nights of 6 subjects"):
        curve = label_efficiency_curve(
            pipeline, [*nights, *again], np.arange(12) % 2, sizes=[2], **SMALL
        )
    assert (curve.subsets["rows"] == 4).all()


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"sizes": [9]}, "smallest training fold has 8"), ({"sizes": [0]}, "accepted are 1 to 8"),
     *(({"sizes": [s]}, "shares of them") for s in (1.5, True, "2", 0.0, -1, None, np.nan)),
     ({"sizes": []}, "empty"), ({"n_repeats": 0}, "n_repeats"),
     ({"average": "people"}, "'auto', 'subject', 'pooled'")],
)  # fmt: skip
def test_invalid_parameters_are_refused(rows, changed, message):
    with pytest.raises(ValueError, match=message):
        label_efficiency_curve(TWO["linear"], *rows(), **{**SMALL, **changed})


def test_unscorable_labels_are_refused(rows):
    X, _, subjects = rows()
    y = (subjects < "p06").astype(int)
    each = {"scoring": "roc_auc", "average": "subject", "sizes": [2]}
    with pytest.raises(ValueError, match="average='pooled'"):
        label_efficiency_curve(TWO["linear"], X, y, subjects, **each, **SMALL)
    X = EpochSequence(make_sleep_cohort(3, hours=0.25, modalities=["ibi"], random_state=0))
    y = X.stages.copy()
    y[::5] = -1
    with pytest.raises(ValueError, match="known = y >= 0"):
        label_efficiency_curve(LogisticRegression(), X, y, cv=2)
