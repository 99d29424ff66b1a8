# SPDX-License-Identifier: BSD-3-Clause
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from sleep2vec_sklearn import Recording
from sleep2vec_sklearn.errors import Sleep2VecError
from sleep2vec_sklearn.finetuning import StagedNight
from sleep2vec_sklearn.plotting import (
    EventsDisplay,
    HypnodensityDisplay,
    HypnogramDisplay,
    NightOverviewDisplay,
)

N = 60
PROBABILITIES = np.random.default_rng(0).dirichlet(np.ones(5), N)
STAGES = PROBABILITIES.argmax(axis=1)
SCORED = [0, 1, 2, 3, 4, -1, 2, 0]
PREDICTED = [0, 2, 2, 3, 4, 2, 2, 1]
SECONDS = np.zeros(7200)
SECONDS[600:660] = 0.8


@pytest.fixture(scope="module")
def staged():
    return StagedNight(
        id="night-7",
        stages=STAGES.astype(np.int8),
        probabilities=pd.DataFrame(PROBABILITIES, columns=["W", "N1", "N2", "N3", "R"]),
        measured=pd.DataFrame({"eeg": np.arange(N) < 45, "ibi": np.ones(N, dtype=bool)}),
        agreement=np.ones(N),
        embedding=np.random.default_rng(1).standard_normal((N, 16)),
    )


def texts_of(artists):
    return [artist.get_text() for artist in artists]


def heights_of(line):
    """What is drawn over each epoch."""
    return line.get_ydata()[:-1]


def labels_at(display):
    ticks, labels = display.ax_.get_yticks(), texts_of(display.ax_.get_yticklabels())
    return dict(zip(ticks, labels, strict=True))


def marks_of(display):
    (marks,) = [line for line in display.ax_.lines if line.get_marker() == "|"]
    return np.round(marks.get_xdata() * 120 - 0.5).astype(int).tolist()


def height_of(display, stage, epoch):
    """Extent of a stage's area over one epoch."""
    (path,) = display.areas_[stage].get_paths()
    middle = (epoch + 0.5) / 120
    crossed = [
        y0 for (x0, y0), (x1, _) in pairwise(path.vertices) if min(x0, x1) < middle < max(x0, x1)
    ]
    return max(crossed) - min(crossed)


def table(*rows):
    return pd.DataFrame(rows, columns=["onset", "duration", "type"])


def spans_of(bars):
    """Start and end of each bar, in seconds."""
    boxes = [path.get_extents() for path in bars.get_paths()]
    return [(round(box.x0 * 3600), round(box.x1 * 3600)) for box in boxes]


def test_overview_shows_coverage(staged):
    ax = NightOverviewDisplay.from_night(staged).axes_["coverage"]
    assert texts_of(ax.get_yticklabels()) == ["eeg", "ibi"]
    assert texts_of(ax.texts) == ["75 %", "100 %"]
    axes = NightOverviewDisplay.from_night(staged).axes_
    assert [*axes] == ["coverage", "stages", "probabilities", "embedding"]
    assert {ax.get_xlim() for ax in axes.values()} == {(0, N / 120)}
    assert [bool(ax.get_xlabel()) for ax in axes.values()] == [False, False, False, True]


def test_overview_shows_scored_stages(staged):
    display = NightOverviewDisplay.from_night(staged, y_true=[2] * N)
    assert texts_of(display.axes_["stages"].texts) == ["scored", "predicted"]
    with pytest.raises(ValueError, match="3 epochs, the night has 60"):
        NightOverviewDisplay.from_night(staged, y_true=[2] * 3)


def test_overview_draws_on_figure(staged):
    import matplotlib.pyplot as plt

    figure = plt.figure(layout="constrained")
    display = NightOverviewDisplay.from_night(staged, figure=figure)
    assert display.figure_ is figure
    assert figure.get_suptitle() == "night-7"


