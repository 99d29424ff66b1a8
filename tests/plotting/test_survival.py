# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator

from sleep2vec_sklearn.evaluation import (
    competing_outcome,
    cumulative_incidence,
    kaplan_meier,
    survival_outcome,
)
from sleep2vec_sklearn.plotting import CumulativeIncidenceDisplay, KaplanMeierDisplay


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
    of_table = KaplanMeierDisplay.from_predictions(pd.DataFrame(y), risk, n_groups=3)
    assert of_table.curves_["low risk"].at(5) == display.curves_["low risk"].at(5)
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


@pytest.fixture
def deaths():
    rng = np.random.default_rng(0)
    y = competing_outcome(rng.choice(3, 120, p=[0.4, 0.4, 0.2]), rng.uniform(0.1, 8, 120))
    return y, np.where(rng.random(120) < 0.5, "men", "women")


def test_incidence_starts_at_zero(deaths):
    y, _ = deaths
    display = CumulativeIncidenceDisplay.from_outcome(y, causes={2: "other", 1: "cardiac"})
    curve = cumulative_incidence(y)
    for cause in (1, 2):
        line = display.lines_["all", cause]
        np.testing.assert_array_equal(line.get_xdata(), [0, *curve.times])
        np.testing.assert_array_equal(line.get_ydata(), [0, *curve.incidence[cause - 1]])
        # limits begin with the first event
        path = display.bands_["all", cause].get_paths()[-1]
        assert path.vertices[:, 1].max() == pytest.approx(np.nanmax(curve.upper[cause - 1]))
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts[0] == f"other ({(y['cause'] == 2).sum()} of 120)"


def test_groups_and_causes_differ(deaths):
    y, sex = deaths
    y["time"][:5], y["cause"][:5] = np.nan, 0
    display = CumulativeIncidenceDisplay.from_outcome(y, by=sex, level=None)
    assert list(display.lines_) == [("men", 1), ("men", 2), ("women", 1), ("women", 2)]
    looks = {(line.get_color(), line.get_linestyle()) for line in display.lines_.values()}
    assert (len(looks), display.bands_) == (4, {})
    assert at_risk(display)[1][0] == str((sex[5:] == "men").sum())
    display = CumulativeIncidenceDisplay.from_outcome(y, by=sex, causes=[1])
    assert display.ax_.get_legend().get_texts()[0].get_text().startswith("men (")
    assert display.ax_.get_legend().get_title().get_text() == "Group (events of subjects)"


def test_curves_draw_on_axes(subjects, deaths, subplots):
    figure, axes = subplots
    display = KaplanMeierDisplay.from_predictions(*subjects, ax=axes[0])
    assert (display.ax_, display.figure_) == (axes[0], figure)
    assert CumulativeIncidenceDisplay.from_outcome(deaths[0], ax=axes[1]).ax_ is axes[1]


def test_incidence_by_predicted_risk(deaths):
    y, _ = deaths

    class Given(BaseEstimator):
        def predict_cumulative_incidence(self, X, times, *, cause):
            return X if times is None else X[:, :1]

    X = np.random.default_rng(1).random((120, 2))
    late = CumulativeIncidenceDisplay.from_estimator(Given(), X, y, n_groups=3)
    early = CumulativeIncidenceDisplay.from_estimator(Given(), X, y, time=1.0, unit="months")
    highest = y[X[:, 1] > np.quantile(X[:, 1], 2 / 3)]
    curve = cumulative_incidence(highest)
    np.testing.assert_array_equal(late.curves_["high risk"].incidence[0], curve.incidence[0])
    assert list(early.lines_) == [("low risk", 1), ("high risk", 1)]
    assert early.ax_.get_xlabel() == "Time (months)"
    with pytest.raises(TypeError, match="accepted is a CauseSpecificCox"):
        CumulativeIncidenceDisplay.from_estimator(BaseEstimator(), X, y)


def test_unfit_incidence_is_refused(deaths):
    y, sex = deaths
    with pytest.raises(ValueError, match="by has 3 elements for 120"):
        CumulativeIncidenceDisplay.from_outcome(y, by=sex[:3])
    with pytest.raises(ValueError, match="causes must be from 1 to 6, got 0"):
        CumulativeIncidenceDisplay.from_outcome(y[y["cause"] == 0])
    table = pd.DataFrame(y)
    codes = np.where(np.arange(len(y)) < 9, np.nan, sex == sex[0])
    assert list(CumulativeIncidenceDisplay.from_outcome(y, by=codes).curves_) == ["0", "1"]
    with pytest.raises(ValueError, match="y and by have the same rows in another order"):
        CumulativeIncidenceDisplay.from_outcome(table, by=pd.Series(sex)[::-1])
    assert list(CumulativeIncidenceDisplay.from_outcome(table).curves_) == ["all"]
