# SPDX-License-Identifier: BSD-3-Clause
"""Scores equal to those of the authors' implementation."""

import json
from pathlib import Path

import numpy as np
import pytest

from sleep2vec_sklearn.evaluation import binary_report, regression_report, staging_report

DATA = Path(__file__).parent.parent / "data" / "parity"
EXPECTED = json.loads((DATA / "downstream_metrics.json").read_text())
NAMES = {
    "cohen_kappa": "kappa", "f1_macro": "macro_f1", "f1_weighted": "weighted_f1",
    "recall": "sensitivity", "sens": "sensitivity", "spec": "specificity", "pearsonr": "pearson",
}  # fmt: skip


@pytest.fixture(scope="module")
def inputs():
    with np.load(DATA / "downstream_metrics.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def scores(inputs):
    few = {"n_resamples": 2}
    staging = staging_report(inputs["y5"], inputs["p5"].argmax(axis=1), **few)
    classes = staging.by_class["f1"].rename({"R": "REM"}).add_prefix("f1_")
    return {
        "stage5": {**staging.scores["value"], **classes},
        "binary": binary_report(inputs["yb"], inputs["pb"], **few)["value"],
        "regression": regression_report(inputs["yr"], inputs["pr"], **few)["value"],
    }


@pytest.mark.parametrize(
    ("task", "name"), [(task, name) for task, names in EXPECTED.items() for name in names]
)
def test_scores_equal_the_authors(scores, task, name):
    # theirs were summed in float32
    expected = pytest.approx(EXPECTED[task][name], rel=1e-6, abs=1e-6)
    assert scores[task][NAMES.get(name, name)] == expected
