# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
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


def compare(models=MODELS, y=Y, **parameters):
    return compare_estimators(models, X, y, groups=GROUPS, n_resamples=100, **parameters)


@pytest.fixture(scope="module")
def compared():
    return compare()


def test_scores_of_held_out_subjects(compared):
    fold = compared.fold
    cv = [tuple(np.flatnonzero(side) for side in (fold != k, fold == k)) for k in range(5)]
    expected = cross_val_predict(LogisticRegression(), X, Y, cv=cv, method="predict_proba")
    np.testing.assert_allclose(compared.predictions["linear"]["predict_proba"], expected)
    value = compared.scores.loc[("linear", "roc_auc"), "value"]
    assert value == pytest.approx(roc_auc_score(Y, expected[:, 1]))
    assert all(len(set(compared.fold[subject == GROUPS])) == 1 for subject in range(20))


def test_better_model_scores_higher(compared):
    row = compared.differences.loc[("linear", "roc_auc")]
    assert 0 < row["low"] < row["difference"] < row["high"]
    assert row["fraction_above"] == 1


def test_paired_models_differ_less():
    row = compare({"a": LogisticRegression(), "b": LogisticRegression()}).differences.iloc[0]
    assert row[["difference", "low", "high"]].tolist() == [0, 0, 0]
    similar = compare({"a": LogisticRegression(), "b": LogisticRegression(C=0.01)})
    widths = [t["high"] - t["low"] for t in (similar.scores, similar.differences)]
    assert widths[1].iloc[0] < widths[0].min() / 2


def test_subjects_are_averaged():
    comparison = compare(average="subject", scoring=["accuracy", "roc_auc"])
    correct = comparison.predictions["linear"]["predict"] == Y
    expected = np.mean([correct[subject == GROUPS].mean() for subject in range(20)])
    assert comparison.scores.loc[("linear", "accuracy"), "value"] == pytest.approx(expected)
    both = sum(len(set(Y[subject == GROUPS])) == 2 for subject in range(20))
    assert comparison.scores.loc[("linear", "roc_auc"), "subjects"] == both < 20


def test_untrained_class_has_probability_zero():
    comparison = compare(y=np.where(GROUPS == 0, 2, Y), cv=GroupKFold(5))
    held_out = comparison.predictions["linear"]["predict_proba"][GROUPS == 0]
    assert held_out.shape == (6, 3)
    assert (held_out[:, 2] == 0).all()
    assert np.isfinite(comparison.scores.loc[("linear", "kappa"), "value"])


def test_names_and_numbers_are_scored():
    scores = compare(y=np.where(Y, "ill", "well")).scores
    assert scores.loc[("linear", "roc_auc"), "value"] > 0.6
    models = {"mean": DummyRegressor(), "line": LinearRegression()}
    target = X[:, 0] + 0.1 * RNG.standard_normal(120)
    differences = compare(models, target, reference="line").differences
    assert differences.loc[("mean", "neg_mean_absolute_error"), "high"] < 0


def test_epochs_are_scored_by_subject():
    epochs = EpochSequence(make_sleep_cohort(4, hours=1, modalities=["ibi"], random_state=0))
    time = make_pipeline(TimeOfNight(), LogisticRegression())
    models = {"prior": DummyClassifier(), "time": time}
    comparison = compare_estimators(
        models, epochs, epochs.stages > 0, cv=2, scoring="accuracy", n_resamples=50
    )
    assert comparison.average == "subject"
    np.testing.assert_array_equal(comparison.groups, epochs.groups)


def test_repeated_subjects_warn():
    nights = make_sleep_cohort(4, nights_per_subject=2, hours=0.25, modalities=["ibi"])
    models = {"a": DummyClassifier(), "b": DummyClassifier(strategy="stratified", random_state=0)}
    inputs = models, list(nights), [0, 0, 1, 1] * 2
    with pytest.warns(LeakageWarning, match="8 nights of 4 subjects"):
        comparison = compare_estimators(*inputs, cv=2, n_resamples=50)
    np.testing.assert_array_equal(comparison.groups, nights.groups)
    with pytest.warns(LeakageWarning, match="separates rows of 4 subjects"):
        compare_estimators(*inputs, groups=range(8), cv=2, n_resamples=50)


def test_leaking_splitter_warns():
    with pytest.warns(LeakageWarning, match="in training and test"):
        compare(cv=KFold(3))
    first, rest = np.flatnonzero(GROUPS < 4), np.flatnonzero(GROUPS >= 4)
    with pytest.raises(ValueError, match=r"fold \d hold the class 0 alone.*Stratified"):
        compare(y=(GROUPS < 4).astype(int), cv=[(rest, first), (first, rest)])


def test_repr_and_table_show_differences(compared):
    lines = repr(compared).splitlines()
    assert "20 subjects, 5 folds, all rows together; differences to 'prior'" in lines[0]
    assert len(lines) == 4
    table = compared.to_frame()
    assert table["difference"].isna().tolist() == [True, False]
    html = compared._repr_html_()
    assert html.startswith("<p>EstimatorComparison(20 subjects")
    assert html.count("<tr") == 3
    assert "| prior       | roc_auc  |" in compared.to_markdown()
    assert "difference (CI)" in compared.to_latex()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"estimators": {"one": DummyClassifier()}}, "at least two"),
     ({"estimators": {"c": DummyClassifier(), "r": DummyRegressor()}}, "mixes classifiers"),
     ({"reference": "nobody"}, "'nobody' is none of"), ({"average": "epochs"}, "average must be"),
     ({"groups": np.zeros(120)}, "X is of one subject"),
     ({"groups": GROUPS[:5]}, "5 elements for 120 rows"), ({"y": Y[:5]}, "5 labels for 120 rows"),
     ({"cv": [(np.arange(60), np.arange(60, 90))]}, "never or more than once")],
)  # fmt: skip
def test_invalid_comparisons_are_refused(arguments, message):
    arguments = {"estimators": MODELS, "X": X, "y": Y, "groups": GROUPS} | arguments
    with pytest.raises(ValueError, match=message):
        compare_estimators(**arguments)
