# SPDX-License-Identifier: BSD-3-Clause
"""A benchmark of SIMULATED polysomnography from several laboratories: staging and outcomes.

``python -m benchmarks.simulated_psg --checkpoint sleep2vec-mini [--nights N] [--out DIR]``

All nights are simulated, of people and laboratories that the bundled encoder was not pretrained on,
by the simulator that it was pretrained with: the tables compare inputs and features with each other
and say nothing of real nights. A frozen encoder, the same network with random weights, and
hand-made features get the same folds and the same linear heads.

Scored are five stages from all nine sensors, from each alone, with sensors lost at test time, and
in a laboratory that was not trained on; and outcomes, from a row per night.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from benchmarks.evaluation.encoders import random_twin
from benchmarks.psg_nights import MODALITIES, EncoderRows, Loss, prepare, simulated_psg
from benchmarks.psg_scores import (
    Epochs,
    fit_heads,
    folds_by_site,
    folds_by_subject,
    outcome_chances,
    predict_held_out,
    score_subjects,
)
from benchmarks.psg_tables import outcome_table, staging_table, write_table
from sleep2vec_sklearn import load_checkpoint
from sleep2vec_sklearn.recordings import Cohort

NIGHTS = 84
OUTCOMES = ("apnea", "hypertension", "event")
FEWEST_CASES = 4
LOSSES = (Loss(0.25), Loss(0.5), Loss(0.75), Loss(0.5, share=0.5))
ALL = "all sensors"
UNSEEN = "all sensors, unseen site"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark, print its tables and write them as CSV and Markdown."""
    options = _options(arguments)
    checkpoint = load_checkpoint(options.checkpoint)
    supported = {modality.name for modality in checkpoint.config.modalities}
    modalities = [name for name in MODALITIES if name in supported]
    cohort = simulated_psg(options.nights, modalities, hours=options.hours)
    with tempfile.TemporaryDirectory() as scratch:
        cache = str(options.cache or scratch)
        encoders = [
            EncoderRows(checkpoint.name, checkpoint, options.fusion, cache),
            EncoderRows(
                f"{checkpoint.name}, random weights",
                random_twin(checkpoint),
                options.fusion,
                cache,
            ),
        ]
        hand_made = prepare(cohort, encoders, LOSSES, options.jobs)
        sets = [*encoders, hand_made]
        staging = dict(_staging(sets, cohort, modalities))
        outcomes = _outcomes(sets, cohort, modalities, options.repeats, options.jobs)
    print(_described(cohort, modalities))
    subjects = pd.concat(staging, names=["input", "features"])
    options.out.mkdir(parents=True, exist_ok=True)
    subjects.to_csv(options.out / "simulated_subjects.csv", float_format="%.4f")
    reference = checkpoint.name
    write_table("simulated_staging", staging_table(staging, reference, ALL), options.out)
    write_table("simulated_outcomes", outcome_table(outcomes, reference), options.out)


def _options(arguments) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", default="sleep2vec-mini", help="name or .safetensors file")
    parser.add_argument("--nights", type=int, default=NIGHTS, help="simulated people, a night each")
    parser.add_argument("--hours", type=float, default=8.0, help="length of a night")
    parser.add_argument("--fusion", default="concat", choices=("concat", "mean"))
    parser.add_argument("--repeats", type=int, default=5, help="of the outcomes' cross-validation")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--cache", type=Path, help="folder that keeps tokens for another run")
    parser.add_argument("--out", type=Path, default=Path("demo_output/simulated_psg"))
    return parser.parse_args(arguments)


def _described(cohort: Cohort, modalities: Sequence[str]) -> str:
    sites = cohort.metadata["site"].nunique()
    shares = ", ".join(f"{name} {cohort.metadata[name].mean():.0%}" for name in OUTCOMES)
    return (
        f"SIMULATED: {len(cohort)} nights, one of each person, from {sites} laboratories\n"
        f"sensors: {', '.join(modalities)}; outcomes: {shares}\n"
    )


def _staging(
    sets: Sequence, cohort: Cohort, modalities: Sequence[str]
) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
    """Scores of every subject, by input and features."""
    epochs = Epochs.of_cohort(cohort)
    by_site = folds_by_site(epochs)
    by_subject = folds_by_subject(epochs, len(by_site))
    for rows in sets:
        X = rows.epochs(cohort, modalities)
        away = predict_held_out(fit_heads(X, epochs, by_site), X, by_site)
        heads = fit_heads(X, epochs, by_subject)
        predicted = {ALL: predict_held_out(heads, X, by_subject), UNSEEN: away}
        for loss in LOSSES:
            X = rows.epochs([loss.apply(night) for night in cohort], modalities)
            predicted[str(loss)] = predict_held_out(heads, X, by_subject)
        for name in modalities:
            X = rows.epochs(cohort, [name])
            predicted[f"{name} alone"] = predict_held_out(
                fit_heads(X, epochs, by_subject), X, by_subject
            )
        for given, found in predicted.items():
            yield (given, rows.name), score_subjects(found, epochs)


def _outcomes(
    sets: Sequence, cohort: Cohort, modalities: Sequence[str], n_repeats: int, n_jobs: int
) -> dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]:
    """Probabilities by repeat and night, and the truth, by outcome and features.

    An outcome with fewer than four cases, or than four others, is left out.
    """
    table = cohort.metadata
    inputs = {rows.name: rows.nights(cohort, modalities) for rows in sets}
    inputs["age, sex and BMI"] = np.stack([table["age"], table["sex"] == "M", table["bmi"]], axis=1)
    inputs = {name: X.astype(np.float64) for name, X in inputs.items()}
    truth = {outcome: table[outcome].to_numpy().astype(int) for outcome in OUTCOMES}
    told = [name for name, y in truth.items() if np.bincount(y, minlength=2).min() >= FEWEST_CASES]
    keys = [(outcome, name) for outcome in told for name in inputs]
    chances = Parallel(n_jobs=n_jobs)(
        delayed(outcome_chances)(
            inputs[name], truth[outcome], np.asarray(cohort.groups, str), n_repeats=n_repeats
        )
        for outcome, name in keys
    )
    return {key: (found, truth[key[0]]) for key, found in zip(keys, chances, strict=True)}


if __name__ == "__main__":
    main()
