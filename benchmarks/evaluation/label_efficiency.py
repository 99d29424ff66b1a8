# SPDX-License-Identifier: BSD-3-Clause
"""How many labelled people a head needs: the same nested subsets of them for every feature set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.model_selection import GroupKFold

from benchmarks.evaluation.probes import (
    C_GRID,
    as_rows,
    folds_by_subject,
    logistic_path,
    score_subjects,
)
from benchmarks.evaluation.questions import Question
from benchmarks.evaluation.scores import bootstrap_interval, metrics_of
from sleep2vec_sklearn import probing
from sleep2vec_sklearn.recordings import Recording

__all__ = ["ALL", "enough_people", "label_efficiency", "nested_subsets", "summarise_sizes"]

SIZES = (1, 2, 4, 8)
ALL = "all"
FOLDS = 5
REPEATS = 5
FEWEST_TO_CHOOSE = 4


def nested_subsets(
    people: Sequence[str], sizes: Sequence[int], random_state
) -> dict[int | str, np.ndarray]:
    """Subsets of people by size, each within the next; ``"all"`` is everybody.

    Examples
    --------
    >>> subsets = nested_subsets([*"abc"], [1, 2], 0)
    >>> set(subsets[1]) < set(subsets[2]) < set(subsets["all"])
    True
    """
    n_people = len(set(people))
    drawn = probing.nested_subsets(people, [*sizes, n_people], random_state)
    return {**{n: drawn[n] for n in sizes if n < n_people}, ALL: drawn[n_people]}


def label_efficiency(
    features: Mapping[str, Sequence[Sequence[np.ndarray]]],
    recordings: Sequence[Recording],
    question: Question,
    *,
    sizes: Sequence[int] = SIZES,
    n_repeats: int = REPEATS,
    n_jobs: int = 1,
) -> pd.DataFrame:
    """Scores by subject for heads trained on few people.

    Five folds of subjects are held out in turn. Of the others, people are drawn in an order that
    depends on the fold and the repeat alone, and heads are trained on the first few of them.

    Parameters
    ----------
    features : mapping of str to sequence of feature arrays
        Several per name where chance is in them: their scores are averaged.
    recordings : sequence of Recording
    question : Question
    sizes : sequence of int
        Numbers of people, beside all of them.
    n_repeats : int
        Draws of people per fold and size.
    n_jobs : int, default=1

    Returns
    -------
    DataFrame
        Index (features, size, subject), one column per metric; means over draws.
    """
    workers = Parallel(n_jobs=n_jobs)
    parts = {}
    for name, several in features.items():
        tables = []
        for blocks in several:
            X, y, groups = as_rows(blocks, recordings, question)
            fold = folds_by_subject(groups, FOLDS)
            jobs = [(f, r) for f in range(fold.max() + 1) for r in range(n_repeats)]
            found = workers(
                delayed(_few_people)(X, y, groups, fold == f, question, sizes, (f, r))
                for f, r in jobs
            )
            tables += [table for by_size in found for table in by_size]
        scores = pd.concat(tables).drop(columns="n_epochs")
        parts[name] = scores.groupby(level=["size", "subject"], sort=False).mean()
    return pd.concat(parts, names=["features"])


def _few_people(X, y, groups, test, question: Question, sizes, seed) -> list[pd.DataFrame]:
    tables = []
    for size, people in nested_subsets(groups[~test], sizes, seed).items():
        if size == ALL and seed[1] > 0:
            continue
        train = np.isin(groups, people)
        strength = _strength_within(X[train], y[train], groups[train], question)
        (probability,) = logistic_path(X[train], y[train], X[test], (strength,), question.n_classes)
        table = score_subjects(y[test], probability, groups[test], question)
        tables.append(pd.concat({str(size): table}, names=["size"]))
    return tables


def _strength_within(X, y, groups, question: Question) -> float:
    """Chosen by three folds of people; the middle one where they are too few."""
    if len(np.unique(groups)) < FEWEST_TO_CHOOSE:
        return sorted(C_GRID)[len(C_GRID) // 2]
    totals = np.zeros(len(C_GRID))
    for train, test in GroupKFold(3).split(X, y, groups):
        path = logistic_path(X[train], y[train], X[test], C_GRID, question.n_classes)
        totals += [np.nansum(list(question.score(y[test], p).values())) for p in path]
    return C_GRID[int(totals.argmax())]


def summarise_sizes(scores: pd.DataFrame, yardstick: str) -> pd.DataFrame:
    """Means and intervals over subjects, and the difference to the yardstick with all people.

    Parameters
    ----------
    scores : DataFrame
        Of :func:`label_efficiency`.
    yardstick : str
        Name of a feature set.
    """
    goal = scores.sort_index().loc[(yardstick, ALL)]
    rows = {}
    for (name, size), table in scores.groupby(level=["features", "size"], sort=False):
        mine = table.droplevel(["features", "size"])
        for metric in metrics_of(mine):
            values = mine[metric].dropna().to_numpy()
            lead = (mine[metric] - goal[metric]).dropna().to_numpy()
            low, high = bootstrap_interval(values)
            lead_low, lead_high = bootstrap_interval(lead)
            rows[name, size, metric] = {
                "mean": values.mean(),
                "low": low,
                "high": high,
                f"minus {yardstick} with all": lead.mean(),
                "difference_low": lead_low,
                "difference_high": lead_high,
            }
    index = ["features", "people", "metric"]
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(index)


def enough_people(summary: pd.DataFrame) -> pd.DataFrame:
    """Fewest people whose labels give each feature set what the yardstick has with all.

    ``mean``: the mean is at least as high. ``interval``: the interval of the paired difference is
    not below zero. A dash where no number of people is enough.
    """
    lead = next(column for column in summary if column.startswith("minus"))
    rows = {}
    for (name, metric), table in summary.groupby(level=["features", "metric"], sort=False):
        people = table.index.get_level_values("people").to_numpy()
        rows[name, metric] = {
            "mean": next(iter(people[table[lead].to_numpy() >= 0]), "-"),
            "interval": next(iter(people[table["difference_high"].to_numpy() >= 0]), "-"),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["features", "metric"])
