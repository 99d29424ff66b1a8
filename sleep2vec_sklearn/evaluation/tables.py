# SPDX-License-Identifier: BSD-3-Clause
"""Tables for a paper: Table 1, values with intervals, LaTeX and markdown."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import skew

from .._arguments import (
    as_array,
    as_numbers,
    check_labels_map,
    check_number,
    check_option,
    check_text,
    is_missing,
    is_nan,
    shown,
)
from .._html import as_html
from ..errors import InvalidRecordingError
from ..recordings._demographics import (
    MISSING,
    read_category,
    read_number,
    read_text,
    reads_as_number,
    warn_of_alike,
)
from ..recordings.cohort import Cohort
from ..recordings.epochs import EpochSequence
from ..recordings.recording import Recording

# columns that say whose night it is and which, not what is known of the subject
_ID = re.compile(
    r"subject|recording|path|file(name)?|hypnogram|start|night|visit|"
    r"(.*_)?(nsrr|ppt|subj|subject|patient|participant|person|recording|study|file|sample)?_?id"
)
_P_VALUE = re.compile(r"p|p[-_ ]?val(ue)?|p_(permutation|bh|bonferroni)|pr\(>.*\)", re.IGNORECASE)
# of a score over another, and so written with its sign
_DIFFERENCE = re.compile(r"difference.*|.*difference|gain")
_COUNT = re.compile(r"n|n_.*|.*(subjects|nights|recordings|epochs|rows|events)", re.IGNORECASE)
_MOST_CATEGORIES = 20
_MOST_GROUPS = 10
# above it, in absolute value, a distribution is called highly skewed (Bulmer, Principles of
# Statistics, 1979)
_SKEWED = 1.0
_ABSENT = "–"
_MOST_DIGITS = 30


def format_interval(
    value: Any, low: Any, high: Any, *, digits: int = 2, sign: bool = False, missing: str = _ABSENT
) -> Any:
    """Write a value and its interval as a paper does: "0.79 (0.75 to 0.81)".

    Numbers are written the same in every locale, with a decimal point.

    Parameters
    ----------
    value, low, high : float, or Series, array or list of shape (n,)
        The estimate and the limits of its interval. Series are matched by their index.
    digits : int, default=2
        Decimal places.
    sign : bool, default=False
        Write the sign of positive numbers, as for differences.
    missing : str, default="–"
        What stands for a number that is NaN, such as a limit that cannot be estimated.

    Returns
    -------
    str, or Series or object array of str
        As ``value`` is; an array of a list. ``missing`` alone where the value is NaN; one of it in
        brackets where both limits are.

    Raises
    ------
    ValueError
        If Series have other labels or labels twice, or there is not one limit for each value.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import format_interval
    >>> format_interval(0.7912, 0.7468, 0.8125)
    '0.79 (0.75 to 0.81)'
    >>> format_interval(-0.001, -0.2, 0.14, sign=True)
    '0.00 (-0.20 to +0.14)'
    """
    digits = check_number("digits", digits, 0, _MOST_DIGITS, whole=True)
    check_text("missing", missing)
    check_option("sign", sign, (True, False))
    if isinstance(value, list | tuple) or np.ndim(value) == 1:
        columns = {"value": value, "low": low, "high": high}
        if isinstance(value, pd.Series):
            columns |= {name: _aligned(columns[name], value) for name in ("low", "high")}
        n = len(as_array("value", value))
        rows = zip(*(as_numbers(k, v, length=n) for k, v in columns.items()), strict=True)
        texts = [format_interval(*r, digits=digits, sign=sign, missing=missing) for r in rows]
        if isinstance(value, pd.Series):
            return pd.Series(texts, value.index, dtype=object, name=value.name)
        return np.array(texts, dtype=object)
    value, low, high = (
        np.nan if is_missing(number) or is_nan(number) else check_number(name, number)
        for name, number in (("value", value), ("low", low), ("high", high))
    )
    words = [write_number(number, digits, sign, missing) for number in (value, low, high)]
    if pd.isna(value):
        return missing
    limits = missing if pd.isna(low) and pd.isna(high) else f"{words[1]} to {words[2]}"
    return f"{words[0]} ({limits})"


def _aligned(limit: Any, value: pd.Series) -> Any:
    """A limit in the order of the values, if both have labels."""
    if not isinstance(limit, pd.Series) or limit.index.equals(value.index):
        return limit
    wanted, labels = value.index, limit.index
    same = len(wanted) == len(labels) and wanted.is_unique and labels.is_unique
    if not same or not wanted.isin(labels).all():
        raise ValueError(
            "value, low and high have other labels in their index; accepted are Series of the same "
            "labels. Pass low.to_numpy() if they are in the same order."
        )
    return limit.reindex(wanted)


def write_number(number: Any, digits: int, sign: bool = False, missing: str = _ABSENT) -> str:
    """A number with so many digits, whatever the locale."""
    if pd.isna(number):
        return missing
    # what rounds to zero has no sign
    rounded = round(float(number), digits) + 0.0
    return f"{rounded:+.{digits}f}" if sign and rounded else f"{rounded:.{digits}f}"


def to_markdown(
    result: Any, *, digits: int = 2, missing: str = _ABSENT, labels: Mapping[str, str] | None = None
) -> str:
    """Write a result as a table in markdown, intervals as in :func:`format_interval`.

    Parameters
    ----------
    result : DataFrame, or object with ``to_frame()``
        Columns ``f1_low`` and ``f1_high`` are the interval of ``f1``, or, where there is no such
        column, of the one before them, as ``low`` and ``high`` are. Differences are written with
        their sign; integers are whole, and columns called ``p`` or ``p_value`` have three digits,
        "<0.001" below.
    digits, missing
        As of :func:`format_interval`.
    labels : dict of str to str, optional
        Other names of columns, such as ``{"value": "AUROC (95 % CI)"}``.

    Returns
    -------
    str

    Raises
    ------
    TypeError
        If the result is no table and has no ``to_frame()``.

    Examples
    --------
    >>> import pandas as pd
    >>> from sleep2vec_sklearn.evaluation import to_markdown
    >>> scores = pd.DataFrame({"value": [0.791], "low": [0.747], "high": [0.813]}, index=["kappa"])
    >>> print(to_markdown(scores.rename_axis("score")))
    | score   | value (CI)          |
    |:--------|:--------------------|
    | kappa   | 0.79 (0.75 to 0.81) |
    """
    table = _as_texts(result, digits, missing, labels)
    cells = table.map(_markdown_cell).rename(columns=_markdown_cell)
    # tabulate would read 0.70 as a number and write 0.7
    return cells.to_markdown(index=False, disable_numparse=True)


def to_latex(
    result: Any, *, digits: int = 2, missing: str = _ABSENT,
    labels: Mapping[str, str] | None = None, caption: str | None = None, label: str | None = None,
) -> str:  # fmt: skip
    r"""Write a result as a LaTeX table, intervals as in :func:`format_interval`.

    Needs ``\usepackage{booktabs}`` in the document. Special characters are escaped.

    Parameters
    ----------
    result, digits, missing, labels
        As of :func:`to_markdown`.
    caption, label : str, optional
        Of the ``table`` around the ``tabular``, which there is if one is given. Both are LaTeX
        and are written as they are, not escaped as the cells are: write ``95\,\%`` in them.

    Returns
    -------
    str

    Raises
    ------
    TypeError
        If the result is no table and has no ``to_frame()``.

    Examples
    --------
    >>> import pandas as pd
    >>> from sleep2vec_sklearn.evaluation import to_latex
    >>> scores = pd.DataFrame({"score": ["mean_f1"], "value": [0.7], "low": [0.6], "high": [0.8]})
    >>> print(to_latex(scores))
    \begin{tabular}{ll}
    \toprule
    score & value (CI) \\
    \midrule
    mean\_f1 & 0.70 (0.60 to 0.80) \\
    \bottomrule
    \end{tabular}
    <BLANKLINE>
    """
    table = _as_texts(result, digits, missing, labels)
    for option, written in (("caption", caption), ("label", label)):
        if written is not None:
            check_text(option, written)
    text = table.to_latex(index=False, escape=True, caption=caption, label=label)
    # engines without Unicode fonts lack the dash, and the default fonts print < as another sign
    return text.replace("–", "--").replace("<0.001", "$<$0.001")


class TableExportMixin:
    """``to_markdown`` and ``to_latex`` of a result that has ``to_frame()``."""

    def to_markdown(self, **options: Any) -> str:
        """Table in markdown; options as of :func:`to_markdown`."""
        return to_markdown(self, **options)

    def to_latex(self, **options: Any) -> str:
        """Table in LaTeX (booktabs); options as of :func:`to_latex`."""
        return to_latex(self, **options)


def _markdown_cell(text: str) -> str:
    return " ".join(text.replace("|", r"\|").split())


def _as_texts(
    result: Any, digits: int, missing: str, labels: Mapping[str, str] | None
) -> pd.DataFrame:
    """A result's table with every cell as text, and intervals in one column with their value."""
    digits = check_number("digits", digits, 0, _MOST_DIGITS, whole=True)
    check_text("missing", missing)
    labels = check_labels_map("labels", labels)
    # an index of several levels has to_frame(), and so has what is read, which is no result
    no_result = isinstance(result, type | pd.Index | Recording | EpochSequence)
    has_frame = hasattr(result, "to_frame") and not no_result
    frame = result.to_frame() if has_frame else result
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(
            f"result is of type {type(result).__name__}; accepted is a DataFrame, or a result that "
            "has to_frame()."
        )
    if not isinstance(frame.index, pd.RangeIndex):
        frame = frame.reset_index()
    frame = frame.set_axis(frame.columns.map(_flat_name), axis=1)
    repeated = frame.columns[frame.columns.duplicated()]
    if len(repeated):
        raise ValueError(f"result has more than one column {repeated[0]!r}; rename one of them.")
    limits = _limits(list(frame.columns))
    used = {column for pair in limits.values() for column in pair}
    texts = {}
    for name in frame.columns:
        if name in limits:
            low, high = (frame[column] for column in limits[name])
            sign = _DIFFERENCE.fullmatch(name) is not None
            column = format_interval(
                frame[name], low, high, digits=digits, sign=sign, missing=missing
            )
            texts[f"{name} (CI)" if name not in (labels or {}) else name] = column
        elif name not in used:
            texts[name] = _column_texts(frame[name], digits, missing)
    return pd.DataFrame(texts, dtype=object).rename(columns=dict(labels or {}))


