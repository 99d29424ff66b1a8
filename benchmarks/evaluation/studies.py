# SPDX-License-Identifier: BSD-3-Clause
"""Beside the tasks: few labelled people, every subset of the sensors, nights of one person each."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.model_selection import GroupKFold

from sleep2vec_sklearn import probing
from sleep2vec_sklearn.probing.modality_subsets import SEPARATOR, non_empty_subsets
from sleep2vec_sklearn.recordings import Recording

from .end_to_end import TRAININGS
from .hand_crafted import hand_made_neural
from .probes import (
    C_GRID,
    NIGHTS,
    as_rows,
    compare_answers,
    evaluate_features,
    folds_by_subject,
    logistic_path,
    memory_in,
    score_subjects,
    summarise_answers,
)
from .questions import Question, encoder_features
from .scores import bootstrap_interval, metrics_of, paired_differences, summarise, write_results
from .tasks import BOTH, TASKS, encoder_sets

__all__ = [
    "ALL",
    "SEPARATOR",
    "STUDIES",
    "compare_subsets",
    "enough_people",
    "label_efficiency",
    "nested_subsets",
    "non_empty_subsets",
    "summarise_sizes",
]

TASKS_OF_LABELS = ("sleep-accel", "ucddb")
TWINS_OF_LABELS = 2
PASSES_OF_ONE_NIGHT = 5


def study_labels(checkpoints: Sequence, options: argparse.Namespace) -> None:
    """Heads trained on 1, 2, 4, 8 and all people, for every feature set on the same people."""
    for name in TASKS_OF_LABELS:
        task = TASKS[name]
        recordings, question = task.recordings(options.data), task.questions[0]
        yardstick, make = [*task.hand_made.items()][-1]
        features = {yardstick: [make(recordings)]}
        for checkpoint in checkpoints:
            n_twins = min(TWINS_OF_LABELS, options.random_seeds)
            sets = encoder_sets(checkpoint, task.modalities, n_twins, **options.encoder_options)
            for features_of in sets[:2]:
                features[features_of.name] = [m(recordings) for m in features_of.makers]
        scores = label_efficiency(features, recordings, question, n_jobs=options.jobs)
        summary = summarise_sizes(scores, yardstick)
        print(f"## label efficiency, {name}, {question.name}, five folds\n")
        results = {"label_efficiency": summary, "people_needed": enough_people(summary)}
        write_results(results, scores, options.out / f"label-efficiency-{name}")


def study_subsets(checkpoints: Sequence, options: argparse.Namespace) -> None:
    """Each subset of a watch's sensors, as the mean over its tokens, with a head of its own."""
    task = TASKS["sleep-accel"]
    recordings, question = task.recordings(options.data), task.questions[0]
    for checkpoint in checkpoints:
        tables = {
            SEPARATOR.join(subset): evaluate_features(
                encoder_features(checkpoint, **_of_subset(subset, options))(recordings),
                recordings,
                question,
                n_splits=options.folds,
                C=C_GRID,
                n_jobs=options.jobs,
                memory=memory_in(options.out / "cache"),
            )
            for subset in non_empty_subsets(BOTH)
        }
        print(f"## subsets, sleep-accel, {question.name}, {checkpoint.name}\n")
        results = {"subsets": summarise(tables), "against_best_single": compare_subsets(tables)}
        subjects = pd.concat(tables, names=["subset"])
        write_results(results, subjects, options.out / f"subsets-{checkpoint.name}")


def study_one_person(checkpoints: Sequence, options: argparse.Namespace) -> None:
    """Five stages within one night in contiguous blocks, and every subset of its sensors."""
    for name, load in NIGHTS.items():
        night = load(options.data)
        recording = [night.recording]
        rows = hand_made_neural(recording)[0]
        answers = {
            "hand-made": [night.answers(rows)],
            "hand-made, boosting": [night.answers(rows, "boosting")],
        }
        subsets: dict[str, pd.DataFrame] = {}
        for checkpoint in checkpoints:
            sets = encoder_sets(
                checkpoint, recording[0].modalities, options.random_seeds, **options.encoder_options
            )
            for features in sets:
                answers[features.name] = [night.answers(m(recording)[0]) for m in features.makers]
            if options.end_to_end:
                for training in TRAININGS:
                    estimator = training.estimator(
                        checkpoint, recording[0].modalities, PASSES_OF_ONE_NIGHT
                    )
                    answers[f"{checkpoint.name}, {training.name}"] = [night.answers_of(estimator)]
            by_subset = {
                SEPARATOR.join(subset): night.answers(
                    encoder_features(checkpoint, **_of_subset(subset, options))(recording)[0]
                )
                for subset in non_empty_subsets(recording[0].modalities)
            }
            subsets[checkpoint.name] = compare_answers(night.y, by_subset)
        results = {"five_stages": summarise_answers(night.y, answers)}
        if len(recording[0].modalities) > 1:
            results |= {f"subsets_{of}": table for of, table in subsets.items()}
        print(f"## {name}, one person, five contiguous blocks: descriptive\n")
        firsts = {key: several[0] for key, several in answers.items()}
        epochs = pd.DataFrame({"stage": night.y, **firsts}).rename_axis("epoch")
        write_results(results, epochs, options.out / name.replace(" ", "-"))


def _of_subset(subset: Sequence[str], options: argparse.Namespace) -> dict:
    return {**options.encoder_options, "modalities": tuple(subset), "fusion": "mean"}


STUDIES: Mapping[str, Callable[[Sequence, argparse.Namespace], None]] = {
    "label-efficiency": study_labels,
    "subsets": study_subsets,
    "one-person": study_one_person,
}


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


def compare_subsets(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Each subset of several sensors minus the best single sensor in it, paired over subjects.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        Scores by subject; names are ``"ibi"``, ``"ibi + actigraphy"``, and so on.

    Returns
    -------
    DataFrame
        ``falls_below`` says that the whole interval lies below zero.
    """
    rows = {}
    for name, table in tables.items():
        singles = name.split(SEPARATOR)
        if len(singles) == 1:
            continue
        for metric in metrics_of(table):
            best = max(singles, key=lambda single, m=metric: tables[single][m].mean())
            pair = {key: tables[key][[metric]] for key in (name, best)}
            row = paired_differences(pair, name).loc[(best, metric)]
            rows[name, metric] = {
                "best_single": best,
                **row[["difference", "low", "high"]].astype(float),
                "falls_below": bool(row["high"] < 0),
            }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["subset", "metric"])