def test_unmeasured_epochs_stay_blank(staged):
    measured = staged.measured.assign(eeg=np.arange(N) < 45, ibi=np.arange(N) < 50)
    embedding = np.where(np.arange(N)[:, None] < 50, staged.embedding, 1e6)
    lost = replace(staged, measured=measured, embedding=embedding)
    (image,) = NightOverviewDisplay.from_night(lost).axes_["embedding"].images
    shown = np.ma.filled(image.get_array(), np.nan)
    assert shown.shape == (16, N)
    assert np.isnan(shown[:, 50:]).all()
    np.testing.assert_allclose(shown[:, :50].std(axis=1), 1)


def test_hypnogram_steps_in_hours():
    display = HypnogramDisplay.from_predictions([0] + [2] * 239)
    line = display.lines_["scored"]
    assert line.get_drawstyle() == "steps-post"
    assert line.get_ydata()[-1] == line.get_ydata()[-2]
    x = line.get_xdata()
    assert (x[0], x[1], x[-1]) == (0, pytest.approx(1 / 120), pytest.approx(2))
    assert display.ax_.get_xlim() == (0, 2)
    assert "Hours" in display.ax_.get_xlabel()


def test_stages_have_height_and_weight():
    display = HypnogramDisplay.from_predictions(SCORED)
    (thick,) = [line for line in display.ax_.lines if line.get_linewidth() == 3]
    np.testing.assert_array_equal(np.isfinite(heights_of(thick)), np.array(SCORED) == 4)
    labels = labels_at(display)
    drawn = [labels.get(h) for h in heights_of(display.lines_["scored"])]
    assert drawn == ["W", "N1", "N2", "N3", "R", None, "N2", "W"]
    assert [labels[tick] for tick in sorted(labels, reverse=True)] == ["W", "R", "N1", "N2", "N3"]


def test_scored_stands_above_predicted():
    display = HypnogramDisplay.from_predictions(SCORED, PREDICTED)
    assert list(display.lines_) == texts_of(display.ax_.texts) == ["scored", "predicted"]
    scored, predicted = display.lines_.values()
    assert scored.get_color() != predicted.get_color()
    assert np.nanmin(heights_of(scored)) > np.nanmax(heights_of(predicted))
    labels = labels_at(display)
    drawn = [labels[h] for h in heights_of(predicted)]
    assert drawn == ["W", "N2", "N2", "N3", "R", "N2", "N2", "N1"]


def test_differences_between_stages_are_marked():
    display = HypnogramDisplay.from_predictions(SCORED, PREDICTED)
    assert marks_of(display) == [1, 7]
    assert labels_at(display)[-5.0] == "differs"
    assert marks_of(HypnogramDisplay.from_predictions(PREDICTED, PREDICTED)) == []
    display = HypnogramDisplay.from_predictions(None, PREDICTED)
    assert list(display.lines_) == ["predicted"]
    assert "differs" not in labels_at(display).values()


def test_hypnograms_are_drawn_and_redrawn(subplots):
    import matplotlib.pyplot as plt

    figure, (first, second) = subplots
    display = HypnogramDisplay.from_predictions(SCORED, ax=second)
    assert (display.ax_, display.figure_) == (second, figure)
    assert not first.lines
    assert plt.get_fignums() == [figure.number]
    display = HypnogramDisplay(y_true=SCORED, y_pred=PREDICTED)
    assert not hasattr(display, "ax_")
    first = display.plot().figure_
    assert display.plot() is display
    assert display.figure_ is not first


@pytest.mark.parametrize("arguments", [(None, None), (SCORED, PREDICTED[:-1])])
def test_unequal_stages_are_refused(arguments):
    with pytest.raises(ValueError, match="one common length"):
        HypnogramDisplay.from_predictions(*arguments)


def test_unfit_nights_are_refused():
    with pytest.raises((ValueError, Sleep2VecError), match="7"):
        HypnogramDisplay.from_predictions([0, 7])
    with pytest.raises(ValueError, match=r"\(60, 4\).*columns W, N1"):
        HypnodensityDisplay(PROBABILITIES[:, :4]).plot()
    with pytest.raises(ValueError, match="59 epochs"):
        HypnodensityDisplay(PROBABILITIES, y_true=STAGES[1:]).plot()


