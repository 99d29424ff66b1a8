# SPDX-License-Identifier: BSD-3-Clause
"""Several nights of a subject: their mean, their reliability, and changes between visits.

Weighed for it: pingouin's and statsmodels' functions take one column and complete designs; here a
table of hundreds of columns is one pass of sums, with any number of nights a subject.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from .._html import ShownAsTable
from ..encoding.table import EmbeddingTable
from ..recordings.recording import as_names
from .tables import TableExportMixin

_FEWEST = 3  # subjects with which leaving one out says something of the variation


@dataclass(frozen=True, repr=False)
class NightReliability(TableExportMixin, ShownAsTable):
    """Result of :func:`night_reliability`.

    Attributes
    ----------
    table : DataFrame
        Index term, "all columns" and then each column; columns value (the intra-class correlation
        of a single night), low, high, between and within (the components of variance, in squared
        units of the column; their sums for all columns).
    n_subjects, n_nights, n_repeated : int
        Subjects, nights, and subjects with more than one night.
    level : float
        Of the confidence limits.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import night_reliability
    >>> nights = night_reliability([1.0, 1.2, 2.0, 2.1, 3.1, 2.8], groups=list("aabbcc"))
    >>> nights.n_subjects, nights.n_nights
    (3, 6)
    """

    table: pd.DataFrame
    n_subjects: int
    n_nights: int
    n_repeated: int
    level: float

    def to_frame(self) -> pd.DataFrame:
        """The table: columns term, value, low, high, between, within."""
        return self.table.reset_index()

    def mean_of(self, n_nights: float) -> pd.DataFrame:
        """Reliability of the mean of so many nights (Spearman-Brown), 0 where subjects may not
        differ at all.

        Parameters
        ----------
        n_nights : float
            At least 1.

        Returns
        -------
        DataFrame
            Index term; columns value, low and high.

        Raises
        ------
        ValueError
            If ``n_nights`` is below 1.
        """
        if not n_nights >= 1:
            raise ValueError(f"n_nights must be a number from 1 on, got {n_nights!r}.")
        # of a negative correlation the formula has a pole, beyond which it is above 1
        single = self.table[["value", "low", "high"]].clip(lower=0)
        return n_nights * single / (1 + (n_nights - 1) * single)

    def nights_needed(self, reliability: float = 0.8) -> pd.DataFrame:
        """Nights whose mean has a reliability (Spearman-Brown), whole numbers.

        Parameters
        ----------
        reliability : float, default=0.8
            Above 0 and below 1.

        Returns
        -------
        DataFrame
            Index term; columns value, low and high (fewest and most nights within the limits),
            infinite where subjects may not differ at all.

        Raises
        ------
        ValueError
            If ``reliability`` is not between 0 and 1.
        """
        if not 0 < reliability < 1:
            raise ValueError(f"reliability must be between 0 and 1, got {reliability!r}.")
        single = self.table[["value", "high", "low"]].set_axis(["value", "low", "high"], axis=1)
        differs = single.clip(lower=0)
        with np.errstate(divide="ignore"):
            exact = reliability * (1 - differs) / (differs * (1 - reliability))
        # a rounding error above a whole number is no night more
        return np.ceil(exact - 1e-9).clip(lower=1)

    def _headline(self) -> str:
        return (
            f"NightReliability({self.n_nights} nights of {self.n_subjects} subjects, "
            f"{self.n_repeated} with several)"
        )


def night_reliability(
    X: Any, groups: Iterable | None = None, *, level: float = 0.95
) -> NightReliability:
    """Intra-class correlation of nights: which share of the variance is between subjects.

    Parameters
    ----------
    X : EmbeddingTable, DataFrame, or array-like of shape (n_nights,) or (n_nights, n_columns)
        A row per night, finite.
    groups : array-like of shape (n_nights,), optional
        Subject of each night; by default those of the table.
    level : float, default=0.95
        Of the confidence limits.

    Returns
    -------
    NightReliability

    Raises
    ------
    ValueError
        If no subject has two nights, there are fewer than three subjects, or a value is missing.
    TypeError
        If X are recordings, which have to be embedded first.

    See Also
    --------
    intraclass_correlation : Agreement of two sources about the same nights, ICC(2,1).

    Notes
    -----
    ICC(1,1) of Shrout & Fleiss (Psychological Bulletin 86, 1979) from the mean squares of a one-way
    random-effects analysis of variance, with the mean group size of unequal numbers of nights
    (Donner, International Statistical Review 54, 1986). "all columns" takes the sums of the mean
    squares over columns, the traces of the covariance between and within subjects: the image
    intra-class correlation I2C2 of Shou et al. (Cognitive, Affective & Behavioral Neuroscience 13,
    2013). Columns of a larger variance weigh more; standardise them first for equal weights. A
    negative estimate says that nights of a subject differ as much as those of others; it is kept,
    as cutting it would bias means of estimates.

    Limits leave out one subject at a time and take Student's t of the log ratio of the mean squares
    (Arvesen, Annals of Mathematical Statistics 40, 1969; Arvesen & Layard, Annals of Statistics 3,
    1975), which needs no normal distribution; see docs/repeated_nights.md for their coverage.
    Assumed are subjects that are independent, and nights of a subject that are exchangeable: a
    first-night effect or a change with time counts as variance within. NaN where nothing varies.

    Examples
    --------
    >>> import numpy as np
    >>> from sleep2vec_sklearn.evaluation import night_reliability
    >>> rng = np.random.default_rng(0)
    >>> subjects = np.repeat(np.arange(40), 2)
    >>> own = rng.standard_normal((40, 2)) * [2, 1]
    >>> nights = night_reliability(own[subjects] + rng.standard_normal((80, 2)), subjects)
    >>> nights
    NightReliability(80 nights of 40 subjects, 40 with several)
           term  value   low  high  between  within
    all columns  0.757 0.626 0.846    5.399   1.731
              0  0.845 0.717 0.915    4.392   0.808
              1  0.522 0.222 0.727    1.007   0.923
    >>> nights.mean_of(2)["value"].round(2).tolist()
    [0.86, 0.92, 0.69]
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level!r}.")
    rows, subjects = _read_nights(X, groups)
    codes, names = pd.factorize(subjects)
    n, counts = len(names), np.bincount(codes)
    if n < _FEWEST or counts.max() < 2:
        raise ValueError(
            f"X has {len(rows)} nights of {n} subjects, {int((counts > 1).sum())} of them with "
            f"several; accepted are at least {_FEWEST} subjects, of whom one has several nights. "
            "Pass groups if nights that seem to be of different subjects are of one."
        )
    squares = _MeanSquares.of(rows.to_numpy(), codes)
    estimates = squares.table(level).set_axis(["all columns", *rows.columns]).rename_axis("term")
    return NightReliability(estimates, n, len(rows), int((counts > 1).sum()), level)