def _flat_name(name: Any) -> str:
    return " ".join(map(str, name)).strip() if isinstance(name, tuple) else str(name)


def _limits(columns: list[str]) -> dict[str, tuple[str, str]]:
    """Columns of the lower and the upper limit of each column that has them."""
    found = {}
    for i, low in enumerate(columns):
        stem = low.removesuffix("low")
        if stem == low or f"{stem}high" not in columns:
            continue
        value = stem.rstrip("_") if stem.rstrip("_") in columns else columns[max(i - 1, 0)]
        if value != low:
            found[value] = (low, f"{stem}high")
    return found


def _column_texts(column: pd.Series, digits: int, missing: str) -> list[str]:
    is_number = pd.api.types.is_float_dtype(column) or pd.api.types.is_integer_dtype(column)
    if not is_number:
        return [missing if pd.isna(value) else str(value) for value in column.astype(object)]
    if _P_VALUE.fullmatch(str(column.name)):
        texts = [write_number(value, 3, missing=missing) for value in column]
        return ["<0.001" if 0 <= p < 0.001 else t for p, t in zip(column, texts, strict=True)]
    known = column.dropna().to_numpy(dtype=float)
    # a gap makes floats of counts; a score may be exactly 1
    is_count = (known == np.round(known)).all() and _COUNT.fullmatch(str(column.name))
    digits = 0 if is_count or pd.api.types.is_integer_dtype(column) else digits
    return [write_number(value, digits, missing=missing) for value in column]


