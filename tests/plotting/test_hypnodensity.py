# SPDX-License-Identifier: BSD-3-Clause
from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pytest

from sleep2vec_sklearn.plotting import HypnodensityDisplay

mpl.use("Agg")

PROBABILITIES = np.random.default_rng(0).dirichlet(np.ones(5), 40)
STAGES = PROBABILITIES.argmax(axis=1)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


def height(display, stage, epoch):
    """Extent of a stage's area over one epoch."""
    (path,) = display.areas_[stage].get_paths()
    middle = (epoch + 0.5) / 120
    steps = path.vertices
    crossed = []
    for (x0, y0), (x1, _) in pairwise(steps):
        if min(x0, x1) < middle < max(x0, x1):
            crossed.append(y0)
    return max(crossed) - min(crossed)


def test_areas_are_as_high_as_the_probabilities():
    display = HypnodensityDisplay(PROBABILITIES).plot()
    for column, stage in enumerate(("W", "N1", "N2", "N3", "R")):
        assert height(display, stage, 7) == pytest.approx(PROBABILITIES[7, column], abs=1e-6)


def test_the_legend_has_wake_on_top_and_deep_sleep_at_the_bottom():
    legend = HypnodensityDisplay(PROBABILITIES).plot().ax_.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["W", "R", "N1", "N2", "N3"]


def test_time_runs_in_hours_to_the_end_of_the_last_epoch():
    assert HypnodensityDisplay(PROBABILITIES).plot().ax_.get_xlim() == (0, pytest.approx(40 / 120))


def test_scored_stages_are_a_strip_above():
    plain = HypnodensityDisplay(PROBABILITIES).plot().ax_.get_ylim()[1]
    display = HypnodensityDisplay(PROBABILITIES, y_true=STAGES).plot()
    assert display.ax_.get_ylim()[1] > plain
    runs = 1 + np.count_nonzero(np.diff(STAGES))
    assert len(display.ax_.patches) == runs


def test_epochs_without_a_probability_are_left_blank():
    holes = PROBABILITIES.copy()
    holes[10:20] = np.nan
    areas = HypnodensityDisplay(holes).plot().areas_
    assert len(areas["N2"].get_paths()) == 2


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"\(40, 4\).*columns W, N1"):
        HypnodensityDisplay(PROBABILITIES[:, :4]).plot()
    with pytest.raises(ValueError, match="39 epochs"):
        HypnodensityDisplay(PROBABILITIES, y_true=STAGES[1:]).plot()


def test_an_epoch_alone_between_gaps_is_drawn():
    gappy = np.where(np.isin(np.arange(40), [7, 39])[:, None], PROBABILITIES, np.nan)
    areas = HypnodensityDisplay(gappy).plot().areas_
    spans = [path.get_extents().intervalx * 120 for path in areas["N3"].get_paths()]
    np.testing.assert_allclose(spans, [(7, 8), (39, 40)])
