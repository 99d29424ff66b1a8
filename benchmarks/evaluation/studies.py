# SPDX-License-Identifier: BSD-3-Clause
"""Beside the tasks: few labelled people, every subset of the sensors, nights of one person each."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from benchmarks.evaluation.encoders import encoder_features
from benchmarks.evaluation.end_to_end import TRAININGS
from benchmarks.evaluation.label_efficiency import (
    enough_people,
    label_efficiency,
    summarise_sizes,
)
from benchmarks.evaluation.neural import hand_made_neural
from benchmarks.evaluation.one_person import NIGHTS, compare_answers, summarise_answers
from benchmarks.evaluation.probes import C_GRID, evaluate_features, memory_in
from benchmarks.evaluation.scores import summarise, write_results
from benchmarks.evaluation.subsets import SEPARATOR, compare_subsets, non_empty_subsets
from benchmarks.evaluation.tasks import BOTH, TASKS, encoder_sets

__all__ = ["STUDIES"]

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
