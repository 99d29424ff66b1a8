# SPDX-License-Identifier: BSD-3-Clause
"""Sleep stages of simulated nights: a frozen probe, and what fine-tuning makes of the same nights.

``python -m benchmarks.fine_tuning [--subjects 16] [--hours 4] [--modalities ibi,actigraphy,resp]``

Half of the subjects train, the other half are scored, and the other way round. Each estimator has
its default parameters; the probe's penalty is the best of three on the scored subjects, so that it
is not beaten by a wrong one.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score, log_loss
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.evaluation.scores import as_markdown
from sleep2vec_sklearn import (
    EpochSequence,
    Sleep2VecClassifier,
    Sleep2VecTransformer,
    make_sleep_cohort,
)

PENALTIES = (0.01, 0.1, 1.0)
SEED = 7


def estimators() -> dict:
    """What is compared, by name."""
    probes = {
        f"probe, C={C}": make_pipeline(
            Sleep2VecTransformer(), StandardScaler(), LogisticRegression(C=C, max_iter=300)
        )
        for C in PENALTIES
    }
    tuned = {
        f"fine-tuned, {kind}": Sleep2VecClassifier(finetune=kind, random_state=0)
        for kind in ("head", "lora", "full")
    }
    return probes | tuned


def compare(n_subjects: int, hours: float, modalities: list[str], models: dict) -> pd.DataFrame:
    """Scores of each estimator, the mean over both halves, and over them with a sensor lost."""
    cohort = make_sleep_cohort(n_subjects, hours=hours, modalities=modalities, random_state=SEED)
    X = EpochSequence(cohort)
    less = EpochSequence(
        [r.without(r.modalities[0]) if len(r.modalities) > 1 else r for r in X.recordings]
    )
    rows = {}
    for name, model in models.items():
        scores = []
        for train, test in GroupKFold(2).split(X, groups=X.groups):
            begun = time.perf_counter()
            train, test = (rows[X.stages[rows] >= 0] for rows in (train, test))
            model.fit(X[train], X.stages[train])
            seconds = time.perf_counter() - begun
            # a short night may have a stage that nobody had in training
            test = test[np.isin(X.stages[test], model.classes_)]
            y, proba = X.stages[test], model.predict_proba(X[test])
            predicted = model.classes_[proba.argmax(axis=1)]
            lost = cohen_kappa_score(y, model.predict(less[test]))
            scores.append(
                {
                    "accuracy": accuracy_score(y, predicted),
                    "kappa": cohen_kappa_score(y, predicted),
                    "macro F1": f1_score(y, predicted, average="macro"),
                    "log loss": log_loss(y, proba, labels=model.classes_),
                    "kappa, first sensor lost": lost,
                    "seconds to fit": seconds,
                }
            )
        rows[name] = {key: float(np.mean([s[key] for s in scores])) for key in scores[0]}
    table = pd.DataFrame(rows).T
    probes = [name for name in table.index if name.startswith("probe")]
    best = table.loc[probes, "kappa"].idxmax() if probes else None
    table = table.drop(index=[name for name in probes if name != best])
    table.index.name = f"{len(X)} epochs of {n_subjects} subjects"
    return table


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, default=16)
    parser.add_argument("--hours", type=float, default=4.0)
    parser.add_argument("--modalities", default="ibi,actigraphy,resp")
    options = parser.parse_args()
    modalities = options.modalities.split(",")
    print(as_markdown(compare(options.subjects, options.hours, modalities, estimators())))


if __name__ == "__main__":
    main()
