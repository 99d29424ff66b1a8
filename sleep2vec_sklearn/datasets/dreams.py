# SPDX-License-Identifier: BSD-3-Clause
"""DREAMS sleep-spindle database: half-hour excerpts with stages every 5 seconds."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import ReadError
from ..readers._edf_header import read_header
from ..readers.edf import list_edf_channels
from ..readers.formats import open_source
from ..recordings import EPOCH_SECONDS, Cohort, Recording, get_modality
from ._files import as_cohort, find_files

__all__ = [
    "load_dreams",
]

_DATASET = "the DREAMS sleep-spindle database"
_SITE = "dreams"
_LABEL_SECONDS = 5
_LABELS_PER_EPOCH = EPOCH_SECONDS // _LABEL_SECONDS
_STAGES = {5: 0, 4: 4, 3: 1, 2: 2, 1: 3, 0: 3}
_EXPERTS = (1, 2)
# beside PR, the rate; elsewhere the name may mean either
_PULSE_WAVE = "PULSE"
_PERSON = re.compile(r"\b(man|woman)\b(?:\W+(\d\d)/(\d\d)/(\d{4}))?")
_SEXES = {"man": "M", "woman": "F"}


def load_dreams(folder) -> Cohort:
    """Load excerpts from their EDF files, or from text files with one EEG channel each.

    Zenodo holds the set as ``DatabaseSpindles.rar``, which Python's own tools do not unpack, so
    there is no function to fetch it: unpack it with ``unar`` or 7-Zip.

    Parameters
    ----------
    folder : path-like
        Holds ``Hypnogram_excerptN.txt`` (a label per 5 s) with ``excerptN.edf`` or ``excerptN.txt``
        (samples) and, where an expert marked spindles, ``Visual_scoring1_excerptN.txt`` and
        ``Visual_scoring2_excerptN.txt``.

    Returns
    -------
    Cohort
        One recording per excerpt, each a subject. From EDF, which is taken where there are both:
        the modalities of the montage and those derived from them, read when they are used, with
        sex and age in the metadata where the header tells. From text: ``eeg`` in uV, at the rate
        that fits its labels. Stages by majority of the six labels of an epoch, ties to the lighter
        stage (S3 and S4 are N3); ``events`` of type ``spindle_expert_1`` and ``spindle_expert_2``;
        ``site``. Excerpts without samples are listed in ``failures``.

    Raises
    ------
    ReadError
        If the folder is not of this layout or a file of it is damaged.

    References
    ----------
    Devuyst S, Dutoit T, Stenuit P, Kerkhofs M (2011). Automatic sleep spindles detection:
    overview and development of a standard proposal assessment method. EMBC 2011, 1713-1716.
    Data: Zenodo, doi:10.5281/zenodo.2650142, Creative Commons Attribution.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from sleep2vec_sklearn.datasets import load_dreams
    >>> labels, samples = np.repeat([5, 2], 6), np.random.default_rng(0).normal(0, 30, 60 * 100)
    >>> np.savetxt("Hypnogram_excerpt1.txt", labels, header="[hypnogram]", comments="")
    >>> np.savetxt("excerpt1.txt", samples, header="[C3-A1]", comments="")
    >>> night = load_dreams(".")[0]
    >>> night, night.stages
    (Recording(id='excerpt1', 2 epochs, eeg), array([0, 2], dtype=int8))
    """
    recordings, failures = [], []
    for path in find_files(folder, "Hypnogram_excerpt*.txt", _DATASET):
        text = path.with_name(path.name.removeprefix("Hypnogram_"))
        edf = text.with_suffix(".edf")
        if edf.exists():
            recordings.append(_read_edf(edf, path))
        elif text.exists():
            recordings.append(_read_text(text, path))
        else:
            failures.append((str(text), "there is neither an EDF nor a text file of samples"))
    cohort = as_cohort(recordings)
    return Cohort(cohort, cohort.metadata, failures)


def _read_edf(path: Path, labels_path: Path) -> Recording:
    source = open_source(path, channels={"ppg": _PULSE_WAVE} if _has_pulse_wave(path) else None)
    duration = source.duration // EPOCH_SECONDS * EPOCH_SECONDS
    return Recording.from_source(
        source,
        subject=path.stem,
        metadata={"site": _SITE, **_person_of(path)},
        stages=stages_by_majority(_read_column(labels_path).astype(int)),
        events=_read_spindles(path),
        start=source.start,
        duration=duration,
        id=path.stem,
        notes=source.notes,
        align="trim",
    )


def _has_pulse_wave(path: Path) -> bool:
    """Whether it is there, and fast enough; channels= refuses what is too slow."""
    least_rate = get_modality("ppg").conditioning.min_rate or 0
    channels = list_edf_channels(read_header(path))
    return any(c.label == _PULSE_WAVE and c.rate >= least_rate for c in channels)


def _read_text(path: Path, labels_path: Path) -> Recording:
    labels = _read_column(labels_path).astype(int)
    samples = _read_column(path).astype(np.float32)
    duration = len(labels) * _LABEL_SECONDS
    return Recording(
        {"eeg": (samples, round(len(samples) / duration))},
        subject=path.stem,
        metadata={"site": _SITE},
        stages=stages_by_majority(labels),
        events=_read_spindles(path),
        duration=duration // EPOCH_SECONDS * EPOCH_SECONDS,
        id=path.stem,
    )


def _person_of(path: Path) -> dict:
    """Sex and age from a header older than EDF+; nothing else of it is kept."""
    with path.open("rb") as file:
        header = file.read(176).decode("latin-1")
    found = _PERSON.search(header[8:88])
    if found is None:
        return {}
    person: dict = {"sex": _SEXES[found[1]]}
    recorded = re.fullmatch(r"(\d\d)\.(\d\d)\.(\d\d)", header[168:176])
    if found[4] and recorded:
        day, month, year = (int(part) for part in found.groups()[1:])
        # the two digits of an EDF year are those of 1985 to 2084
        then = int(recorded[3]) + (1900 if int(recorded[3]) >= 85 else 2000)
        had_birthday = (int(recorded[2]), int(recorded[1])) >= (month, day)
        person["age"] = then - year - (not had_birthday)
    return person


def _read_spindles(path: Path) -> pd.DataFrame | None:
    """What the experts marked, onset and duration in s per line; None where nobody did."""
    rows, marked = [], False
    for expert in _EXPERTS:
        marks_path = path.with_name(f"Visual_scoring{expert}_{path.stem}.txt")
        if marks_path.exists():
            marked = True
            marks = _read_table(marks_path)
            rows += [(*mark, f"spindle_expert_{expert}") for mark in marks[:, :2].tolist()]
    columns = ["onset", "duration", "type"]
    return pd.DataFrame(sorted(rows), columns=columns) if marked else None


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
    column = _read_table(path, 1)
    if column.ndim != 1 or column.size == 0:
        raise ReadError(f"{path} holds shape {column.shape}; accepted is a number per line.")
    return column


def _read_table(path: Path, n_axes: int = 2) -> np.ndarray:
    try:
        with warnings.catch_warnings():
            # of a file without a mark
            warnings.filterwarnings("ignore", "loadtxt", UserWarning)
            return np.loadtxt(path, skiprows=1, ndmin=n_axes)
    except (OSError, ValueError) as error:
        raise ReadError(
            f"{path} cannot be read: {error}. Accepted is a text file of {_DATASET}: a line "
            "with the channel's name, then numbers."
        ) from error
