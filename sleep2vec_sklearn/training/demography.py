# SPDX-License-Identifier: BSD-3-Clause
"""Who the sleepers of a cohort are, matched to their recordings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd

from ..errors import InvalidRecordingError
from ..signals.demographics import read_age, read_sex, read_text
from .weighting import dash_weights, encode_labels

__all__ = ["Demography", "dash_weights", "match_rows"]


@dataclass(frozen=True, eq=False)
class Demography:
    """What is known of the sleepers of a cohort, as aligned arrays.

    Parameters
    ----------
    age : float ndarray of shape [N]
        Years; NaN where it is not known.
    sex : float ndarray of shape [N]
        0 female, 1 male, NaN where it is not known.
    site, subject, recording : int ndarray of shape [N]
        Codes; -1 where it is not known.

    Examples
    --------
    >>> import pandas as pd
    >>> from sleep2vec_sklearn.training import Demography
    >>> table = pd.DataFrame({"age": [61, None], "sex": ["F", "M"]}, index=["n2", "n1"])
    >>> cohort = Demography.from_metadata(table, ["n1", "n2"], subjects=["a", "b"])
    >>> cohort.age
    array([nan, 61.])
    >>> weights, history = cohort.take([0, 1]).weights(age_bandwidth=10)
    """

    age: np.ndarray
    sex: np.ndarray
    site: np.ndarray
    subject: np.ndarray
    recording: np.ndarray

    @classmethod
    def from_metadata(
        cls,
        metadata: pd.DataFrame | None,
        recording_ids: Sequence | None = None,
        subjects: Sequence | None = None,
    ) -> Demography:
        """Read a table with one row per recording.

        Parameters
        ----------
        metadata : DataFrame or None
            Columns ``age``, ``sex``, ``site`` and ``subject`` are read, each where there is one.
            The index holds the recordings' ids; rows of other recordings are not read.
        recording_ids : sequence of str, optional
            Ids of the recordings, in the order of the result. Without ids (None, or None for
            each), row ``i`` belongs to recording ``i``.
        subjects : sequence, optional
            Who slept in each recording; the column ``subject`` is read where it is None.

        Returns
        -------
        Demography

        Raises
        ------
        InvalidRecordingError
            If rows and recordings cannot be matched, an age is below 0 or above 120, or a sex
            has an unknown code.
        """
        n_recordings = _count(metadata, recording_ids, subjects)
        ids = [None] * n_recordings if recording_ids is None else list(recording_ids)
        rows = pd.DataFrame(index=ids) if metadata is None else match_rows(metadata, ids)
        places = [f"recording {i if name is None else repr(name)}" for i, name in enumerate(ids)]
        given = [None] * n_recordings if subjects is None else subjects
        subject = [
            read_text(one) or read_text(other)
            for one, other in zip(given, _column(rows, "subject"), strict=True)
        ]
        ages = zip(_column(rows, "age"), places, strict=True)
        sexes = zip(_column(rows, "sex"), places, strict=True)
        return cls(
            age=np.array([read_age(*age) for age in ages], dtype=float),
            sex=np.array([read_sex(*sex) for sex in sexes], dtype=float),
            site=encode_labels([read_text(site) for site in _column(rows, "site")]),
            subject=encode_labels(subject),
            recording=encode_labels(
                [i if name is None else str(name) for i, name in enumerate(ids)]
            ),
        )

    def __len__(self) -> int:
        return len(self.age)

    def take(self, indices) -> Demography:
        """Those at ``indices``, in that order; an index may come twice.

        Parameters
        ----------
        indices : int array of shape [B]

        Returns
        -------
        Demography
        """
        indices = np.asarray(indices, dtype=int)
        return Demography(**{f.name: getattr(self, f.name)[indices] for f in fields(self)})

    def weights(self, **constants) -> tuple[np.ndarray, np.ndarray]:
        """Weights and history among them.

        Parameters
        ----------
        **constants
            Of :func:`dash_weights`.

        Returns
        -------
        weights, history : ndarray of shape [N, N]
        """
        known = {f.name: getattr(self, f.name) for f in fields(self)}
        return dash_weights(**known, **constants)


def _count(metadata, recording_ids, subjects) -> int:
    if metadata is not None and not isinstance(metadata, pd.DataFrame):
        raise InvalidRecordingError(
            f"metadata must be a DataFrame with a row per recording, got {type(metadata).__name__}."
        )
    sizes = [len(given) for given in (recording_ids, subjects) if given is not None]
    if len(set(sizes)) > 1:
        raise InvalidRecordingError(
            f"{sizes[1]} subjects are given for {sizes[0]} recordings; accepted is one for each, "
            "None where it is not known."
        )
    if not sizes and metadata is None:
        raise InvalidRecordingError(
            "nothing is given: pass the recordings' ids, their subjects, or a table of metadata."
        )
    return sizes[0] if sizes else len(metadata)


def _column(rows: pd.DataFrame, name: str) -> list:
    return rows[name].tolist() if name in rows else [None] * len(rows)


def match_rows(metadata: pd.DataFrame, ids: list) -> pd.DataFrame:
    """The rows of ``metadata`` in the order of ``ids``; by order only where there are no ids.

    Raises
    ------
    InvalidRecordingError
        If a recording has no row, or rows and recordings cannot be matched.
    """
    if not ids or all(name is None for name in ids):
        _check_order(metadata, len(ids))
        return metadata
    if None in ids:
        raise InvalidRecordingError(
            f"recording {ids.index(None)} has no id, but others have; a table is matched by id or "
            "by order. Give each one an id with Recording(..., id=...), or none of them."
        )
    names, wanted = metadata.index.map(str), [str(name) for name in ids]
    if not names.is_unique:
        twice = names[names.duplicated()][0]
        raise InvalidRecordingError(
            f"metadata has more than one row for recording {twice!r}; accepted is one row per "
            "recording, with its id in the index."
        )
    places = names.get_indexer(wanted)
    if (places < 0).any():
        lost = [name for name, place in zip(wanted, places, strict=True) if place < 0]
        raise InvalidRecordingError(
            f"metadata has no row for {len(lost)} of {len(ids)} recordings, for example "
            f"{', '.join(map(repr, lost[:3]))}; its index holds "
            f"{', '.join(map(repr, names[:3])) or 'nothing'}. Put the recordings' ids there with "
            "metadata.set_index(...), and add an empty row for a recording nothing is known of."
        )
    return metadata.iloc[places]


def _check_order(metadata: pd.DataFrame, n_recordings: int) -> None:
    if len(metadata) != n_recordings:
        raise InvalidRecordingError(
            f"metadata has {len(metadata)} rows for {n_recordings} recordings without an id. Give "
            "the recordings ids, and put them into the table's index."
        )
    if not isinstance(metadata.index, pd.RangeIndex):
        raise InvalidRecordingError(
            f"the rows of metadata have ids ({metadata.index[0]!r}, ...), but the recordings have "
            "none, so they cannot be matched. Give Recording(..., id=...), or match by order with "
            "metadata.reset_index(drop=True)."
        )