@dataclass(frozen=True, repr=False)
class TableOne(TableExportMixin):
    """Result of :func:`table_one`.

    Attributes
    ----------
    table : DataFrame of str
        Index characteristic, category; a column for all rows, one per group, and SMD.
    smd : Series of float
        Standardised mean difference of each column of the data; empty without groups.
    n : int
        Rows described, subjects of a cohort.
    unit : {"subjects", "rows"}
    by : str or None
    left_out : dict of str to str
        Columns that are not in the table, and why.

    Examples
    --------
    >>> import pandas as pd
    >>> from sleep2vec_sklearn.evaluation import table_one
    >>> table_one(pd.DataFrame({"age": [50, 60, 70]})).to_frame().iloc[-1].tolist()
    ['age, mean (SD)', '', '60.0 (10.0)']
    """

    table: pd.DataFrame
    smd: pd.Series
    n: int
    unit: str
    by: str | None
    left_out: dict[str, str]

    def to_frame(self) -> pd.DataFrame:
        """The table, with columns characteristic and category; a characteristic is named once."""
        frame = self.table.reset_index()
        repeated = frame["characteristic"].eq(frame["characteristic"].shift())
        frame["characteristic"] = frame["characteristic"].mask(repeated, "")
        return frame

    def __repr__(self) -> str:
        text = self.to_frame().to_markdown(tablefmt="plain", index=False, disable_numparse=True)
        return "\n".join([self._title(), *(line.rstrip() for line in text.splitlines())])

    def _repr_html_(self) -> str:
        return as_html(self._title(), self.to_frame(), rows=len(self.table), index=False)

    def _title(self) -> str:
        by = f" by {self.by}" if self.by else ""
        left_out = f"; left out: {', '.join(self.left_out)}" if self.left_out else ""
        return f"TableOne({self.n} {self.unit}{by}{left_out})"


