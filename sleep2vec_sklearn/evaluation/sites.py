# SPDX-License-Identifier: BSD-3-Clause
"""Performance at sites that an estimator was not fitted to: a splitter, and a report by site.

Weighed for it: scikit-learn's LeaveOneGroupOut takes sites or subjects as groups, not both, so that
a subject of two sites is in training and test.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import stdtrit
from sklearn.base import is_classifier
from sklearn.model_selection import BaseCrossValidator

from .._html import ShownAsTable
from .._validation import StrOptions, count, validate_parameter_constraints
from .._warnings import listed, warn
from ..errors import OutcomeWarning
from ..recordings._demographics import read_category
from ..recordings.epochs import as_epoch_sequence
from ..recordings.recording import Recording
from ._cross_validation import SubjectScorer, check_labels, held_out_predictions, named_scorers
from ._subjects import SubjectBootstrap, folds_by_subject, subjects_of
from .tables import TableExportMixin


class LeaveOneSiteOut(BaseCrossValidator):
    """Folds that test one site each, on subjects and at a site that were not trained on.

    Rows at other sites of subjects who are tested take no part in the fold's training, so that
    every row is tested once and nobody is in both.

    Parameters
    ----------
    sites : array-like of shape (n,) or str, default="site"
        Site of each row of X, or the key of ``Recording.metadata`` that has it. Functions that hand
        rows of features to the splitter, such as :func:`compare_estimators`, need the array.
    min_subjects : int, default=2
        A site of fewer is small.
    small : {"raise", "pool"}, default="raise"
        Refuse small sites, or test them together, as one.

    Raises
    ------
    ValueError
        From ``split``, if there are fewer than two sites, one is unknown or small, or a fold has no
        training rows as all other rows are of its subjects.

    See Also
    --------
    site_report : Scores by site, and how much they differ.

    Examples
    --------
    >>> import numpy as np
    >>> from sleep2vec_sklearn.evaluation import LeaveOneSiteOut
    >>> subjects = ["a", "a", "b", "c", "d", "e"]
    >>> cv = LeaveOneSiteOut(["york", "leeds", "york", "leeds", "bath", "bath"])
    >>> for train, test in cv.split(np.zeros(6), groups=subjects):
    ...     print(train, test)
    [0 1 2 3] [4 5]
    [2 4 5] [1 3]
    [3 4 5] [0 2]
    """

    # the subjects reach the splitter where metadata is routed, too
    __metadata_request__split: ClassVar[dict] = {"groups": True}
    _parameter_constraints: ClassVar[dict] = {
        "sites": [str, "array-like"],
        "min_subjects": [count(1)],
        "small": [StrOptions({"raise", "pool"})],
    }

    def __init__(
        self, sites: ArrayLike | str = "site", *, min_subjects: int = 2, small: str = "raise"
    ) -> None:
        self.sites = sites
        self.min_subjects = min_subjects
        self.small = small

    def split(
        self, X: Any, y: Any = None, groups: Iterable | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Training and test rows of each site, in the order of their names.

        Parameters
        ----------
        X : array-like or sequence of length n
        y : ignored
        groups : array-like of shape (n,), optional
            Subjects; by default those of the recordings, else each row is of another one.

        Yields
        ------
        train, test : int ndarray
        """
        subjects = subjects_of(X, groups)
        sites = self.site_of(X, subjects)
        for site in np.unique(sites):
            test = sites == site
            train = ~test & ~np.isin(subjects, subjects[test])
            if not train.any():
                raise ValueError(
                    f"site {str(site)!r}: the subjects of all other rows were seen there, too, so "
                    "that nobody is left to train on. Leave rows out, or merge sites."
                )
            yield np.flatnonzero(train), np.flatnonzero(test)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Iterable | None = None) -> int:
        """Number of sites; needs X where ``sites`` is a key.

        Parameters
        ----------
        X : array-like or sequence of length n, optional
        y : ignored
        groups : array-like of shape (n,), optional

        Returns
        -------
        int
        """
        if X is None and isinstance(self.sites, str):
            raise ValueError("X is None; the sites are read from its recordings. Pass X.")
        if X is None:
            X = np.zeros(len(np.asarray(self.sites)))
        return len(np.unique(self.site_of(X, subjects_of(X, groups))))

    def site_of(self, X: Any, groups: ArrayLike) -> np.ndarray:
        """The site of each row as it is tested, small ones by a common name.

        Parameters
        ----------
        X : array-like or sequence of length n
        groups : array-like of shape (n,)
            Subjects.

        Returns
        -------
        ndarray of str of shape (n,)
        """
        parameters = {name: getattr(self, name) for name in self._parameter_constraints}
        validate_parameter_constraints(self._parameter_constraints, parameters, "LeaveOneSiteOut")
        sites = _read_sites(self.sites, X, len(np.asarray(groups)))
        n_subjects = pd.Series(np.asarray(groups)).groupby(sites).nunique()
        small = n_subjects[n_subjects < self.min_subjects]
        together = len(pd.unique(np.asarray(groups)[np.isin(sites, small.index)]))
        if len(small) and (self.small == "raise" or together < self.min_subjects):
            which = [f"{str(site)!r} of {n}" for site, n in small.items()]
            raise ValueError(
                f"sites have fewer than {self.min_subjects} subjects: {listed(which)}; no interval "
                "over subjects can be given for one of them. Pass small='pool' if together they "
                "have enough, leave them out, or pass min_subjects=1."
            )
        if len(small):
            sites = np.where(np.isin(sites, small.index), " + ".join(small.index), sites)
        if len(np.unique(sites)) < 2:
            raise ValueError(
                f"all {len(sites)} rows are tested as the site {str(sites[0])!r}; accepted are at "
                "least two sites, as one is trained on and another tested."
            )
        return sites


