# SPDX-License-Identifier: BSD-3-Clause
"""Samples of a cohort and the weights that stand for the rest: nested case-control, case-cohort.

Weighed for it: no maintained Python library draws these designs; lifelines and statsmodels take
weights but draw nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state

from .._arguments import as_labels, check_row_order
from .._html import ShownAsTable
from .._validation import count
from .._warnings import warn
from ..errors import OutcomeWarning, RecordingWarning
from ._covariates import read_covariates
from .cox_regression import fit_cox
from .hazard_ratios import tabulate_ratios, warn_of_few_events
from .missing_outcomes import ObservationWeights
from .survival import SurvivalOutcome, read_outcome
from .tables import TableExportMixin

_METHODS = ("borgan", "prentice", "barlow")


@dataclass(frozen=True, repr=False)
class WeightedHazardRatios(TableExportMixin, ShownAsTable):
    """Result of :func:`weighted_hazard_ratios` and :meth:`SampledDesign.hazard_ratios`.

    Attributes
    ----------
    table : DataFrame
        As of :class:`HazardRatios`; errors are robust, and at least those of the model.
    n_subjects, n_events : int
        In the model.
    n_represented : float
        Sum of the weights.

    Examples
    --------
    >>> import pandas as pd
    >>> from sleep2vec_sklearn.evaluation import weighted_hazard_ratios
    >>> y = pd.DataFrame({"event": [1, 1, 0, 1, 1, 1], "time": [2.0, 5, 6, 9, 3, 4]})
    >>> age = pd.DataFrame({"age": [70, 60, 55, 62, 50, 66]})
    >>> weighted_hazard_ratios(y, age, weights=[1, 1, 2, 1, 1, 1]).n_represented
    7.0
    """

    table: pd.DataFrame
    n_subjects: int
    n_events: int
    n_represented: float

    def to_frame(self) -> pd.DataFrame:
        """The table: columns term, value, low, high, p_value, coefficient, standard_error."""
        return self.table.reset_index()

    def _headline(self) -> str:
        return (
            f"WeightedHazardRatios({self.n_subjects} subjects, {self.n_events} events, weights "
            f"sum to {self.n_represented:.0f})"
        )


def weighted_hazard_ratios(
    y: Any, covariates: pd.DataFrame, *, weights: ArrayLike | ObservationWeights,
    groups: ArrayLike | None = None,
    per: Mapping[str, float] | None = None, level: float = 0.95,
) -> WeightedHazardRatios:  # fmt: skip
    """Estimate hazard ratios where rows stand for more than themselves.

    Parameters
    ----------
    y : structured array of shape (n,), or DataFrame
        One outcome, as :func:`survival_outcome` makes it; rows whose time is NaN take no part.
    covariates : DataFrame of n rows
        As of :func:`hazard_ratios`; may hold scores that other subjects' data gave.
    weights : array-like of shape (n,), or ObservationWeights
        How many each row stands for, as of :func:`observation_weights`; 0 leaves a row out.
    groups : array-like of shape (n,), optional
        Subject or cluster of each row, over which errors are summed; by default each row its own.
    per : dict of str to float, optional
        As of :func:`hazard_ratios`.
    level : float, default=0.95
        Of the confidence limits.

    Returns
    -------
    WeightedHazardRatios

    Warns
    -----
    RecordingWarning
        If rows that have a weight lack a covariate: they are left out.
    OutcomeWarning
        If there are fewer than five events for each term.

    Raises
    ------
    ValueError
        If there is no event, several outcomes, a weight is missing or negative, or a hazard ratio
        is undefined.

    Notes
    -----
    Binder, Biometrika 79 (1992): weights in the partial likelihood, and a covariance that sums
    influences by subject. Where few events make the errors smaller than the model's with weights
    that are 1 in the mean of the events, these are taken. Weights are taken as known: where they
    were estimated from the same cohort the true errors are mostly smaller, so that limits are wide
    rather than narrow.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from sleep2vec_sklearn.evaluation import survival_outcome, weighted_hazard_ratios
    >>> rng = np.random.default_rng(0)
    >>> dose = pd.DataFrame({"dose": rng.standard_normal(300)})
    >>> y = survival_outcome(np.ones(300), rng.exponential(np.exp(-0.5 * dose["dose"])))
    >>> weighted_hazard_ratios(y, dose, weights=np.tile([1.0, 2.0], 150))
    WeightedHazardRatios(300 subjects, 300 events, weights sum to 450)
    term  value   low  high  p_value  coefficient  standard_error
    dose  1.537 1.351 1.748   <0.001        0.430           0.066
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level!r}.")
    check_row_order(y=y, covariates=covariates, weights=weights, groups=groups)
    outcome = _one_outcome(y)
    n = len(outcome)
    columns = read_covariates(covariates, None, None, per, n)
    if isinstance(weights, ObservationWeights):
        weights = weights.weights
    w = np.asarray(weights, dtype=np.float64)
    if w.shape != (n,) or not (np.isfinite(w) & (w >= 0)).all():
        raise ValueError(
            f"weights has the shape {w.shape}, or values that are missing or negative; accepted "
            f"are {n} numbers from 0 on, one a row of y."
        )
    subjects = np.arange(n) if groups is None else np.asarray(groups)
    if len(subjects) != n:
        raise ValueError(f"groups has {len(subjects)} elements for {n} rows of y.")
    in_model = ~np.isnan(outcome.time[:, 0]) & (w > 0)
    lacking = in_model & columns.isna().any(axis=1).to_numpy()
    if lacking.any():
        warn(
            f"{lacking.sum()} of {in_model.sum()} rows lack a covariate and are left out of the "
            "hazard ratios. Impute them if they are not missing at random.",
            RecordingWarning,
        )
    in_model &= ~lacking
    entry = np.full(n, -np.inf) if outcome.entry is None else outcome.entry[:, 0]
    fit = fit_cox(
        columns.to_numpy(dtype=float)[in_model], outcome.event[in_model, 0],
        outcome.time[in_model, 0], entry[in_model], clusters=subjects[in_model],
        weights=w[in_model], names=list(columns),
    )  # fmt: skip
    warn_of_few_events(fit.n_events, len(columns.columns))
    # influences of few events cancel, as those of a single one do; on the scale of events that
    # weigh 1 in the mean, as only ratios of weights count
    own = w[in_model & outcome.event[:, 0]].mean() * np.diag(fit.covariance)
    error = np.maximum(fit.standard_errors, np.sqrt(own))
    table = tabulate_ratios(fit.coefficients, error, list(columns), level, [])
    n_subjects = len(pd.unique(pd.Series(subjects[in_model])))
    return WeightedHazardRatios(table, n_subjects, fit.n_events, float(w[in_model].sum()))