def table_one(
    data: Cohort | pd.DataFrame, *, by: str | None = None, columns: Sequence[str] | None = None,
    categorical: Sequence[str] = (), median: Sequence[str] | str = "auto", digits: int = 1,
    labels: Mapping[str, str] | None = None,
) -> TableOne:  # fmt: skip
    """Describe the subjects of a study: Table 1 of a paper.

    Numbers are given as mean (SD), or as median (IQR) where they are skewed; categories as n (%),
    per cent of those whose category is known. A column with missing values has a row that counts
    them.

    Parameters
    ----------
    data : Cohort or DataFrame
        A cohort is described by subject: of several nights, the first that states a value counts.
        A DataFrame is described by row; pass ``cohort.metadata`` for one row per night.
    by : str, optional
        Column whose values are the groups, at most 10; rows without one are a group "missing".
    columns : sequence of str, optional
        What to describe, in this order; durations are in hours. By default all columns but those
        that name a night or a date, and texts of more than 20 values or of numbers and words mixed;
        these are in ``left_out``.
    categorical : sequence of str, default=()
        Columns of codes that are categories, in addition to those of words, booleans and pandas'
        dtype. A column of 0 and 1 alone counts the ones.
    median : "auto" or sequence of str, default="auto"
        Columns to describe by median (IQR). "auto" is those whose skewness is beyond -1 or 1.
    digits : int, default=1
        Decimal places of means, medians and per cent.
    labels : dict of str to str, optional
        Names for the table, such as ``{"bmi": "BMI, kg/m2"}``.

    Returns
    -------
    TableOne
        With ``to_frame()``, ``to_markdown()`` and ``to_latex()``.

    Raises
    ------
    InvalidRecordingError
        If there are no rows, a column does not exist, holds dates, or mixes numbers and words, or
        the nights of a subject are of different groups.
    ValueError
        If ``by`` has more than 10 values or fewer than two, ``median`` names a category, or
        ``columns`` or ``categorical`` is a bare name.

    Notes
    -----
    There are no p values: STROBE advises against tests in descriptive tables (Vandenbroucke et al.
    2007, PLoS Medicine 4:e297, item 14a), as they measure the size of the study as much as the
    imbalance. The standardised mean difference does not depend on the size: the difference of means
    by the pooled SD, or for categories the Mahalanobis distance of their proportions (Austin 2009,
    Statistics in Medicine 28:3083; Yang & Dalton 2012, SAS Global Forum 335). It is without a sign,
    of means also where medians are shown, and the largest of all pairs for more than two groups;
    0.1 is a usual bound of what is balanced. Missing values, among them infinite ones, take no
    part in it.

    Missing are NaN, None and texts that mean it, such as "unknown"; "none" is a category, and so is
    every category of a column of pandas' categorical dtype but "missing".

    Examples
    --------
    >>> from sleep2vec_sklearn import make_sleep_cohort
    >>> from sleep2vec_sklearn.evaluation import table_one
    >>> cohort = make_sleep_cohort(40, hours=0.5, modalities=["ibi"], random_state=0)
    >>> table_one(cohort, by="hypertension", columns=["age", "sex"], labels={"sex": "Sex"})
    TableOne(40 subjects by hypertension)
    characteristic    category    all          hypertension = 0    hypertension = 1    SMD
    n                             40           24                  16
    age, mean (SD)                51.3 (19.2)  44.5 (17.7)         61.4 (17.2)         0.97
    Sex, n (%)        F           17 (42.5)    13 (54.2)           4 (25.0)            0.62
                      M           23 (57.5)    11 (45.8)           12 (75.0)
    """
    digits = check_number("digits", digits, 0, _MOST_DIGITS, whole=True)
    labels = check_labels_map("labels", labels)
    lists: dict[str, Any] = {"columns": columns, "categorical": categorical}
    if not isinstance(median, str) or median != "auto":
        lists["median"] = median
    for option, names in lists.items():
        if names is not None and not _is_list_of_names(names):
            example = names if isinstance(names, str) else "age"
            raise ValueError(
                f"{option} is {shown(names)}; accepted is a list of names. Pass [{example!r}]."
            )
    columns = None if columns is None else list(columns)
    frame, subjects = _subject_rows(data, by)
    for name in [*([] if by is None else [by]), *(columns or ()), *categorical]:
        if not isinstance(name, Hashable) or name not in frame.columns:
            raise InvalidRecordingError(
                f"data has no column {name!r}; its columns are "
                f"{', '.join(map(str, frame.columns))}. Name one of these."
            )
    read, left_out = _read_columns(frame, columns, categorical)
    read.pop(by or "", None)
    _check_median(median, read)
    warn_of_alike({name: column.categories for name, column in read.items()})
    groups = {} if by is None else _split(frame, by, (labels or {}).get(by, by))
    masks = {"all": np.ones(len(frame), dtype=bool)} | groups
    rows = {("n", ""): [str(int(mask.sum())) for mask in masks.values()]}
    if subjects is not None and len(subjects) > len(frame):
        nights = [int(subjects.isin(frame.index[mask]).sum()) for mask in masks.values()]
        rows[("recordings", "")] = list(map(str, nights))
    compared = [mask for title, mask in groups.items() if title != MISSING]
    smd, texts = {}, {}
    for name, column in read.items():
        by_median = column.is_skewed() if isinstance(median, str) else name in median
        cells = pd.DataFrame([column.describe(mask, digits, by_median) for mask in masks.values()])
        title = (labels or {}).get(name, name)
        keys = [(f"{title}, {column.measure(by_median)}", category) for category in cells.columns]
        if keys[0] in rows:
            raise ValueError(f"labels gives two columns the name {title!r}; name each its own.")
        rows |= dict(zip(keys, cells.T.to_numpy().tolist(), strict=True))
        if len(compared) > 1:
            pairs = [column.difference(a, b) for a, b in combinations(compared, 2)]
            smd[name] = max((value for value in pairs if np.isfinite(value)), default=np.nan)
            texts[keys[0]] = write_number(smd[name], 2)
    index = pd.MultiIndex.from_tuples(rows, names=["characteristic", "category"])
    table = pd.DataFrame(rows.values(), index=index, columns=list(masks), dtype=object)
    if smd:
        table["SMD"] = [texts.get(key, "") for key in rows]
    unit = "rows" if subjects is None else "subjects"
    return TableOne(table, pd.Series(smd, dtype=float), len(frame), unit, by, left_out)


