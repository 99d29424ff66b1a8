# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, KFold, cross_val_predict
from sklearn.pipeline import make_pipeline

from sleep2vec_sklearn import EpochSequence, TimeOfNight, make_sleep_cohort
from sleep2vec_sklearn.errors import LeakageWarning
from sleep2vec_sklearn.evaluation import compare_estimators

RNG = np.random.default_rng(0)
GROUPS = np.repeat(np.arange(20), 6)
X = RNG.standard_normal((120, 2)) + RNG.standard_normal((20, 2))[GROUPS]
Y = (X[:, 0] + RNG.standard_normal(120) > 0).astype(int)
MODELS = {"prior": DummyClassifier(), "linear": LogisticRegression()}
FEW = {"n_resamples": 200}


@pytest.fixture(scope="module")
def compared():
    return compare_estimators(MODELS, X, Y, groups=GROUPS, **FEW)


def test_scores_are_those_of_people_held_out(compared):
    fold = compared.fold
    cv = [tuple(np.flatnonzero(side) for side in (fold != k, fold == k)) for k in range(5)]
    expected = cross_val_predict(LogisticRegression(), X, Y, cv=cv, method="predict_proba")
    np.testing.assert_allclose(compared.answers["linear"]["predict_proba"], expected)
    value = compared.scores.loc[("linear", "roc_auc"), "value"]
    assert value == pytest.approx(roc_auc_score(Y, expected[:, 1]))


def test_no_subject_is_in_two_folds(compared):
    assert all(len(set(compared.fold[subject == GROUPS])) == 1 for subject in range(20))


def test_a_model_that_sees_something_is_better_than_one_that_does_not(compared):
    row = compared.differences.loc[("linear", "roc_auc")]
    assert 0 < row["low"] < row["difference"] < row["high"]
    assert row["share_above"] == 1


def test_a_model_does_not_differ_from_itself():
    twins = {"a": LogisticRegression(), "b": LogisticRegression()}
    row = compare_estimators(twins, X, Y, groups=GROUPS, **FEW).differences.iloc[0]
    assert row[["difference", "low", "high"]].tolist() == [0, 0, 0]


def test_pairing_makes_differences_narrower_than_scores():
    close = {"a": LogisticRegression(), "b": LogisticRegression(C=0.01)}
    found = compare_estimators(close, X, Y, groups=GROUPS, **FEW)
    widths = [t["high"] - t["low"] for t in (found.scores, found.differences)]
    assert widths[1].iloc[0] < widths[0].min() / 2


def test_subjects_alone_are_averaged():
    found = compare_estimators(
        MODELS, X, Y, groups=GROUPS, average="subject", scoring=["accuracy", "roc_auc"], **FEW
    )
    right = found.answers["linear"]["predict"] == Y
    expected = np.mean([right[subject == GROUPS].mean() for subject in range(20)])
    assert found.scores.loc[("linear", "accuracy"), "value"] == pytest.approx(expected)
    both = sum(len(set(Y[subject == GROUPS])) == 2 for subject in range(20))
    assert found.scores.loc[("linear", "roc_auc"), "subjects"] == both < 20


def test_a_class_that_a_fold_does_not_have_is_not_expected_there():
    y = Y.copy()
    y[GROUPS == 0] = 2
    found = compare_estimators(MODELS, X, y, groups=GROUPS, cv=GroupKFold(5), **FEW)
    held_out = found.answers["linear"]["predict_proba"][GROUPS == 0]
    assert held_out.shape == (6, 3)
    assert (held_out[:, 2] == 0).all()
    assert np.isfinite(found.scores.loc[("linear", "kappa"), "value"])


def test_nor_is_it_decided_for():
    y = np.where(GROUPS == 0, 2, Y)
    models = {"ridge": RidgeClassifier(), "linear": LogisticRegression()}
    found = compare_estimators(models, X, y, groups=GROUPS, cv=GroupKFold(5), **FEW)
    decided = found.answers["ridge"]["decision_function"][GROUPS == 0].argmax(axis=1)
    assert set(decided) <= {0, 1}


