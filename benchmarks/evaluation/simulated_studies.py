# SPDX-License-Identifier: BSD-3-Clause
"""Labels, sensors and retrieval of the bundled encoder, on simulated watch nights.

``python -m benchmarks.evaluation.simulated_studies [--checkpoint NAME] [--images DIR]``

Twelve people of two simulated sites, two hours each, with a belt, an oximeter and a watch. Wake,
NREM and REM are told by a linear head on the frozen encoder's rows, with people held out in six
folds. Prints the tables of docs/studies.md and draws its figures; about a minute of one core.
Everything is simulated: the figures show what the studies look like, not how good the encoder is.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sleep2vec_sklearn import (
    EpochSequence,
    Sleep2VecTransformer,
    cross_modal_retrieval,
    label_efficiency_curve,
    load_checkpoint,
    make_sleep_cohort,
    modality_importance,
    modality_subset_scores,
)
from sleep2vec_sklearn.plotting import (
    LabelEfficiencyDisplay,
    ModalityDropoutDisplay,
    ModalityImportanceDisplay,
    ModalitySubsetsDisplay,
    RetrievalDisplay,
)
from sleep2vec_sklearn.probing import modality_dropout_curve

from .scores import as_markdown

COHORT = {
    "n_subjects": 12, "hours": 2.0, "n_sites": 2, "site_kinds": "watch_laboratory",
    "modalities": ("effort", "spo2", "ibi", "actigraphy"), "missing": 0.0, "random_state": 0,
}  # fmt: skip
FOLDS = 6
MEASURES = ["recall_1", "recall_5", "median_rank", "loss"]


def run(checkpoint, tokens: Path):
    """Yield the name, the table and the display of each study."""
    nights = make_sleep_cohort(**COHORT)
    X = EpochSequence(nights)
    y = np.select([X.stages == 0, X.stages == 4], [0, 2], default=1)
    frozen = Sleep2VecTransformer(checkpoint, cache=tokens)
    linear = LogisticRegression(C=0.01, max_iter=200, class_weight="balanced")
    head = make_pipeline(frozen, StandardScaler(), linear)
    naive = make_pipeline(frozen, StandardScaler(), GaussianNB())
    given = X, y, X.groups

    curve = label_efficiency_curve(
        {"logistic regression": head, "naive Bayes": naive}, *given, cv=FOLDS, n_repeats=3
    )
    yield "labels", curve.summary, LabelEfficiencyDisplay.from_results(curve)
    subsets = modality_subset_scores(head, *given, cv=FOLDS)
    yield "subsets", subsets.by_number(), ModalitySubsetsDisplay.from_results(subsets)
    several = [
        modality_importance(head, *given, cv=FOLDS, method=method, n_repeats=3)
        for method in ("drop", "swap", "noise")
    ]
    yield "importance", None, ModalityImportanceDisplay.from_results(several)
    lost = modality_dropout_curve(
        head, *given, cv=FOLDS, fractions=[0, 0.2, 0.4, 0.6, 0.8], n_repeats=1
    )
    yield "dropout", lost.summary, ModalityDropoutDisplay.from_results(lost)
    found = cross_modal_retrieval(checkpoint, nights, cache=tokens)
    table = found.summary[["scope", "query", "target", *MEASURES, "chance_1", "chance_rank"]]
    yield "retrieval", table, RetrievalDisplay.from_results(found)


def main() -> None:
    """Print the tables, draw the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", default="sleep2vec-mini")
    parser.add_argument("--work", type=Path, default=Path("study-runs"), help="for tokens")
    parser.add_argument("--images", type=Path, default=Path("docs/images"))
    options = parser.parse_args()
    import matplotlib as mpl

    mpl.use("Agg")
    torch.set_num_threads(1)
    options.images.mkdir(parents=True, exist_ok=True)
    for name, table, display in run(load_checkpoint(options.checkpoint), options.work / "tokens"):
        if table is not None:
            print(f"{name}\n\n{as_markdown(table.set_index(table.columns[0]))}\n", flush=True)
        display.figure_.savefig(options.images / f"study_{name}.png", dpi=90)


if __name__ == "__main__":
    main()
