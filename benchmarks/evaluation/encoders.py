# SPDX-License-Identifier: BSD-3-Clause
"""Encoders side by side, by the same head on subjects held out.

``python -m benchmarks.evaluation.encoders --data DIR [--seqsleepnet FILE] [--encoders NAME ...]``

W/NREM/REM from heart rate and activity of the 23 subjects of sleep-accel; five stages from the EEG
of two people, an example; and from that of simulated ones. Programs that stage by themselves are
scored on the same two: ``--programs yasa``. Every score on real labels adds a line to ``LOOKS.md``.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import cohen_kappa_score

from sleep2vec_sklearn import EpochSequence, load_checkpoint, make_sleep_cohort, stage_night
from sleep2vec_sklearn.encoding import ExpertFeatures
from sleep2vec_sklearn.errors import ModalityWarning, RecordingWarning
from sleep2vec_sklearn.evaluation import EstimatorComparison, compare_encoders
from sleep2vec_sklearn.recordings import Recording

from .ledger import add_to_ledger
from .one_night import NIGHTS
from .probes import FEWEST_SUBJECTS
from .scores import as_markdown
from .tasks import REAL, in_memory

MINI, FEATURES, SEQSLEEPNET = "sleep2vec-mini", "expert features", "SeqSleepNet"
EEG_NIGHTS = ("SC4001", "DREAMS excerpt 1")
SEED = 20261201


def watch(data: Path) -> tuple[EpochSequence, np.ndarray]:
    """W/NREM/REM by heart rate and activity, 23 subjects."""
    X = EpochSequence(REAL["sleep-accel"].recordings(data))
    X = X[X.stages >= 0]
    return X, np.array([0, 1, 1, 1, 2])[X.stages]


def two_people(data: Path) -> tuple[EpochSequence, np.ndarray]:
    """Five stages by the EEG of SC4001 and DREAMS excerpt 1; of excerpt 3 it has 50 Hz."""
    nights, used = zip(*(eeg_night(name, data) for name in EEG_NIGHTS), strict=True)
    X = EpochSequence([*nights])[np.concatenate(used)]
    return X, X.stages


def eeg_night(name: str, data: Path) -> tuple[Recording, np.ndarray]:
    """The EEG of one person's night, and which of its epochs are used."""
    one = NIGHTS[name](data)
    return one.recording.without(*({*one.recording} - {"eeg"})), one.used


def simulated(data: Path | None, n_subjects: int = 24) -> tuple[EpochSequence, np.ndarray]:
    """Five stages by the EEG of simulated people, every second epoch."""
    nights = make_sleep_cohort(
        n_subjects, hours=6, site_kinds="laboratory", n_sites=4, modalities=["eeg"], missing=0,
        random_state=SEED,
    )  # fmt: skip
    X = EpochSequence([in_memory(night) for night in nights])
    X = X[np.flatnonzero(X.stages >= 0)[::2]]
    return X, X.stages


TASKS = {
    "sleep-accel, ibi + actigraphy": watch,
    "SC4001 and DREAMS excerpt 1, eeg": two_people,
    "simulated, eeg": simulated,
}


def choose(names: Sequence[str], X: EpochSequence, seqsleepnet: Any) -> dict[str, Any]:
    """The encoders of these names, and the unions of those that read the sensors of X."""
    known = {MINI: MINI, FEATURES: ExpertFeatures(levels=False)}
    if seqsleepnet is not None and "eeg" in X.recordings[0]:
        known[SEQSLEEPNET] = seqsleepnet
    known |= {
        " + ".join(union): tuple(known[name] for name in union)
        for union in ([FEATURES, MINI], [FEATURES, SEQSLEEPNET], [MINI, SEQSLEEPNET])
        if set(union) <= set(known)
    }
    return {name: known[name] for name in known if not names or name in {FEATURES, *names}}


def table_of(compared: EstimatorComparison) -> pd.DataFrame:
    """Kappa of each encoder, and its difference to expert features, with 95 % intervals.

    Two people have no interval.
    """
    rows = {}
    for (name, _), row in compared.to_frame().set_index(["estimator", "metric"]).iterrows():
        kappa, lead = f"{row['value']:.3f}", f"{row['difference']:+.3f}"
        if row["subjects"] >= FEWEST_SUBJECTS:
            kappa += f" ({row['low']:.3f} to {row['high']:.3f})"
            lead += f" ({row['difference_low']:+.3f} to {row['difference_high']:+.3f})"
        rows[name] = {"kappa": kappa, f"difference to {FEATURES}": lead}
    rows[FEATURES][f"difference to {FEATURES}"] = ""
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("encoder")


def score_programs(programs: Sequence[str], data: Path) -> pd.DataFrame:
    """Kappa of programs that stage by themselves, for each of two people."""
    table = pd.DataFrame(index=pd.Index(EEG_NIGHTS, name="night"))
    for program in programs:
        for name in EEG_NIGHTS:
            night, used = eeg_night(name, data)
            found = stage_night(night, stager=program).stages
            kappa = cohen_kappa_score(night.stages[used], found[used])
            table.loc[name, Path(program).stem] = kappa
            add_to_ledger(name, f"{Path(program).stem}, as a program", {"kappa": kappa})
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare, print a table for each task."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the real data sets")
    parser.add_argument("--seqsleepnet", type=Path, help="file of SeqSleepNet")
    parser.add_argument("--encoders", nargs="*", default=[], help="rows of the table; all of them")
    parser.add_argument("--programs", nargs="*", default=[], help="yasa, seqsleepnet, or a file")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=[*TASKS], metavar="TASK")
    options = parser.parse_args(arguments)
    if options.data is None and {*options.tasks} != {"simulated, eeg"}:
        parser.error("real nights need --data, the folder of the data sets")
    if {"bundled", "vote"} & {*options.programs}:
        parser.error("the bundled stager was trained on these two people")
    for category in (RecordingWarning, ModalityWarning):
        warnings.simplefilter("ignore", category)
    path = options.seqsleepnet
    seqsleepnet = None if path is None else load_checkpoint(path)
    for task in options.tasks:
        X, y = TASKS[task](options.data)
        encoders = choose(options.encoders, X, seqsleepnet)
        n_folds = min(10, len(np.unique(X.groups)))
        compared = compare_encoders(encoders, X, y, cv=n_folds, reference=FEATURES, scoring="kappa")
        for name, kappa in compared.scores["value"].droplevel("metric").items():
            if TASKS[task] is not simulated:
                add_to_ledger(task, f"{name}, compare_encoders", {"kappa": kappa})
        print(f"{task}\n\n{as_markdown(table_of(compared))}\n", flush=True)
    if options.programs:
        print(as_markdown(score_programs(options.programs, options.data)))


if __name__ == "__main__":
    main()