def _one_outcome(y: Any) -> SurvivalOutcome:
    outcome = read_outcome(y)
    if outcome.n_outcomes != 1:
        raise ValueError(
            f"y holds {outcome.n_outcomes} outcomes; accepted is one. Choose a column: y[:, 0]."
        )
    return outcome


@dataclass(frozen=True, repr=False)
class SampledDesign(ShownAsTable):
    """Result of :func:`nested_case_control` and :func:`case_cohort`.

    Attributes
    ----------
    kind : str
        "nested case-control", or "case-cohort" and its method.
    rows : int ndarray of shape (n_sampled,)
        Rows of the cohort that are in the design, ascending and once each: read and encode these.
    records : DataFrame
        What a model is fitted to: columns row (of the cohort), event, time, entry and weight. One
        record a subject; two with ``method="barlow"`` for cases in the subcohort.
    sets : DataFrame or None
        Of a nested case-control study, columns set (its number), row and case, for a conditional
        analysis.
    n_cohort, n_events : int
        Subjects of the cohort with a known outcome, and their events.

    Examples
    --------
    >>> import numpy as np
    >>> from sleep2vec_sklearn.evaluation import case_cohort, survival_outcome
    >>> y = survival_outcome(np.arange(100) < 10, np.linspace(1, 5, 100))
    >>> design = case_cohort(y, fraction=0.2, random_state=0)
    >>> design.y.shape == design.weights.shape == (len(design.rows),)
    True
    """

    kind: str
    rows: np.ndarray
    records: pd.DataFrame
    sets: pd.DataFrame | None
    n_cohort: int
    n_events: int
    _n: int

    @property
    def weights(self) -> np.ndarray:
        """Weight of each record, for ``sample_weight``."""
        return self.records["weight"].to_numpy()

    @property
    def y(self) -> np.ndarray:
        """Outcome of each record, for estimators and :func:`weighted_hazard_ratios`."""
        event, time, entry = (
            self.records[[name]].to_numpy() for name in ("event", "time", "entry")
        )
        return SurvivalOutcome(event, time, entry, True).to_array()

    def to_frame(self) -> pd.DataFrame:
        """The records."""
        return self.records

    def hazard_ratios(
        self, covariates: pd.DataFrame, *, per: Mapping[str, float] | None = None,
        level: float = 0.95,
    ) -> WeightedHazardRatios:  # fmt: skip
        """Hazard ratios of the cohort, from the sample; errors are robust by subject.

        Parameters
        ----------
        covariates : DataFrame
            A row for each of ``rows``, in their order, or for each subject of the cohort.
        per, level
            As of :func:`weighted_hazard_ratios`.

        Returns
        -------
        WeightedHazardRatios

        Raises
        ------
        ValueError
            If the rows are of another number; and as of :func:`weighted_hazard_ratios`.
        """
        if len(covariates) not in (len(self.rows), self._n):
            raise ValueError(
                f"covariates has {len(covariates)} rows; accepted are {len(self.rows)}, those of "
                f"the design in the order of its rows, or {self._n}, those of the cohort."
            )
        if len(covariates) == len(self.rows):
            check_row_order(design=pd.DataFrame(index=self.rows), covariates=covariates)
        of_records = self.records["row"].to_numpy()
        place = of_records
        if len(covariates) == len(self.rows):
            place = np.searchsorted(self.rows, of_records)
        columns = covariates.iloc[place].reset_index(drop=True)
        return weighted_hazard_ratios(
            self.y, columns, weights=self.weights, groups=of_records, per=per, level=level
        )

    def _headline(self) -> str:
        return (
            f"SampledDesign({self.kind}: {len(self.rows)} of {self.n_cohort} subjects, all "
            f"{self.n_events} with the event)"
        )


