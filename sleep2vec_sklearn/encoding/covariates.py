# SPDX-License-Identifier: BSD-3-Clause
"""Covariates of recordings as columns: metadata, and the time of the night."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from .._warnings import warn
from ..errors import InvalidRecordingError, RecordingWarning
from ..recordings._demographics import (
    is_age,
    is_bmi,
    read_age,
    read_bmi,
    read_number,
    read_sex,
    read_text,
)
from ..recordings.recording import Recording
from ._base import RecordingTransformerMixin, check_unit
from ._expert_blocks import time_columns
from .inputs import EncoderInput, read_input

# words of keys that may hold what is looked for by another name
_OTHER_NAMES = {"age": {"age", "ages"}, "sex": {"sex", "gender", "male", "female"}}
_TIME_COLUMNS = ("hours", "hours_squared", "settling", "share")


class RecordingMetadata(RecordingTransformerMixin, BaseEstimator):
    """Age, sex and site of each element of X, from the recordings' metadata.

    Reads no signal. In a ``FeatureUnion`` with a :class:`Sleep2VecTransformer` it gives the same
    rows: one per night, subject or epoch, with the same index. What is missing is NaN; put an
    imputer behind it, or a head that accepts NaN.

    Parameters
    ----------
    fields : sequence of str, default=("age", "sex", "site")
        Keys of ``Recording.metadata``, in the order of the columns. "sex" becomes 0 for female
        and 1 for male; "site", and any other field whose values are words, one column per word
        seen at fit; ages are 0 to 120 years. Any other is a number.

    Attributes
    ----------
    fields_ : tuple of str
        As at fit.
    unit_ : {"night", "epoch"}
        What a row stands for.
    categories_ : dict of str to tuple of str
        Words of each field that has them, sorted; a word that is not among them is 0 in all of
        their columns.
    sites_ : tuple of str
        Those of "site".
    n_features_out_ : int
        Number of columns.

    Notes
    -----
    A subject with several nights has the mean of those that state a value; they have to agree on
    the sex. A plain dict has no metadata: its row is NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from sleep2vec_sklearn import Recording, RecordingMetadata
    >>> known = {"age": 61, "sex": "F", "site": "north"}
    >>> X = [Recording({"ecg": np.zeros(3840)}, metadata=known), {"ecg": np.zeros(3840)}]
    >>> RecordingMetadata().fit_transform(X)
    array([[61.,  0.,  1.],
           [nan, nan, nan]], dtype=float32)
    """

    def __init__(self, fields: Sequence[str] = ("age", "sex", "site")):
        self.fields = fields

    def fit(self, X: Any, y: Any = None) -> RecordingMetadata:
        """Learn the sites and other categories.

        Parameters
        ----------
        X : list of Recording or dict, list of lists of them, or EpochSequence
            Nights, subjects, or epochs.
        y : ignored

        Raises
        ------
        ValueError
            If ``fields`` is empty, a bare string, or names something twice.
        InvalidRecordingError
            If X is not such a list, or no recording states a field beyond age, sex and site.
        """
        fields = _checked_fields(self.fields)
        inputs = read_input(X, "nan")
        facts = [recording.metadata for recording in inputs.recordings]
        unstated = [field for field in fields if not any(field in known for known in facts)]
        keys = ", ".join(sorted({str(key) for known in facts for key in known}))
        text = (
            f"fields has {', '.join(map(repr, unstated))}, which no recording states; their "
            f"metadata has {keys or 'nothing'}. Name one of these, or add it with "
            "Recording(..., metadata={...})."
        )
        if not {"age", "sex", "site"}.issuperset(unstated):
            raise InvalidRecordingError(text)
        key_words = {*re.split(r"[^a-z]+", keys.lower())}
        if any(field in unstated and key_words & names for field, names in _OTHER_NAMES.items()):
            warn(f"{text} Until then the columns are NaN.", RecordingWarning)
        self.fields_ = fields
        self.categories_ = {
            field: words for field in fields if (words := _words(inputs, field)) is not None
        }
        self.sites_ = self.categories_.get("site", ())
        self.unit_ = inputs.unit
        self.n_features_out_ = len(self._column_names())
        if self.n_features_out_ == 0:
            raise InvalidRecordingError(
                "fields is 'site' alone, and no recording states a site. Ask for age or sex as "
                "well, or add it with Recording(..., metadata={'site': ...})."
            )
        return self

    def transform(self, X: Any) -> Any:
        """Look the fields up.

        Parameters
        ----------
        X : list of Recording or dict, list of lists of them, or EpochSequence
            Of the same kind as at fit.

        Returns
        -------
        float32 ndarray of shape (len(X), n_features_out_), or a DataFrame
            As of :meth:`Sleep2VecTransformer.transform`.

        Raises
        ------
        InvalidRecordingError
            If a value is no number, an age that cannot be or an unknown code of sex, or a subject's
            nights disagree on the sex.
        """
        check_is_fitted(self)
        inputs = read_input(X, "nan")
        check_unit(inputs, self.unit_, "these columns were")
        return self._label_rows(self._gather(inputs), inputs)

    def _column_names(self) -> list[str]:
        columns = {f: [f"{f}_{word}" for word in words] for f, words in self.categories_.items()}
        return [name for f in self.fields_ for name in columns.get(f, [f])]

    def _gather(self, inputs: EncoderInput) -> np.ndarray:
        shape = (inputs.n_rows, self.n_features_out_)
        sums, counts = np.zeros(shape), np.zeros(shape)
        sexes: dict[int, float] = {}
        nights = zip(inputs.recordings, inputs.rows, inputs.locations, strict=True)
        for recording, rows, location in nights:
            values = self._values(recording, location)
            if inputs.unit == "night" and "sex" in self.fields_:
                sex = read_sex(recording.metadata.get("sex"), location)
                if not math.isnan(sex) and sexes.setdefault(int(rows[0]), sex) != sex:
                    raise InvalidRecordingError(
                        f"{location}: 'sex' differs between the nights of one subject. Check who "
                        "they belong to, or leave 'sex' out of fields."
                    )
            known = ~np.isnan(values)
            sums[rows] += np.where(known, values, 0)
            counts[rows] += known
        with np.errstate(invalid="ignore"):
            return (sums / counts).astype(np.float32)

    def _values(self, recording: Recording, location: str) -> np.ndarray:
        values: list[float] = []
        for field in self.fields_:
            value = recording.metadata.get(field)
            if field in self.categories_:
                text, words = read_text(value), self.categories_[field]
                values += [np.nan if text is None else float(text == word) for word in words]
            elif field == "sex":
                values.append(read_sex(value, location))
            elif is_age(field):
                values.append(read_age(value, location, field))
            elif is_bmi(field):
                values.append(read_bmi(value, location, field))
            else:
                values.append(read_number(value, field, location))
        return np.array(values)


def _words(inputs: EncoderInput, field: str) -> tuple[str, ...] | None:
    """Words that the recordings state for a field, sorted; None if it is one of numbers."""
    stated = [recording.metadata.get(field) for recording in inputs.recordings]
    texts = {text for text in map(read_text, stated) if text is not None}
    if field == "site":
        return tuple(sorted(texts))
    known = [value for value in stated if read_text(value) is not None]
    is_words = all(isinstance(value, str) and not _is_number(value) for value in known)
    if field == "sex" or is_age(field) or not known or not is_words:
        return None
    return tuple(sorted(texts))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _checked_fields(fields: Any) -> tuple[str, ...]:
    usable = isinstance(fields, Sequence) and not isinstance(fields, str) and len(fields)
    if not usable or not all(isinstance(f, str) for f in fields) or len(set(fields)) < len(fields):
        raise ValueError(
            f"fields must be a list of different keys of Recording.metadata, got {fields!r}; "
            'for example ("age", "sex", "site").'
        )
    return tuple(fields)


class TimeOfNight(RecordingTransformerMixin, BaseEstimator):
    """Hours since lights out of each epoch of X, in forms a linear head can use.

    Deep sleep is early in a night and REM late, and an encoder that reads windows of one or two
    hours cannot know which it is. In a ``FeatureUnion`` this tells a head of sleep stages.

    Attributes
    ----------
    n_features_out_ : int
        Four columns: "hours" since lights out; "hours_squared"; "settling", which is
        ``exp(-hours)``; and "share" of the time between lights out and lights on that is over.
        Where one of the two is not known, the recording's begin or end stands for it.

    Notes
    -----
    A head that knows the time learns when the subjects it was trained on sleep. Leave it out for
    shift workers, naps, and recordings that do not begin at bedtime.

    Examples
    --------
    >>> from sleep2vec_sklearn import EpochSequence, TimeOfNight, make_sleep_cohort
    >>> X = EpochSequence(make_sleep_cohort(2, hours=1, modalities=["ibi"], random_state=0))
    >>> TimeOfNight().fit_transform(X)[60].round(3)  # half an hour after the start
    array([0.492, 0.243, 0.611, 0.526], dtype=float32)
    """

    def fit(self, X: Any, y: Any = None) -> TimeOfNight:
        """Check that X holds epochs; nothing is learned.

        Parameters
        ----------
        X : EpochSequence
        y : ignored

        Raises
        ------
        InvalidRecordingError
            If X holds nights, which have no one time.
        """
        _read_epochs(X)
        self.n_features_out_ = len(_TIME_COLUMNS)
        return self

    def transform(self, X: Any) -> Any:
        """Columns of the time at every epoch's middle.

        Parameters
        ----------
        X : EpochSequence

        Returns
        -------
        float32 ndarray of shape (len(X), 4), or a DataFrame
            As of :meth:`Sleep2VecTransformer.transform`.
        """
        check_is_fitted(self)
        inputs = _read_epochs(X)
        columns = np.empty((inputs.n_rows, len(_TIME_COLUMNS)), dtype=np.float32)
        parts = zip(inputs.recordings, inputs.rows, inputs.epochs or (), strict=True)
        for recording, rows, epochs in parts:
            columns[rows] = time_columns(recording, epochs)
        return self._label_rows(columns, inputs)

    def _column_names(self) -> tuple[str, ...]:
        return _TIME_COLUMNS


def _read_epochs(X: Any) -> EncoderInput:
    inputs = read_input(X)
    if inputs.epochs is None:
        raise InvalidRecordingError(
            "X holds nights, which have no one time of the night; accepted is an EpochSequence. "
            "Wrap them: EpochSequence(X)."
        )
    return inputs
