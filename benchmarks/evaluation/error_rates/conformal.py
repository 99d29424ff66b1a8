# SPDX-License-Identifier: BSD-3-Clause
"""Coverage of prediction sets by simulation, and on subjects of public data sets by --data.

``python -m benchmarks.evaluation.error_rates.conformal [--runs 300] [--seed 0] [--data DIR]``

Simulated: rows of five classes in six columns, whose level differs between subjects, and so does
how hard they are; subjects who are hard have fewer rows, as those of poor signals have (the other
way round, calibration by epochs covers more). No signal is simulated. Each run draws training,
calibration and 40 new subjects; the interval is that of the mean over runs.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.evaluation.ledger import add_to_ledger
from benchmarks.evaluation.scores import as_markdown
from benchmarks.evaluation.tasks import REAL
from sleep2vec_sklearn import EpochSequence, Sleep2VecTransformer
from sleep2vec_sklearn.errors import TrainingWarning
from sleep2vec_sklearn.evaluation import (
    ConformalClassifier,
    ConformalRegressor,
    SubjectCalibratedClassifier,
    coverage_report,
    review_curve,
)

PRIOR = (0.2, 0.07, 0.45, 0.13, 0.15)  # of W, N1, N2, N3, R
NEW = 40
# calibration subjects and alpha
STUDIES = ((5, 0.1), (5, 0.2), (10, 0.1), (20, 0.1), (50, 0.1))
TASKS = ("sleep-accel", "slpdb")
Rows = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def make_rows(n_subjects: int, rng: np.random.Generator) -> Rows:
    """Columns, classes, a number to predict, and subjects."""
    hardness = rng.gamma(4, 0.25, n_subjects)
    sizes = 10 + rng.poisson(120 / (1 + hardness**2))
    whose = np.repeat(np.arange(n_subjects), sizes)
    y = rng.choice(len(PRIOR), len(whose), p=PRIOR)
    X = 2 * np.eye(len(PRIOR), 6)[y] + rng.normal(0, 0.8, (n_subjects, 6))[whose]
    X += hardness[whose, None] * rng.normal(size=X.shape)
    number = 50 + 5 * X[:, 0] + rng.normal(0, 4, n_subjects)[whose]
    return X, y, number + 3 * hardness[whose] * rng.normal(size=len(y)), whose


Values = tuple[float, float, float]


def simulate(rng: np.random.Generator) -> Iterator[tuple[str, int, float, Values]]:
    """Method, calibration subjects, promised coverage, and values in new subjects, of one run."""
    X, y, number, _ = make_rows(20, rng)
    head = FrozenEstimator(LinearDiscriminantAnalysis().fit(X, y))
    line = FrozenEstimator(LinearRegression().fit(X, number))
    new, y_new, number_new, whose = make_rows(NEW, rng)
    for n, alpha in STUDIES:
        X, y, number, groups = make_rows(n, rng)
        options = {"alpha": alpha, "random_state": 0}
        folds = ConformalClassifier(LinearDiscriminantAnalysis(), cv=5, **options)
        each = {
            "sets, epochs": (ConformalClassifier(head, **options), None),
            "sets, subjects": (ConformalClassifier(head, **options), groups),
            "sets, subjects, by class": (
                ConformalClassifier(head, by_class=True, **options), groups,
            ),
            "adaptive sets, subjects": (
                ConformalClassifier(head, method="aps", **options), groups,
            ),
            "sets, subjects, 5 folds": (folds, groups),
        }  # fmt: skip
        for name, (model, subjects) in each.items():
            sets = model.fit(X, y, subjects).predict_set(new)
            covered = sets[np.arange(len(y_new)), y_new]
            size = float(sets.sum(axis=1).mean())
            of_n1 = float(covered[y_new == 1].mean())
            yield name, n, 1 - alpha, (mean_of_subjects(covered, whose), of_n1, size)
        for name, subjects in (("intervals, epochs", None), ("intervals, subjects", groups)):
            model = ConformalRegressor(line, **options).fit(X, number, subjects)
            low, high = model.predict_interval(new).T
            covered = (low <= number_new) & (number_new <= high)
            width = float(np.median(high - low))
            yield name, n, 1 - alpha, (mean_of_subjects(covered, whose), np.nan, width)


def mean_of_subjects(covered: np.ndarray, whose: np.ndarray) -> float:
    """Chance that a random row of a random subject is covered."""
    return float(np.mean(np.bincount(whose, covered) / np.bincount(whose)))


def table_of(runs: int, seed: int) -> pd.DataFrame:
    """Mean over runs of coverage, with its 95 % Monte Carlo interval, and of size or width."""
    rows = [
        (name, n, promised, *values)
        for run in range(runs)
        for name, n, promised, values in simulate(np.random.default_rng([seed, run]))
    ]
    columns = ["method", "calibrated on", "promised", "coverage", "of N1", "size"]
    table = pd.DataFrame(rows, columns=columns)
    grouped = table.groupby([columns[0], *columns[2:0:-1]], sort=True)
    shown = grouped[["coverage", "of N1", "size"]].mean()
    # an infinite interval is counted in the coverage
    shown["size"] = grouped["size"].median()
    error = 1.96 * grouped["coverage"].std() / np.sqrt(runs)
    shown.insert(1, "low", shown["coverage"] - error)
    shown.insert(2, "high", shown["coverage"] + error)
    return shown.reset_index().set_index("method")


def held_out(task: str, data: Path) -> dict[str, pd.DataFrame]:
    """W, NREM and REM of each subject by models that were fitted and calibrated without it."""
    ((_, labels, rows, _), *_) = REAL[task](_encode, data)
    X, y, whose = rows["sleep2vec-mini"], labels.y, labels.subjects
    head = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300))
    models = {
        "half of the subjects": ConformalClassifier(head, random_state=0),
        "5 folds": ConformalClassifier(head, cv=5, random_state=0),
        "5 folds, by class": ConformalClassifier(head, by_class=True, cv=5, random_state=0),
    }
    sets = {name: np.zeros((len(y), 3), dtype=bool) for name in models}
    p = np.zeros((len(y), 3))
    for train, test in labels.folds:
        for name, model in models.items():
            fitted = clone(model).fit(X[train], y[train], whose[train])
            sets[name][test] = fitted.predict_set(X[test])
        calibrated = SubjectCalibratedClassifier(head).fit(X[train], y[train], whose[train])
        p[test] = calibrated.predict_proba(X[test])
    tables = {}
    for name, found in sets.items():
        report = coverage_report(y, found, groups=whose)
        tables[f"{task}, {len(report.by_subject)} subjects, 90 % promised, {name}"] = report.scores
        add_to_ledger(task, f"sleep2vec-mini, conformal: {name}", report.scores["value"])
    curve = review_curve(y, p, whose, shares=[0, 0.05, 0.1, 0.2, 0.3, 0.5])
    kappa = curve.table[curve.table["metric"] == "kappa"].set_index("share")
    tables[f"{task}, kappa after a share is reviewed"] = kappa.drop(columns="metric")
    scores = {f"kappa after {share:g}": kappa.loc[share, "value"] for share in (0, 0.1, 0.2)}
    add_to_ledger(task, "sleep2vec-mini, reviewed in order", scores)
    return tables


def _encode(X: EpochSequence) -> dict[str, np.ndarray]:
    return {"sleep2vec-mini": Sleep2VecTransformer().fit_transform(X)}


def main(arguments: list[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=300, help="simulated studies")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, help="folder of the real data sets; no simulation")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    options = parser.parse_args(arguments)
    # as are asked for on purpose with five subjects
    warnings.simplefilter("ignore", TrainingWarning)
    if options.data is None:
        print(as_markdown(table_of(options.runs, options.seed)))
        return
    for task in options.tasks:
        for title, table in held_out(task, options.data).items():
            print(f"{title}\n\n{as_markdown(table)}\n", flush=True)


if __name__ == "__main__":
    main()