def _read_sites(sites: Any, X: Any, n: int) -> np.ndarray:
    """Names of sites as text."""
    values = sites
    if isinstance(sites, str):
        epochs = as_epoch_sequence(X)
        first = X[0] if isinstance(X, list | tuple) and len(X) else None
        nested = isinstance(first, list | tuple) and len(first) and isinstance(first[0], Recording)
        if epochs is None and not isinstance(first, Recording) and not nested:
            raise ValueError(
                f"sites={sites!r} is a key of Recording.metadata, and X holds no recordings; "
                "accepted with rows of features is an array of their sites. Pass "
                "sites=cohort.metadata['site']."
            )
        values = _sites_of_recordings(sites, X, epochs)
    names = [read_category(value) for value in np.asarray(values, dtype=object)]
    unknown = sum(name is None for name in names)
    if len(names) != n or unknown:
        raise ValueError(
            f"sites has {len(names)} elements, {unknown} of them missing, for {n} rows of X; "
            "accepted is a site for each. Leave out rows whose site is unknown, or give them one "
            "of their own."
        )
    return np.array(names, dtype=str)


def _sites_of_recordings(key: str, X: Any, epochs: Any) -> list:
    if epochs is not None:
        known = [recording.metadata.get(key) for recording in epochs.recordings]
        return [known[i] for i in epochs.recording_index]
    nights = [list(row) if isinstance(row, list | tuple) else [row] for row in X]
    of_rows = [{read_category(r.metadata.get(key)) for r in row} for row in nights]
    several = [i for i, found in enumerate(of_rows) if len(found) > 1]
    if several:
        raise ValueError(
            f"the nights of row {several[0]} of X are of several sites "
            f"({', '.join(sorted(map(str, of_rows[several[0]])))}), which cannot be tested apart. "
            "Pass one row a night, with the subjects as groups."
        )
    return [next(iter(found)) for found in of_rows]


@dataclass(frozen=True, repr=False)
class SiteReport(TableExportMixin, ShownAsTable):
    """Result of :func:`site_report`, for one score.

    Attributes
    ----------
    table : DataFrame
        Index site; columns value, low, high, standard_error, subjects and rows. NaN where the score
        is undefined, such as an AUC at a site without the event. Last come "mean of sites", with
        the limits of the mean, and "new site", with those of the score at one more site.
    metric : str
    tau : float
        Standard deviation of the true score between sites.
    i2 : float
        Fraction of the variance of the observed scores that is between sites, not chance.
    spread : float
        Highest minus lowest score of a site.
    fold : ndarray of str of shape (n,)
        Site as which each row was tested.
    predictions : dict of str to ndarray
        By method, for every row by a clone fitted to other sites and subjects.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from sleep2vec_sklearn.evaluation import site_report
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((90, 2))
    >>> report = site_report(Ridge(), X, X[:, 0], sites=np.arange(90) % 3, n_resamples=100)
    >>> report.table.index.tolist()
    ['0', '1', '2', 'mean of sites', 'new site']
    """

    table: pd.DataFrame
    metric: str
    tau: float
    i2: float
    spread: float
    fold: np.ndarray
    predictions: dict[str, np.ndarray]

    def to_frame(self) -> pd.DataFrame:
        """The table: columns site, value, low, high, standard_error, subjects, rows."""
        return self.table.reset_index()

    def _headline(self) -> str:
        return (
            f"SiteReport({self.metric} at {len(self.table) - 2} held-out sites, tau "
            f"{self.tau:.3f}, I2 {self.i2:.0%})"
        )


