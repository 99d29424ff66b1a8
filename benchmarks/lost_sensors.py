# SPDX-License-Identifier: BSD-3-Clause
"""What rows of epochs without any signal are worth to a linear head, on simulated watch nights.

``python -m benchmarks.lost_sensors [--checkpoint NAME_OR_PATH] [--subjects 24]``

A head for wake, NREM and REM is trained on half of the subjects, all sensors on; in the nights of
the others all sensors are off for one stretch. Compared are the rows of the transformer, made from
neighbours and the night's mean, and what the network itself infers in the gap.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import cohen_kappa_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.evaluation.scores import as_markdown
from sleep2vec_sklearn import Recording, load_checkpoint, make_sleep_cohort
from sleep2vec_sklearn.encoding._engine import Engine
from sleep2vec_sklearn.encoding._pooling import fuse
from sleep2vec_sklearn.recordings import EPOCH_SECONDS

MODALITIES = ("ibi", "actigraphy")
SHARES = (0.0, 0.1, 0.3, 0.6, 0.9)
SEED = 999


def without_a_stretch(recording: Recording, share: float, random) -> Recording:
    """The night with all sensors off for this share of it."""
    length = int(recording.n_epochs * share)
    first = int(random.integers(0, recording.n_epochs - length + 1))
    signals = {}
    for name, signal in recording.read().items():
        values = signal.values.astype(np.float32)
        samples = EPOCH_SECONDS * signal.rate
        values[round(first * samples) : round((first + length) * samples)] = np.nan
        signals[name] = (values, signal.rate)
    return Recording(
        signals,
        units=recording.units,
        subject=recording.subject,
        stages=recording.stages,
        duration=recording.duration,
        id=recording.id,
    )


def rows_of(engine: Engine, recordings) -> list[dict[str, np.ndarray]]:
    """Rows of each night, as the transformer makes them and as the network infers them."""
    nights = engine.encode(recordings, [recording.id for recording in recordings])
    return [
        {
            "rows of the transformer": fuse(night.modalities, MODALITIES, "concat")[0],
            "inferred by the network": np.concatenate(
                [night.modalities[name].tokens for name in MODALITIES], axis=1
            ),
        }
        for night in nights
    ]


def compare(checkpoint, n_subjects: int) -> pd.DataFrame:
    """Mean over subjects of wake AUC and kappa, by share of the night lost."""
    cohort = make_sleep_cohort(
        n_subjects,
        n_sites=6,
        site_kinds="watch_laboratory",
        modalities=MODALITIES,
        missing=0.0,
        random_state=SEED,
    )
    whole = [without_a_stretch(recording, 0.0, np.random.default_rng(0)) for recording in cohort]
    engine = Engine(checkpoint, MODALITIES, "last", "float32", "cpu", 2, None)
    stages = [np.select([r.stages == 0, r.stages == 4], [0, 2], default=1) for r in whole]
    half = n_subjects // 2
    heads = []
    intact = rows_of(engine, whole)
    for training in (range(half), range(half, n_subjects)):
        X = np.concatenate([intact[k]["rows of the transformer"] for k in training])
        y = np.concatenate([stages[k] for k in training])
        head = LogisticRegression(C=0.01, class_weight="balanced", max_iter=200)
        heads.append(make_pipeline(StandardScaler(), head).fit(X, y))
    table = []
    for share in SHARES:
        random = np.random.default_rng(1)
        lost = rows_of(engine, [without_a_stretch(night, share, random) for night in whole])
        for kind in lost[0]:
            scores = [
                _score(heads[k < half], lost[k][kind], stages[k])
                for k in range(n_subjects)
                if 0 < (stages[k] == 0).sum() < len(stages[k])
            ]
            auc, kappa = np.mean(scores, axis=0)
            table.append({"night lost": share, "rows": kind, "wake AUC": auc, "kappa": kappa})
    return pd.DataFrame(table).set_index("night lost")


def _score(head, X: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    probability = head.predict_proba(X)
    return roc_auc_score(y == 0, probability[:, 0]), cohen_kappa_score(
        y, probability.argmax(axis=1)
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", default="sleep2vec-mini")
    parser.add_argument("--subjects", type=int, default=24)
    options = parser.parse_args()
    print(as_markdown(compare(load_checkpoint(options.checkpoint), options.subjects)))


if __name__ == "__main__":
    main()
