# SPDX-License-Identifier: BSD-3-Clause
"""Hazard ratios of covariates and of an embedding, and the test of their proportionality."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy.special import chdtrc, ndtr, ndtri
from scipy.stats import rankdata
from sklearn.base import is_classifier
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples

from .._arguments import check_row_order
from .._html import ShownAsTable
from .._warnings import warn
from ..errors import OutcomeWarning, RecordingWarning
from ._covariates import read_covariates
from ._cross_validation import fit_aligning_classes, refuse_frozen
from ._subjects import folds_by_event, number_folds, refuse_epochs, subjects_of
from .cox_regression import CoxTerms, RiskSets, fit_cox
from .survival import SurvivalOutcome, count_at_risk, read_outcome, share_between_nights
from .survival_scores import check_finite
from .tables import TableExportMixin

_FEWEST_EVENTS = 5  # a term; Vittinghoff & McCulloch, American Journal of Epidemiology 165 (2007)
_TRAINING = ("earlier", "others")
_TRANSFORMS = ("km", "rank", "identity")


@dataclass(frozen=True)
class _Observations:
    """One row a subject: the columns of the model, and the outcome."""

    X: np.ndarray  # (n, p)
    names: tuple[str, ...]
    event: np.ndarray
    time: np.ndarray
    entry: np.ndarray
    fold: np.ndarray  # the stratum
    ties: str = "efron"

    def take(self, rows: np.ndarray) -> _Observations:
        return replace(
            self, X=self.X[rows], event=self.event[rows], time=self.time[rows],
            entry=self.entry[rows], fold=self.fold[rows],
        )  # fmt: skip


@dataclass(frozen=True, repr=False)
class HazardRatios(TableExportMixin, ShownAsTable):
    """Result of :func:`hazard_ratios`; ``to_markdown()`` and ``to_latex()`` write its table.

    Attributes
    ----------
    table : DataFrame
        Index term; columns value (the hazard ratio), low, high, p_value, coefficient (its log)
        and standard_error (of the coefficient: the larger of the robust one and the model's).
    n_subjects, n_events : int
        In the model.
    n_left_out : int
        Subjects with a known outcome who lack a covariate.
    n_folds : int
        Strata of the model; 1 without an estimator.
    training : {"earlier", "others"} or None
        Which folds the index of the embedding was learned from; None without one.
    log_likelihood : float
        Partial, at the estimates.

    Examples
    --------
    >>> import pandas as pd
    >>> from sleep2vec_sklearn.evaluation import hazard_ratios
    >>> y = pd.DataFrame({"event": [1, 1, 0, 1, 1, 1], "time": [2.0, 5, 6, 9, 3, 4]})
    >>> ratios = hazard_ratios(y, covariates=pd.DataFrame({"age": [70, 60, 55, 62, 50, 66]}))
    >>> ratios.table["value"].round(2).to_dict()
    {'age': 1.08}
    """

    table: pd.DataFrame
    n_subjects: int
    n_events: int
    n_left_out: int
    n_folds: int
    training: str | None
    log_likelihood: float
    _observations: _Observations

    def to_frame(self) -> pd.DataFrame:
        """The table: columns term, value, low, high, p_value, coefficient, standard_error."""
        return self.table.reset_index()

    def _headline(self) -> str:
        strata = f", {self.n_folds} folds as strata" if self.n_folds > 1 else ""
        lacking = f", {self.n_left_out} without a covariate left out" if self.n_left_out else ""
        return f"HazardRatios({self.n_subjects} subjects, {self.n_events} events{strata}{lacking})"


def hazard_ratios(
    y: Any, X: Any = None, groups: Iterable | None = None, *, estimator: Any = None,
    covariates: Sequence[str] | pd.DataFrame | None = None, per: Mapping[str, float] | None = None,
    cv: Any = 5, training: str = "earlier", level: float = 0.95, ties: str = "efron",
    random_state: int | np.random.RandomState | None = 0, n_jobs: int | None = None,
) -> HazardRatios:  # fmt: skip
    """Estimate hazard ratios of covariates, and of an index that an estimator learns from nights.

    The index is the risk that the estimator predicts for subjects it was not fitted to,
    standardised in each fold. It and the covariates are columns of one Cox model with the folds as
    strata, one row a subject, and standard errors that are robust by subject.

    Parameters
    ----------
    y : structured array of shape (n,), or DataFrame
        One outcome, as :func:`survival_outcome` makes it; entries (left truncation) count. Rows
        whose time is NaN take no part. Nights of a subject have one outcome, and are one row with
        the means of their index and covariates.
    X : list of Recording, list of lists of them, or array of shape (n, n_features), optional
        What the estimator reads, and ``covariates`` by name.
    groups : array-like of shape (n,), optional
        Subjects; by default those of the recordings.
    estimator : estimator, optional
        Its ``predict`` gives log hazard ratios, such as :class:`Sleep2VecCoxRegressor` or
        ``make_pipeline(Sleep2VecTransformer(), StandardScaler(), CoxRegression())``. It is fitted
        anew; without it there are covariates alone.
    covariates : sequence of str, or DataFrame of n rows, optional
        Keys of ``Recording.metadata``, or columns at hand: numbers, booleans and, as words or
        pandas' categories, factors, whose first category is the reference that the others are
        compared with.
    per : dict of str to float, optional
        Units of numeric covariates to which ratios refer, such as ``{"age": 10}``; else 1.
    cv : int or splitter, default=5
        Folds by subject, balanced for events and in random order; or a splitter that tests each
        row once, whose order counts.
    training : {"earlier", "others"}, default="earlier"
        What predicts a fold: an estimator fitted to the folds before it, so that the first fold
        trains alone and is not in the model; or to all other folds, for which no p value and no
        interval of the index is given, see Notes.
    level : float, default=0.95
        Of the confidence limits.
    ties : {"efron", "breslow"}, default="efron"
    random_state : int, RandomState or None, default=0
        Of the folds.
    n_jobs : int, optional
        Processes that fit.

    Returns
    -------
    HazardRatios

    Warns
    -----
    RecordingWarning
        If subjects lack a covariate: they are left out of the model, and counted.
    OutcomeWarning
        If there are fewer than five events for each term.
    LeakageWarning
        As of :func:`compare_estimators`.

    Raises
    ------
    ValueError
        If nothing is asked for, y has no event or several outcomes, a column does not vary or its
        ratio is undefined, nights of a subject have different outcomes or are in several folds, or
        the estimator is a classifier, has a frozen part that learned outcomes, or predicts anything
        but one finite number a row.
    InvalidRecordingError
        If X holds epochs, or as of :func:`compare_with_baseline` for ``covariates``.

    See Also
    --------
    proportional_hazards_test : Whether the ratios change over time.
    compare_with_baseline : What the estimator adds to the concordance of covariates.

    Notes
    -----
    Cox, JRSS B 34 (1972); robust errors of Lin & Wei, JASA 84 (1989); p values are Wald's, on two
    sides. As robust errors are a few per cent too small in hundreds of subjects, the larger of the
    robust error and the model's is taken. Assumed are hazard ratios that do not change over time,
    effects that add on the log scale and are linear, and censoring that is independent given the
    columns.

    An index fitted to the same subjects fits their chance: it is refused, as a frozen estimator is.
    One that comes from other subjects is a covariate. With ``training="others"`` each pair of
    subjects in two folds counts twice, once with either as training: without an effect the variance
    of the estimate is about twice what a formula for held-out data gives, and a test at 5 %
    rejects in some 15 %. With "earlier" each fold's predictions are fixed by what came before, so
    that its score is a martingale difference (as in Luedtke & van der Laan, Annals of Statistics
    44, 2016, and Dawid's prequential analysis, JRSS A 147, 1984) and the test keeps its level; see
    docs/hazard_ratios.md for simulations. The ratio is that of indices as good as those of the
    folds were: more training subjects may give a better one.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from sleep2vec_sklearn.evaluation import CoxRegression, hazard_ratios, survival_outcome
    >>> rng = np.random.default_rng(0)
    >>> X, age = rng.standard_normal((300, 4)), rng.normal(60, 8, 300)
    >>> time = rng.exponential(np.exp(-X[:, 0] - 0.05 * (age - 60)))
    >>> y = survival_outcome(time < 2, np.minimum(time, 2))
    >>> table = pd.DataFrame({"age": age})
    >>> hazard_ratios(y, X, estimator=CoxRegression(), covariates=table, per={"age": 10})
    HazardRatios(240 subjects, 180 events, 4 folds as strata)
          term  value   low  high  p_value  coefficient  standard_error
    age per 10  1.700 1.389 2.080   <0.001        0.531           0.103
         index  2.564 2.113 3.111   <0.001        0.942           0.099
    """
    check_row_order(y=y, X=X, groups=groups, covariates=covariates)
    outcome = read_outcome(y)
    _check_request(outcome, X, estimator, covariates, training, level)
    n = len(outcome)
    subjects = np.arange(n) if X is None else subjects_of(X, groups)
    if X is None and groups is not None:
        subjects = subjects_of(np.zeros(n), groups)
    names, codes = np.unique(subjects, return_inverse=True)
    outcome = share_between_nights(outcome, codes, names)
    columns = read_covariates(covariates, X, y, per, n)
    if estimator is not None and "index" in columns:
        raise ValueError(
            "covariates has a column 'index', which is the name of the term that the estimator "
            "predicts. Rename it: covariates.rename(columns={'index': 'score'})."
        )
    fold, n_folds = np.zeros(n, dtype=int), 1
    if estimator is not None:
        folds = folds_by_event(cv, outcome.event[:, 0], subjects, random_state)
        index, fold = _predict_index(estimator, X, outcome, subjects, folds, training, n_jobs)
        columns["index"] = index
    observations, n_left_out = _by_subject(
        columns, outcome, codes, fold, learned=estimator is not None
    )
    observations = replace(observations, ties=ties)
    if estimator is not None:
        observations = _standardised(observations)
        n_folds = len(np.unique(observations.fold))
    fit = fit_cox(
        observations.X, observations.event, observations.time, observations.entry,
        strata=observations.fold, clusters=np.arange(len(observations.time)), ties=ties,
        names=observations.names,
    )  # fmt: skip
    # the sandwich is some per cent too small in samples of this kind, see docs/hazard_ratios.md
    errors = np.maximum(fit.standard_errors, np.sqrt(np.diag(fit.covariance)))
    warn_of_few_events(fit.n_events, len(observations.names))
    untested = ["index"] if estimator is not None and training == "others" else []
    return HazardRatios(
        tabulate_ratios(fit.coefficients, errors, observations.names, level, untested),
        len(observations.time), fit.n_events, n_left_out, n_folds,
        training if estimator is not None else None, fit.log_likelihood, observations,
    )  # fmt: skip


def warn_of_few_events(n_events: int, n_terms: int) -> None:
    if n_events < _FEWEST_EVENTS * n_terms:
        warn(
            f"{n_events} events for {n_terms} terms: with fewer than {_FEWEST_EVENTS} a term, "
            "standard errors are too small, and so are p values. Leave terms out.",
            OutcomeWarning,
        )


def _check_request(
    outcome: SurvivalOutcome, X: Any, estimator: Any, covariates: Any, training: str, level: float
) -> None:
    if outcome.n_outcomes != 1:
        raise ValueError(
            f"y holds {outcome.n_outcomes} outcomes; accepted is one. Choose a column: y[:, 0]."
        )
    if estimator is None and covariates is None:
        raise ValueError("estimator and covariates are both None; pass one of them, or both.")
    if training not in _TRAINING:
        raise ValueError(f"training={training!r}; accepted are 'earlier' and 'others'.")
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level!r}.")
    by_name = covariates is not None and not isinstance(covariates, pd.DataFrame)
    if X is None and (estimator is not None or by_name):
        raise ValueError(
            "X is None; an estimator, and covariates by name, need the recordings. Pass X, or "
            "covariates as a DataFrame."
        )
    refuse_epochs(X)
    if X is not None and _num_samples(X) != len(outcome):
        raise ValueError(f"y has {len(outcome)} outcomes for {_num_samples(X)} rows of X.")
    refuse_frozen(estimator)
    if estimator is not None and is_classifier(estimator):
        raise ValueError(
            f"estimator is a classifier ({type(estimator).__name__}), whose predict gives classes; "
            "accepted is one that predicts log hazard ratios, such as CoxRegression()."
        )


def _predict_index(
    estimator: Any, X: Any, outcome: SurvivalOutcome, subjects: np.ndarray,
    folds: Sequence[tuple[np.ndarray, np.ndarray]], training: str, n_jobs: int | None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Held-out risk of each row, NaN in a fold that trains alone; and the number of its fold."""
    y = outcome.to_array().reshape(len(outcome))
    known = ~np.isnan(y["time"])
    fold = number_folds(folds, subjects)
    tests = [test for _, test in folds]
    if training == "earlier":
        jobs = [(np.concatenate(tests[:i]), test) for i, test in enumerate(tests) if i]
    else:
        jobs = [(np.asarray(train), np.asarray(test)) for train, test in folds]
    for train, _ in jobs:
        if not y["event"][train].any():
            raise ValueError(
                f"the {len(train)} training rows of a fold hold no event, so that nothing can be "
                f"learned ({int(y['event'].sum())} events in all). Use fewer folds, or covariates "
                "alone."
            )
    parts = Parallel(n_jobs=n_jobs)(
        delayed(_predict_fold)(estimator, X, y, subjects, np.sort(train[known[train]]), test)
        for train, test in jobs
    )
    index = np.full(len(y), np.nan)
    for (_, test), risk in zip(jobs, parts, strict=True):
        index[test] = risk
    return index, fold


def _predict_fold(
    estimator: Any, X: Any, y: np.ndarray, subjects: np.ndarray, train: np.ndarray, test: np.ndarray
) -> np.ndarray:
    X_train, X_test = _safe_indexing(X, train), _safe_indexing(X, test)
    fitted = fit_aligning_classes(estimator, X_train, y[train], None, subjects[train])
    return check_finite(fitted.predict(X_test))


def _by_subject(
    columns: pd.DataFrame,
    outcome: SurvivalOutcome,
    codes: np.ndarray,
    fold: np.ndarray,
    *,
    learned: bool,
) -> tuple[_Observations, int]:
    """Means over nights of those with an outcome and all columns, and how many lack a covariate."""
    means = columns.groupby(codes).mean()
    first = np.unique(codes, return_index=True)[1]
    time = outcome.time[first, 0]
    entry = np.full(len(first), -np.inf) if outcome.entry is None else outcome.entry[first, 0]
    rows = _Observations(
        means.to_numpy(dtype=float), tuple(means.columns), outcome.event[first, 0], time, entry,
        fold[first],
    )  # fmt: skip
    in_model = ~np.isnan(time)
    if learned:
        # the first fold trains alone
        in_model &= means["index"].notna().to_numpy()
    lacking = in_model & means.isna().any(axis=1).to_numpy()
    if lacking.any():
        gaps = means[lacking].isna().sum()
        which = ", ".join(f"{name} of {count}" for name, count in gaps[gaps > 0].items())
        warn(
            f"{lacking.sum()} of {in_model.sum()} subjects, with {rows.event[lacking].sum()} "
            f"events, lack a covariate ({which}) and are left out of the hazard ratios. Impute "
            "them if they are not missing at random.",
            RecordingWarning,
        )
    return rows.take(in_model & ~lacking), int(lacking.sum())


def _standardised(rows: _Observations) -> _Observations:
    """The index, the last column, with mean 0 and standard deviation 1 in each fold."""
    X = rows.X.copy()
    for fold in np.unique(rows.fold):
        inside = rows.fold == fold
        values = X[inside, -1]
        spread = values.std()
        is_constant = not spread > 1e-12 * np.abs(values).max()
        X[inside, -1] = 0 if is_constant else (values - values.mean()) / spread
    if not X[:, -1].any():
        raise ValueError(
            "estimator predicts the same risk for all subjects of each fold, so that it has no "
            "hazard ratio. Lower its penalty, or look at whether it learns."
        )
    return replace(rows, X=X)


def tabulate_ratios(
    coefficients: np.ndarray, error: np.ndarray, names: Sequence[str], level: float,
    untested: Sequence[str],
) -> pd.DataFrame:  # fmt: skip
    """Ratios with limits and p values, NaN for terms that cannot be tested."""
    width = ndtri(0.5 + level / 2) * error
    with np.errstate(over="ignore"):
        table = pd.DataFrame(
            {
                "value": np.exp(coefficients),
                "low": np.exp(coefficients - width),
                "high": np.exp(coefficients + width),
                "p_value": 2 * ndtr(-np.abs(coefficients / error)),
                "coefficient": coefficients,
                "standard_error": error,
            },
            index=pd.Index(names, name="term"),
        )
    table.loc[list(untested), ["low", "high", "p_value", "standard_error"]] = np.nan
    return table


@dataclass(frozen=True, repr=False)
class ProportionalHazardsTest(TableExportMixin, ShownAsTable):
    """Result of :func:`proportional_hazards_test`.

    Attributes
    ----------
    table : DataFrame
        Index term, the last of which is "all terms"; columns slope (of the log hazard ratio over
        the transformed time), statistic (chi-squared), degrees_of_freedom and p_value.
    transform : {"km", "rank", "identity"}
    residuals : DataFrame
        Scaled Schoenfeld residuals plus the coefficient, an estimate of the log hazard ratio at
        each event; index time, a column per term.

    Examples
    --------
    >>> import pandas as pd
    >>> from sleep2vec_sklearn.evaluation import hazard_ratios, proportional_hazards_test
    >>> y = pd.DataFrame({"event": [1, 1, 0, 1, 1, 1], "time": [2.0, 5, 6, 9, 3, 4]})
    >>> ratios = hazard_ratios(y, covariates=pd.DataFrame({"age": [70, 60, 55, 62, 50, 66]}))
    >>> proportional_hazards_test(ratios).residuals.shape
    (5, 1)
    """

    table: pd.DataFrame
    transform: str
    residuals: pd.DataFrame

    def to_frame(self) -> pd.DataFrame:
        """The table: columns term, slope, statistic, degrees_of_freedom, p_value."""
        return self.table.reset_index()

    def _headline(self) -> str:
        n_events, over = len(self.residuals), self.transform
        return f"ProportionalHazardsTest({n_events} events, time transformed by {over!r})"


def proportional_hazards_test(
    ratios: HazardRatios, *, transform: str = "km"
) -> ProportionalHazardsTest:
    """Test whether hazard ratios change over time, by scaled Schoenfeld residuals.

    Parameters
    ----------
    ratios : HazardRatios
        As :func:`hazard_ratios` makes it.
    transform : {"km", "rank", "identity"}, default="km"
        Of time, on which a trend is sought: one minus the Kaplan-Meier estimate just before (all
        strata together), the rank among the events, or the time itself.

    Returns
    -------
    ProportionalHazardsTest
        For each term, and for all together.

    Raises
    ------
    TypeError
        If ``ratios`` is anything else, such as its table.
    ValueError
        If all events are at one time, so that there is no trend.

    Notes
    -----
    Grambsch & Therneau, Biometrika 81 (1994), with the information averaged over the events, as in
    R's cox.zph before survival 3.0; later ones do not average. A small p value says that the ratio
    is a mean over the follow-up, whose weights depend on the censoring; plot the residuals over
    time, and give ratios of periods, or of an interaction with time. A large one says little where
    events are few. An index learned with ``training="others"`` has no test, nor then have
    all terms together.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from sleep2vec_sklearn.evaluation import hazard_ratios, proportional_hazards_test
    >>> rng = np.random.default_rng(0)
    >>> drug = rng.integers(0, 2, 200)
    >>> time = rng.weibull(np.where(drug == 1, 3.0, 1.0))  # shapes differ
    >>> y = pd.DataFrame({"event": np.ones(200), "time": time})
    >>> ratios = hazard_ratios(y, covariates=pd.DataFrame({"drug": drug}))
    >>> bool(proportional_hazards_test(ratios).table["p_value"]["drug"] < 1e-6)
    True
    """
    if transform not in _TRANSFORMS:
        raise ValueError(f"transform={transform!r}; accepted are 'km', 'rank' and 'identity'.")
    if not isinstance(ratios, HazardRatios):
        raise TypeError(
            f"ratios is {type(ratios).__name__}; accepted is what hazard_ratios returns, which "
            "keeps its subjects. Pass that, not its table."
        )
    rows = ratios._observations
    sets = RiskSets.of(
        rows.event, rows.time, rows.entry, np.unique(rows.fold, return_inverse=True)[1],
        np.ones(len(rows.time)), ties=rows.ties,
    )  # fmt: skip
    coefficients = ratios.table["coefficient"].to_numpy()
    center = rows.X.mean(axis=0)
    terms = CoxTerms.at(coefficients, rows.X - center, sets)
    # events tied in time share the mean of their risk set
    n_tied = np.bincount(sets.pair)
    means = (sets.of_pairs(terms.means) / n_tied[:, None])[sets.pair]
    schoenfeld = rows.X[sets.rows] - center - means
    moments = rows.time[sets.rows]
    moved = _transformed(transform, moments, rows)
    moved = moved - moved.mean()
    if not moved.any():
        raise ValueError("all events are at one time, so that no ratio can change over time.")
    covariance, n_events = np.linalg.inv(terms.information), len(moments)
    trend, spread = moved @ schoenfeld, (moved**2).sum()
    shifts = n_events * covariance @ trend
    each = shifts**2 / (n_events * np.diag(covariance) * spread)
    statistic = np.append(each, n_events * trend @ covariance @ trend / spread)
    degrees = np.append(np.ones(len(each), dtype=int), len(each))
    table = pd.DataFrame(
        {
            "slope": np.append(shifts / spread, np.nan),
            "statistic": statistic,
            "degrees_of_freedom": degrees,
            "p_value": chdtrc(degrees, statistic),
        },
        index=pd.Index([*rows.names, "all terms"], name="term"),
    )
    if ratios.training == "others":
        table.loc[["index", "all terms"], ["statistic", "p_value"]] = np.nan
    order = np.argsort(moments, kind="stable")
    residuals = pd.DataFrame(
        (n_events * schoenfeld @ covariance + coefficients)[order],
        index=pd.Index(moments[order], name="time"), columns=list(rows.names),
    )  # fmt: skip
    return ProportionalHazardsTest(table, transform, residuals)


def _transformed(transform: str, moments: np.ndarray, rows: _Observations) -> np.ndarray:
    if transform == "identity":
        return moments
    if transform == "rank":
        return rankdata(moments)
    times, n_events, n_at_risk = count_at_risk(rows.event, rows.time, rows.entry)
    before = np.append(1.0, np.cumprod(1 - n_events / n_at_risk))
    return 1 - before[np.searchsorted(times, moments)]
