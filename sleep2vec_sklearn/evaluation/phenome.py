# SPDX-License-Identifier: BSD-3-Clause
"""Many outcomes at once: out-of-fold scores, and tests of what they add to covariates."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import false_discovery_control
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state, get_tags

from .._arguments import check_row_order
from .._files import atomic_file, canonical_json, check_writable, file_name, sha256, write_atomic
from .._html import ROWS_SHOWN, as_html
from .._validation import Number, count, validate_parameter_constraints
from .._warnings import listed, warn
from ..encoding._base import components
from ..encoding.inputs import read_input
from ..encoding.precomputed import PrecomputedEmbeddings
from ..encoding.transformer import Sleep2VecTransformer
from ..errors import RecordingWarning
from ._added_scores import (
    FoldScorer,
    ScanTask,
    SubjectPermutation,
    baseline_predictions,
    cross_fit,
    fit_added_score,
    permuted_statistic,
)
from ._covariates import read_covariates
from ._cross_validation import refuse_frozen
from ._regression import independent_columns
from ._subjects import SubjectBootstrap, folds_by_subject, number_folds, subjects_of
from .comparison import default_head
from .cox_regression import CoxRegression
from .survival import read_outcome, survival_outcome
from .tables import TableExportMixin, format_interval

KINDS = ("binary", "numeric", "survival")
# raised where results of the same inputs change
_REVISION = 2
# of standardised columns, in events; chosen once, not by outcome
_COX_PENALTY = 100.0
_METRICS = {"binary": "roc_auc", "numeric": "r2", "survival": "harrell"}
_NUMBERS = (
    "score", "low", "high", "covariates", "gain", "gain_low", "gain_high", "estimate", "std_error",
    "p_value", "p_permutation",
)  # fmt: skip
_COLUMNS = (
    "outcome", "kind", "metric", "n", "n_events", *_NUMBERS, "p_bh", "p_bonferroni", "reason"
)  # fmt: skip


def phenome_scan(
    estimator: Any, X: Any, outcomes: pd.DataFrame | Mapping[str, Any],
    groups: Iterable | None = None,
    covariates: pd.DataFrame | Sequence[str] | ArrayLike | None = None, *,
    survival: Mapping[str, Sequence[str]] | None = None, kinds: Mapping[str, str] | None = None,
    heads: Mapping[str, Any] | None = None, cv: Any = 5, min_events: int = 10,
    permutations: Mapping[str, int] | None = None, n_resamples: int = 1000, level: float = 0.95,
    path: str | os.PathLike | None = None, n_jobs: int | None = None,
    random_state: int | np.random.RandomState | None = 0,
) -> PhenomeScan:  # fmt: skip
    """Score many outcomes by the same embeddings, and test what they add to covariates.

    For each outcome a head is fitted to the embeddings of the training subjects of each fold, and
    predicts the others. The out-of-fold score is then added to the covariates in a logistic, linear
    or Cox regression of the outcome, with errors clustered by subject, and its coefficient tested
    against zero, one-sided: a score that predicts has a positive one.

    Parameters
    ----------
    estimator : transformer, Pipeline or None
        Makes the columns that heads read: :class:`Sleep2VecTransformer`, or a pipeline that begins
        with it. Steps that learn nothing run once over all of X; transformers after them, such as a
        PCA, are fitted in each fold. A final classifier or regressor is the head of binary or
        numeric outcomes. None where X is an array.
    X : list of Recording, list of lists of them, EpochSequence, or array of shape (n, n_features)
        One row per subject, ``cohort.by_subject()``, is what the estimates are of; with several,
        each row counts.
    outcomes : DataFrame, or mapping of str to array-like of shape (n,)
        One column each, in the order of X. Binary are two values, of which the larger (or the later
        in the alphabet) is the event; numeric are more; survival is what :func:`survival_outcome`
        makes, or a DataFrame of columns event, time and perhaps entry. Rows without a value take no
        part in that outcome alone.
    groups : array-like of shape (n,), optional
        Subjects; by default those of the recordings.
    covariates : DataFrame, sequence of str or array-like of shape (n, k), optional
        Columns, or keys of ``Recording.metadata``. Words and pandas' categories become one column
        for each category; a missing number is the median, with an indicator.
    survival : mapping of str to (event, time) or (event, time, entry), optional
        Columns of ``outcomes`` that make up a survival outcome of that name.
    kinds : mapping of str to {"binary", "numeric", "survival"}, optional
        Of outcomes for which the values do not tell.
    heads : mapping of {"binary", "numeric", "survival"} to estimator, optional
        By default standardised columns and a logistic regression (C=0.01, balanced classes), ridge
        regression with a penalty chosen within the training rows, or :class:`CoxRegression`
        (penalty 100).
    cv : int, splitter or iterable, default=5
        Folds by subject, stratified by class or event; or what tests each row once.
    min_events : int, default=10
        Outcomes with fewer events, rows of the rarer class, or rows, are listed and not tested. Of
        several rows of a subject, one counts.
    permutations : mapping of str to int, optional
        Outcomes of which embeddings are exchanged between subjects that many times, for a p value
        that needs no model of the errors. Each refits the head in every fold.
    n_resamples, level, random_state
        Of the confidence intervals, by bootstrap over subjects; 0 resamples for none, nor gains.
    path : str or PathLike, optional
        A folder in which every finished outcome, and the embeddings of recordings, are kept. The
        same call goes on where it ended; what depends on changed inputs is computed again.
    n_jobs : int, optional
        Outcomes at a time, by joblib. Results do not depend on it.

    Returns
    -------
    PhenomeScan

    Warns
    -----
    RecordingWarning
        If rows have no embedding.
    FitFailedWarning
        If an error, such as of a head, kept outcomes from being analysed.
    LeakageWarning
        As of :func:`compare_estimators`.

    Raises
    ------
    TypeError
        If X is not an array after the steps that learn nothing.
    ValueError
        If a parameter is not accepted, lengths differ, or a part that learned outcomes is frozen.
        What is wrong with one outcome, such as folds that divide the rows of a subject, is its
        ``reason`` in the result, and the others go on.

    Notes
    -----
    *Test.* The score is standardised in each fold. Under the null hypothesis, embedding and outcome
    are independent given the covariates, and effects of these are linear on the scale of the model.
    A score that is cross-fitted is not independent of the outcomes of its fold given the other
    scores: a subject's outcome enters the scores of all other folds. For a head that is linear in
    the outcomes, the variance of the sum of scores times residuals is at most twice that which
    takes the scores as given (by Cauchy and Schwarz; a degenerate U statistic, Kim & Ramdas 2024,
    Bernoulli 30:683). Standard errors are therefore the robust ones times the square root of 2, and
    compared with the t distribution with one degree of freedom less than there are subjects.
    Without that factor 9 to 12 % of true null hypotheses are rejected at 5 %. Heads far from
    linear, such as boosted trees, are not covered: use ``permutations``.

    *Permutation.* Rows of embeddings are exchanged between subjects of the same stratum: each
    category, and each number cut into quantile groups, at most five. p is (1 + b) / (1 + n) for b
    statistics as large as the observed one (Phipson & Smyth 2010, SAGMB 9:39).

    *Corrections* are over the outcomes tested: Benjamini & Hochberg (1995, JRSS B 57:289), which
    holds for independent and positively dependent tests, and Bonferroni.

    *Scores* are the AUC and Harrell's concordance of pairs within folds, and R2. The gain is that
    of covariates and score together over covariates, both predicted out of fold; weights of the
    score are learned from heads that saw neither the rows weighed nor those predicted. It is NaN
    without covariates.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from sleep2vec_sklearn.evaluation import phenome_scan
    >>> rng = np.random.default_rng(0)
    >>> X, age = rng.standard_normal((120, 4)), rng.normal(60, 9, 120)
    >>> outcomes = pd.DataFrame({
    ...     "stroke": X[:, 0] + rng.standard_normal(120) > 0.5,
    ...     "bmi": 27 + rng.normal(0, 4, 120),
    ... })
    >>> scan = phenome_scan(None, X, outcomes, covariates=age[:, None], n_resamples=100)
    >>> scan.to_frame().query("p_bonferroni < 0.05")["outcome"].tolist()
    ['stroke']
    """
    _check_parameters(
        survival=survival, heads=heads, kinds=kinds, permutations=permutations,
        min_events=min_events, n_resamples=n_resamples, level=level,
    )  # fmt: skip
    n = len(X)
    check_row_order(X=X, outcomes=outcomes, groups=groups, covariates=covariates)
    columns = _read_outcomes(outcomes, survival, n)
    permuted = dict(permutations or {})
    for option, names in (("kinds", kinds or {}), ("permutations", permuted)):
        for name in names:
            if name not in columns:
                raise ValueError(
                    f"{option} has {name!r}, which is no outcome; outcomes are "
                    f"{listed(list(columns), 8)}. Name one of these."
                )
    subjects = subjects_of(X, groups)
    table = _covariate_columns(covariates, X, n)
    seed = random_state
    if not isinstance(seed, int | np.integer):
        seed = check_random_state(random_state).randint(2**31)
    store = _FinishedOutcomes(path)
    for part in (estimator, *(heads or {}).values()):
        refuse_frozen(part)
    encoders, steps = _split(estimator)
    rows = store.encode(encoders, X)
    encoded = np.isfinite(rows).any(axis=1)
    if not encoded.all():
        warn(
            f"{(~encoded).sum()} of {n} rows have no embedding (all NaN), and take part in no "
            "outcome.",
            RecordingWarning,
        )
    scan = _Scan(
        rows, encoded, subjects, table, _choose_heads(steps, heads),
        cv if isinstance(cv, int) or hasattr(cv, "split") else list(cv), min_events,
        {"n_resamples": n_resamples, "level": level, "random_state": int(seed)},
    )  # fmt: skip
    shared = scan.digest()
    jobs = {
        name: _Job(name, values, (kinds or {}).get(name), int(permuted.get(name, 0)), shared)
        for name, values in columns.items()
    }
    kept = {name: store.read(job) for name, job in jobs.items()}
    todo = [job for name, job in jobs.items() if kept[name] is None]
    # one outcome at a time where its permutations are spread over the workers
    alone = [job for job in todo if not job.n_permutations]
    made = joblib.Parallel(n_jobs=n_jobs)(joblib.delayed(scan.run)(job, store) for job in alone)
    kept |= {job.name: record for job, record in zip(alone, made, strict=True)}
    for job in todo:
        if job.n_permutations:
            kept[job.name] = scan.run(job, store, n_jobs)
    return _collect(
        [record for record in kept.values() if record is not None],
        len(set(subjects.tolist())),
        level,
    )


def _check_parameters(**values: Any) -> None:
    constraints = {
        "survival": [Mapping, None],
        "heads": [Mapping, None],
        "kinds": [Mapping, None],
        "permutations": [Mapping, None],
        "min_events": [count(2)],
        "n_resamples": [count(0)],
        "level": [Number(Real, 0, 1, closed="neither")],
    }
    validate_parameter_constraints(constraints, values, "phenome_scan")
    for option in ("heads", "kinds"):
        named = values[option] or {}
        wrong = [
            kind for kind in (named if option == "heads" else named.values()) if kind not in KINDS
        ]
        if wrong:
            raise ValueError(
                f"{option} has {wrong[0]!r}; accepted are {', '.join(map(repr, KINDS))}."
            )


def _read_outcomes(
    outcomes: Any, survival: Mapping[str, Sequence[str]] | None, n: int
) -> dict[str, Any]:
    """Values of each outcome by its name, survival outcomes in the place of their columns."""
    if not isinstance(outcomes, pd.DataFrame | Mapping):
        raise TypeError(
            f"outcomes is {type(outcomes).__name__}; accepted are a DataFrame and a dict of names "
            "to values. Name a single one: {'stroke': y}."
        )
    texts = pd.Index([str(name) for name in outcomes])
    if texts.has_duplicates:
        raise ValueError(
            f"outcomes has {texts[texts.duplicated()][0]!r} twice; accepted are names of one "
            "outcome each. Rename one."
        )
    columns = {str(name): outcomes[name] for name in outcomes}
    for name, parts in (survival or {}).items():
        unknown = [part for part in parts if part not in outcomes]
        if unknown or len(parts) not in (2, 3):
            raise ValueError(
                f"survival[{name!r}] is {tuple(parts)!r}; accepted are columns of outcomes for "
                "the event, the time, and perhaps the entry."
            )
        series = [outcomes[part] for part in parts]
        for part in parts:
            columns.pop(str(part), None)
        columns[name] = pd.DataFrame(dict(zip(("event", "time", "entry"), series, strict=False)))
    if not columns:
        raise ValueError("outcomes is empty; accepted is at least one column.")
    for name, values in columns.items():
        if len(values) != n:
            raise ValueError(
                f"outcome {name!r} has {len(values)} values for {n} rows of X; one of each is "
                "needed, in the order of X."
            )
    return columns


class _NotTested(Exception):
    """Why an outcome cannot be analysed; expected, unlike an error."""


def _read_outcome(values: Any, kind: str | None) -> tuple[str, np.ndarray, np.ndarray]:
    """Kind of an outcome, which rows are known, and their values as the models take them."""
    fields = getattr(getattr(values, "dtype", None), "names", None)
    if isinstance(values, pd.DataFrame) or fields:
        return _read_survival(values, kind)
    values = pd.Series(
        np.asarray(values, dtype=object).reshape(len(values), -1)[:, 0]
    ).infer_objects()
    if pd.api.types.is_datetime64_any_dtype(values) or pd.api.types.is_timedelta64_dtype(values):
        raise _NotTested("dates or durations; turn them into numbers, or into a survival outcome")
    known = values.notna().to_numpy()
    present = values[known]
    distinct = sorted(present.unique(), key=lambda value: (str(type(value)), value))
    if len(distinct) < 2:
        raise _NotTested(
            f"constant: all {len(present)} known values are {distinct[0]}"
            if distinct
            else "no value is known"
        )
    binary = len(distinct) == 2 if kind is None else kind == "binary"
    if binary:
        if len(distinct) != 2:
            raise _NotTested(f"kind is binary, and there are {len(distinct)} values")
        return "binary", known, (present == distinct[1]).to_numpy(dtype=int)
    if kind == "survival":
        raise _NotTested("kind is survival, and there is no event and time; use survival_outcome")
    numbers = pd.to_numeric(present, errors="coerce")
    if numbers.isna().any():
        text = present[numbers.isna()].iloc[0]
        raise _NotTested(
            f"text of {len(distinct)} values, such as {text!r}; make a column of 0 and 1 of each "
            "category"
        )
    numbers = numbers.to_numpy(dtype=np.float64)
    if not np.isfinite(numbers).all():
        raise _NotTested("infinite values")
    return "numeric", known, numbers


def _read_survival(values: Any, kind: str | None) -> tuple[str, np.ndarray, np.ndarray]:
    if kind not in (None, "survival"):
        raise _NotTested(f"kind is {kind}, and there are columns of event and time")
    try:
        if isinstance(values, pd.DataFrame):
            values = survival_outcome(
                *(values[c] for c in ("event", "time", "entry") if c in values)
            )
        outcome = read_outcome(np.asarray(values), "outcome")
        if outcome.n_outcomes != 1:
            raise ValueError(f"{outcome.n_outcomes} survival outcomes; pass one under each name")
    except (TypeError, ValueError) as error:
        raise _NotTested(str(error)) from error
    known, event, time, entry = outcome.column(0)
    y = survival_outcome(event, time, None if outcome.entry is None else entry)
    return "survival", known, y


def _covariate_columns(covariates: Any, X: Any, n: int) -> np.ndarray:
    """Columns of numbers, complete, of which none is a combination of the others."""
    if covariates is None:
        return np.empty((n, 0))
    are_names = isinstance(covariates, Sequence) and all(isinstance(c, str) for c in covariates)
    if not are_names:
        covariates = pd.DataFrame(covariates)
    table = read_covariates(covariates, X, np.zeros(n), None, n)
    values = table.to_numpy(dtype=np.float64)
    missing = ~np.isfinite(values)
    unknown = table.columns[missing.all(axis=0)]
    if len(unknown):
        raise ValueError(f"covariates: {unknown[0]!r} has no value in any row. Leave it out.")
    medians = np.nanmedian(np.where(missing, np.nan, values), axis=0)
    joined = np.column_stack([np.where(missing, medians, values), missing])
    return joined[:, independent_columns(joined)]


def _split(estimator: Any) -> tuple[list, list]:
    """Steps that learn nothing, and those from the first that does."""
    if estimator is None:
        return [], []
    steps = [s for _, s in estimator.steps] if isinstance(estimator, Pipeline) else [estimator]
    first = next((i for i, step in enumerate(steps) if not _learns_nothing(step)), len(steps))
    return steps[:first], steps[first:]


def _learns_nothing(step: Any) -> bool:
    if step is None or isinstance(step, str | Sleep2VecTransformer | PrecomputedEmbeddings):
        return True
    if isinstance(step, FeatureUnion):
        return all(_learns_nothing(part) for _, part in step.transformer_list)
    return hasattr(step, "transform") and not get_tags(step).requires_fit


def _choose_heads(steps: list, heads: Mapping[str, Any] | None) -> dict[str, Any]:
    """The head of each kind, behind the transformers that learn."""
    chosen: dict[str, Any] = {
        "binary": default_head(np.zeros(1, dtype=int)),
        "numeric": default_head(np.zeros(1)),
        "survival": make_pipeline(StandardScaler(), CoxRegression(penalty=_COX_PENALTY)),
    }
    transformers = list(steps)
    if steps and hasattr(steps[-1], "predict"):
        head = transformers.pop()
        kind = "binary" if is_classifier(head) else "numeric" if is_regressor(head) else "survival"
        chosen[kind] = head
    chosen |= heads or {}
    if not transformers:
        return {kind: clone(head) for kind, head in chosen.items()}
    return {
        kind: make_pipeline(*map(clone, transformers), clone(head)) for kind, head in chosen.items()
    }


@dataclass(frozen=True, eq=False)
class _Job:
    name: str
    values: Any
    kind: str | None  # None to be inferred
    n_permutations: int
    shared: str  # digest of what all outcomes share

    @property
    def key(self) -> str:
        own = [joblib.hash(self.values), self.kind, self.n_permutations]
        return sha256(canonical_json([self.name, self.shared, *own]))


@dataclass(frozen=True, eq=False)
class _Scan:
    """What all outcomes share."""

    rows: np.ndarray
    encoded: np.ndarray
    subjects: np.ndarray
    covariates: np.ndarray
    heads: dict[str, Any]
    cv: Any
    min_events: int
    draws: dict[str, Any]

    def digest(self) -> str:
        arrays = (self.rows, self.subjects.tolist(), self.covariates)
        return joblib.hash((_REVISION, arrays, self.heads, self.cv, self.min_events, self.draws))

    def run(self, job: _Job, store: _FinishedOutcomes, n_jobs: int | None = None) -> dict:
        """The record of an outcome; what goes wrong in it is its reason."""
        record: dict[str, Any] = {"outcome": job.name, "kind": job.kind, "failed": False}
        record["reason"] = ""
        try:
            self._analyse(job, record, n_jobs)
        except _NotTested as reason:
            record["reason"] = str(reason)
        except Exception as error:
            # a head is the user's own, and hours of the others' results are not to be lost
            record |= {"failed": True, "reason": f"{type(error).__name__}: {error}"}
        store.write(job, record)
        return record

    def _analyse(self, job: _Job, record: dict, n_jobs: int | None) -> None:
        kind, known, y = _read_outcome(job.values, job.kind)
        y, known = y[self.encoded[known]], known & self.encoded
        record |= {"kind": kind, "metric": _METRICS[kind], "n": len(y)}
        classes = y if kind == "binary" else y["event"] if kind == "survival" else np.zeros(len(y))
        n_events = len(y) if kind == "numeric" else int(classes.sum())
        record["n_events"] = None if kind == "numeric" else n_events
        rows = np.flatnonzero(known)
        # several rows of a subject are one piece of evidence
        sides = {"binary": (classes == 1, classes == 0), "survival": (classes == 1,)}
        fewest = min(
            len(np.unique(self.subjects[rows[side]])) for side in sides.get(kind, (classes == 0,))
        )
        if fewest < self.min_events:
            what = {"numeric": "values", "survival": "events"}.get(kind, "rows of the rarer class")
            whose = "" if len(np.unique(self.subjects[rows])) == len(rows) else "subjects with "
            raise _NotTested(f"{fewest} {whose}{what}, fewer than {self.min_events}")
        task = self._task(kind, rows, y, classes)
        head = self.heads[kind]
        scores = cross_fit(task, head)
        self._score(task, head, scores, record)
        try:
            added = fit_added_score(task, scores)
        except ValueError as error:
            raise _NotTested(str(error)) from error
        record |= {
            "estimate": added.estimate, "std_error": added.std_error, "p_value": added.p_value
        }  # fmt: skip
        if job.n_permutations:
            exchange = SubjectPermutation(task)
            statistics = joblib.Parallel(n_jobs=n_jobs)(
                joblib.delayed(permuted_statistic)(
                    task, head, exchange, (self.draws["random_state"], i)
                )
                for i in range(job.n_permutations)
            )
            n_as_large = int(np.sum(np.array(statistics) >= added.statistic))
            record["p_permutation"] = (1 + n_as_large) / (1 + job.n_permutations)

    def _task(self, kind: str, rows: np.ndarray, y: np.ndarray, classes: np.ndarray) -> ScanTask:
        subjects = self.subjects[rows]
        # a generator in a splitter starts anew, or folds would depend on who is analysed before
        cv = deepcopy(self.cv)
        if isinstance(cv, list):
            place = np.full(len(self.subjects), -1)
            place[rows] = np.arange(len(rows))
            cv = [tuple(place[side][place[side] >= 0] for side in fold) for fold in cv]
        target = y if kind == "numeric" else classes.astype(int)
        codes = np.unique(subjects, return_inverse=True)[1]
        if isinstance(cv, int) and kind != "numeric" and len(codes) == codes.max() + 1:
            # of one row each; by group it takes longer than the heads, 50 ms for 400 subjects
            seed = self.draws["random_state"]
            splitter = StratifiedKFold(cv, shuffle=True, random_state=seed)
            cv = list(splitter.split(codes, target))
        folds = folds_by_subject(cv, target, subjects, classify=kind != "numeric")
        fold = number_folds(folds, subjects)
        return ScanTask(kind, self.rows[rows], y, self.covariates[rows], codes, fold)

    def _score(self, task: ScanTask, head: Any, scores: np.ndarray, record: dict) -> None:
        n_resamples = self.draws["n_resamples"]
        draws = SubjectBootstrap(task.codes, **(self.draws | {"n_resamples": max(n_resamples, 1)}))
        scorer = FoldScorer(task, draws.counts[:n_resamples])

        def put(name: str, values: np.ndarray) -> None:
            record[name] = float(values[0])
            if n_resamples:
                prefix = "" if name == "score" else f"{name}_"
                low, high = draws.interval(values[1:])
                record.update({f"{prefix}low": float(low), f"{prefix}high": float(high)})

        put("score", scorer.score(scores))
        if n_resamples and task.covariates.shape[1]:
            alone, both = map(scorer.score, baseline_predictions(task, head, scores))
            record["covariates"] = float(alone[0])
            put("gain", both - alone)


class _FinishedOutcomes:
    """Records of outcomes in a folder, one file each, and the embeddings they are of."""

    def __init__(self, path: str | os.PathLike | None) -> None:
        self._folder = None if path is None else Path(path)
        if self._folder is not None:
            check_writable(self._folder / "outcome.json")

    def read(self, job: _Job) -> dict | None:
        """The record of an outcome, if there is one of the same inputs."""
        if self._folder is None:
            return None
        try:
            path = self._folder / f"{file_name(job.name)}.json"
            content = json.loads(path.read_text(encoding="utf-8"))
            return content["record"] if content["key"] == job.key else None
        except (OSError, ValueError, KeyError, TypeError):
            # absent, or not of this library
            return None

    def write(self, job: _Job, record: dict) -> None:
        if self._folder is None or record["failed"]:
            return
        known = {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in record.items()}
        content = canonical_json({"key": job.key, "record": known})
        write_atomic(self._folder / f"{file_name(job.name)}.json", content.encode())

    def encode(self, encoders: list, X: Any) -> np.ndarray:
        """Rows of X behind the steps that learn nothing, from the folder where they are in it."""
        file = None
        if encoders and self._folder is not None:
            file = self._folder / f"rows-{_key_of_rows(encoders, X)}.npy"
            if file.exists():
                return np.load(file, allow_pickle=False)
        rows = X
        if encoders:
            rows = make_pipeline(*map(clone, encoders)).fit_transform(X)
        rows = _as_rows(rows)
        if file is not None:
            with atomic_file(file) as opened:
                np.save(opened, rows, allow_pickle=False)
        return rows


def _as_rows(rows: Any) -> np.ndarray:
    if not hasattr(rows, "dtype") and not isinstance(rows, pd.DataFrame | list):
        rows = None
    try:
        array = np.asarray(rows)
        numeric = array.ndim == 2 and np.issubdtype(array.dtype, np.number)
    except (TypeError, ValueError):
        numeric = False
    if not numeric:
        raise TypeError(
            "estimator: X is no array of numbers of shape (n, n_features) behind its steps that "
            "learn nothing; accepted is a Sleep2VecTransformer, alone or as the first step of a "
            "pipeline, or None with an array as X. Give metadata as covariates."
        )
    return array


def _key_of_rows(encoders: list, X: Any) -> str:
    """Digest of the recordings' signals and of what encodes them."""
    inputs = read_input(X, "nan")
    signals = [recording.fingerprint for recording in inputs.recordings]
    epochs = [[]] if inputs.epochs is None else [e.tolist() for e in inputs.epochs]
    opened = [
        part.fit(X).checkpoint_sha256_
        for part in components(clone(encoders[0]))
        if isinstance(part, Sleep2VecTransformer)
    ]
    rows = [r.tolist() for r in inputs.rows]
    described = [signals, epochs, rows, opened, joblib.hash([e.get_params() for e in encoders])]
    return sha256(canonical_json(described))[:16]