def _is_list_of_names(names: Any) -> bool:
    is_list = isinstance(names, Sequence | pd.Index) and not isinstance(names, str | bytes)
    return is_list and all(isinstance(name, Hashable) for name in names)


def _subject_rows(data: Any, by: str | None) -> tuple[pd.DataFrame, pd.Series | None]:
    """A row per subject and the subject of each night, or the rows of a table and None."""
    if not isinstance(data, Cohort | pd.DataFrame):
        raise InvalidRecordingError(
            f"data is of type {type(data).__name__}; accepted is a Cohort or a DataFrame. Read a "
            "folder by read_cohort(folder), or pass a table of one row per subject."
        )
    frame = data.metadata if isinstance(data, Cohort) else data
    if frame.empty:
        raise InvalidRecordingError(
            f"data has {len(frame)} rows of {len(frame.columns)} columns to describe; accepted is "
            "at least one of each. Look at cohort.failures for files that could not be read."
        )
    repeated = frame.columns[frame.columns.duplicated()]
    if len(repeated):
        raise InvalidRecordingError(
            f"data has more than one column {repeated[0]!r}; accepted is one of each name."
        )
    if not isinstance(data, Cohort):
        return frame.reset_index(drop=True), None
    subjects = pd.Series(data.groups, dtype=object)
    # a text that means unknown is no value
    known = frame.reset_index(drop=True).apply(lambda column: column.where(_is_known(column)))
    if isinstance(by, Hashable) and by in known.columns:
        kinds = known[by].groupby(subjects).nunique()
        if (kinds > 1).any():
            name = kinds.index[kinds > 1][0]
            raise InvalidRecordingError(
                f"by={by!r} differs between the nights of {int((kinds > 1).sum())} subjects, such "
                f"as {name!r}; accepted is one group per subject. Pass cohort.metadata for a table "
                "of nights."
            )
    return known.groupby(subjects, sort=False).first(), subjects


