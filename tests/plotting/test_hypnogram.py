# SPDX-License-Identifier: BSD-3-Clause
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest

from sleep2vec_sklearn.errors import Sleep2VecError
from sleep2vec_sklearn.plotting import HypnogramDisplay

mpl.use("Agg")

SCORED = [0, 1, 2, 3, 4, -1, 2, 0]
PREDICTED = [0, 2, 2, 3, 4, 2, 2, 1]


@pytest.fixture(autouse=True)
def close_figures():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


def heights_of(line):
    """What is drawn over each epoch."""
    return line.get_ydata()[:-1]


def labels_at(display):
    ticks, labels = display.ax_.get_yticks(), display.ax_.get_yticklabels()
    return {tick: label.get_text() for tick, label in zip(ticks, labels, strict=True)}


def marks_of(display):
    (marks,) = [line for line in display.ax_.lines if line.get_marker() == "|"]
    return np.round(marks.get_xdata() * 120 - 0.5).astype(int).tolist()


def test_every_epoch_is_drawn_at_the_height_of_its_stage():
    display = HypnogramDisplay.from_predictions(SCORED)
    labels = labels_at(display)
    drawn = [labels.get(h) for h in heights_of(display.lines_["scored"])]
    assert drawn == ["W", "N1", "N2", "N3", "R", None, "N2", "W"]


def test_wake_is_on_top_rem_below_it_and_deep_sleep_at_the_bottom():
    labels = labels_at(HypnogramDisplay.from_predictions(SCORED))
    assert [labels[tick] for tick in sorted(labels, reverse=True)] == ["W", "R", "N1", "N2", "N3"]


def test_unscored_epochs_are_left_blank():
    heights = heights_of(HypnogramDisplay.from_predictions(SCORED).lines_["scored"])
    np.testing.assert_array_equal(np.isnan(heights), np.array(SCORED) == -1)


def test_time_runs_in_hours_to_the_end_of_the_last_epoch():
    display = HypnogramDisplay.from_predictions([2] * 240)
    x = display.lines_["scored"].get_xdata()
    assert (x[0], x[1], x[-1]) == (0, pytest.approx(1 / 120), pytest.approx(2))
    assert display.ax_.get_xlim() == (0, 2)
    assert "Hours" in display.ax_.get_xlabel()


def test_a_step_holds_for_the_whole_epoch():
    line = HypnogramDisplay.from_predictions(SCORED).lines_["scored"]
    assert line.get_drawstyle() == "steps-post"
    assert line.get_ydata()[-1] == line.get_ydata()[-2]


def test_rem_is_drawn_twice_as_a_thick_line():
    display = HypnogramDisplay.from_predictions(SCORED)
    (thick,) = [line for line in display.ax_.lines if line.get_linewidth() == 3]
    drawn = ~np.isnan(heights_of(thick))
    np.testing.assert_array_equal(drawn, np.array(SCORED) == 4)


def test_scored_and_predicted_stages_stand_one_above_the_other():
    display = HypnogramDisplay.from_predictions(SCORED, PREDICTED)
    assert list(display.lines_) == ["scored", "predicted"]
    upper, lower = (heights_of(line) for line in display.lines_.values())
    assert np.nanmin(upper) > np.nanmax(lower)
    labels = labels_at(display)
    assert [labels[h] for h in lower] == ["W", "N2", "N2", "N3", "R", "N2", "N2", "N1"]


def test_the_two_lines_have_different_colours():
    lines = HypnogramDisplay.from_predictions(SCORED, PREDICTED).lines_
    assert lines["scored"].get_color() != lines["predicted"].get_color()


def test_differences_are_marked_where_both_have_a_stage():
    display = HypnogramDisplay.from_predictions(SCORED, PREDICTED)
    assert marks_of(display) == [1, 7]
    assert labels_at(display)[-5.0] == "differs"


def test_equal_stages_have_no_marks():
    assert marks_of(HypnogramDisplay.from_predictions(PREDICTED, PREDICTED)) == []


def test_one_line_alone_has_no_row_of_differences():
    labels = labels_at(HypnogramDisplay.from_predictions(SCORED))
    assert "differs" not in labels.values()


def test_predictions_alone_can_be_drawn():
    display = HypnogramDisplay.from_predictions(None, PREDICTED)
    assert list(display.lines_) == ["predicted"]


def test_lines_are_named_beside_the_axes():
    display = HypnogramDisplay.from_predictions(SCORED, PREDICTED)
    assert [text.get_text() for text in display.ax_.texts] == ["scored", "predicted"]


def test_axes_that_are_given_are_drawn_on():
    import matplotlib.pyplot as plt

    figure, (first, second) = plt.subplots(2)
    display = HypnogramDisplay.from_predictions(SCORED, ax=second)
    assert display.ax_ is second
    assert display.figure_ is figure
    assert not first.lines
    assert plt.get_fignums() == [figure.number]


def test_a_display_can_be_drawn_again():
    display = HypnogramDisplay(y_true=SCORED, y_pred=PREDICTED)
    assert not hasattr(display, "ax_")
    first = display.plot().figure_
    assert display.plot() is display
    assert display.figure_ is not first


@pytest.mark.parametrize("arguments", [(None, None), (SCORED, PREDICTED[:-1])])
def test_nothing_to_draw_and_unequal_lengths_are_refused(arguments):
    with pytest.raises(ValueError, match="one common length"):
        HypnogramDisplay.from_predictions(*arguments)


def test_what_is_no_stage_is_refused():
    with pytest.raises((ValueError, Sleep2VecError), match="7"):
        HypnogramDisplay.from_predictions([0, 7])


def test_matplotlib_is_imported_when_something_is_drawn():
    code = "import sys, sleep2vec_sklearn.plotting; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
