# SPDX-License-Identifier: BSD-3-Clause
"""What an encoder is worth on real nights: the evaluation protocol, subjects held out.

``python -m benchmarks.evaluation.real_nights --data DIR [--checkpoint NAME ...] [--tasks ...]``

The encoder is frozen and read by logistic regression, compared with the same network with random
weights (the mean over several draws, subject by subject), its tokenizers alone, and hand-crafted
features with logistic regression and with gradient boosting. All of them have the time of night
too, and the encoder's rows are shown without it. One subject is left out where there are at most
25, else there are ten folds; scores are by subject, differences paired over subjects. After the
tasks come nights of one subject each.

``--quick`` has the encoder and the strongest hand-crafted features with logistic regression alone,
the task's first question, ten folds. ``--end-to-end`` adds the network trained for the task itself.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from sleep2vec_sklearn import load_checkpoint

from .one_night import study_one_person
from .probes import FOLDS, memory_in
from .scores import paired_differences, summarise, write_results
from .tasks import TASKS, encoder_sets, evaluate_sets, hand_crafted_sets

RANDOM_SEEDS = 3


def evaluate_task(name: str, checkpoints: Sequence, options: argparse.Namespace) -> None:
    """Probe every feature set on one task; print and write the tables."""
    task = TASKS[name]
    recordings = task.recordings(options.data)
    sets = hand_crafted_sets(task, with_boosting=not options.quick)
    questions = task.questions
    if options.quick:
        sets, questions = sets[-1:], questions[:1]
    for checkpoint in checkpoints:
        n_twins = 0 if options.quick else options.random_seeds
        sets += encoder_sets(checkpoint, task.modalities, n_twins, **options.encoder_options)
    tables: dict[str, dict[str, pd.DataFrame]] = {question.name: {} for question in questions}
    found = evaluate_sets(
        sets, recordings, questions, n_splits=options.folds, n_jobs=options.jobs,
        memory=memory_in(options.out / "cache"),
    )  # fmt: skip
    for question, features, table in found:
        tables[question][features] = table
    if options.end_to_end:
        for checkpoint in checkpoints:
            _train_for_task(checkpoint, task, recordings, questions, tables)
    references = [checkpoint.name for checkpoint in checkpoints] or [sets[-1].name]
    results = {"scores": _by_question(tables, summarise)}
    for reference in references:
        results[f"differences_{reference}".replace(" ", "_")] = _by_question(
            tables, lambda by_set, reference=reference: paired_differences(by_set, reference)
        )
    print(f"## {name}: {len(recordings)} recordings\n", flush=True)
    subjects = _by_question(tables, lambda by_set: pd.concat(by_set, names=["features"]))
    write_results(results, subjects, options.out / name)


def _train_for_task(checkpoint, task, recordings, questions, tables) -> None:
    from .end_to_end import TRAININGS, evaluate_training

    for question in questions:
        for training in TRAININGS:
            name = f"{checkpoint.name}, {training.name}, five folds"
            tables[question.name][name] = evaluate_training(
                training, checkpoint, recordings, task.modalities, question
            )


def _by_question(tables: Mapping[str, Mapping], make: Callable) -> pd.DataFrame:
    return pd.concat({q: make(by_set) for q, by_set in tables.items()}, names=["question"])


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--checkpoint", nargs="*", default=[], help="names or .safetensors files")
    tasks = (*TASKS, "one-person")
    parser.add_argument("--tasks", nargs="+", choices=tasks, default=tasks, metavar="TASK")
    parser.add_argument(
        "--encoder-options", nargs="*", type=_option, default=[], metavar="KEY=VALUE",
        help="parameters of the transformer: fusion=mean layer=3",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="encoder and hand-crafted, ten folds")
    parser.add_argument("--end-to-end", action="store_true", help="train networks too; slow")
    parser.add_argument("--folds", type=int, help="by subject; default: one out, or ten")
    parser.add_argument("--random-seeds", type=int, default=RANDOM_SEEDS, help="untrained twins")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes")
    parser.add_argument("--out", type=Path, default=Path("demo_output/real_nights"))
    options = parser.parse_args(arguments)
    options.encoder_options = dict(options.encoder_options)
    if options.quick and options.folds is None:
        options.folds = FOLDS
    return options


def _option(text: str) -> tuple[str, str | int]:
    key, separator, value = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"{text!r}: accepted is KEY=VALUE, as in fusion=mean")
    return key, int(value) if value.isdigit() else value


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the tasks and studies that were asked for."""
    options = _parse(arguments)
    checkpoints = [load_checkpoint(name) for name in options.checkpoint]
    for name in options.tasks:
        if name in TASKS:
            evaluate_task(name, checkpoints, options)
        else:
            study_one_person(checkpoints, options)


if __name__ == "__main__":
    main()
