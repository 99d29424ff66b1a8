# SPDX-License-Identifier: BSD-3-Clause
"""Who the sleepers of a cohort are, matched to their recordings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd

from ..errors import InvalidRecordingError
from ..recordings._demographics import match_rows, read_age, read_sex, read_text
from .losses import dash_weights, encode_labels

__all__ = [
    "Demography",
    "dash_weights",
]


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
    >>> from sleep2vec_sklearn.pretraining import Demography
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