def nested_case_control(
    y: Any, *, n_controls: int = 1, match: ArrayLike | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> SampledDesign:  # fmt: skip
    """Sample controls for each event from those at risk at its time, and weigh them.

    Parameters
    ----------
    y : structured array of shape (n,), or DataFrame
        Outcomes of all subjects of the cohort, a row each; entries (left truncation) count, and
        rows whose time is NaN take no part.
    n_controls : int, default=1
        Controls for each event, drawn without replacement. Who has the event later may be one.
    match : array-like of shape (n,), optional
        Categories, such as sex and age group in one word; controls are of the case's.
    random_state : int, RandomState or None, default=None

    Returns
    -------
    SampledDesign

    Warns
    -----
    OutcomeWarning
        If an event has fewer than ``n_controls`` at risk: all of them are taken.

    Raises
    ------
    ValueError
        If y has fewer than two events or several outcomes, no event has a control at risk, or
        ``match`` is missing somewhere.

    See Also
    --------
    case_cohort : One random sample that serves several outcomes.

    Notes
    -----
    Weights are inverse probabilities of ever being drawn (Samuelsen, Biometrika 84, 1997): 1 for
    cases, and for others 1 / (1 - the product over the events at which they were at risk, and
    matched, of 1 - n_controls / (those at risk - 1)). They break the sets up, so that controls
    serve all events and models need not be matched. Assumed is censoring that is independent given
    the covariates; matching factors belong among these. Robust errors take draws as independent;
    docs/sampling_designs.md has the coverage of their limits, which is somewhat low where the
    sample is small.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from sleep2vec_sklearn.evaluation import nested_case_control, survival_outcome
    >>> rng = np.random.default_rng(0)
    >>> dose = pd.DataFrame({"dose": rng.standard_normal(2000)})
    >>> time = rng.exponential(20 * np.exp(-0.7 * dose["dose"]))
    >>> y = survival_outcome(time < 2, np.minimum(time, 2))
    >>> design = nested_case_control(y, n_controls=2, random_state=0)
    >>> len(design.rows), design.n_events, round(design.weights.sum())
    (583, 217, 1999)
    >>> design.hazard_ratios(dose.iloc[design.rows]).table["coefficient"].round(2).to_dict()
    {'dose': 0.71}
    """
    outcome, known, event, time, entry = _read_cohort(y)
    if not count().is_satisfied_by(n_controls):
        raise ValueError(f"n_controls={n_controls!r}; accepted are whole numbers from 1 on.")
    strata = _read_strata(match, "match", len(outcome))[known]
    rng = check_random_state(random_state)
    cases = np.flatnonzero(event)
    cases = cases[np.argsort(time[cases], kind="stable")]
    log_missed = np.zeros(len(time))
    parts, n_short = [], 0
    for number, case in enumerate(cases):
        at_risk = (entry < time[case]) & (time >= time[case]) & (strata == strata[case])
        at_risk[case] = False
        eligible = np.flatnonzero(at_risk)
        n_drawn = min(n_controls, len(eligible))
        n_short += n_drawn < n_controls
        drawn = rng.choice(eligible, n_drawn, replace=False)
        with np.errstate(divide="ignore"):
            # all of those at risk are certain to be drawn, which is -inf
            log_missed[eligible] += np.log1p(-n_drawn / max(len(eligible), 1))
        parts.append(np.column_stack([np.full(n_drawn + 1, number), np.append(case, drawn)]))
    sets = pd.DataFrame(np.concatenate(parts), columns=["set", "row"])
    if len(sets) == len(cases):
        raise ValueError(
            f"none of {len(cases)} events has a control at risk; accepted is at least one. Match "
            "on wider categories, or follow up for longer those who have no event."
        )
    if n_short:
        warn(
            f"{n_short} of {len(cases)} events have fewer than {n_controls} controls at risk, all "
            "of whom are taken. Match on wider categories, or ask for fewer controls.",
            OutcomeWarning,
        )
    sets["case"] = sets["row"].to_numpy() == cases[sets["set"]]
    drawn = np.unique(sets["row"])
    weight = np.ones(len(time))
    controls = drawn[~event[drawn]]
    weight[controls] = -1 / np.expm1(log_missed[controls])
    place = np.flatnonzero(known)
    records = _records(drawn, place, event, time, entry, weight)
    sets["row"] = place[sets["row"]]
    return SampledDesign(
        "nested case-control", place[drawn], records, sets, len(time), len(cases), len(outcome)
    )


def case_cohort(
    y: Any, *, fraction: float | Mapping[Any, float] = 0.1, strata: ArrayLike | None = None,
    method: str = "borgan", random_state: int | np.random.RandomState | None = None,
) -> SampledDesign:  # fmt: skip
    """Sample a subcohort, add all who have the event, and weigh them.

    Parameters
    ----------
    y : structured array of shape (n,), or DataFrame
        As of :func:`nested_case_control`.
    fraction : float or dict, default=0.1
        Of the cohort that is in the subcohort, above 0 and at most 1; by stratum in a dict.
    strata : array-like of shape (n,), optional
        Categories, each of which is sampled by itself.
    method : {"borgan", "prentice", "barlow"}, default="borgan"
        Weights, see Notes.
    random_state : int, RandomState or None, default=None

    Returns
    -------
    SampledDesign

    Raises
    ------
    ValueError
        If y has fewer than two events or several outcomes, a fraction is out of range or gives a
        stratum no subject without the event, or Prentice's method is asked for with strata.

    See Also
    --------
    nested_case_control : Controls for each event, fewer of them.

    Notes
    -----
    "borgan": estimator II of Borgan et al. (Lifetime Data Analysis 6, 2000), which without strata
    is that of Kalbfleisch & Lawless (1988) and Chen & Lo (1999): cases have weight 1, others of the
    subcohort the number without the event in their stratum over that in the sample. The most
    precise of the three, and one record a subject, as estimators need it.
    "prentice": Prentice (Biometrika 73, 1986): weights are 1, and cases outside of the subcohort
    are at risk at their own event alone.
    "barlow": Barlow (Biometrics 50, 1994): members of the subcohort weigh the inverse of the
    fraction sampled, cases 1 at their event.
    Assumed is that the subcohort is drawn without regard to the outcome. The same subcohort serves
    other outcomes: draw with the same ``random_state``. Robust errors by subject are those of
    Barlow (1994) and take the subcohort as drawn from an infinite cohort; docs/sampling_designs.md
    has the coverage of their limits, which is somewhat low where the subcohort is small.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from sleep2vec_sklearn.evaluation import case_cohort, survival_outcome
    >>> rng = np.random.default_rng(0)
    >>> dose = pd.DataFrame({"dose": rng.standard_normal(2000)})
    >>> time = rng.exponential(20 * np.exp(-0.7 * dose["dose"]))
    >>> y = survival_outcome(time < 2, np.minimum(time, 2))
    >>> case_cohort(y, fraction=0.2, random_state=0).hazard_ratios(dose)
    WeightedHazardRatios(574 subjects, 217 events, weights sum to 2000)
    term  value   low  high  p_value  coefficient  standard_error
    dose  2.070 1.704 2.515   <0.001        0.728           0.099
    """
    outcome, known, event, time, entry = _read_cohort(y)
    if method not in _METHODS:
        raise ValueError(f"method={method!r}; accepted are {', '.join(map(repr, _METHODS))}.")
    if method == "prentice" and strata is not None:
        raise ValueError(
            "method='prentice' weighs all alike and takes no strata; accepted with strata are "
            "'borgan' and 'barlow'."
        )
    categories = _read_strata(strata, "strata", len(outcome))
    rng = check_random_state(random_state)
    # of all rows, so that outcomes that are known for others draw the same subcohort
    order = rng.permutation(len(outcome))
    order = order[known[order]]
    inside = np.zeros(len(outcome), dtype=bool)
    weight = np.ones(len(outcome))
    had_event = np.zeros(len(outcome), dtype=bool)
    had_event[known] = event
    for category in pd.unique(pd.Series(categories[known])):
        members = order[categories[order] == category]
        sampled = members[: round(_fraction_of(fraction, category) * len(members))]
        inside[sampled] = True
        free, n_free = sampled[~had_event[sampled]], int((~had_event[members]).sum())
        if n_free and not len(free):
            raise ValueError(
                f"fraction={fraction!r} gives a subcohort of {len(sampled)} of {len(members)} "
                f"subjects{'' if strata is None else f' of the stratum {category!r}'}, none of "
                "them without the event, so that nobody stands for those. Sample a larger fraction."
            )
        if method == "borgan":
            weight[free] = n_free / max(len(free), 1)
        elif method == "barlow":
            weight[sampled] = len(members) / max(len(sampled), 1)
    inside, weight, place = inside[known], weight[known], np.flatnonzero(known)
    sampled = np.flatnonzero(inside | event)
    weight = np.where(event, 1.0, weight) if method == "borgan" else weight
    records = _records(sampled, place, event, time, entry, weight)
    if method != "borgan":
        records = _at_own_event(records, inside[sampled], method)
    return SampledDesign(
        f"case-cohort, {method}", place[sampled], records, None, len(time), int(event.sum()),
        len(outcome),
    )  # fmt: skip


def _at_own_event(records: pd.DataFrame, inside: np.ndarray, method: str) -> pd.DataFrame:
    """Records in which cases outside of the subcohort, or all, are apart at their own event."""
    case, time = records["event"].to_numpy(), records["time"].to_numpy()
    before = np.nextafter(time, -np.inf)
    own = case & ~inside if method == "prentice" else case
    at_event = records[own].assign(entry=before[own], weight=1.0)
    earlier = records[inside].copy()
    if method == "barlow":
        split = case[inside]
        earlier["time"] = np.where(split, before[inside], earlier["time"])
        earlier["event"] = False
        # an entry that late leaves no time before the event
        earlier = earlier[earlier["entry"] < earlier["time"]]
    together = pd.concat([earlier, at_event])
    return together.sort_values(["row", "time"], kind="stable", ignore_index=True)


def _read_cohort(y: Any) -> tuple[SurvivalOutcome, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    outcome = _one_outcome(y)
    known, event, time, entry = outcome.column(0)
    if event.sum() < 2:
        raise ValueError(
            f"y has {int(event.sum())} event(s) in {len(event)} subjects with a known outcome; "
            "accepted are at least two, as cases are what is sampled around. Look at how events "
            "are coded, or follow up for longer."
        )
    return outcome, known, event, time, entry


def _read_strata(values: ArrayLike | None, name: str, n: int) -> np.ndarray:
    if values is None:
        return np.zeros(n, dtype=int)
    strata = pd.Series(as_labels(name, values))
    if len(strata) != n or strata.isna().any():
        raise ValueError(
            f"{name} has {len(strata)} elements, {int(strata.isna().sum())} of them missing, for "
            f"{n} rows of y; accepted is a category for each."
        )
    return strata.to_numpy()


def _fraction_of(fraction: Any, category: Any) -> float:
    value = fraction
    if isinstance(fraction, Mapping):
        if category not in fraction:
            raise ValueError(
                f"fraction has no {category!r}, a stratum of the cohort; accepted is a fraction "
                "for each, or one number."
            )
        value = fraction[category]
    if not 0 < value <= 1:
        raise ValueError(f"fraction={value!r}; accepted are numbers above 0 and up to 1.")
    return value


def _records(
    sampled: np.ndarray, place: np.ndarray, event: np.ndarray, time: np.ndarray,
    entry: np.ndarray, weight: np.ndarray,
) -> pd.DataFrame:  # fmt: skip
    columns = {"row": place, "event": event, "time": time, "entry": entry, "weight": weight}
    return pd.DataFrame({name: values[sampled] for name, values in columns.items()})
