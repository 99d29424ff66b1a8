# SPDX-License-Identifier: BSD-3-Clause
"""Displays of studies, from results without an encoder."""

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.utils import Bunch

from sleep2vec_sklearn import fit_scaling_law, label_efficiency_curve
from sleep2vec_sklearn.evaluation import phenome_scan
from sleep2vec_sklearn.plotting import (
    LabelEfficiencyDisplay,
    ManhattanDisplay,
    ModalityDropoutDisplay,
    ModalityImportanceDisplay,
    ModalitySubsetsDisplay,
    RetrievalDisplay,
    ScalingLawDisplay,
)
from sleep2vec_sklearn.probing import (
    CrossModalRetrieval,
    ModalityDropout,
    ModalitySubsets,
    non_empty_subsets,
)


@pytest.fixture
def axes(subplots):
    return subplots[1][0]


@pytest.fixture(scope="module")
def efficiency():
    rng = np.random.default_rng(0)
    subjects, y = np.repeat(np.arange(9), 25), rng.integers(0, 2, 225)
    X = rng.normal(size=(225, 2)) + y[:, None]
    models = {"linear": LogisticRegression(), "prior": DummyClassifier()}
    few = {"sizes": [1, 4], "cv": 3, "n_repeats": 2, "n_resamples": 50}
    return label_efficiency_curve(models, X, y, subjects, scoring=["accuracy", "roc_auc"], **few)


def subsets_of(*names):
    """The score of a subset is a tenth of the letters of its names."""
    rows = [
        (" + ".join(s), len(s), "kappa", len("".join(s)) / 10, 0.0, 1.0, 10, 2)
        for s in non_empty_subsets(names)
    ]
    columns = ["subset", "n_modalities", "metric", "score", "low", "high", "rows", "subjects"]
    return ModalitySubsets(pd.DataFrame(rows, columns=columns), names, "pooled", 0.95, None, {})


@pytest.fixture
def retrieval():
    columns = {"scope": "nights", "query": ["eeg", "ecg"], "target": ["ecg", "eeg"]}
    columns |= {"recall_1": [0.25, 0.5], "median_rank": [3.0, 2.0]}
    table = pd.DataFrame({**columns, "chance_1": 0.01, "chance_rank": 50.5})
    return CrossModalRetrieval(table, ("eeg", "ecg"), 0.95)


def importance(method="drop", metric="kappa"):
    mean = np.array([0.1, 0.3])
    interval = {"importances_mean": mean, "low": mean - 0.1, "high": mean + 0.1}
    return Bunch(modalities=("eeg", "ecg"), **interval, method=method, metric=metric, baseline=0.7)


def texts_of(ax):
    return [text.get_text() for text in ax.texts]


def test_one_line_per_estimator(efficiency, axes):
    display = LabelEfficiencyDisplay.from_results(efficiency, ax=axes)
    assert display.ax_ is axes
    assert list(display.lines_) == list(display.bands_) == ["linear", "prior"]
    rows = efficiency.summary.query("estimator == 'linear' and metric == 'accuracy'")
    np.testing.assert_array_equal(display.lines_["linear"].get_ydata(), rows["score"])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "4"]


def test_metric_is_chosen_by_name(efficiency):
    display = LabelEfficiencyDisplay.from_results(efficiency, metric="roc_auc")
    assert display.ax_.get_ylabel() == "roc_auc (mean over test subjects)"
    with pytest.raises(ValueError, match="accepted are 'accuracy', 'roc_auc'"):
        LabelEfficiencyDisplay.from_results(efficiency, metric="r2")


def test_few_subsets_are_lines():
    display = ModalitySubsetsDisplay.from_results(subsets_of("effort", "ecg", "eog"))
    labels = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert labels == display.table_["subset"].tolist()
    assert labels[0] == "ecg"
    assert labels[-1] == "effort + ecg + eog"
    assert display.ax_.get_ylim()[0] > display.ax_.get_ylim()[1]


def test_many_subsets_are_a_heatmap():
    names = ("eeg", "eog", "emg", "ecg", "effort", "ibi")
    display = ModalitySubsetsDisplay.from_results(subsets_of(*names))
    assert display.table_.shape == (6, 6)
    assert display.table_.loc["effort", 1] == pytest.approx(0.6)
    assert display.table_.loc["eeg", 2] == pytest.approx((4 * 0.6 + 0.9) / 5)
    assert len(texts_of(display.ax_)) == 36
    with pytest.raises(ValueError, match="kind must be one of"):
        display.plot(kind="pie")