def _collect(records: list[dict], n_subjects: int, level: float) -> PhenomeScan:
    table = pd.DataFrame(records)
    failed = table.loc[table["failed"], "outcome"].tolist()
    if failed:
        warn(
            f"{len(failed)} of {len(table)} outcomes raised an error ({listed(failed)}); the first "
            f"is {table.loc[table['failed'], 'reason'].iloc[0]} Reasons are in not_tested; the "
            "same call with a path goes on with them.",
            FitFailedWarning,
        )
    for column in ("kind", "metric", "n", "n_events", *_NUMBERS):
        if column not in table:
            table[column] = None
    table[list(_NUMBERS)] = table[list(_NUMBERS)].astype(float)
    for column in ("n", "n_events"):
        table[column] = table[column].astype("Int64")
    tested = table["p_value"].notna()
    p_values = table.loc[tested, "p_value"]
    for column in ("p_bh", "p_bonferroni"):
        table[column] = np.nan
    if tested.any():
        table.loc[tested, "p_bh"] = false_discovery_control(p_values, method="bh")
        table.loc[tested, "p_bonferroni"] = np.minimum(p_values * tested.sum(), 1.0)
    return PhenomeScan(table[list(_COLUMNS)], n_subjects, level)


@dataclass(frozen=True, repr=False)
class PhenomeScan(TableExportMixin):
    """Result of :func:`phenome_scan`.

    ``to_markdown()`` and ``to_latex()`` write :meth:`to_frame` as :func:`to_latex` does.

    Attributes
    ----------
    table : DataFrame
        One row per outcome, in their order: outcome, kind, metric, n, n_events; score, low, high;
        covariates (the score of these alone); gain, gain_low, gain_high; estimate (change of the
        mean, log-odds or log hazard per standard deviation of the out-of-fold score) and std_error;
        p_value, p_permutation, p_bh, p_bonferroni; reason, why an outcome was not tested.
    n_subjects : int
    level : float
        Of the confidence intervals.

    Examples
    --------
    >>> import numpy as np
    >>> from sleep2vec_sklearn.evaluation import phenome_scan
    >>> X = np.random.default_rng(0).standard_normal((60, 2))
    >>> outcomes = {"copy": X[:, 0] > 0, "rare": np.arange(60) < 3}
    >>> scan = phenome_scan(None, X, outcomes, n_resamples=100)
    >>> scan.not_tested["reason"].tolist()
    ['3 rows of the rarer class, fewer than 10']
    """

    table: pd.DataFrame
    n_subjects: int
    level: float

    @property
    def tested(self) -> pd.DataFrame:
        """Outcomes that have a p value, the smallest first."""
        return self.table[self.table["p_value"].notna()].sort_values("p_value", kind="stable")

    @property
    def not_tested(self) -> pd.DataFrame:
        """Outcomes without a p value: columns outcome, kind, n, n_events, reason."""
        left_out = self.table[self.table["p_value"].isna()]
        return left_out[["outcome", "kind", "n", "n_events", "reason"]]

    def to_frame(self) -> pd.DataFrame:
        """The table, with outcomes in their order."""
        return self.table.reset_index(drop=True)

    def _headline(self) -> str:
        tested = self.tested
        n_bh, n_bonferroni = ((tested[c] < 0.05).sum() for c in ("p_bh", "p_bonferroni"))
        return (
            f"PhenomeScan({len(tested)} of {len(self.table)} outcomes tested in {self.n_subjects} "
            f"subjects; at 5 % {n_bh} by Benjamini-Hochberg, {n_bonferroni} by Bonferroni)"
        )

    def _shown(self) -> pd.DataFrame:
        tested = self.tested
        shown = tested[["outcome", "kind", "n", "n_events", "metric"]].copy()
        shown["score"] = format_interval(tested["score"], tested["low"], tested["high"])
        limits = (tested["gain_low"], tested["gain_high"])
        shown["gain"] = format_interval(tested["gain"], *limits, sign=True)
        for column in ("p_value", "p_bh"):
            shown[column] = tested[column].map("{:.2g}".format)
        return shown

    def __repr__(self) -> str:
        shown = self._shown()
        lines = shown.head(ROWS_SHOWN).to_string(index=False).splitlines() if len(shown) else []
        more = len(shown) - ROWS_SHOWN
        end = [f"and {more} more tested, see to_frame()"] if more > 0 else []
        n_left = len(self.table) - len(shown)
        end += [f"{n_left} not tested, see not_tested"] if n_left else []
        return "\n".join([self._headline(), *(line.rstrip() for line in lines), *end])

    def _repr_html_(self) -> str:
        reasons = [
            f"{r.outcome}: {r.reason}" for r in self.not_tested.head(ROWS_SHOWN).itertuples()
        ]
        return as_html(
            self._headline(), self._shown(), rest=".to_frame()", notes=reasons, index=False
        )