@dataclass(frozen=True)
class _MeanSquares:
    """Mean squares of all and with each subject left out; the first column is of all columns."""

    between: np.ndarray  # (1 + n_subjects, 1 + n_columns)
    within: np.ndarray  # the same
    size: np.ndarray  # (1 + n_subjects,) mean number of nights, for the components of variance

    @classmethod
    def of(cls, values: np.ndarray, codes: np.ndarray) -> _MeanSquares:
        # sums of squares lose their digits where a mean is far from zero
        values = values - values.mean(axis=0)
        counts = np.bincount(codes).astype(float)
        sums = pd.DataFrame(values).groupby(codes).sum().to_numpy()
        means = sums / counts[:, None]
        errors = pd.DataFrame((values - means[codes]) ** 2).groupby(codes).sum().to_numpy()

        def without_each(part: np.ndarray) -> np.ndarray:
            total = part.sum(axis=0)
            return np.concatenate([total[None], total - part])

        n = without_each(np.ones(len(counts)))
        n_nights, n_squared = without_each(counts), without_each(counts**2)
        total, own = without_each(sums), without_each(counts[:, None] * means**2)
        between = np.maximum(own - total**2 / n_nights[:, None], 0) / (n - 1)[:, None]
        within_degrees = n_nights - n
        with np.errstate(divide="ignore", invalid="ignore"):
            # without the only subject with several nights nothing is known of nights
            within = np.maximum(without_each(errors), 0) / within_degrees[:, None]
        size = (n_nights - n_squared / n_nights) / (n - 1)
        between, within = (np.column_stack([m.sum(axis=1), m]) for m in (between, within))
        return cls(between, within, size)

    def table(self, level: float) -> pd.DataFrame:
        n = len(self.size) - 1
        between, within, size = self.between[0], self.within[0], self.size[0]
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(self.between) - np.log(self.within)
            pseudo = n * logs[0] - (n - 1) * logs[1:]
            center = pseudo.mean(axis=0)
            width = stdtrit(n - 1, 0.5 + level / 2) * pseudo.std(axis=0, ddof=1) / np.sqrt(n)
            ratio = np.exp(np.stack([center - width, center + width]))
            limits = (ratio - 1) / (ratio - 1 + size)
            value = (between - within) / (between + (size - 1) * within)
        return pd.DataFrame(
            {
                "value": value,
                "low": limits[0],
                "high": limits[1],
                "between": (between - within) / size,
                "within": within,
            }
        )


