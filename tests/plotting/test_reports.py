# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pandas as pd
import pytest

from sleep2vec_sklearn.evaluation import (
    bland_altman,
    calibration_report,
    kaplan_meier,
    staging_report,
    survival_outcome,
)
from sleep2vec_sklearn.plotting import (
    BlandAltmanDisplay,
    KaplanMeierDisplay,
    ReliabilityDisplay,
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


def test_displays_draw_on_axes(report, subjects, subplots):
    import matplotlib.pyplot as plt

    figure, axes = subplots
    assert StageConfusionDisplay.from_report(report, ax=axes[0]).ax_ is axes[0]
    assert BlandAltmanDisplay.from_report(report, ax=axes[1]).ax_ is axes[1]
    display = KaplanMeierDisplay.from_predictions(*subjects, ax=axes[1])
    assert (display.ax_, display.figure_) == (axes[1], figure)
    assert plt.get_fignums() == [figure.number]


@pytest.fixture
def subjects():
    rng = np.random.default_rng(0)
    risk = rng.standard_normal(90)
    time, end = rng.exponential(np.exp(-risk)) * 5 + 0.1, rng.uniform(1, 10, 90)
    return survival_outcome(time <= end, np.minimum(time, end)), risk


def at_risk(display):
    """Numbers below the axis, as rows."""
    rows = {}
    for text in display.ax_.texts:
        rows.setdefault(text.xyann[1], []).append(text.get_text().strip())
    return [rows[height] for height in sorted(rows, reverse=True)]


def test_groups_are_equal_by_risk(subjects):
    y, risk = subjects
    display = KaplanMeierDisplay.from_predictions(y, risk, n_groups=3)
    assert list(display.lines_) == ["low risk", "middle risk", "high risk"]
    assert [len(group) for group in display.groups.values()] == [30, 30, 30]
    ends = [curve.at(5) for curve in display.curves_.values()]
    assert ends == sorted(ends, reverse=True)


def test_curve_starts_at_one(subjects):
    y, risk = subjects
    display = KaplanMeierDisplay.from_predictions(y, risk)
    low = y[risk < np.median(risk)]
    curve = kaplan_meier(low)
    line = display.lines_["low risk"]
    np.testing.assert_array_equal(line.get_xdata(), [0, *curve.times])
    np.testing.assert_array_equal(line.get_ydata(), [1, *curve.survival])
    assert line.get_drawstyle() == "steps-post"
    text = display.ax_.get_legend().get_texts()[0].get_text()
    assert text == f"low risk ({low['event'].sum()} of {len(low)})"


def test_numbers_at_risk_below_ticks():
    y = survival_outcome([1, 0, 1, 0], [1.0, 2.0, 2.0, 4.0])
    display = KaplanMeierDisplay({"all": y}).plot()
    ticks = [t for t in display.ax_.get_xticks() if 0 <= t <= 4]
    expected = [str((y["time"] >= tick).sum()) for tick in ticks]
    assert at_risk(display) == [["Number at risk"], [*expected, "all"]]
    y = survival_outcome([1, 0, 1], [4.0, 4.0, 4.0], [0.0, 3.0, np.nan])
    numbers = at_risk(KaplanMeierDisplay({"all": y}).plot())[1]
    assert (numbers[1], numbers[-2]) == ("2", "3")


def test_bands_are_confidence_limits(subjects):
    y, risk = subjects
    display = KaplanMeierDisplay.from_predictions(y, risk, level=0.8)
    (path,) = display.bands_["high risk"].get_paths()
    lower = display.curves_["high risk"].lower
    assert path.vertices[:, 1].min() == pytest.approx(np.nanmin(lower))
    assert KaplanMeierDisplay.from_predictions(y, risk, level=None).bands_ == {}


def test_lines_differ_without_colour(subjects):
    display = KaplanMeierDisplay.from_predictions(*subjects, n_groups=4)
    styles = [line.get_linestyle() for line in display.lines_.values()]
    assert len(set(styles)) == 4
    assert list(display.lines_) == [f"risk group {i}" for i in (1, 2, 3, 4)]
    y, risk = subjects
    display = KaplanMeierDisplay.from_predictions(y, risk, thresholds=[1.0])
    assert len(display.groups["high risk"]) == (risk >= 1).sum()


def test_one_outcome_of_several(subjects):
    y, risk = subjects
    both, risks = np.stack([y, y], axis=1), np.stack([risk, -risk], axis=1)
    both["time"][:10, 1] = np.nan
    display = KaplanMeierDisplay.from_predictions(both, risks, outcome=1)
    assert sum(map(len, display.groups.values())) == 80
    with pytest.raises(ValueError, match="outcome=2"):
        KaplanMeierDisplay.from_predictions(both, risks, outcome=2)


def test_estimator_predicts_risks(subjects):
    y, risk = subjects

    class Given:
        def predict(self, X):
            return X[:, 0]

    display = KaplanMeierDisplay.from_estimator(Given(), risk[:, None], y, unit="months")
    same = KaplanMeierDisplay.from_predictions(y, risk)
    for name, line in display.lines_.items():
        np.testing.assert_array_equal(line.get_ydata(), same.lines_[name].get_ydata())
    assert display.ax_.get_xlabel() == "Time (months)"


def test_invalid_groups_are_refused(subjects):
    y, risk = subjects
    with pytest.raises(ValueError, match="n_groups must be from 2 to 6, got 7"):
        KaplanMeierDisplay.from_predictions(y, risk, n_groups=7)
    with pytest.raises(ValueError, match="nobody is in the group 'low risk'"):
        KaplanMeierDisplay.from_predictions(y, np.zeros(90))
    with pytest.raises(ValueError, match="from 1 to 6"):
        KaplanMeierDisplay({}).plot()
