# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pandas as pd
import pytest

from sleep2vec_sklearn.evaluation import (
    bland_altman,
    calibration_report,
    review_curve,
    staging_report,
)
from sleep2vec_sklearn.plotting import (
    BlandAltmanDisplay,
    ReliabilityDisplay,
    ReviewDisplay,
    StageConfusionDisplay,
)

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def report():
    y = RNG.integers(0, 5, 400)
    predicted = np.where(RNG.random(400) < 0.8, y, RNG.integers(0, 5, 400))
    nights = np.repeat(np.arange(8), 50)
    return staging_report(y, predicted, groups=nights, recordings=nights, n_resamples=50)


def test_cells_show_share_and_count(report):
    display = StageConfusionDisplay.from_report(report)
    count = report.confusion.loc["N2", "R"]
    share = count / report.confusion.loc["N2"].sum()
    assert display.texts_[2, 4].get_text() == f"{100 * share:.0f} %\n{count}"
    assert [label.get_text() for label in display.ax_.get_xticklabels()] == [*report.classes]
    assert display.ax_.get_ylabel() == "scored"
    display = StageConfusionDisplay.from_predictions([0, 0, 2], [0, 3, 2], n_classes=4)
    assert display.texts_[3, 0].get_text() == "-"
    assert display.texts_.shape == (4, 4)


def test_lines_at_bias_and_limits(report):
    display = BlandAltmanDisplay.from_report(report, "tst_min")
    for name, line in display.lines_.items():
        assert line.get_ydata()[0] == report.bland_altman.loc["tst_min", name]
    assert display.ax_.get_title() == "total sleep time"
    assert "(min)" in display.ax_.get_xlabel()
    with pytest.raises(ValueError, match="'ahi'; the report has tst_min"):
        BlandAltmanDisplay.from_report(report, "ahi")
    summary = bland_altman([400], [410])
    display = BlandAltmanDisplay(pd.Series([400]), pd.Series([410]), summary).plot()
    assert list(display.lines_) == ["bias"]


def test_points_are_differences():
    reference, measured = RNG.normal(400, 30, 12), RNG.normal(410, 30, 12)
    display = BlandAltmanDisplay.from_measures(reference, measured, name="TST")
    x, y = display.points_.get_offsets().T
    np.testing.assert_allclose(x, (reference + measured) / 2)
    np.testing.assert_allclose(y, measured - reference)
    assert display.lines_["bias"].get_ydata()[0] == pytest.approx(np.mean(measured - reference))


def test_reliability_curve_of_report():
    risk = RNG.random(300)
    found = calibration_report((RNG.random(300) < risk).astype(int), risk, n_resamples=20)
    display = ReliabilityDisplay.from_report(found, name="model")
    np.testing.assert_allclose(display.display_.prob_true, found.curve["observed"])
    (text,) = display.ax_.texts
    assert f"{found.scores.loc['slope', 'value']:.2f}" in text.get_text()
    assert display.figure_ is display.ax_.figure


def test_displays_draw_on_axes(report, subplots):
    import matplotlib.pyplot as plt

    figure, axes = subplots
    assert StageConfusionDisplay.from_report(report, ax=axes[0]).ax_ is axes[0]
    display = BlandAltmanDisplay.from_report(report, ax=axes[1])
    assert (display.ax_, display.figure_) == (axes[1], figure)
    assert plt.get_fignums() == [figure.number]


def test_reviewed_epochs_raise_a_curve(subplots):
    p = RNG.dirichlet([0.5] * 3, 300)
    y = np.array([RNG.choice(3, p=row) for row in p])
    curve = review_curve(y, p, np.arange(300) // 50, n_resamples=20)
    display = ReviewDisplay.from_report(curve, ax=subplots[1][0])
    x, kappa = display.line_.get_data()
    assert x.tolist() == pytest.approx(range(0, 101, 10))
    assert kappa[2] == curve.at("kappa", 0.2)["value"] > display.random_line_.get_ydata()[2]
    with pytest.raises(ValueError, match="metric='f1'; accepted are 'accuracy'"):
        ReviewDisplay.from_report(curve, metric="f1")
