# SPDX-License-Identifier: BSD-3-Clause
"""Sleep stages of 30-s epochs, in the order of the AASM manual."""

from __future__ import annotations

import numbers
from contextlib import suppress
from enum import IntEnum
from typing import Any

import numpy as np

from .._arguments import as_array
from ..errors import InvalidRecordingError


class SleepStage(IntEnum):
    """A scored 30-s epoch: W 0, N1 1, N2 2, N3 3, R 4, and unscored -1, also for movement.

    Examples
    --------
    >>> from sleep2vec_sklearn import SleepStage
    >>> SleepStage.R, int(SleepStage.R), SleepStage(2).name
    (<SleepStage.R: 4>, 4, 'N2')
    """

    unscored = -1
    W = 0
    N1 = 1
    N2 = 2
    N3 = 3
    R = 4


_SPELLINGS = {
    **{stage.name.lower(): stage for stage in SleepStage},
    **dict.fromkeys(("wake", "0"), SleepStage.W),
    **dict.fromkeys(("s1", "1"), SleepStage.N1),
    **dict.fromkeys(("s2", "2"), SleepStage.N2),
    **dict.fromkeys(("s3", "3", "s4", "n4"), SleepStage.N3),
    **dict.fromkeys(("rem", "4"), SleepStage.R),
    **dict.fromkeys(
        ("mt", "m", "movement", "?", "", "none", "nan", "<na>", "-1"), SleepStage.unscored
    ),
}


def as_stages(values: Any) -> np.ndarray:
    """Convert stage labels to a read-only int8 array of :class:`SleepStage` values.

    Parameters
    ----------
    values : array-like of shape (n_epochs,)
        Integers 0 to 4 and -1, names ("W", "N1", "REM", ...), or None, NaN or
        pandas.NA for unscored.

    Raises
    ------
    InvalidRecordingError
        If a label is none of these; booleans are not stages.

    Examples
    --------
    >>> from sleep2vec_sklearn.recordings import as_stages
    >>> as_stages(["W", "S2", "REM", "?", None])
    array([ 0,  2,  4, -1, -1], dtype=int8)
    """
    labels = as_array("stages", values, InvalidRecordingError)
    if labels.ndim != 1:
        raise InvalidRecordingError(
            f"stages must be one label per epoch, got shape {labels.shape}."
        )
    if labels.dtype.kind in "iuf":
        labels = np.where(np.isnan(labels), -1, labels) if labels.dtype.kind == "f" else labels
        with np.errstate(invalid="ignore"):
            stages = labels.astype(np.int8)
        unknown = (stages != labels) | (stages < -1) | (stages > 4)
    else:
        parsed = [_parse_stage(label) for label in labels.tolist()]
        unknown = np.array([stage is None for stage in parsed], dtype=bool)
        stages = np.array([-1 if stage is None else stage for stage in parsed], dtype=np.int8)
    if unknown.any():
        odd = sorted({str(label) for label in labels[unknown].tolist()})[:5]
        raise InvalidRecordingError(
            f"unknown sleep stage {', '.join(map(repr, odd))}; accepted are W=0, N1=1, N2=2, N3=3, "
            "R=4, unscored=-1, or their names. Rechtschaffen & Kales stage 4 is N3."
        )
    stages.flags.writeable = False
    return stages


def _parse_stage(label: Any) -> SleepStage | None:
    if isinstance(label, bool):
        # True, asleep, is not N1
        return None
    with suppress(OverflowError):
        if isinstance(label, numbers.Real) and float(label).is_integer():
            label = int(float(label))
    return _SPELLINGS.get(str(label).strip().lower())
