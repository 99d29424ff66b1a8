# SPDX-License-Identifier: BSD-3-Clause
"""DREAMS sleep-spindle database: half-hour excerpts with stages every 5 seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...errors import ReadError
from ...signals import EPOCH_SECONDS, Cohort, Recording
from .assembly import as_cohort, find_files

__all__ = ["load_dreams"]

_DATASET = "the DREAMS sleep-spindle database"
_LABEL_SECONDS = 5
_LABELS_PER_EPOCH = EPOCH_SECONDS // _LABEL_SECONDS
_STAGES = {5: 0, 4: 4, 3: 1, 2: 2, 1: 3, 0: 3}


def load_dreams(folder) -> Cohort:
    """Load excerpts from their text files: one EEG channel each.

    Parameters
    ----------
    folder : path-like
        Holds ``Hypnogram_excerptN.txt`` (a label per 5 s) and ``excerptN.txt`` (samples).

    Returns
    -------
    Cohort
        One recording per excerpt: ``eeg`` in uV, at the rate that fits its labels; stages by
        majority of the six labels of an epoch, ties to the lighter stage (S3 and S4 are N3).
        Excerpts without a text file of samples are listed in ``failures``; their EDF files are
        for :func:`sleep2vec_sklearn.read_recording`.

    Raises
    ------
    ReadError
        If the folder is not of this layout or a file of it is damaged.

    References
    ----------
    Devuyst S, Dutoit T, Stenuit P, Kerkhofs M (2011). Automatic sleep spindles detection:
    overview and development of a standard proposal assessment method. EMBC 2011, 1713-1716.
    Data: Zenodo, Creative Commons Attribution.
    """
    recordings, failures = [], []
    for path in find_files(folder, "Hypnogram_excerpt*.txt", _DATASET):
        samples_path = path.with_name(path.name.removeprefix("Hypnogram_"))
        if samples_path.exists():
            recordings.append(_read_excerpt(samples_path, path))
        else:
            failures.append((str(samples_path), "there is no text file of samples"))
    cohort = as_cohort(recordings)
    return Cohort(cohort, cohort.metadata, failures)


def _read_excerpt(samples_path: Path, labels_path: Path) -> Recording:
    labels = _read_column(labels_path).astype(int)
    samples = _read_column(samples_path).astype(np.float32)
    duration = len(labels) * _LABEL_SECONDS
    return Recording(
        {"eeg": (samples, round(len(samples) / duration))},
        subject=samples_path.stem,
        stages=stages_by_majority(labels),
        duration=duration // EPOCH_SECONDS * EPOCH_SECONDS,
        id=samples_path.stem,
    )


def stages_by_majority(labels: np.ndarray) -> np.ndarray:
    """Stage of each 30-s epoch from Rechtschaffen and Kales labels of 5 s.

    Parameters
    ----------
    labels : ndarray of shape (n,)
        5 wake, 4 REM, 3 to 0 for S1 to S4, negative for movement and unscored; a last epoch
        that is not whole is left out.

    Returns
    -------
    int8 ndarray of shape (n // 6,)
    """
    stages = np.array([_STAGES.get(int(label), -1) for label in labels], dtype=np.int8)
    whole = stages[: len(stages) // _LABELS_PER_EPOCH * _LABELS_PER_EPOCH]
    epochs = whole.reshape(-1, _LABELS_PER_EPOCH)
    votes = (epochs[:, :, None] == np.arange(-1, 5)).sum(axis=1)
    # Unscored only where it outnumbers every stage.
    scored = votes[:, 1:]
    unscored = votes[:, 0] > scored.max(axis=1, initial=0)
    return np.where(unscored, -1, scored.argmax(axis=1)).astype(np.int8)


def _read_column(path: Path) -> np.ndarray:
    try:
        column = np.loadtxt(path, skiprows=1, ndmin=1)
    except (OSError, ValueError) as error:
        raise ReadError(
            f"{path} cannot be read: {error}. Accepted is a text file of {_DATASET}: a line "
            "with the channel's name, then a number per line."
        ) from error
    if column.ndim != 1 or column.size == 0:
        raise ReadError(f"{path} holds shape {column.shape}; accepted is a number per line.")
    return column
