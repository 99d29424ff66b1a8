# SPDX-License-Identifier: BSD-3-Clause
"""Who slept the nights of a store: one row per recording, found by its id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ..errors import InvalidRecordingError
from ..signals.demographics import read_age, read_sex, read_text
from ..signals.recording import Recording, describe_place
from .demography import match_rows

__all__ = ["COLUMNS", "describe_sleepers", "frame_of", "name_recordings"]

COLUMNS = ("subject", "age", "sex", "site")
_SHOWN = 3


def name_recordings(recordings: Sequence[Recording], required: bool = False) -> list[str]:
    """Ids, or places in the list where there are none.

    Raises
    ------
    InvalidRecordingError
        If two are equal, or one is missing that is ``required``.
    """
    nameless = [place for place, r in enumerate(recordings) if r.id is None]
    if required and nameless:
        raise InvalidRecordingError(
            f"recording {nameless[0]} has no id, by which a folder finds its night again. Give "
            "it one: Recording(..., id='...')."
        )
    ids = [
        describe_place(None, place) if r.id is None else str(r.id)
        for place, r in enumerate(recordings)
    ]
    repeated = [name for name, count in Counter(ids).items() if count > 1]
    if repeated:
        raise InvalidRecordingError(
            f"{len(repeated)} ids belong to several recordings, for example "
            f"{', '.join(map(repr, repeated[:_SHOWN]))}. Make them unique, for example with the "
            "site in front."
        )
    return ids


def describe_sleepers(
    recordings: Sequence[Recording], metadata: pd.DataFrame | None
) -> pd.DataFrame:
    """Subject, age, sex and site of each recording, from a table or the recordings themselves.

    Parameters
    ----------
    recordings : sequence of Recording
    metadata : DataFrame or None
        The index holds the recordings' ids; rows are taken in order only where no recording has
        one. What it has no column for is taken from the recordings.

    Returns
    -------
    DataFrame
        As :func:`frame_of` makes it.

    Raises
    ------
    InvalidRecordingError
        If rows and recordings cannot be matched, an age is below 0 or above 120, or a sex has an
        unknown code.
    """
    ids = [recording.id for recording in recordings]
    stated = {name: [r.metadata.get(name) for r in recordings] for name in COLUMNS}
    stated["subject"] = [r.subject for r in recordings]
    if metadata is not None:
        rows = match_rows(metadata, ids)
        stated |= {name: rows[name].tolist() for name in COLUMNS if name in rows.columns}
    places = [describe_place(recording, place) for place, recording in enumerate(recordings)]
    stated["age"] = [read_age(*age) for age in zip(stated["age"], places, strict=True)]
    stated["sex"] = [read_sex(*sex) for sex in zip(stated["sex"], places, strict=True)]
    stated["site"] = [read_text(site) for site in stated["site"]]
    stated["subject"] = [read_text(subject) for subject in stated["subject"]]
    return frame_of(name_recordings(recordings), stated)


def frame_of(ids: Sequence[str], values: Mapping[str, Sequence]) -> pd.DataFrame:
    """A table of subject, age, sex and site by recording.

    Age and sex (0 female, 1 male) are float64, NaN where they are not known; subject and site are
    text or None.
    """
    # types are named, or they would depend on what a column holds and on the version of pandas
    index = pd.Index(list(ids), name="recording", dtype=object)
    frame = pd.DataFrame(index=index)
    for name in COLUMNS:
        if name in ("age", "sex"):
            frame[name] = np.array(values[name], dtype=np.float64)
        else:
            frame[name] = pd.Series(list(values[name]), index, dtype=object)
    return frame
