# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from joblib import parallel_config
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline

from sleep2vec_sklearn import (
    EpochSequence,
    Recording,
    label_efficiency_curve,
    make_sleep_cohort,
)
from sleep2vec_sklearn.errors import LeakageWarning
from sleep2vec_sklearn.probing import nested_subsets

TWO = {"linear": LogisticRegression(), "prior": DummyClassifier()}
SMALL = {"cv": 3, "n_repeats": 2, "n_resamples": 100}


def test_subsets_of_people_grow_by_people():
    subsets = nested_subsets([*"aabbccdde"], [1, 3, 5], 0)
    assert [len(set(people)) for people in subsets.values()] == [1, 3, 5]
    assert set(subsets[1]) < set(subsets[3]) < set(subsets[5]) == set("abcde")


def test_every_estimator_is_trained_on_the_same_people(rows):
    seen = {}

    class Watching(LogisticRegression):
        def __init__(self, name="first"):
            super().__init__()
            self.name = name

        def fit(self, X, y):
            seen.setdefault(self.name, []).append(X)
            return super().fit(X, y)

    X, y, people = rows()
    label_efficiency_curve({"a": Watching("a"), "b": Watching("b")}, X, y, people, **SMALL)
    for first, second in zip(seen["a"], seen["b"], strict=True):
        np.testing.assert_array_equal(first, second)


def test_all_rows_of_a_person_train_or_none(rows):
    X, y, people = rows()
    curve = label_efficiency_curve(TWO["linear"], X, y, people, sizes=[1, 4], **SMALL)
    assert (curve.subsets["rows"] == 25 * curve.subsets["n_subjects"]).all()
    nested = curve.subsets.groupby(["fold", "repeat"])["subjects"]
    assert all(set(few) < set(more) for few, more in nested.apply(list))


def test_more_people_help_a_head_and_not_a_guess(rows):
    X, y, people = rows()
    summary = label_efficiency_curve(TWO, X, y, people, sizes=[1, 8], **SMALL).summary
    score = summary.set_index(["estimator", "n_subjects"])["score"]
    assert score["linear", 8] > score["linear", 1] + 0.03
    assert abs(score["prior", 8] - score["prior", 1]) < 0.1
    assert (summary["low"] <= summary["score"]).all()
    assert (summary["score"] <= summary["high"]).all()


def test_differences_are_paired_with_the_reference(rows):
    X, y, people = rows()
    curve = label_efficiency_curve(TWO, X, y, people, sizes=[2, 8], **SMALL)
    table = curve.differences("linear").set_index(["estimator", "n_subjects"])
    assert tuple(table.loc[("linear", 8), ["difference", "low", "high"]]) == (0, 0, 0)
    assert table.loc[("prior", 8), "high"] < 0
    with pytest.raises(ValueError, match="accepted are linear, prior"):
        curve.differences("cubic")
    with pytest.raises(ValueError, match="accepted are 2, 8"):
        curve.differences("linear", 3)


def test_people_who_lack_a_class_are_told_and_scored(rows):
    X, _, people = rows(each=1)
    y = (np.arange(12) % 4 == 0).astype(int)
    curve = label_efficiency_curve(
        LogisticRegression(),
        X,
        y,
        people,
        sizes=[1, 2, 8],
        scoring="roc_auc",
        **SMALL | {"n_resamples": 20},
    )
    alone = curve.subsets.query("n_subjects == 1")
    assert (alone["classes_missing"].map(len) == 1).all()
    assert curve.summary["score"].notna().all()
    # who has seen one class alone cannot rank anybody
    assert curve.summary["score"][0] == 0.5


def test_nights_are_scored_together_and_epochs_by_person(rows):
    X, y, people = rows()
    few = label_efficiency_curve(TWO["linear"], X, y, people, sizes=[8], **SMALL)
    assert few.average == "subject"
    assert set(few.scores["subject"]) == set(people)
    X, y, people = rows(each=2)
    many = label_efficiency_curve(TWO["linear"], X, y, people, sizes=[8], **SMALL)
    assert many.average == "pooled"
    assert many.scores["subject"].isna().all()


