# SPDX-License-Identifier: BSD-3-Clause
"""Five-stage probe within one Sleep-EDF night, by contiguous blocks: descriptive, one person.

``python -m benchmarks.one_night --data DIR [--checkpoint NAME_OR_PATH]``

``DIR`` holds ``sleep-edfx/sleep-cassette`` (physionet.org/content/sleep-edfx). Neighbouring epochs
are alike, so the blocks are contiguous; still, train and test are one person and one night.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, cohen_kappa_score
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.real_nights import as_markdown, random_twin
from sleep2vec_sklearn import (
    EpochSequence,
    Sleep2VecTransformer,
    SleepStage,
    config_context,
    load_checkpoint,
    read_recording,
)

EPOCHS_AROUND_SLEEP = 60
N_BLOCKS = 5


def main() -> None:
    """Probe the encoder, its untrained twin and its tokenizers; print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--checkpoint", default="sleep2vec-mini")
    options = parser.parse_args()
    folder = options.data / "sleep-edfx" / "sleep-cassette"
    night = read_recording(next(folder.glob("SC4001*-PSG.edf")), derive=False)
    sleep = np.flatnonzero(night.stages > SleepStage.W)
    epochs = EpochSequence([night])
    epochs = epochs[max(sleep[0] - EPOCHS_AROUND_SLEEP, 0) : sleep[-1] + EPOCHS_AROUND_SLEEP + 1]
    epochs = epochs[epochs.stages != SleepStage.unscored]
    checkpoint = load_checkpoint(options.checkpoint)
    feature_sets = {
        checkpoint.name: Sleep2VecTransformer(checkpoint),
        "random weights": Sleep2VecTransformer(random_twin(checkpoint)),
        "tokenizers only": Sleep2VecTransformer(checkpoint, layer=0),
    }
    rows = {}
    for name, transformer in feature_sets.items():
        transformer.set_params(modalities=night.modalities, fusion="concat")
        head = LogisticRegression(C=0.01, class_weight="balanced", max_iter=1000)
        model = make_pipeline(transformer, StandardScaler(), head)
        # blocks of one night, and the table says so
        with config_context(leakage="ignore"):
            predicted = cross_val_predict(model, epochs, epochs.stages, cv=KFold(N_BLOCKS))
        rows[name] = {
            "kappa": cohen_kappa_score(epochs.stages, predicted),
            "accuracy": accuracy_score(epochs.stages, predicted),
            "epochs": len(epochs),
        }
    print(as_markdown(pd.DataFrame.from_dict(rows, orient="index").rename_axis("features")))


if __name__ == "__main__":
    main()
