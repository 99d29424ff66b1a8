# SPDX-License-Identifier: BSD-3-Clause
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest

from sleep2vec_sklearn.evaluation import kaplan_meier, survival_outcome
from sleep2vec_sklearn.plotting import KaplanMeierDisplay

mpl.use("Agg")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.fixture
def people():
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


def test_groups_of_equal_size_are_drawn_by_risk(people):
    y, risk = people
    display = KaplanMeierDisplay.from_predictions(y, risk, n_groups=3)
    assert list(display.lines_) == ["low risk", "middle risk", "high risk"]
    assert [len(group) for group in display.groups.values()] == [30, 30, 30]
    ends = [curve.at(5) for curve in display.curves_.values()]
    assert ends == sorted(ends, reverse=True)


def test_a_line_is_the_estimate_and_begins_at_one(people):
    y, risk = people
    display = KaplanMeierDisplay.from_predictions(y, risk)
    curve = kaplan_meier(y[risk < np.median(risk)])
    line = display.lines_["low risk"]
    np.testing.assert_array_equal(line.get_xdata(), [0, *curve.times])
    np.testing.assert_array_equal(line.get_ydata(), [1, *curve.survival])
    assert line.get_drawstyle() == "steps-post"


def test_numbers_at_risk_stand_below_the_ticks():
    y = survival_outcome([1, 0, 1, 0], [1.0, 2.0, 2.0, 4.0])
    display = KaplanMeierDisplay({"all": y}).plot()
    ticks = [t for t in display.ax_.get_xticks() if 0 <= t <= 4]
    expected = [str((y["time"] >= tick).sum()) for tick in ticks]
    assert at_risk(display) == [["Number at risk"], [*expected, "all"]]


def test_late_entries_are_not_at_risk_before():
    y = survival_outcome([1, 0, 1], [4.0, 4.0, 4.0], [0.0, 3.0, np.nan])
    numbers = at_risk(KaplanMeierDisplay({"all": y}).plot())[1]
    assert (numbers[1], numbers[-2]) == ("2", "3")


def test_bands_are_the_limits_and_can_be_left_out(people):
    y, risk = people
    display = KaplanMeierDisplay.from_predictions(y, risk, level=0.8)
    (path,) = display.bands_["high risk"].get_paths()
    lower = display.curves_["high risk"].lower
    assert path.vertices[:, 1].min() == pytest.approx(np.nanmin(lower))
    assert KaplanMeierDisplay.from_predictions(y, risk, level=None).bands_ == {}


def test_lines_are_told_apart_without_colour(people):
    display = KaplanMeierDisplay.from_predictions(*people, n_groups=4)
    styles = [line.get_linestyle() for line in display.lines_.values()]
    assert len(set(styles)) == 4
    assert list(display.lines_) == [f"risk group {i}" for i in (1, 2, 3, 4)]


def test_the_legend_counts_events_and_people(people):
    y, risk = people
    display = KaplanMeierDisplay.from_predictions(y, risk)
    low = y[risk < np.median(risk)]
    text = display.ax_.get_legend().get_texts()[0].get_text()
    assert text == f"low risk ({low['event'].sum()} of {len(low)})"


def test_thresholds_may_come_from_elsewhere(people):
    y, risk = people
    display = KaplanMeierDisplay.from_predictions(y, risk, thresholds=[1.0])
    assert len(display.groups["high risk"]) == (risk >= 1).sum()


def test_one_of_several_outcomes_is_chosen_and_missing_ones_are_left_out(people):
    y, risk = people
    both, risks = np.stack([y, y], axis=1), np.stack([risk, -risk], axis=1)
    both["time"][:10, 1] = np.nan
    display = KaplanMeierDisplay.from_predictions(both, risks, outcome=1)
    assert sum(map(len, display.groups.values())) == 80
    with pytest.raises(ValueError, match="outcome=2"):
        KaplanMeierDisplay.from_predictions(both, risks, outcome=2)


def test_risks_are_those_the_estimator_predicts(people):
    y, risk = people

    class Given:
        def predict(self, X):
            return X[:, 0]

    display = KaplanMeierDisplay.from_estimator(Given(), risk[:, None], y, unit="months")
    same = KaplanMeierDisplay.from_predictions(y, risk)
    for name, line in display.lines_.items():
        np.testing.assert_array_equal(line.get_ydata(), same.lines_[name].get_ydata())
    assert display.ax_.get_xlabel() == "Time (months)"


def test_axes_that_are_given_are_drawn_on(people):
    import matplotlib.pyplot as plt

    figure, (_, second) = plt.subplots(1, 2)
    display = KaplanMeierDisplay.from_predictions(*people, ax=second)
    assert (display.ax_, display.figure_) == (second, figure)
    assert plt.get_fignums() == [figure.number]


def test_groups_that_cannot_be_are_refused(people):
    y, risk = people
    with pytest.raises(ValueError, match="n_groups must be from 2 to 6, got 7"):
        KaplanMeierDisplay.from_predictions(y, risk, n_groups=7)
    with pytest.raises(ValueError, match="nobody is in the group 'low risk'"):
        KaplanMeierDisplay.from_predictions(y, np.zeros(90))
    with pytest.raises(ValueError, match="from 1 to 6"):
        KaplanMeierDisplay({}).plot()


def test_matplotlib_is_imported_when_something_is_drawn():
    code = "import sys, sleep2vec_sklearn.plotting as p; p.KaplanMeierDisplay; "
    code += "sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
