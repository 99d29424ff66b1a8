# SPDX-License-Identifier: BSD-3-Clause
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from sleep2vec_sklearn.evaluation import bland_altman, calibration_report, staging_report
from sleep2vec_sklearn.plotting import BlandAltmanDisplay, ReliabilityDisplay, StageConfusionDisplay

mpl.use("Agg")
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.fixture(scope="module")
def report():
    y = RNG.integers(0, 5, 400)
    found = np.where(RNG.random(400) < 0.8, y, RNG.integers(0, 5, 400))
    nights = np.repeat(np.arange(8), 50)
    return staging_report(y, found, groups=nights, recordings=nights, n_resamples=50)


def test_cells_show_the_share_of_the_row_and_the_count(report):
    display = StageConfusionDisplay.from_report(report)
    count = report.confusion.loc["N2", "R"]
    share = count / report.confusion.loc["N2"].sum()
    assert display.texts_[2, 4].get_text() == f"{100 * share:.0f} %\n{count}"
    assert [label.get_text() for label in display.ax_.get_xticklabels()] == [*report.classes]
    assert display.ax_.get_ylabel() == "scored"


def test_a_stage_that_was_never_scored_has_no_share():
    display = StageConfusionDisplay.from_predictions([0, 0, 2], [0, 3, 2], n_classes=4)
    assert display.texts_[3, 0].get_text() == "-"
    assert display.texts_.shape == (4, 4)


def test_lines_are_at_bias_and_limits(report):
    display = BlandAltmanDisplay.from_report(report, "tst_min")
    for name, line in display.lines_.items():
        assert line.get_ydata()[0] == report.bland_altman.loc["tst_min", name]
    assert display.ax_.get_title() == "total sleep time"
    assert "(min)" in display.ax_.get_xlabel()


def test_points_are_differences_over_means():
    reference, measured = RNG.normal(400, 30, 12), RNG.normal(410, 30, 12)
    display = BlandAltmanDisplay.from_measures(reference, measured, name="TST")
    x, y = display.points_.get_offsets().T
    np.testing.assert_allclose(x, (reference + measured) / 2)
    np.testing.assert_allclose(y, measured - reference)
    assert display.lines_["bias"].get_ydata()[0] == pytest.approx(np.mean(measured - reference))


def test_a_measure_that_the_report_does_not_have_is_refused(report):
    with pytest.raises(ValueError, match="'ahi'; the report has tst_min"):
        BlandAltmanDisplay.from_report(report, "ahi")


def test_one_night_has_no_limits():
    summary = bland_altman([400], [410])
    display = BlandAltmanDisplay(pd.Series([400]), pd.Series([410]), summary).plot()
    assert list(display.lines_) == ["bias"]


def test_the_curve_is_that_of_the_report():
    risk = RNG.random(300)
    found = calibration_report((RNG.random(300) < risk).astype(int), risk, n_resamples=20)
    display = ReliabilityDisplay.from_report(found, name="model")
    np.testing.assert_allclose(display.display_.prob_true, found.curve["observed"])
    (text,) = display.ax_.texts
    assert f"{found.scores.loc['slope', 'value']:.2f}" in text.get_text()
    assert display.figure_ is display.ax_.figure


def test_axes_that_are_given_are_drawn_on(report):
    import matplotlib.pyplot as plt

    _, axes = plt.subplots(2)
    assert StageConfusionDisplay.from_report(report, ax=axes[0]).ax_ is axes[0]
    assert BlandAltmanDisplay.from_report(report, ax=axes[1]).ax_ is axes[1]
