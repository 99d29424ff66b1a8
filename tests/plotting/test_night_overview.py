# SPDX-License-Identifier: BSD-3-Clause
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from sleep2vec_sklearn.finetuning import StagedNight
from sleep2vec_sklearn.plotting import NightOverviewDisplay

mpl.use("Agg")
RNG = np.random.default_rng(0)
N = 60


@pytest.fixture(autouse=True)
def close_figures():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.fixture(scope="module")
def staged():
    probabilities = RNG.dirichlet(np.ones(5), N)
    measured = pd.DataFrame({"eeg": np.arange(N) < 45, "ibi": np.ones(N, dtype=bool)})
    return StagedNight(
        id="night-7",
        stages=probabilities.argmax(axis=1).astype(np.int8),
        probabilities=pd.DataFrame(probabilities, columns=["W", "N1", "N2", "N3", "R"]),
        measured=measured,
        embedding=RNG.standard_normal((N, 16)),
    )


def test_four_panels_share_the_time(staged):
    axes = NightOverviewDisplay.from_night(staged).axes_
    assert [*axes] == ["coverage", "stages", "probabilities", "embedding"]
    assert {ax.get_xlim() for ax in axes.values()} == {(0, N / 120)}
    assert [bool(ax.get_xlabel()) for ax in axes.values()] == [False, False, False, True]


def test_sensors_are_named_with_the_share_they_cover(staged):
    ax = NightOverviewDisplay.from_night(staged).axes_["coverage"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["eeg", "ibi"]
    assert [text.get_text() for text in ax.texts] == ["75 %", "100 %"]


def test_scored_stages_stand_above_the_predicted_ones(staged):
    display = NightOverviewDisplay.from_night(staged, y_true=[2] * N)
    assert [text.get_text() for text in display.axes_["stages"].texts] == ["scored", "predicted"]
    with pytest.raises(ValueError, match="3 epochs, the night has 60"):
        NightOverviewDisplay.from_night(staged, y_true=[2] * 3)


def test_the_night_is_named_and_a_figure_that_is_given_is_used(staged):
    import matplotlib.pyplot as plt

    figure = plt.figure(layout="constrained")
    display = NightOverviewDisplay.from_night(staged, figure=figure)
    assert display.figure_ is figure
    assert figure.get_suptitle() == "night-7"


def test_columns_of_the_embedding_are_all_there(staged):
    (image,) = NightOverviewDisplay.from_night(staged).axes_["embedding"].images
    assert image.get_array().shape == (16, N)


def test_epochs_without_any_signal_are_blank_and_change_no_other(staged):
    from dataclasses import replace

    measured = staged.measured & (np.arange(N) < 50)[:, None]
    embedding = np.where(measured.any(axis=1).to_numpy()[:, None], staged.embedding, 1e6)
    lost = NightOverviewDisplay.from_night(
        replace(staged, measured=measured.assign(ibi=np.arange(N) < 50), embedding=embedding)
    )
    (image,) = lost.axes_["embedding"].images
    shown = np.ma.filled(image.get_array(), np.nan)
    assert np.isnan(shown[:, 50:]).all()
    np.testing.assert_allclose(shown[:, :50].std(axis=1), 1)
