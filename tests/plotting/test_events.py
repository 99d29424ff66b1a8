# SPDX-License-Identifier: BSD-3-Clause
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from sleep2vec_sklearn import Recording
from sleep2vec_sklearn.plotting import EventsDisplay

mpl.use("Agg")

SECONDS = np.zeros(7200)
SECONDS[600:660] = 0.8


@pytest.fixture(autouse=True)
def close_figures():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


def table(*rows):
    return pd.DataFrame(rows, columns=["onset", "duration", "type"])


def spans_of(bars):
    """Begin and end of each bar, in seconds."""
    boxes = [path.get_extents() for path in bars.get_paths()]
    return [(round(box.x0 * 3600), round(box.x1 * 3600)) for box in boxes]


def test_events_are_bars_where_they_were():
    display = EventsDisplay.from_predictions(
        {"apnea": SECONDS},
        table((600, 60, "apnea"), (10, 20, "arousal")),
        scored=table((605, 50, "apnea"), (3600, 30, "apnea")),
    )
    assert spans_of(display.bars_["apnea", "detected"]) == [(600, 660)]
    assert spans_of(display.bars_["apnea", "scored"]) == [(605, 655), (3600, 3630)]
    labels = [label.get_text() for label in display.ax_[0].get_yticklabels()]
    assert labels[-2:] == ["detected (1)", "scored (2)"]


def test_the_line_is_the_probability_of_each_second_in_hours():
    display = EventsDisplay.from_predictions({"apnea": SECONDS}, thresholds={"apnea": 0.4})
    line = display.lines_["apnea"]
    np.testing.assert_array_equal(line.get_ydata(), SECONDS)
    assert line.get_xdata()[-1] == pytest.approx(2, abs=1e-3)
    assert display.ax_[0].get_lines()[1].get_ydata()[0] == 0.4


def test_scored_and_detected_have_different_colours_and_places():
    events = table((600, 60, "apnea"))
    display = EventsDisplay.from_predictions({"apnea": SECONDS}, events, scored=events)
    detected, scored = (display.bars_["apnea", kind] for kind in ("detected", "scored"))
    assert not np.array_equal(detected.get_facecolor(), scored.get_facecolor())
    boxes = [bars.get_paths()[0].get_extents() for bars in (scored, detected)]
    assert boxes[0].y1 < boxes[1].y0 < 0


def test_every_type_has_axes_of_its_own():
    display = EventsDisplay.from_predictions({"apnea": SECONDS, "arousal": SECONDS})
    assert [axes.get_ylabel() for axes in display.ax_] == ["apnea", "arousal"]
    assert "Hours" in display.ax_[-1].get_xlabel()


def test_a_detector_draws_its_own_and_what_was_scored():
    detector = SimpleNamespace(
        predict_proba=lambda nights: [SECONDS[:, None]],
        predict_events=lambda nights: table((600, 60, "breathing")),
        event_types_={"breathing": ("apnea", "hypopnea")},
        thresholds_={"breathing": 0.5},
    )
    events = table((60, 30, "central_apnea"), (90, 30, "hypopnea"), (9, 3, "arousal"))
    night = Recording({"spo2": (np.full(7200, 95.0), 1)}, events=events)
    display = EventsDisplay.from_estimator(detector, night)
    assert spans_of(display.bars_["breathing", "scored"]) == [(60, 90), (90, 120)]


def test_axes_that_are_given_are_drawn_on():
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2)
    display = EventsDisplay.from_predictions({"a": SECONDS, "b": SECONDS}, ax=axes)
    assert display.figure_ is figure
    with pytest.raises(ValueError, match="2 types need as many axes, got 1"):
        display.plot(ax=axes[0])


@pytest.mark.parametrize("nothing", [{}, SECONDS])
def test_what_has_no_type_is_refused(nothing):
    with pytest.raises(ValueError, match="mapping of type"):
        EventsDisplay.from_predictions(nothing)