def test_training_people_of_one_class_are_refused():
    y = (GROUPS < 4).astype(int)
    with pytest.raises(ValueError, match=r"fold \d hold the class 0 alone.*Stratified"):
        compare_estimators(MODELS, X, y, groups=GROUPS, cv=[
            (np.flatnonzero(GROUPS >= 4), np.flatnonzero(GROUPS < 4)),
            (np.flatnonzero(GROUPS < 4), np.flatnonzero(GROUPS >= 4)),
        ])  # fmt: skip


def test_classes_may_be_names():
    found = compare_estimators(MODELS, X, np.where(Y, "ill", "well"), groups=GROUPS, **FEW)
    assert found.scores.loc[("linear", "roc_auc"), "value"] > 0.6


def test_numbers_are_compared_by_their_error():
    models = {"mean": DummyRegressor(), "line": LinearRegression()}
    target = X[:, 0] + 0.1 * RNG.standard_normal(120)
    found = compare_estimators(models, X, target, groups=GROUPS, reference="line", **FEW)
    assert found.differences.loc[("mean", "neg_mean_absolute_error"), "high"] < 0


def test_epochs_are_scored_by_subject_with_the_recordings_subjects():
    epochs = EpochSequence(make_sleep_cohort(4, hours=1, modalities=["ibi"], random_state=0))
    models = {
        "prior": DummyClassifier(),
        "time": make_pipeline(TimeOfNight(), LogisticRegression()),
    }
    found = compare_estimators(models, epochs, epochs.stages > 0, cv=2, scoring="accuracy", **FEW)
    assert found.average == "subject"
    np.testing.assert_array_equal(found.groups, epochs.groups)


def test_missing_groups_warn_where_nights_are_of_one_subject():
    nights = make_sleep_cohort(4, nights_per_subject=2, hours=0.25, modalities=["ibi"])
    models = {"a": DummyClassifier(), "b": DummyClassifier(strategy="stratified", random_state=0)}
    y = [0, 0, 1, 1] * 2
    with pytest.warns(LeakageWarning, match="8 nights of 4 subjects"):
        found = compare_estimators(models, list(nights), y, cv=2, **FEW)
    np.testing.assert_array_equal(found.groups, nights.groups)
    with pytest.warns(LeakageWarning, match="separates rows of 4 subjects"):
        compare_estimators(models, list(nights), y, groups=range(8), cv=2, **FEW)


def test_a_splitter_that_shares_people_warns():
    with pytest.warns(LeakageWarning, match="in training and test"):
        compare_estimators(MODELS, X, Y, groups=GROUPS, cv=KFold(3), **FEW)


def test_the_repr_and_the_table_show_the_difference(compared):
    lines = repr(compared).splitlines()
    assert "20 subjects, 5 folds, all rows together; differences to 'prior'" in lines[0]
    assert len(lines) == 4
    table = compared.to_frame()
    assert table["difference"].isna().tolist() == [True, False]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"estimators": {"one": DummyClassifier()}}, "at least two"),
        ({"estimators": {"c": DummyClassifier(), "r": DummyRegressor()}}, "mixes classifiers"),
        ({"reference": "nobody"}, "'nobody' is none of"),
        ({"average": "epochs"}, "average must be"),
        ({"groups": np.zeros(120)}, "X is of one subject"),
        ({"groups": GROUPS[:5]}, "5 elements for 120 rows"),
        ({"y": Y[:5]}, "5 labels for 120 rows"),
        ({"cv": [(np.arange(60), np.arange(60, 90))]}, "never or more than once"),
    ],
)
def test_what_cannot_be_compared_is_refused(arguments, message):
    arguments = {"estimators": MODELS, "X": X, "y": Y, "groups": GROUPS} | arguments
    with pytest.raises(ValueError, match=message):
        compare_estimators(**arguments)
