# SPDX-License-Identifier: BSD-3-Clause
"""BIDSleep (Song 2026): heart rate and motion of a watch, with stages of an EEG headband."""

from __future__ import annotations

import zlib
from datetime import datetime
from pathlib import Path

import numpy as np

from ..errors import ReadError
from ..readers._boundary import check_file
from ..readers._matlab import read_vectors
from ..readers.wearables import WearableSource
from ..recordings.cohort import Cohort
from ..recordings.modality import EPOCH_SECONDS
from ..recordings.recording import Recording
from ._files import StrPath, as_cohort, find_files, read_each, unreadable

_DATASET = "bidsleep-dataset 1.0 (PhysioNet)"
_TIMEZONE = "America/New_York"
_SCORERS = ("expert", "dreem")
# hr.csv has no header, motion.csv has Timestamp, x, y, z
_COLUMNS = {"time": (0, "s"), "heart_rate": (1, "bpm")}
_MOST_BYTES = 1 << 24
_ACCEPTED = f"a MATLAB file (not 7.3) with recStart and labels of 30-s epochs, as in {_DATASET}"


def load_bidsleep(folder: StrPath, *, scorer: str = "expert") -> Cohort:
    r"""Load nights of an Apple Watch with stages of a Dreem 2 headband.

    A night is as long as its labels and starts with them; readings before and after are not used.
    Times of the watch are in UTC, the start of the labels is local in New York, and both come from
    one phone. ``ibi`` is 60 / heart rate, so without beat-to-beat variability. Heart rate and
    acceleration, which becomes activity counts, are read when they are used.

    The reference is a headband, not polysomnography. Stages of the expert are corrected ones of
    the headband, not a second opinion; a user of the set reports that they lie one to two epochs
    late, which is not corrected here.

    Parameters
    ----------
    folder : path-like
        Holds ``BidslabNN/k/hr.csv``, ``motion.csv`` and ``labels.mat`` for night k of subject NN.
        A night without one of the watch's files has the other.
    scorer : {"expert", "dreem"}, default="expert"
        Stages of the headband as an expert corrected them, or as its algorithm scored them.

    Returns
    -------
    Cohort
        A recording per night, ``Bidslab00-1`` and so on: ``ibi`` (1 Hz), ``actigraphy`` (counts per
        second), stages, ``start`` (local). Metadata: site, night. Ages and sexes are not published.

    Raises
    ------
    ReadError
        If the folder is not of this layout or a file of it is damaged.

    References
    ----------
    Song T (2026). A multi-night instantaneous heart rate and accelerometry dataset with EEG sleep
    stage labels. PhysioNet, doi:10.13026/hace-p847, ODC-BY 1.0.

    Examples
    --------
    >>> from sleep2vec_sklearn.datasets import load_bidsleep
    >>> cohort = load_bidsleep("folder/of/the/data/set")  # doctest: +SKIP
    >>> load_bidsleep(".")
    Traceback (most recent call last):
        ...
    sleep2vec_sklearn.errors.ReadError: . holds no Bidslab*/*/labels.mat; accepted is the ...
    """
    if scorer not in _SCORERS:
        raise ValueError(f"scorer must be 'expert' or 'dreem', got {scorer!r}.")
    paths = find_files(folder, "Bidslab*/*/labels.mat", _DATASET)
    paths = sorted(paths, key=lambda path: (path.parent.parent.name, len(path.parent.name), path))
    return as_cohort(read_each(paths, lambda path: _read_night(path, scorer)))


def _read_night(path: Path, scorer: str) -> Recording:
    subject, night = path.parent.parent.name, path.parent.name
    start, stages = _read_labels(path, scorer)
    files = {"heart_rate": path.with_name("hr.csv"), "acceleration": path.with_name("motion.csv")}
    present = {kind: file for kind, file in files.items() if file.exists()}
    if not present:
        raise ReadError(
            f"{path.parent} holds neither hr.csv nor motion.csv; accepted is the folder of a night "
            f"in {_DATASET}. Download it again."
        )
    source = WearableSource.of_window(
        present, start=start, duration=len(stages) * EPOCH_SECONDS, columns=_COLUMNS,
        timezone=_TIMEZONE,
    )  # fmt: skip
    return Recording.from_source(
        source, subject=subject, start=start, stages=stages, duration=source.duration,
        metadata={"site": "bidsleep", "night": int(night) if night.isdigit() else night},
        id=f"{subject}-{night}",
    )  # fmt: skip


def _read_labels(path: Path, scorer: str) -> tuple[datetime, np.ndarray]:
    """Local start, and a stage per epoch; 5 and others are unscored."""
    try:
        check_file(path, _MOST_BYTES)
        name = f"{scorer}_label"
        variables = read_vectors(path, ("recStart", name))
        start = datetime.fromisoformat(str(variables["recStart"]).strip())
        codes = np.asarray(variables[name], dtype=float)
    except (LookupError, TypeError, ValueError, zlib.error) as error:
        raise unreadable(path, error, _ACCEPTED) from error
    if not len(codes):
        raise unreadable(path, f"{scorer}_label is empty", _ACCEPTED)
    stages = np.full(len(codes), -1, dtype=np.int8)
    is_stage = np.isin(codes, range(5))
    stages[is_stage] = codes[is_stage]
    return start, stages