def test_losses_at_share_lost(axes):
    columns = {"pattern": ["night", "night", "block"], "fraction": [0.0, 1.0, 0.5]}
    columns |= {"lost": [0.0, 0.66, 0.5], "score": [0.7, 0.3, 0.5]}
    table = pd.DataFrame({**columns, "metric": "kappa", "low": 0.2, "high": 0.8})
    result = ModalityDropout(table, ("eeg",), "subject", 0.95)
    display = ModalityDropoutDisplay.from_results(result, ax=axes)
    assert display.lines_["night"].get_xdata().tolist() == [0.0, 0.66]
    assert display.lines_["block"].get_ydata().tolist() == [0.5]


def test_sensors_ordered_by_first_method():
    display = ModalityImportanceDisplay.from_results([importance("drop"), importance("swap")])
    assert display.order_ == ["ecg", "eeg"]
    legend = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert legend == ["sensor dropped", "from another subject"]
    assert "0.70" in display.ax_.get_xlabel()


def test_importances_of_different_studies():
    with pytest.raises(ValueError, match="differ in their modalities or metric"):
        ModalityImportanceDisplay.from_results([importance(), importance(metric="auc")])
    with pytest.raises(ValueError, match="several metrics"):
        ModalityImportanceDisplay.from_results({"kappa": importance()})


def test_queries_are_heatmap_rows(retrieval):
    display = RetrievalDisplay.from_results(retrieval)
    assert display.table_.loc["eeg", "ecg"] == 0.25
    assert sorted(texts_of(display.ax_)) == ["0.25", "0.50"]
    assert "chance 0.01" in display.figure_.axes[1].get_ylabel()
    ranks = RetrievalDisplay.from_results(retrieval, measure="median_rank")
    assert sorted(texts_of(ranks.ax_)) == ["2", "3"]
    with pytest.raises(ValueError, match="measure must be one of"):
        RetrievalDisplay.from_results(retrieval, measure="recall")
    with pytest.raises(ValueError, match="scope='night'"):
        RetrievalDisplay.from_results(retrieval, scope="night")


def test_extrapolation_is_dashed(axes):
    points = pd.DataFrame({"n_nights": [4, 8, 16, 32], "loss": [3.0, 2.4, 2.1, 2.0]})
    law = fit_scaling_law(points, x="n_nights", n_resamples=20)
    display = ScalingLawDisplay.from_results(law, ax=axes)
    assert display.lines_["law"].get_xdata()[[0, -1]] == pytest.approx([4, 32])
    beyond = display.lines_["extrapolated"]
    assert beyond.get_linestyle() == "--"
    assert beyond.get_label() == "extrapolated"
    assert beyond.get_xdata()[[0, -1]] == pytest.approx([32, 128])
    assert display.lines_["measured"].get_ydata().tolist() == [3.0, 2.4, 2.1, 2.0]
    only = ScalingLawDisplay.from_results(law, extrapolate=1)
    assert "extrapolated" not in only.lines_
    with pytest.raises(ValueError, match="at least 1"):
        ScalingLawDisplay.from_results(law, extrapolate=0.5)


@pytest.fixture(scope="module")
def phenome():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((80, 2))
    outcomes = {f"like {i}": X[:, 0] + rng.normal(0, 0.2, 80) for i in range(4)}
    outcomes |= {f"other {i}": rng.standard_normal(80) for i in range(8)}
    return phenome_scan(None, X, outcomes, n_resamples=0)


def test_manhattan_groups_and_limits(phenome):
    names = phenome.table["outcome"]
    display = ManhattanDisplay.from_results(phenome, categories={n: n[:4] for n in names[:9]})
    assert {k: len(v.get_xdata()) for k, v in display.points_.items()} == {
        "like": 4, "othe": 5, "other": 3
    }  # fmt: skip
    heights = {name: line.get_ydata()[0] for name, line in display.lines_.items()}
    assert heights["Bonferroni"] == pytest.approx(-np.log10(0.05 / 12))
    n_rejected = (phenome.table["p_bh"] <= 0.05).sum()
    assert heights["Benjamini-Hochberg"] == pytest.approx(-np.log10(0.05 * n_rejected / 12))


def test_manhattan_labels_stay_apart(phenome):
    display = ManhattanDisplay.from_results(phenome, max_labels=3)
    boxes = [text.get_window_extent() for text in display.labels_.values()]
    assert len(boxes) == 3
    assert not any(boxes[i].overlaps(boxes[j]) for i in range(3) for j in range(i))
    assert set(display.labels_) < {f"like {i}" for i in range(4)}


def test_manhattan_needs_tests(phenome):
    empty = phenome_scan(None, np.zeros((30, 1)), {"all": np.ones(30)}, n_resamples=0)
    with pytest.raises(ValueError, match="no outcome was tested"):
        ManhattanDisplay.from_results(empty)
    with pytest.raises(ValueError, match="alpha must be between 0 and 1"):
        ManhattanDisplay.from_results(phenome, alpha=5)
