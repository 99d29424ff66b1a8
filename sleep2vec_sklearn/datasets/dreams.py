# SPDX-License-Identifier: BSD-3-Clause
"""DREAMS sleep-spindle database: half-hour excerpts with stages every 5 seconds."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import ReadError
from ..readers._edf_header import read_header
from ..readers.edf import list_edf_channels
from ..readers.formats import ReadSettings, open_source
from ..recordings.cohort import Cohort
from ..recordings.modality import EPOCH_SECONDS, get_modality
from ..recordings.recording import Recording
from ._files import StrPath, as_cohort, find_files, read_each, read_numbers

_DATASET = "the DREAMS sleep-spindle database"
_SITE = "dreams"
_LABEL_SECONDS = 5
_LABELS_PER_EPOCH = EPOCH_SECONDS // _LABEL_SECONDS
_STAGES = {5: 0, 4: 4, 3: 1, 2: 2, 1: 3, 0: 3}
# in a montage with PR, the pulse rate, this is the pulse wave; in others it may be either
_PULSE_WAVE = "PULSE"
_PATIENT = re.compile(r"\b(man|woman)\b(?:\W+(\d\d)/(\d\d)/(\d{4}))?")


def load_dreams(folder: StrPath) -> Cohort:
    """Load excerpts from their EDF files, or from text files with one EEG channel each.

    Zenodo holds the set as ``DatabaseSpindles.rar``, which Python's own tools do not unpack, so
    there is no function to fetch it: unpack it with ``unar`` or 7-Zip.

    Parameters
    ----------
    folder : path-like
        Holds ``Hypnogram_excerptN.txt`` (a label per 5 s) with ``excerptN.edf`` or ``excerptN.txt``
        (samples) and, where an expert scored spindles, ``Visual_scoring1_excerptN.txt`` and
        ``Visual_scoring2_excerptN.txt``.

    Returns
    -------
    Cohort
        One recording per excerpt, each a subject. From EDF, which is preferred: the modalities of
        the montage and those derived from them, read when they are used, with sex and age in the
        metadata where the header has them. From text: ``eeg`` in uV, at the rate that fits its
        labels. Stages by majority of the six labels of an epoch, ties to the lighter stage (S3
        and S4 are N3); ``events`` of type ``spindle_expert_1`` and ``spindle_expert_2``; ``site``.
        Excerpts without samples are listed in ``failures``.

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
            recordings += read_each([path], partial(_read_edf, edf))
        elif text.exists():
            recordings += read_each([path], partial(_read_text, text))
        else:
            failures.append((str(text), "there is neither an EDF nor a text file of samples"))
    return as_cohort(recordings, failures)


def _read_edf(path: Path, labels_path: Path) -> Recording:
    channels = {"ppg": _PULSE_WAVE} if _has_pulse_wave(path) else None
    source = open_source(path, ReadSettings(channels=channels))
    return Recording.from_source(
        source, subject=path.stem, metadata={"site": _SITE, **_read_demographics(path)},
        stages=stages_by_majority(_read_column(labels_path).astype(int)),
        events=_read_spindles(path), start=source.start,
        duration=source.duration // EPOCH_SECONDS * EPOCH_SECONDS, id=path.stem, notes=source.notes,
        align="trim",
    )  # fmt: skip


def _has_pulse_wave(path: Path) -> bool:
    """Whether it is there and fast enough; ``channels`` raises an error if it is too slow."""
    min_rate = get_modality("ppg").conditioning.min_rate or 0
    channels = list_edf_channels(read_header(path))
    return any(c.label == _PULSE_WAVE and c.rate >= min_rate for c in channels)


def _read_text(path: Path, labels_path: Path) -> Recording:
    labels = _read_column(labels_path).astype(int)
    samples = _read_column(path).astype(np.float32)
    duration = len(labels) * _LABEL_SECONDS
    return Recording(
        {"eeg": (samples, round(len(samples) / duration))}, subject=path.stem,
        metadata={"site": _SITE}, stages=stages_by_majority(labels), events=_read_spindles(path),
        duration=duration // EPOCH_SECONDS * EPOCH_SECONDS, id=path.stem,
    )  # fmt: skip


def _read_demographics(path: Path) -> dict:
    """Sex and age from a header older than EDF+; nothing else of it enters the metadata."""
    with path.open("rb") as file:
        header = file.read(176).decode("latin-1")
    patient = _PATIENT.search(header[8:88])
    if patient is None:
        return {}
    demographics: dict = {"sex": "M" if patient[1] == "man" else "F"}
    date = re.fullmatch(r"(\d\d)\.(\d\d)\.(\d\d)", header[168:176])
    if patient[4] and date:
        birth_day, birth_month, birth_year = (int(part) for part in patient.groups()[1:])
        day, month, year = (int(part) for part in date.groups())
        # the two digits of an EDF year are those of 1985 to 2084
        year += 1900 if year >= 85 else 2000
        before_birthday = (month, day) < (birth_month, birth_day)
        demographics["age"] = year - birth_year - before_birthday
    return demographics


def _read_spindles(path: Path) -> pd.DataFrame | None:
    """Spindles by both experts, onset and duration in s; None where neither scored any."""
    rows, scored = [], False
    for expert in (1, 2):
        expert_path = path.with_name(f"Visual_scoring{expert}_{path.stem}.txt")
        if expert_path.exists():
            scored = True
            spindles = _read_table(expert_path, 2)[:, :2].tolist()
            rows += [(*spindle, f"spindle_expert_{expert}") for spindle in spindles]
    columns = ["onset", "duration", "type"]
    return pd.DataFrame(sorted(rows), columns=columns) if scored else None


def stages_by_majority(labels: np.ndarray) -> np.ndarray:
    """Stage of each 30-s epoch from Rechtschaffen and Kales labels of 5 s.

    Labels are 5 wake, 4 REM, 3 to 0 for S1 to S4, negative for movement and unscored; an
    incomplete last epoch is dropped.
    """
    stages = np.array([_STAGES.get(int(label), -1) for label in labels], dtype=np.int8)
    whole = stages[: len(stages) // _LABELS_PER_EPOCH * _LABELS_PER_EPOCH]
    epochs = whole.reshape(-1, _LABELS_PER_EPOCH)
    votes = (epochs[:, :, None] == np.arange(-1, 5)).sum(axis=1)
    # an epoch is unscored only where that outnumbers every stage
    scored = votes[:, 1:]
    unscored = votes[:, 0] > scored.max(axis=1, initial=0)
    return np.where(unscored, -1, scored.argmax(axis=1)).astype(np.int8)


def _read_column(path: Path) -> np.ndarray:
    column = _read_table(path, 1)
    if column.ndim != 1 or column.size == 0:
        raise ReadError(f"{path} holds shape {column.shape}; accepted is a number per line.")
    return column


def _read_table(path: Path, ndmin: int) -> np.ndarray:
    accepted = f"a text file of {_DATASET}, a line with the channel's name and then numbers"
    return read_numbers(path, accepted, skiprows=1, ndmin=ndmin)