def test_several_metrics_and_regressors(rows):
    X, y, people = rows()
    curve = label_efficiency_curve(
        Ridge(),
        X,
        X[:, 0] + y,
        people,
        sizes=[0.5, 1.0],
        scoring=["r2", "neg_mean_absolute_error"],
        **SMALL,
    )
    assert list(curve.summary["metric"]) == ["r2", "neg_mean_absolute_error"] * 2
    assert list(curve.summary["n_subjects"].unique()) == [4, 8]


def test_a_study_can_be_repeated(rows):
    X, y, people = rows()
    once, again = (
        label_efficiency_curve(TWO["linear"], X, y, people, sizes=[2], **SMALL) for _ in range(2)
    )
    other = label_efficiency_curve(TWO["linear"], X, y, people, sizes=[2], random_state=1, **SMALL)
    assert once.summary.equals(again.summary)
    assert once.subsets.equals(again.subsets)
    assert not once.subsets.equals(other.subsets)


def test_the_number_of_workers_changes_nothing(rows):
    X, y, people = rows()
    alone = label_efficiency_curve(TWO, X, y, people, sizes=[2, 4], **SMALL)
    with parallel_config("threading"):
        shared = label_efficiency_curve(TWO, X, y, people, sizes=[2, 4], n_jobs=2, **SMALL)
    assert shared.summary.equals(alone.summary)


def test_each_signal_is_encoded_once_for_all_sizes_and_heads(pipeline, asleep, encoded):
    X, y, groups = asleep
    other = make_pipeline(*[step for _, step in pipeline.steps[:2]], DummyClassifier())
    label_efficiency_curve({"a": pipeline, "b": other}, X, y, groups, sizes=[1, 2], **SMALL)
    assert sorted(encoded) == sorted(["effort", "spo2", "ibi"] * 6)


def test_groups_missing_where_subjects_repeat_is_a_warning(pipeline, nights, night):
    again = [Recording(night(k + 10).read(), subject=f"s{k}", id=f"m{k}") for k in range(6)]
    with pytest.warns(LeakageWarning, match="12 nights of 6 subjects"):
        curve = label_efficiency_curve(
            pipeline, [*nights, *again], np.arange(12) % 2, sizes=[2], **SMALL
        )
    assert (curve.subsets["rows"] == 4).all()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sizes": [9]}, "smallest training fold has 8"),
        ({"sizes": [0]}, "accepted are 1 to 8"),
        ({"sizes": [1.5]}, "shares of them"),
        ({"sizes": []}, "empty"),
        ({"n_repeats": 0}, "n_repeats must be at least 1"),
        ({"average": "people"}, "'auto', 'subject', 'pooled'"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(rows, changed, message):
    X, y, people = rows()
    with pytest.raises(ValueError, match=message):
        label_efficiency_curve(TWO["linear"], X, y, people, **{**SMALL, **changed})


def test_one_class_is_refused(rows):
    X, y, people = rows()
    with pytest.raises(ValueError, match=r"one class \(7\)"):
        label_efficiency_curve(TWO["linear"], X, np.full(len(y), 7), people, **SMALL)


def test_a_metric_that_no_person_alone_has_is_told(rows):
    X, _, people = rows()
    y = (people < "p06").astype(int)
    with pytest.raises(ValueError, match="average='pooled'"):
        label_efficiency_curve(
            TWO["linear"], X, y, people, sizes=[2], scoring="roc_auc", average="subject", **SMALL
        )


def test_unscored_epochs_are_no_class_of_their_own():
    X = EpochSequence(make_sleep_cohort(3, hours=0.25, modalities=["ibi"], random_state=0))
    y = X.stages.copy()
    y[::5] = -1
    with pytest.raises(ValueError, match="known = y >= 0"):
        label_efficiency_curve(LogisticRegression(), X, y, cv=2)
