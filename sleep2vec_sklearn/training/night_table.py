# SPDX-License-Identifier: BSD-3-Clause
"""Who slept the nights of a store: one row per recording, found by its id."""

from __future__ import annotations

import numbers
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InvalidRecordingError
from ..signals.recording import Recording, describe_place

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "describe_sleepers", "frame_of", "name_recordings"]

COLUMNS = ("subject", "age", "sex", "site")
_SHOWN = 5


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
            f"{len(repeated)} ids belong to several recordings, such as {_some(repeated)}. Make "
            "them unique, with the site in front for example."
        )
    return ids


def describe_sleepers(
    recordings: Sequence[Recording], ids: Sequence[str], metadata: pd.DataFrame | None
) -> pd.DataFrame:
    """Subject, age, sex and site of each recording, from a table or the recordings themselves.

    Parameters
    ----------
    recordings : sequence of Recording
    ids : sequence of str
        Their names.
    metadata : DataFrame or None
        Rows are found by its index, or its column ``recording``; only where no recording has an
        id are they taken in order. What it has no column for is taken from the recordings.

    Returns
    -------
    DataFrame
        Index ``recording``; unknown is NaN in columns of numbers and None in columns of text.

    Raises
    ------
    InvalidRecordingError
        If a recording has no row, or a row is there twice.
    """
    stated = {name: [r.metadata.get(name) for r in recordings] for name in COLUMNS}
    stated["subject"] = [r.subject for r in recordings]
    if metadata is not None:
        rows = _rows_of(metadata, recordings, ids)
        stated |= {name: rows[name].tolist() for name in COLUMNS if name in rows.columns}
    return frame_of(ids, stated)


def frame_of(ids: Sequence[str], values: Mapping[str, Sequence]) -> pd.DataFrame:
    """Values of every column by the recording's id, age and sex as numbers if they all are."""
    import pandas as pd

    # types are named, or they would depend on what a column holds and on the version of pandas
    index = pd.Index(list(ids), name="recording", dtype=object)
    columns = {name: _as_column(values[name], name in ("age", "sex")) for name in COLUMNS}
    series = {name: pd.Series(c, index, dtype=c.dtype) for name, c in columns.items()}
    return pd.DataFrame(series, index=index)


def _rows_of(metadata: pd.DataFrame, recordings, ids: Sequence[str]) -> pd.DataFrame:
    if all(recording.id is None for recording in recordings):
        if len(metadata) != len(recordings):
            raise InvalidRecordingError(
                f"metadata has {len(metadata)} rows for {len(recordings)} recordings without an "
                "id; accepted is one row each, in the same order."
            )
        return metadata
    if "recording" in metadata.columns:
        metadata = metadata.set_index("recording")
    known = metadata.index.map(str)
    twice = known[known.duplicated()].unique().tolist()
    wanted = set(ids)
    if wanted & set(twice):
        raise InvalidRecordingError(
            f"metadata has several rows for {_some(twice)}; accepted is one row per recording."
        )
    lost = [name for name in ids if name not in set(known)]
    if lost:
        raise InvalidRecordingError(
            f"metadata has no row for {len(lost)} of {len(ids)} recordings, such as "
            f"{_some(lost)}; its index has {_some(known.tolist())}. Rows are found by the id of "
            "the recording, in the index or in a column 'recording'."
        )
    return metadata.set_axis(known, axis=0).loc[list(ids)]


def _as_column(values: Sequence, may_be_numbers: bool) -> np.ndarray:
    """Values as float64 where all that is known are numbers, as text and None otherwise."""
    values = [None if _is_unknown(value) else value for value in values]
    known = [value for value in values if value is not None]
    if may_be_numbers and all(_is_number(value) for value in known):
        return np.array([np.nan if v is None else float(v) for v in values], dtype=np.float64)
    column = [None if value is None else str(value).replace("\0", "") for value in values]
    return np.fromiter(column, dtype=object, count=len(column))


def _is_number(value) -> bool:
    return isinstance(value, numbers.Real | np.bool_)


def _is_unknown(value) -> bool:
    return value is None or str(value).strip().lower() in ("", "nan", "<na>", "nat", "none")


def _some(names: Sequence) -> str:
    more = ", ..." if len(names) > _SHOWN else ""
    return ", ".join(map(str, names[:_SHOWN])) + more