def subject_means(X: Any, groups: Iterable | None = None) -> pd.DataFrame:
    """Mean of the nights of each subject, one row a subject.

    Parameters
    ----------
    X, groups
        As of :func:`night_reliability`.

    Returns
    -------
    DataFrame
        Index subject, in the order in which subjects come first; the columns of X.

    Raises
    ------
    ValueError, TypeError
        As of :func:`night_reliability`, for any number of nights.

    Notes
    -----
    Each night counts once. Means of more nights vary less, so that rows are not of equal precision;
    where the number of nights depends on health, it is a covariate.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import subject_means
    >>> subject_means([[1.0, 4.0], [3.0, 4.0], [5.0, 0.0]], groups=["ann", "ann", "bob"])
               0    1
    subject
    ann      2.0  4.0
    bob      5.0  0.0
    """
    rows, subjects = _read_nights(X, groups)
    return rows.groupby(pd.Series(subjects, rows.index, name="subject"), sort=False).mean()


@dataclass(frozen=True, repr=False)
class VisitChange(TableExportMixin, ShownAsTable):
    """Result of :func:`visit_change`.

    Attributes
    ----------
    table : DataFrame
        Index term, the columns of X; columns value (the mean change over subjects), low, high,
        sd (of the changes between subjects) and first (the mean at the first visit).
    changes : DataFrame
        Index subject; the change of each in each column, for models of its causes.
    n_subjects, n_left_out : int
        Subjects with both visits, and without one of them.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import visit_change
    >>> change = visit_change([5.0, 6, 4, 6, 5, 5], list("aabbcc"), visits=[1, 2, 1, 2, 1, 2])
    >>> change.changes[0].tolist()
    [1.0, 2.0, 0.0]
    """

    table: pd.DataFrame
    changes: pd.DataFrame
    n_subjects: int
    n_left_out: int

    def to_frame(self) -> pd.DataFrame:
        """The table: columns term, value, low, high, sd, first."""
        return self.table.reset_index()

    def _headline(self) -> str:
        return f"VisitChange({self.n_subjects} subjects, {self.n_left_out} left out)"