def site_report(
    estimator: Any, X: Any, y: ArrayLike, groups: Iterable | None = None, *,
    sites: ArrayLike | str = "site", scoring: Any = None, min_subjects: int = 2,
    small: str = "raise", average: str = "auto", n_resamples: int = 1000, level: float = 0.95,
    random_state: int | np.random.RandomState | None = 0, n_jobs: int | None = None,
) -> SiteReport:  # fmt: skip
    """Score an estimator at each site by what it learns from the others, and compare the sites.

    Parameters
    ----------
    estimator : classifier or regressor
        Fitted anew for each site.
    X : list of recordings, EpochSequence, or array of shape (n, n_features)
    y : array-like of shape (n,)
    groups : array-like of shape (n,), optional
        Subjects; by default those of the recordings.
    sites, min_subjects, small
        As of :class:`LeaveOneSiteOut`.
    scoring : str, callable or dict of one scorer, optional
        One score, by default as of :func:`compare_estimators`.
    average, n_resamples, level, random_state, n_jobs
        As of :func:`compare_estimators`.

    Returns
    -------
    SiteReport

    Warns
    -----
    OutcomeWarning
        If the score is undefined at a site: it is listed, and takes no part in the mean.

    Raises
    ------
    ValueError
        As of :class:`LeaveOneSiteOut`, for several scores, and if the score is defined at fewer
        than two sites.

    Notes
    -----
    Scores of sites are combined by a random-effects model: between sites the moment estimator of
    DerSimonian & Laird (Controlled Clinical Trials 7, 1986) with the bootstrap's variances within,
    I2 of Higgins & Thompson (Statistics in Medicine 21, 2002), limits of the mean of Hartung &
    Knapp (Statistics in Medicine 20, 2001) with their error not below that of a fixed effect, and
    the prediction interval of Higgins, Thompson & Spiegelhalter (JRSS A 172, 2009) for a new site,
    which needs three sites. A score that no resample changes, such as an AUC of 1, enters the mean
    with the error that its number of subjects has at the most variable site. Assumed are sites that
    are a sample of those of interest, independent and normal; trainings overlap, so that they are
    not quite independent, and no unbiased variance of cross-validated scores exists (Bengio &
    Grandvalet, JMLR 5, 2004). With five sites tau is little more than a guess. Of scores whose
    error falls as they rise, such as mean errors, the mean is a few per cent too good and its
    limits too narrow; docs/sites.md has the simulation. Scores at a site hold its mix of patients:
    a lower AUC may be of a narrower range of age.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sleep2vec_sklearn.evaluation import site_report
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((400, 3))
    >>> y = X[:, 0] + rng.standard_normal(400) > 0
    >>> sites = np.repeat(["bath", "leeds", "york", "hull"], 100)
    >>> site_report(LogisticRegression(), X, y, sites=sites, n_resamples=200)
    SiteReport(roc_auc at 4 held-out sites, tau 0.000, I2 0%)
             site  value   low  high  standard_error  subjects  rows
             bath  0.833 0.749 0.909           0.041       100   100
             hull  0.809 0.711 0.902           0.046       100   100
            leeds  0.829 0.745 0.910           0.044       100   100
             york  0.862 0.792 0.924           0.037       100   100
    mean of sites  0.836 0.770 0.903           0.021       400   400
         new site  0.836 0.747 0.926           0.021       400   400
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level!r}.")
    splitter = LeaveOneSiteOut(sites, min_subjects=min_subjects, small=small)
    y = check_labels(y, X, classify=is_classifier(estimator))
    subjects = subjects_of(X, groups)
    scorers = named_scorers(scoring, y, estimator)
    if len(scorers) != 1:
        raise ValueError(f"scoring names {len(scorers)} scores; accepted is one.")
    fold = splitter.site_of(X, subjects)
    folds = folds_by_subject(list(splitter.split(X, y, subjects)), y, subjects, classify=False)
    held_out = held_out_predictions({"estimator": estimator}, X, y, folds, subjects, n_jobs)
    draws = SubjectBootstrap(subjects, n_resamples, level, random_state)
    average = SubjectScorer(scorers, y, draws, average).average
    predictions = held_out["estimator"]
    rows = {}
    for site in np.unique(fold):
        inside = np.flatnonzero(fold == site)
        rows[site] = _score_site(
            predictions, y, inside, scorers, average,
            SubjectBootstrap(subjects[inside], n_resamples, level, random_state),
        )  # fmt: skip
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("site")
    (metric,) = scorers
    known = table[["value", "standard_error"]].notna().all(axis=1)
    if not known.all():
        lost = ", ".join(table.index[~known])
        warn(
            f"{metric} or its variation is undefined at {int((~known).sum())} of {len(table)} "
            f"sites ({lost}), which take no part in the mean. Pool small sites, or choose a score "
            "that is defined without one of the classes.",
            OutcomeWarning,
        )
    combined, tau, i2 = _combine(table[known], level)
    n_rows = {"subjects": len(draws.subjects), "rows": len(y)}
    for name, entry in combined.items():
        table.loc[name] = entry | n_rows
    table = table.astype({"subjects": int, "rows": int})
    values = table["value"].iloc[:-2]
    return SiteReport(
        table, metric, tau, i2, float(values.max() - values.min()), fold, predictions.responses
    )


def _score_site(
    predictions: Any, y: np.ndarray, rows: np.ndarray, scorers: Any, average: str,
    draws: SubjectBootstrap,
) -> dict[str, float]:  # fmt: skip
    """Score of the rows of a site, with limits over its own subjects."""
    responses = {method: values[rows] for method, values in predictions.responses.items()}
    own = type(predictions)(responses, predictions.kind, predictions.classes)
    scorer = SubjectScorer(scorers, y[rows], draws, average)
    scores = scorer.score(own, np.arange(len(rows)), strict=False)
    low, high = draws.interval(scores.replicates)
    replicates = scores.replicates[np.isfinite(scores.replicates)]
    defined = len(replicates) > 1 and np.isfinite(low[0])
    return {
        "value": float(scores.estimates[0]),
        "low": float(low[0]),
        "high": float(high[0]),
        "standard_error": float(replicates.std(ddof=1)) if defined else np.nan,
        "subjects": len(draws.subjects),
        "rows": len(rows),
    }


def _combine(table: pd.DataFrame, level: float) -> tuple[dict[str, dict], float, float]:
    """Random-effects mean and the interval of a new site, tau and I2."""
    value, error = table["value"].to_numpy(), table["standard_error"].to_numpy()
    k = len(value)
    if k < 2:
        raise ValueError(
            f"the score is defined at {k} site(s); accepted are at least two, as it is their mean "
            "that is asked for. Pool sites, or choose another score."
        )
    # a score that is the same in all resamples, such as an AUC of 1, is not known without error,
    # and would outweigh all others
    size = np.sqrt(table["subjects"].to_numpy())
    error = np.where(error > 1e-6, error, max((error * size).max(), 1e-6) / size)
    fixed = 1 / error**2
    q = float(fixed @ (value - np.average(value, weights=fixed)) ** 2)
    tau2 = max(0.0, (q - (k - 1)) / (fixed.sum() - (fixed @ fixed) / fixed.sum()))
    weights = 1 / (error**2 + tau2)
    mean = float(np.average(value, weights=weights))
    scale = max(1.0, float(weights @ (value - mean) ** 2) / (k - 1))
    mean_error = np.sqrt(scale / weights.sum())
    width = stdtrit(k - 1, 0.5 + level / 2) * mean_error
    new_error = np.sqrt(tau2 + 1 / weights.sum())
    new_width = stdtrit(k - 2, 0.5 + level / 2) * new_error if k > 2 else np.nan
    columns = ("value", "low", "high", "standard_error")
    rows = {
        "mean of sites": (mean, mean - width, mean + width, mean_error),
        "new site": (mean, mean - new_width, mean + new_width, new_error),
    }
    named = {name: dict(zip(columns, row, strict=True)) for name, row in rows.items()}
    return named, float(np.sqrt(tau2)), max(0.0, 1 - (k - 1) / q) if q else 0.0