def _is_known(column: pd.Series) -> pd.Series:
    """Which values are stated; "none" is a category, but no number."""
    declared = isinstance(column.dtype, pd.CategoricalDtype)
    values = column.astype(object)
    known = values.map(lambda value: read_category(value, declared) is not None)
    if not declared and values[known].map(reads_as_number).any():
        known = values.map(lambda value: read_text(value) is not None)
    return known.astype(bool)


def _read_columns(
    frame: pd.DataFrame, columns: Sequence[str] | None, categorical: Sequence[str]
) -> tuple[dict[str, _Column], dict[str, str]]:
    """Characteristics by name; and, if nobody asked for columns, why others are left out."""
    read, left_out = {}, {}
    for name in frame.columns if columns is None else columns:
        try:
            column = _Column.of(frame[name], str(name), name in categorical)
        except InvalidRecordingError as error:
            if columns is not None:
                raise
            left_out[str(name)] = str(error)
            continue
        reason = "" if columns is not None or name in categorical else column.reason_to_skip()
        if reason:
            left_out[str(name)] = reason
        else:
            read[str(name)] = column
    return read, left_out


def _split(frame: pd.DataFrame, by: str, shown: str) -> dict[str, np.ndarray]:
    """Rows of each group by its title."""
    column = _Column.of(frame[by], by, declared=True)
    groups = column.categories
    if not 2 <= len(groups) <= _MOST_GROUPS:
        raise ValueError(
            f"by={by!r} has {len(groups)} values; accepted are 2 to {_MOST_GROUPS} groups. Make "
            "groups of numbers by pandas.cut."
        )
    # codes and booleans say nothing by themselves, and two columns have names of their own
    bare = [w not in ("all", "SMD", "True", "False") and not reads_as_number(w) for w in groups]
    titles = [w if is_bare else f"{shown} = {w}" for w, is_bare in zip(groups, bare, strict=True)]
    split = {
        title: (column.values == word).to_numpy(dtype=bool)
        for title, word in zip(titles, groups, strict=True)
    }
    missing = column.values.isna().to_numpy()
    return split | ({MISSING: missing} if missing.any() else {})


def _check_median(median: Sequence[str] | str, columns: Mapping[str, _Column]) -> None:
    if median == "auto":
        return
    numbers = [name for name, column in columns.items() if column.kind == "number"]
    wrong = [median] if isinstance(median, str) else [n for n in median if n not in numbers]
    if wrong:
        raise ValueError(
            f"median names {wrong[0]!r}; accepted are 'auto' or a list of columns of numbers in "
            f"the table: {', '.join(numbers) or 'there are none'}."
        )