def visit_change(
    X: Any, groups: Iterable | None = None, *, visits: str | ArrayLike, level: float = 0.95
) -> VisitChange:
    """Change from the first to the last visit of each subject, and its mean.

    Parameters
    ----------
    X, groups
        As of :func:`night_reliability`.
    visits : array-like of shape (n_nights,), or str
        What orders the nights of a subject: numbers, dates, ordered categories of pandas, or the
        name of such a column of the metadata of an EmbeddingTable. Nights of one visit are
        averaged.
    level : float, default=0.95
        Of the confidence limits.

    Returns
    -------
    VisitChange

    Raises
    ------
    ValueError
        If fewer than two subjects have two visits, or a visit is missing or a word; and as of
        :func:`night_reliability`.

    Notes
    -----
    Limits are Student's t over subjects, column by column and without correction for their number.
    The mean change is that of subjects who came twice: where those who are ill do not return, weigh
    them with :func:`observation_weights`. Changes hold the noise of two nights, and regression to
    the mean ties them to the first one: do not correlate a change with the first visit
    (Oldham, Journal of Chronic Diseases 15, 1962).

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import visit_change
    >>> visit_change([5.0, 6, 4, 6, 5, 5, 7], list("aabbccd"), visits=[1, 2, 1, 2, 1, 2, 1])
    VisitChange(3 subjects, 1 left out)
     term  value    low  high    sd  first
        0  1.000 -1.484 3.484 1.000  4.667
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level!r}.")
    rows, subjects = _read_nights(X, groups)
    order = _read_visits(visits, X, len(rows))
    of_visits = rows.groupby([subjects, order], sort=True).mean()
    names = of_visits.index.get_level_values(0)
    n_visits = pd.Series(names).groupby(names).size()
    # a groupby's first and last pass over gaps, and there are none
    by_subject = of_visits.groupby(level=0, sort=True)
    first, last = (
        part[(n_visits > 1).to_numpy()] for part in (by_subject.first(), by_subject.last())
    )
    n = len(first)
    if n < 2:
        raise ValueError(
            f"{n} of {len(n_visits)} subjects have two visits; accepted are at least two such "
            "subjects. Look at groups and visits, which are equal for nights of one visit."
        )
    changes = (last - first).rename_axis("subject")
    mean, sd = changes.mean(), changes.std(ddof=1)
    width = stdtrit(n - 1, 0.5 + level / 2) * sd / np.sqrt(n)
    columns = {"value": mean, "low": mean - width, "high": mean + width, "sd": sd}
    table = pd.DataFrame(columns | {"first": first.mean()}).rename_axis("term")
    return VisitChange(table, changes, n, len(n_visits) - n)


def _read_nights(X: Any, groups: Iterable | None) -> tuple[pd.DataFrame, np.ndarray]:
    """Finite rows of nights, and the subject of each."""
    if isinstance(X, EmbeddingTable):
        if X.X.epoch_index is not None:
            raise ValueError(
                f"X is a table of {len(X)} epochs; accepted is one row per night. Embed the list "
                "of recordings instead of an EpochSequence."
            )
        groups = X.X.groups if groups is None else groups
        X = pd.DataFrame(X.rows(center=X.provenance.get("center")), columns=X.feature_names)
    try:
        table = pd.DataFrame(X.reset_index(drop=True) if hasattr(X, "reset_index") else np.array(X))
        rows = table.astype(np.float64)
    except (TypeError, ValueError):
        raise TypeError(
            f"X ({type(X).__name__}) holds no numbers; accepted is an EmbeddingTable, or a table "
            "of numbers with a row per night. Embed recordings first: "
            "Sleep2VecTransformer().fit(nights).embed(nights)."
        ) from None
    bad = ~np.isfinite(rows.to_numpy()).all(axis=1)
    if bad.any():
        raise ValueError(
            f"X has {int(bad.sum())} of {len(rows)} nights with values that are missing or not "
            f"finite, the first in row {int(bad.argmax())}. Leave them out, and groups alike."
        )
    if groups is None:
        raise ValueError("groups is None; accepted is the subject of each night of X.")
    subjects = list(groups)
    if len(subjects) != len(rows) or pd.isna(pd.Series(subjects, dtype=object)).any():
        raise ValueError(
            f"groups names {len(subjects)} subjects, or None, for {len(rows)} nights; accepted is "
            "one name for each."
        )
    return rows, as_names(subjects)


def _read_visits(visits: Any, X: Any, n: int) -> np.ndarray:
    """What orders the nights, as ranks."""
    if isinstance(visits, str):
        known = getattr(X, "metadata", None)
        if known is None or visits not in known:
            stated = "nothing" if known is None else ", ".join(map(str, known.columns))
            raise ValueError(
                f"visits={visits!r} names no column of X.metadata, which has {stated}; accepted "
                "is such a name, or an array of one number or date a night."
            )
        visits = known[visits].iloc[X.X.recording_index]
    moments = pd.Series(visits if hasattr(visits, "dtype") else np.asarray(visits))
    moments = moments.reset_index(drop=True)
    if len(moments) != n or moments.isna().any():
        raise ValueError(
            f"visits has {len(moments)} elements, {int(moments.isna().sum())} of them missing, for "
            f"{n} nights; accepted is one number or date for each."
        )
    ordered = isinstance(moments.dtype, pd.CategoricalDtype) and moments.cat.ordered
    moments = moments if ordered else moments.infer_objects()
    is_text = pd.api.types.is_object_dtype(moments) or pd.api.types.is_string_dtype(moments)
    if not ordered and (is_text or isinstance(moments.dtype, pd.CategoricalDtype)):
        raise ValueError(
            f"visits holds {moments.iloc[0]!r}, and words have no order in time: 'post' sorts "
            "before 'pre', and 'V10' before 'V2'. Pass numbers or dates, or "
            "pd.Categorical(visits, categories=['pre', 'post'], ordered=True)."
        )
    return moments.rank(method="dense").to_numpy()
