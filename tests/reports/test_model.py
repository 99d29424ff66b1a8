# SPDX-License-Identifier: BSD-3-Clause
import re

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.utils import Bunch

from sleep2vec_sklearn import staging_report
from sleep2vec_sklearn.evaluation import (
    calibration_report,
    compare_estimators,
    format_interval,
)
from sleep2vec_sklearn.reports import model_report
from tests.reports.pages import check_page

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 3))
SUBJECTS = np.repeat([f"s{i:02d}" for i in range(30)], 2)


def compare(y, models=None, **options):
    models = models or {"prior": DummyClassifier(), "<linear>": LogisticRegression()}
    return compare_estimators(models, X, y, SUBJECTS, cv=3, n_resamples=50, **options)


@pytest.fixture(scope="module")
def y():
    return (X[:, 0] + RNG.standard_normal(60) > 0).astype(int)


@pytest.fixture(scope="module")
def comparison(y):
    return compare(y)


@pytest.fixture(scope="module")
def page(comparison):
    return check_page(model_report(comparison))


def test_page_has_every_part(page):
    assert re.findall("<h2>(.*?)</h2>", page.html) == [
        "Scores", "Differences to prior", "Distribution over subjects", "Confusion",
        "Folds by subject", "Calibration", "Warnings and versions",
    ]  # fmt: skip


def test_scores_have_intervals(page, comparison):
    row = comparison.scores.loc[("<linear>", "roc_auc")]
    text = format_interval(row["value"], row["low"], row["high"])
    assert page.row("&lt;linear&gt;") == ["roc_auc", text, "30"]
    d = comparison.differences.loc[("<linear>", "roc_auc")]
    text = format_interval(d["difference"], d["low"], d["high"], sign=True)
    assert ["&lt;linear&gt;", "roc_auc", text] in [row[:3] for row in page.cells]


def test_every_subject_has_a_fold(page, comparison, y):
    table = page.html.partition("Subjects tested in each fold")[2]
    rows = type(page)(f"<table>{table.partition('</table>')[0]}</table>").cells[1:]
    listed = [name for row in rows for name in row[1].split(", ")]
    assert sorted(listed) == sorted(set(SUBJECTS))
    assert sum(int(row[3]) for row in rows) == 60
    assert sum(int(row[5]) for row in rows) == y.sum()


def test_confusion_has_counts(page, comparison, y):
    predicted = comparison.predictions["<linear>"]["predict"]
    n = int(((y == 1) & (predicted == 1)).sum())
    assert f"{n} ({100 * n / y.sum():.0f})" in [cell for row in page.cells for cell in row]


def test_calibration_is_computed(page, comparison, y):
    probability = comparison.predictions["<linear>"]["predict_proba"]
    brier = calibration_report(y, probability, groups=SUBJECTS).scores.loc["brier"]
    text = format_interval(brier["value"], brier["low"], brier["high"])
    assert ["&lt;linear&gt;", "Brier score", text] in page.cells


def test_numbers_have_errors():
    y = X[:, 0] + 0.1 * RNG.standard_normal(60)
    models = {"one": LinearRegression(), "two": LinearRegression(fit_intercept=False)}
    comparison = compare(y, models)
    page = check_page(model_report(comparison))
    error = np.abs(comparison.predictions["one"]["predict"] - y).reshape(30, 2).mean(axis=1)
    assert page.row("one")  # scores come first
    assert ["one", "30", f"{np.median(error):.2f}"] in [
        [*row[:2], row[2].partition(" ")[0]] for row in page.cells if len(row) == 3
    ]


def test_several_classes_of_text():
    y = np.array(["low", "middle", "high"])[np.digitize(X[:, 0], [-0.5, 0.5])]
    page = check_page(model_report(compare(y)))
    assert page.row("middle")[-1] == str((y == "middle").sum())
    assert "Calibration" not in re.findall("<h2>(.*?)</h2>", page.html)


def test_importance_of_sensors(comparison):
    result = Bunch(
        modalities=("eeg", "ibi"), importances_mean=np.array([0.1, 0.2]),
        low=np.array([0.05, 0.1]), high=np.array([0.15, 0.3]), baseline=0.8, method="drop",
        metric="kappa",
    )  # fmt: skip
    page = check_page(model_report(comparison, importance=result))
    assert page.row("ibi") == ["drop", "+0.200 (+0.100 to +0.300)"]
    both = check_page(model_report(comparison, importance={"kappa": result, "f1": result}))
    assert both.text.count("Decrease in kappa without") == 2


def test_staging_report_page():
    y = np.tile([0, 1, 2, 3, 4], 40)
    predicted = np.where(np.arange(200) % 7 == 0, 2, y)
    groups = np.repeat(["a", "b"], 100)
    result = staging_report(y, predicted, groups=groups, recordings=groups, n_resamples=50)
    page = check_page(model_report(result))
    value, low, high = result.scores.loc["kappa", ["value", "low", "high"]]
    assert page.row("kappa")[0] == format_interval(value, low, high)
    assert page.row("Total sleep time, min")[0] == "2"


def test_calibration_report_page(comparison, y):
    result = calibration_report(y, comparison.predictions["<linear>"]["predict_proba"])
    page = check_page(model_report(result, title="Risk"))
    assert page.row("Model")[:2] == ["Score", "Value (95 % CI)"]
    assert "<h1>Risk</h1>" in page.html


def test_other_results_are_refused():
    with pytest.raises(TypeError, match="result is a dict"):
        model_report({})


def test_refused_path_is_named(comparison, refused, tmp_path):
    with pytest.raises(PermissionError, match=r"report\.html: not saved"):
        model_report(comparison, tmp_path / "report.html")