@dataclass(frozen=True)
class _Column:
    """Values of a characteristic: floats, or texts of categories; NaN or None where missing."""

    values: pd.Series
    kind: str  # "number", "category" or "binary", of which "True" alone is counted
    name: str
    categories: tuple[str, ...] = ()
    unit: str = ""

    @classmethod
    def of(cls, column: pd.Series, name: str, declared: bool) -> _Column:
        if pd.api.types.is_datetime64_any_dtype(column):
            raise InvalidRecordingError(
                f"column {name!r} holds dates; accepted are numbers and categories. Describe the "
                "year, or a duration."
            )
        if column.dtype.kind == "m":
            return cls(column.dt.total_seconds() / 3600, "number", name, unit="h, ")
        values = column.astype(object)
        values = values.where(~values.isin([np.inf, -np.inf]))
        known = list(values[_is_known(column)])
        numeric = sum(reads_as_number(value) for value in known)
        is_bool = bool(known) and all(isinstance(value, bool | np.bool_) for value in known)
        order: list[str] | None = None
        has_dtype = isinstance(column.dtype, pd.CategoricalDtype)
        if has_dtype:
            read_words = (read_category(value, True) for value in column.dtype.categories)
            order = [word for word in read_words if word is not None]
        elif not declared and not is_bool and numeric == len(known):
            read = (read_number(value, name, f"row {i}") for i, value in enumerate(values))
            numbers = pd.Series(list(read), column.index, dtype=float)
            is_binary = bool(known) and set(numbers.dropna()) <= {0.0, 1.0}
            is_sex = name.lower() == "sex"
            if not is_binary and not is_sex:
                return cls(numbers, "number", name)
            is_bool = not is_sex
            if is_binary:
                names = ("female", "male") if is_sex else (False, True)
                values = numbers.map(dict(zip((0.0, 1.0), names, strict=True)))
        elif not declared and 0 < numeric < len(known):
            word = next(value for value in known if not reads_as_number(value))
            raise InvalidRecordingError(
                f"column {name!r} holds {numeric} numbers and {len(known) - numeric} words, such "
                f"as {word!r}; accepted are numbers or categories. Correct the words, or name the "
                "column in categorical."
            )
        texts = values.map(partial(read_category, declared=has_dtype)).astype(object)
        if is_bool and not declared:
            return cls(texts, "binary", name, ("True",))
        present: set[str] = set(texts.dropna())
        if order is None:
            order = [*sorted(present, key=_by_number_or_word)]
        return cls(texts, "category", name, tuple(word for word in order if word in present))

    def reason_to_skip(self) -> str:
        """Why a column is left out that nobody asked for."""
        if _ID.fullmatch(self.name.lower()):
            return "names a subject or a night"
        if self.values.isna().all():
            return "has no values"
        if len(self.categories) > _MOST_CATEGORIES:
            return f"has {len(self.categories)} categories"
        return ""

    def is_skewed(self) -> bool:
        known = self.values.dropna().to_numpy(dtype=float) if self.kind == "number" else np.empty(0)
        return bool(len(known) > 2 and np.ptp(known) and abs(skew(known, bias=False)) > _SKEWED)

    def measure(self, by_median: bool) -> str:
        """What is given of the column."""
        if self.kind != "number":
            return "n (%)"
        return self.unit + ("median (IQR)" if by_median else "mean (SD)")

    def describe(self, mask: np.ndarray, digits: int, by_median: bool) -> dict[str, str]:
        """Text of each category in some rows, "" where there are none, and of what is missing."""
        values = self.values[mask]
        known = values.dropna()
        if self.kind == "number":
            if by_median:
                middle, *spread = known.quantile([0.5, 0.25, 0.75])
            else:
                middle, spread = known.mean(), [known.std()]
            limits = " to ".join(write_number(number, digits) for number in spread)
            texts = {"": f"{write_number(middle, digits)} ({limits})"}
            if known.empty:
                texts[""] = _ABSENT
        else:
            texts = {
                "" if self.kind == "binary" else word: _share(
                    int((known == word).sum()), len(known), digits
                )
                for word in self.categories
            }
        if self.values.isna().any():
            texts[MISSING] = _share(len(values) - len(known), len(values), digits)
        return texts

    def difference(self, first: np.ndarray, second: np.ndarray) -> float:
        """Standardised mean difference of two groups, without sign."""
        a, b = (self.values[mask].dropna() for mask in (first, second))
        if a.empty or b.empty:
            return np.nan
        if self.kind == "number":
            gap, spread = a.mean() - b.mean(), (a.var() + b.var()) / 2
            if gap == 0:
                return 0.0
            return float(abs(gap) / np.sqrt(spread)) if spread > 0 else np.nan
        words = [word for word in self.categories if (a == word).any() or (b == word).any()]
        # the last proportion follows from the others; of a binary column there is one
        words = words if self.kind == "binary" else words[:-1]
        p, q = (np.array([(values == word).mean() for word in words]) for values in (a, b))
        if np.array_equal(p, q):
            return 0.0
        covariance = sum(np.diag(share) - np.outer(share, share) for share in (p, q)) / 2
        if np.linalg.matrix_rank(covariance) < len(words):
            return np.nan
        return float(np.sqrt((p - q) @ np.linalg.solve(covariance, p - q)))


def _share(count: int, of: int, digits: int) -> str:
    return f"{count} ({write_number(100 * count / of if of else np.nan, digits)})"


def _by_number_or_word(text: str) -> tuple[bool, float, str]:
    is_number = reads_as_number(text)
    return not is_number, float(text.replace(",", ".")) if is_number else 0.0, text