def test_areas_have_height_of_probabilities():
    display = HypnodensityDisplay(PROBABILITIES).plot()
    for column, stage in enumerate(("W", "N1", "N2", "N3", "R")):
        assert height_of(display, stage, 7) == pytest.approx(PROBABILITIES[7, column], abs=1e-6)
    assert display.ax_.get_xlim() == (0, pytest.approx(N / 120))
    assert texts_of(display.ax_.get_legend().get_texts()) == ["W", "R", "N1", "N2", "N3"]


def test_scored_strip_is_above(staged):
    plain = HypnodensityDisplay(PROBABILITIES).plot()
    display = HypnodensityDisplay.from_night(staged, y_true=STAGES)
    assert display.ax_.get_ylim()[1] > plain.ax_.get_ylim()[1]
    assert len(display.ax_.patches) == 1 + np.count_nonzero(np.diff(STAGES))


def test_epochs_without_probability_are_blank():
    gaps = PROBABILITIES.copy()
    gaps[10:20] = np.nan
    areas = HypnodensityDisplay(gaps).plot().areas_
    assert len(areas["N2"].get_paths()) == 2
    gappy = np.where(np.isin(np.arange(N), [7, N - 1])[:, None], PROBABILITIES, np.nan)
    areas = HypnodensityDisplay(gappy).plot().areas_
    spans = [path.get_extents().intervalx * 120 for path in areas["N3"].get_paths()]
    np.testing.assert_allclose(spans, [(7, 8), (N - 1, N)])


def test_events_are_bars():
    display = EventsDisplay.from_predictions(
        {"apnea": SECONDS},
        table((600, 60, "apnea"), (10, 20, "arousal")),
        scored=table((605, 50, "apnea"), (3600, 30, "apnea")),
    )
    detected, scored = (display.bars_["apnea", kind] for kind in ("detected", "scored"))
    assert spans_of(detected) == [(600, 660)]
    assert spans_of(scored) == [(605, 655), (3600, 3630)]
    labels = texts_of(display.ax_[0].get_yticklabels())
    assert labels[-2:] == ["detected (1)", "scored (2)"]
    assert not np.array_equal(detected.get_facecolor(), scored.get_facecolor())
    boxes = [bars.get_paths()[0].get_extents() for bars in (scored, detected)]
    assert boxes[0].y1 < boxes[1].y0 < 0


def test_probability_line_is_in_hours():
    display = EventsDisplay.from_predictions({"apnea": SECONDS}, thresholds={"apnea": 0.4})
    line = display.lines_["apnea"]
    np.testing.assert_array_equal(line.get_ydata(), SECONDS)
    assert line.get_xdata()[-1] == pytest.approx(2, abs=1e-3)
    assert display.ax_[0].get_lines()[1].get_ydata()[0] == 0.4


def test_detector_draws_scored_events():
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


def test_one_axes_per_event_type(subplots):
    figure, axes = subplots
    display = EventsDisplay.from_predictions({"apnea": SECONDS, "arousal": SECONDS}, ax=axes)
    assert display.figure_ is figure
    assert [ax.get_ylabel() for ax in display.ax_] == ["apnea", "arousal"]
    assert "Hours" in display.ax_[-1].get_xlabel()
    assert len(EventsDisplay.from_predictions({"a": SECONDS, "b": SECONDS}).ax_) == 2
    with pytest.raises(ValueError, match="2 types need as many axes, got 1"):
        display.plot(ax=axes[0])


@pytest.mark.parametrize("nothing", [{}, SECONDS])
def test_events_without_type_are_refused(nothing):
    with pytest.raises(ValueError, match="mapping of type"):
        EventsDisplay.from_predictions(nothing)


def test_matplotlib_is_imported_lazily():
    code = "import sys, sleep2vec_sklearn.plotting; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
