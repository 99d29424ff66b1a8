# SPDX-License-Identifier: BSD-3-Clause
"""Covariates of models: names that are checked, and columns of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from pandas.api.types import is_numeric_dtype as is_numeric

from .._arguments import shown
from ..encoding.covariates import RecordingMetadata
from ..encoding.inputs import EncoderInput, read_input
from ..errors import InvalidRecordingError
from ..recordings._demographics import read_category

# below that many rows two columns may agree by chance
_FEWEST_TO_TELL = 10
# what has more is an identifier, or numbers read as text
_MOST_CATEGORIES = 50


def check_covariates(covariates: Any, X: Any, y: ArrayLike) -> tuple[str, ...]:
    """Names of covariates that are stated, vary, and are not the outcome."""
    is_list = isinstance(covariates, Sequence) and not isinstance(covariates, str)
    if not is_list or not covariates or not all(isinstance(name, str) for name in covariates):
        raise ValueError(
            f"covariates is {shown(covariates)}; accepted is a list of keys of Recording.metadata, "
            "such as ('age', 'sex', 'race')."
        )
    stated = stated_fields(read_input(X, "nan"))
    unstated = [name for name in covariates if name not in stated]
    if unstated:
        raise InvalidRecordingError(
            f"covariates has {unstated[0]!r}, which no recording states; their metadata has "
            f"{', '.join(sorted(stated)) or 'nothing'}. Name one of these, or add it with "
            "Recording(..., metadata={...})."
        )
    table = RecordingMetadata(covariates, missing="category").fit(X)
    columns = table.set_output(transform="default").transform(X)
    outcome, named = np.asarray(y), getattr(y, "name", None)
    outcomes = [outcome[part] for part in outcome.dtype.names or ()] or [outcome]
    start = 0
    for field in table.fields_:
        width = len(table.categories_.get(field, (field,)))
        values = columns[:, start : start + width]
        start += width
        if field == named or any(_is_outcome(values, part) for part in outcomes):
            raise InvalidRecordingError(
                f"covariates has {field!r}, which is y itself or y in other words; accepted is "
                "what is known without the outcome. Leave it out."
            )
        if np.array_equal(values, np.broadcast_to(values[0], values.shape), equal_nan=True):
            raise InvalidRecordingError(
                f"covariates has {field!r}, which is the same in all {len(values)} rows of X, so "
                "nothing can be learned from it. Leave it out."
            )
    return table.fields_


def stated_fields(inputs: EncoderInput) -> set[str]:
    """Keys of metadata for which a recording has a value."""
    facts = [recording.metadata for recording in inputs.recordings]
    return {k for known in facts for k, value in known.items() if read_category(value) is not None}


def _is_outcome(values: np.ndarray, y: np.ndarray) -> bool:
    """Whether columns of a covariate give y, and y them."""
    known = ~np.isnan(values).any(axis=1)
    if y.ndim != 1 or len(y) != len(values) or known.sum() < _FEWEST_TO_TELL:
        return False
    values, y = values[known], y[known]
    codes = np.unique(values, axis=0, return_inverse=True)[1].reshape(-1)
    classes = pd.factorize(y)[0]
    n_codes, n_classes = codes.max() + 1, classes.max() + 1
    if min(n_codes, n_classes) < 2:
        return False
    if 2 * n_classes <= len(y):
        n_pairs = len(set(zip(codes.tolist(), classes.tolist(), strict=True)))
        return bool(n_pairs == n_codes == n_classes)
    if values.shape[1] > 1 or not np.issubdtype(y.dtype, np.number):
        return False
    return bool(abs(np.corrcoef(values[:, 0], y)[0, 1]) > 1 - 1e-6)


def read_covariates(
    covariates: Any, X: Any, y: Any, per: Mapping[str, float] | None, n: int
) -> pd.DataFrame:
    """Columns of numbers, NaN where unknown; a factor is one column less than its categories."""
    if covariates is None:
        columns = pd.DataFrame(index=range(n))
    elif isinstance(covariates, pd.DataFrame):
        columns = _columns_of_table(covariates, n)
    elif X is None or isinstance(covariates, np.ndarray):
        raise TypeError(
            f"covariates is {shown(covariates)}; accepted is a DataFrame with a row for each "
            "outcome. Name the columns: pd.DataFrame(covariates, columns=['age', 'bmi'])."
        )
    else:
        columns = _columns_of_metadata(check_covariates(covariates, X, y), X)
    numeric = [name for name in columns if not str(name).endswith(")")]
    for name, unit in (per or {}).items():
        if name not in columns or not unit > 0:
            raise ValueError(
                f"per has {name!r}: {unit!r}; accepted are names of numeric covariates "
                f"({', '.join(numeric) or 'there is none'}) and units above 0."
            )
        columns[name] /= unit
    units = {name: f"{name} per {unit:g}" for name, unit in (per or {}).items()}
    return columns.rename(columns=units)


def _columns_of_table(table: pd.DataFrame, n: int) -> pd.DataFrame:
    if len(table) != n:
        raise ValueError(f"covariates has {len(table)} rows for {n} outcomes.")
    names = table.columns.astype(str)
    if names.has_duplicates:
        raise ValueError(
            f"covariates has the column {names[names.duplicated()][0]!r} twice; accepted are names "
            "of one column each. Rename it."
        )
    columns: dict[str, np.ndarray] = {}
    for name in table:
        values = table[name]
        known = values.dropna()
        if values.dtype == object and len(known) and is_numeric(known.infer_objects()):
            values = pd.to_numeric(values)
        if pd.api.types.is_datetime64_any_dtype(values) or values.dtype.kind == "m":
            raise ValueError(
                f"covariates: {str(name)!r} holds dates or durations; accepted are numbers, "
                "booleans and words. Turn it into a number, such as years since a day."
            )
        if is_numeric(values) or pd.api.types.is_bool_dtype(values):
            columns[str(name)] = values.to_numpy(dtype=float, na_value=np.nan)
            continue
        texts = np.array([read_category(value) for value in values], dtype=object)
        words = sorted({text for text in texts if text is not None})
        if len(words) > _MOST_CATEGORIES:
            raise ValueError(
                f"covariates: {name!r} is text of {len(words)} values, such as {words[0]!r}; "
                f"accepted are numbers, and factors of up to {_MOST_CATEGORIES} categories. "
                "Convert numbers by pd.to_numeric, merge rare categories, or leave out identifiers."
            )
        if isinstance(values.dtype, pd.CategoricalDtype):
            # in the order of the categories, by the names that their values have
            declared = map(read_category, values.cat.categories)
            words = [word for word in declared if word in words]
        columns |= _dummies(str(name), texts, words)
    return pd.DataFrame(columns)


def _columns_of_metadata(fields: tuple[str, ...], X: Any) -> pd.DataFrame:
    table = RecordingMetadata(fields).fit(X)
    values = np.asarray(table.set_output(transform="default").transform(X), dtype=float)
    columns, start = {}, 0
    for field in table.fields_:
        words = table.categories_.get(field)
        if words is None:
            columns["sex (male, not female)" if field == "sex" else field] = values[:, start]
        else:
            for i, word in enumerate(words[1:], start + 1):
                columns[f"{field} ({word}, not {words[0]})"] = values[:, i]
        start += 1 if words is None else len(words)
    return pd.DataFrame(columns)


def _dummies(name: str, texts: np.ndarray, words: Sequence[str]) -> dict[str, np.ndarray]:
    unknown = np.array([text is None for text in texts])
    if len(words) < 2:
        # for the caller to find that it does not vary
        return {name: np.where(unknown, np.nan, 1.0)}
    return {
        f"{name} ({word}, not {words[0]})": np.where(unknown, np.nan, texts == word).astype(float)
        for word in words[1:]
    }
