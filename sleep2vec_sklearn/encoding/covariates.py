# SPDX-License-Identifier: BSD-3-Clause
"""Covariates of recordings as columns: metadata, and the time of the night."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from .._validation import StrOptions, validate_params
from .._warnings import listed, warn
from ..errors import InvalidRecordingError, RecordingWarning
from ..recordings._demographics import (
    MISSING,
    is_age,
    is_bmi,
    read_age,
    read_bmi,
    read_category,
    read_number,
    read_sex,
    states_categories,
    warn_of_alike,
)
from ..recordings.recording import Recording
from ._base import RecordingTransformerMixin, check_unit
from ._expert_blocks import time_columns
from .inputs import EncoderInput, read_input

# words of keys that may hold what is looked for by another name
_OTHER_NAMES = {"age": {"age", "ages"}, "sex": {"sex", "gender", "male", "female"}}
_TIME_COLUMNS = ("hours", "hours_squared", "settling", "share")
# with more categories, and fewer than two recordings for each, a field names its recordings
_MOST_CATEGORIES = 20


class RecordingMetadata(RecordingTransformerMixin, BaseEstimator):
    """Age, sex, site and other covariates of each element of X, from the recordings' metadata.

    Reads no signal. In a ``FeatureUnion`` with a :class:`Sleep2VecTransformer` it gives the same
    rows: one per night, subject or epoch, with the same index.

    Parameters
    ----------
    fields : sequence of str, default=("age", "sex", "site")
        Keys of ``Recording.metadata``, in the order of the columns. "sex" becomes 0 for female
        and 1 for male; ages are 0 to 120 years, BMI is above 0 to 150 kg/m2; categories become one
        column each (one-hot); any other is a number, or a boolean as 0 and 1.
    categorical : sequence of str, default=()
        Those of ``fields`` that are categories although their values are numbers, such as codes of
        race. Categories without being named here: "site", fields whose values are all words, and
        columns of ``cohort.metadata`` with pandas' categorical dtype (but for age, sex and BMI).
    missing : {"nan", "category"}, default="nan"
        What a category that is not stated becomes: NaN in all columns of its field, or 0, with a 1
        in one column more, ``race_missing``. A number that is not stated is NaN in either case;
        put an imputer behind it, or a head that accepts NaN.
    handle_unknown : {"warn", "ignore", "error"}, default="warn"
        What to do at transform with a category that was not seen at fit: 0 in all columns of its
        field, with a warning that names it or without, or an error.

    Attributes
    ----------
    fields_ : tuple of str
        As at fit.
    unit_ : {"night", "epoch"}
        What a row stands for.
    categories_ : dict of str to tuple of str
        Categories of each field that has them, sorted; "missing" is the last of them with
        ``missing="category"``.
    sites_ : tuple of str
        Those of "site".
    n_features_out_ : int
        Number of columns.

    Notes
    -----
    A subject with several nights has the mean of those that state a value; they have to agree on
    the sex. A plain dict has no metadata. Not stated are None, NaN, and texts that mean it, such as
    "", "unknown" and "not reported"; "none" is a category, as of alcohol or apnoea, but no number.
    In a column of pandas' categorical dtype, every category but "missing" is stated. Codes are
    compared as text, 1.0 as "1".

    Examples
    --------
    >>> import numpy as np
    >>> from sleep2vec_sklearn import Recording, RecordingMetadata
    >>> known = {"age": 61, "sex": "F", "site": "north"}
    >>> X = [Recording({"ecg": np.zeros(3840)}, metadata=known), {"ecg": np.zeros(3840)}]
    >>> RecordingMetadata().fit_transform(X)
    array([[61.,  0.,  1.],
           [nan, nan, nan]], dtype=float32)
    >>> covariates = RecordingMetadata(["age", "site"], missing="category").fit(X)
    >>> covariates.transform(X)
    array([[61.,  1.,  0.],
           [nan,  0.,  1.]], dtype=float32)
    >>> covariates.get_feature_names_out().tolist()
    ['age', 'site_north', 'site_missing']
    """

    _parameter_constraints: ClassVar[dict] = {
        "missing": [StrOptions({"nan", "category"})],
        "handle_unknown": [StrOptions({"warn", "ignore", "error"})],
    }

    def __init__(
        self, fields: Sequence[str] = ("age", "sex", "site"), *, categorical: Sequence[str] = (),
        missing: str = "nan", handle_unknown: str = "warn",
    ):  # fmt: skip
        self.fields = fields
        self.categorical = categorical
        self.missing = missing
        self.handle_unknown = handle_unknown

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
            If ``fields`` is empty, a bare string, or names something twice, or ``categorical``
            names something that is not in it.
        InvalidRecordingError
            If X is not such a list, no recording states a field beyond age, sex and site, or a
            field has more than 20 categories and fewer than two recordings for each.
        """
        validate_params(self)
        fields = _checked_fields(self.fields)
        declared = _checked_categorical(self.categorical, fields)
        inputs = read_input(X, "nan")
        self.fields_ = self._choose_fields(fields, inputs)
        self.categories_ = {}
        for field in self.fields_:
            words = _categories(inputs, field, field in declared)
            if words is not None:
                added = (MISSING,) if words and self.missing == "category" else ()
                self.categories_[field] = words + added
        warn_of_alike(self.categories_)
        self.sites_ = self.categories_.get("site", ())
        self.unit_ = inputs.unit
        self.n_features_out_ = len(self._column_names())
        if self.n_features_out_ == 0:
            raise InvalidRecordingError(
                "fields is 'site' alone, and no recording states a site. Ask for age or sex as "
                "well, or add it with Recording(..., metadata={'site': ...})."
            )
        return self

    def _choose_fields(self, fields: tuple[str, ...], inputs: EncoderInput) -> tuple[str, ...]:
        """All of the fields; refuses or warns of those that no recording states."""
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
        return fields

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

        Warns
        -----
        RecordingWarning
            If a category was not seen at fit, with ``handle_unknown="warn"``.

        Raises
        ------
        InvalidRecordingError
            If a value is no number, an age or BMI that cannot be or an unknown code of sex, a
            subject's nights disagree on the sex, or a category was not seen at fit, with
            ``handle_unknown="error"``.
        """
        check_is_fitted(self)
        inputs = read_input(X, "nan")
        check_unit(inputs, self.unit_, "these columns were")
        self._check_unknown(inputs)
        return self._label_rows(self._gather(inputs), inputs)

    def _column_names(self) -> list[str]:
        columns = {f: [f"{f}_{word}" for word in words] for f, words in self.categories_.items()}
        return [name for f in self.fields_ for name in columns.get(f, [f])]

    def _check_unknown(self, inputs: EncoderInput) -> None:
        """Treat categories that were not seen at fit as ``handle_unknown`` says."""
        if self.handle_unknown == "ignore":
            return
        found = []
        for field, words in self.categories_.items():
            stated = (read_category(r.metadata.get(field)) for r in inputs.recordings)
            counts = Counter(text for text in stated if text is not None and text not in words)
            if counts:
                texts = [f"{text!r} in {n} recordings" for text, n in sorted(counts.items())]
                found.append(f"{field} has {listed(texts)}")
        if not found:
            return
        seen = f"{'; '.join(found)}: not among the categories seen at fit"
        if self.handle_unknown == "error":
            raise InvalidRecordingError(
                f"{seen}, which are in categories_. Fit on recordings that have them, or set "
                "handle_unknown='ignore' for 0 in all columns of the field."
            )
        warn(
            f"{seen}, so all columns of the field are 0. Fit on recordings that have them, or "
            "set handle_unknown='ignore'.",
            RecordingWarning,
        )

    def _gather(self, inputs: EncoderInput) -> np.ndarray:
        shape = (inputs.n_rows, self.n_features_out_)
        sums, counts = np.zeros(shape), np.zeros(shape)
        sexes: dict[int, float] = {}
        is_coded = "sex" in self.fields_ and "sex" not in self.categories_
        nights = zip(inputs.recordings, inputs.rows, inputs.locations, strict=True)
        for recording, rows, location in nights:
            values = self._values(recording, location)
            if inputs.unit == "night" and is_coded:
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
            means = sums / counts
        start = 0
        for field in self.fields_:
            words = self.categories_.get(field)
            stop = start + (1 if words is None else len(words))
            if words and words[-1] == MISSING:
                unstated = np.isnan(means[:, start])
                means[unstated, start:stop] = 0
                means[:, stop - 1] = unstated
            start = stop
        return means.astype(np.float32)

    def _values(self, recording: Recording, location: str) -> np.ndarray:
        values: list[float] = []
        for field in self.fields_:
            value = recording.metadata.get(field)
            if field in self.categories_:
                text, words = read_category(value), self.categories_[field]
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


def _categories(inputs: EncoderInput, field: str, declared: bool) -> tuple[str, ...] | None:
    """Categories that the recordings state for a field, sorted; None if it is one of numbers."""
    facts = [recording.metadata for recording in inputs.recordings]
    texts = [t for known in facts if (t := read_category(known.get(field))) is not None]
    is_coded = field == "sex" or is_age(field) or is_bmi(field)
    if not (declared or field == "site") and (is_coded or not states_categories(facts, field)):
        return None
    words = tuple(sorted(set(texts)))
    if len(words) > max(_MOST_CATEGORIES, len(texts) / 2):
        raise InvalidRecordingError(
            f"{field!r} has {len(words)} categories in {len(texts)} recordings, such as "
            f"{listed([*map(repr, words)], 3)}, so it names them; accepted are at most "
            f"{_MOST_CATEGORIES}, or two recordings for each. Join categories, or leave it out."
        )
    return words


def _checked_categorical(categorical: Any, fields: tuple[str, ...]) -> tuple[str, ...]:
    is_list = isinstance(categorical, Sequence) and not isinstance(categorical, str)
    unknown = [name for name in categorical if name not in fields] if is_list else []
    if not is_list or unknown:
        raise ValueError(
            f"categorical is {categorical!r}; accepted is a list of names that are in fields, "
            f"which has {', '.join(map(repr, fields))}."
        )
    return tuple(categorical)


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
