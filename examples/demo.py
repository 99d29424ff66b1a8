# SPDX-License-Identifier: BSD-3-Clause
"""From EDF files to cross-validated scores with the bundled encoder; run by ``make demo``.

Without arguments: a simulated cohort is written as EDF+ files, read back, embedded and probed.
With ``--edf`` (and ``--hypnogram``): one night of your own is staged by a head trained on that
simulated cohort.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score, make_scorer
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    StratifiedGroupKFold,
    cross_val_predict,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sleep2vec_sklearn import (
    EpochSequence,
    Sleep2VecTransformer,
    SleepStage,
    config_context,
    make_sleep_cohort,
    read_cohort,
    read_recording,
)
from sleep2vec_sklearn.datasets import write_edf_cohort
from sleep2vec_sklearn.errors import RecordingWarning
from sleep2vec_sklearn.plotting import HypnogramDisplay

KAPPA = make_scorer(cohen_kappa_score)


def main() -> None:
    options = parse_options()
    mpl.use("agg")
    options.output.mkdir(parents=True, exist_ok=True)
    cohort = simulated_cohort(options)
    if options.edf is None:
        probe_cohort(cohort, options.output)
    else:
        stage_night(cohort, options.edf, options.hypnogram, options.output)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--edf", type=Path, help="EDF file of one night")
    parser.add_argument("--hypnogram", type=Path, help="file with its scored stages")
    parser.add_argument("--subjects", type=int, default=30, help="simulated subjects")
    parser.add_argument("--hours", type=float, default=7, help="length of a simulated night")
    parser.add_argument("--output", type=Path, default=Path("demo_output"))
    return parser.parse_args()


def simulated_cohort(options):
    """Write simulated nights as EDF+ files, and read them back."""
    folder = options.output / f"simulated_{options.subjects}x{options.hours:g}h"
    if not (folder / "metadata.csv").exists():
        simulated = make_sleep_cohort(
            options.subjects,
            hours=options.hours,
            n_sites=4,
            site_kinds=["laboratory"],
            random_state=7,
        )
        write_edf_cohort(simulated, folder, verbose=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        cohort = read_cohort(folder, verbose=1)
    print(f"\n{cohort} written to and read from {folder}\n")
    return cohort


def probe(**parameters):
    """Linear probe on the frozen encoder."""
    return make_pipeline(
        Sleep2VecTransformer(**parameters),
        StandardScaler(),
        LogisticRegression(C=0.1, max_iter=500, class_weight="balanced"),
    )


def probe_cohort(cohort, output: Path) -> None:
    """Score staging (a row per epoch) and an outcome (a row per night) on held-out subjects."""
    X = EpochSequence(cohort)
    Sleep2VecTransformer(verbose=1).fit_transform(X)  # fills the cache: signals are read once
    X = X[X.stages != SleepStage.unscored]
    staging = cross_val_score(
        probe(), X, X.stages, groups=X.groups, cv=GroupKFold(5), scoring=KAPPA
    )
    apnea = cohort.metadata["apnea"].astype(int)
    outcome = cross_val_score(
        probe(pooling="mean_std"),
        cohort,
        apnea,
        groups=cohort.groups,
        cv=StratifiedGroupKFold(5, shuffle=True, random_state=0),
        scoring="roc_auc",
    )
    rows = [
        ("sleep staging, 5 stages", "epoch", len(X), "kappa", staging),
        ("apnea (AHI >= 15)", "night", len(cohort), "AUROC", outcome),
    ]
    table = pd.DataFrame(
        {
            "task (simulated cohort)": [row[0] for row in rows],
            "one row per": [row[1] for row in rows],
            "rows": [row[2] for row in rows],
            "metric": [row[3] for row in rows],
            "mean over 5 folds": [round(row[4].mean(), 3) for row in rows],
            "sd": [round(row[4].std(ddof=1), 3) for row in rows],
        }
    )
    predicted = cross_val_predict(probe(), X, X.stages, groups=X.groups, cv=GroupKFold(5))
    first = X.recording_index == 0
    stages = np.full(cohort[0].n_epochs, SleepStage.unscored)
    stages[X.epoch_index[first]] = predicted[first]
    draw(cohort[0].stages, stages, f"{cohort[0].id} (simulated, subject held out)", output)
    save(table, output / "scores.csv")


def stage_night(cohort, edf: Path, hypnogram: Path | None, output: Path) -> None:
    """Stage one real night with a head trained on the simulated cohort."""
    night = read_recording(edf, hypnogram=hypnogram)
    for note in night.notes:
        print(f"note: {note}")
    print(f"\n{night}, native rates {night.rates}\n")
    X = EpochSequence(cohort)
    X = X[X.stages != SleepStage.unscored]
    model = probe(modalities=night.modalities).fit(X, X.stages)
    epochs = EpochSequence([night])
    predicted = model.predict(epochs)
    rows = [("predicted stages", *np.bincount(predicted, minlength=5))]
    table = pd.DataFrame(rows, columns=["epochs", *(s.name for s in SleepStage if s >= 0)])
    print(table.to_string(index=False), "\n")
    title = f"{night.id}: head trained on simulated nights"
    draw(night.stages, predicted, title, output)
    pd.DataFrame({"stage": [SleepStage(s).name for s in predicted]}).to_csv(
        output / f"{night.id}-stages.csv", index_label="epoch"
    )
    if night.stages is not None:
        save(agreement(night, epochs, predicted), output / f"{night.id}-scores.csv")


def agreement(night, epochs: EpochSequence, predicted: np.ndarray) -> pd.DataFrame:
    """Agreement with the scorer, also of a head trained within this night."""
    sleep = np.flatnonzero(night.stages > SleepStage.W)
    trimmed = np.zeros(night.n_epochs, dtype=bool)
    trimmed[max(sleep[0] - 60, 0) : sleep[-1] + 61] = True
    scored = night.stages != SleepStage.unscored
    parts = {"whole recording": scored, "sleep +- 30 min": scored & trimmed}
    rows = [
        ("trained on simulated nights", part, *agreement_of(night.stages[mask], predicted[mask]))
        for part, mask in parts.items()
    ]
    epochs = epochs[scored & trimmed]
    with config_context(leakage="ignore"):  # training and testing on one night is intended here
        within = cross_val_predict(probe(), epochs, epochs.stages, cv=KFold(5))
    rows.append(
        ("trained within this night (5 contiguous blocks)", "sleep +- 30 min",
         *agreement_of(epochs.stages, within))
    )  # fmt: skip
    return pd.DataFrame(
        rows, columns=["head", "epochs of", "n", "kappa", "accuracy", "macro F1"]
    ).round(3)


def agreement_of(y_true, y_pred) -> tuple[int, float, float, float]:
    return (
        len(y_true),
        cohen_kappa_score(y_true, y_pred),
        accuracy_score(y_true, y_pred),
        f1_score(y_true, y_pred, average="macro"),
    )


def draw(scored, predicted, title: str, output: Path) -> None:
    display = HypnogramDisplay.from_predictions(scored, predicted)
    display.ax_.set_title(title)
    path = output / "hypnogram.png"
    display.figure_.savefig(path, dpi=150)
    print(f"hypnogram: {path}")


def save(table: pd.DataFrame, path: Path) -> None:
    table.to_csv(path, index=False)
    print(f"\n{table.to_string(index=False)}\n\ntable: {path}")


if __name__ == "__main__":
    main()
