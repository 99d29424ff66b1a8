# SPDX-License-Identifier: BSD-3-Clause
"""Expert features against hand-crafted ones and an encoder on sleep-accel, subjects held out.

``python -m benchmarks.evaluation.expert_look --data DIR``

Wake/NREM/REM by logistic regression (classes balanced, ten folds by subject, strength chosen by
subjects of the other folds), scores pooled over epochs. Each run is a look at real labels, and adds
its lines to ``LOOKS.md``.
"""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np

from sleep2vec_sklearn import EpochSequence, Sleep2VecTransformer, load_checkpoint
from sleep2vec_sklearn.encoding import ExpertFeatures
from sleep2vec_sklearn.recordings import Recording

from .hand_crafted import hand_crafted_long
from .probes import C_GRID, FOLDS, evaluate_features
from .questions import THREE_STAGES, with_time
from .tasks import BOTH, TASKS

LEDGER = Path(__file__).with_name("LOOKS.md")
HEADER = (
    "# Looks at real labels\n\nEvery evaluation of a variant on labelled real nights; the scripts "
    "write their own lines.\n\n| date | commit | data | variant | pooled scores |\n|---|---|---|"
    "---|---|\n"
)


def rows_by_night(transformer, recordings: Sequence[Recording]) -> list[np.ndarray]:
    """Rows of all epochs, one array a night."""
    rows = transformer.fit_transform(EpochSequence(recordings))
    return np.split(rows, np.cumsum([night.n_epochs for night in recordings])[:-1])


def add_to_ledger(data: str, variant: str, scores: Mapping[str, float]) -> None:
    """Append a line to LOOKS.md."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    values = ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
    known = LEDGER.read_text(encoding="utf-8") if LEDGER.exists() else HEADER
    line = f"| {date.today()} | {commit} | {data} | {variant} | {values} |\n"
    LEDGER.write_text(known + line, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Evaluate and write down each variant."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--checkpoint", default="sleep2vec-mini")
    options = parser.parse_args(arguments)
    recordings = TASKS["sleep-accel"].recordings(options.data)
    encoder = Sleep2VecTransformer(
        load_checkpoint(options.checkpoint), modalities=BOTH, fusion="concat"
    )
    variants: dict[str, Callable] = {
        "hand-crafted, long context": hand_crafted_long,
        "ExpertFeatures": partial(rows_by_night, ExpertFeatures(BOTH)),
        "ExpertFeatures, levels=False": partial(rows_by_night, ExpertFeatures(BOTH, levels=False)),
        f"{options.checkpoint}, with the time": with_time(partial(rows_by_night, encoder)),
    }
    for name, make in variants.items():
        table = evaluate_features(
            make(recordings), recordings, THREE_STAGES, n_splits=FOLDS, C=C_GRID
        )
        print(name, table.attrs["pooled"], flush=True)
        add_to_ledger("sleep-accel", name, table.attrs["pooled"])


if __name__ == "__main__":
    main()
