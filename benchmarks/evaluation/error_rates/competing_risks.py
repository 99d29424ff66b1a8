# SPDX-License-Identifier: BSD-3-Clause
"""Error rates of the analyses of competing risks, on simulated cohorts with known hazards.

``python -m benchmarks.evaluation.error_rates.competing_risks [--runs N] [--seed N] [--tests-only]``

Everything is simulated: constant hazards of a rare and a frequent cause, censoring at random from 3
to 10 years, in half of the cohorts late entries. The first table is of cumulative incidence, with
the bias of one minus Kaplan-Meier next to it. The second is of Cox models of each cause, with a
covariate that changes the other cause only; of the incidence that they predict; and of scores under
censoring, against those of the same subjects followed to their event. Coverage of limits is over
cohorts with an event by then, as there are none without. Two minutes of one core for 500 runs; the
tests of the Cox models alone, for which that is few, take one for 3000.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
import pandas as pd
from scipy.special import ndtri
from scipy.stats import binomtest

from sleep2vec_sklearn.errors import OutcomeWarning
from sleep2vec_sklearn.evaluation import (
    CauseSpecificCox,
    CoxRegression,
    cause_specific_outcome,
    competing_brier_score,
    competing_concordance,
    competing_outcome,
    cumulative_incidence,
    kaplan_meier,
)
from sleep2vec_sklearn.evaluation.cox_regression import fit_cox

HAZARDS = np.array([0.03, 0.12])  # per year
TIMES = np.array([1.0, 5.0, 8.0])
EFFECT, TAU = 0.7, 5.0


def draw_cohort(
    rng: np.random.Generator, n: int, late: bool, log_ratios: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Covariate, outcome, and the outcome without censoring; log hazard ratios by cause."""
    x = rng.standard_normal(n)
    # exponential times have no memory: those at risk at entry have the same law from there on
    entry = np.where(rng.random(n) < 0.5, 0.0, rng.uniform(0, 2, n)) if late else np.zeros(n)
    hazards = HAZARDS[:, None] * np.exp(np.outer(log_ratios, x))
    times = entry + rng.exponential(1 / hazards)
    first, cause = times.min(axis=0), times.argmin(axis=0) + 1
    end = entry + rng.uniform(3, 10, n)
    seen = np.where(first <= end, cause, 0)
    observed = competing_outcome(seen, np.minimum(first, end), entry if late else None)
    return x, observed, competing_outcome(cause, first)


def true_incidence(x: np.ndarray, log_ratios: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Of the first cause, of shape (len(x), n_times)."""
    hazards = HAZARDS * np.exp(np.outer(x, log_ratios))
    total = hazards.sum(axis=1, keepdims=True)
    return hazards[:, :1] / total * -np.expm1(-total * times)


def incidence_table(runs: int, seed: int) -> pd.DataFrame:
    rows = []
    for n, late in ((50, False), (200, False), (200, True), (1000, False)):
        rng = np.random.default_rng([seed, n, late])
        estimates, naive, held = np.zeros((3, runs, 2, len(TIMES)))
        truth = (HAZARDS / HAZARDS.sum())[:, None] * -np.expm1(-HAZARDS.sum() * TIMES)
        for run in range(runs):
            _, y, _ = draw_cohort(rng, n, late, np.zeros(2))
            curves = cumulative_incidence(y, causes=[1, 2])
            estimates[run] = curves.at(TIMES)
            at = np.searchsorted(curves.times, TIMES, side="right") - 1
            held[run] = (curves.lower[:, at] <= truth) & (truth <= curves.upper[:, at])
            naive[run] = [1 - kaplan_meier(cause_specific_outcome(y, k)).at(TIMES) for k in (1, 2)]
        for j, time in enumerate(TIMES):
            row = {"subjects": f"{n}{', late entry' if late else ''}", "years": f"{time:g}"}
            for k, cause in enumerate(("rare", "frequent")):
                had = estimates[:, k, j] > 0
                bias, of_naive = (v[:, k, j].mean() - truth[k, j] for v in (estimates, naive))
                row |= {
                    f"{cause}: truth": f"{truth[k, j]:.3f}", f"{cause}: bias": f"{bias:+.4f}",
                    f"{cause}: bias of 1 - KM": f"{of_naive:+.4f}",
                    f"{cause}: coverage": rate(held[had, k, j]),
                    f"{cause}: no event yet": f"{1 - had.mean():.3f}",
                }  # fmt: skip
            rows.append(row)
    return pd.DataFrame(rows)


def cox_table(runs: int, seed: int, tests_only: bool = False) -> pd.DataFrame:
    log_ratios, found = np.array([0.0, EFFECT]), []
    for n, late in ((200, False), (200, True), (1000, False)):
        rng = np.random.default_rng([seed, n, late, 1])
        runs_of = pd.DataFrame([one_run(rng, n, late, log_ratios, tests_only) for _ in range(runs)])
        name = f"{n}{', late entry' if late else ''}"
        for column in runs_of:
            values = runs_of[column].dropna().to_numpy(dtype=float)
            if len(values):
                bias = f"{values.mean():+.4f} ({values.std() / np.sqrt(len(values)):.4f})"
                text = bias if "bias" in column else rate(values)
                found.append({"subjects": name, "of": column, "found": text})
    return pd.DataFrame(found)


def one_run(
    rng: np.random.Generator, n: int, late: bool, log_ratios: np.ndarray, tests_only: bool
) -> dict[str, float]:
    x, y, _ = draw_cohort(rng, n, late, log_ratios)
    z, found = [], {}
    for cause in (1, 2):
        event = y["cause"] == cause
        fit = fit_cox(x[:, None], event, y["time"], y["entry"] if late else None)
        error = np.sqrt(fit.covariance[0, 0])
        z.append((fit.coefficients[0] - log_ratios[cause - 1]) / error)
    found["rejection of no effect on the rare cause, two-sided"] = abs(z[0]) > ndtri(0.975)
    found["the same, one-sided upward"] = z[0] > ndtri(0.95)
    found["coverage of the log hazard ratio of the frequent cause"] = abs(z[1]) <= ndtri(0.975)
    if tests_only:
        return found
    model = CauseSpecificCox(CoxRegression(penalty=0.0)).fit(x[:, None], y)
    probes = np.array([-1.0, 1.0])
    truth = true_incidence(probes, log_ratios, np.array([TAU]))[:, 0]
    bias = model.predict_cumulative_incidence(probes[:, None], [TAU])[:, 0] - truth
    for probe, value, true in zip(probes, bias, truth, strict=True):
        found[f"bias of predicted incidence at x = {probe:g} (truth {true:.3f})"] = value
    if not late:
        new, seen, full = draw_cohort(rng, n, False, log_ratios)
        risk = true_incidence(new, log_ratios, np.array([TAU]))
        scores = [
            (competing_concordance(base, target, risk[:, 0], tau=TAU),
             competing_brier_score(base, target, risk, [TAU])[0])
            for base, target in ((y, seen), (full, full))
        ]  # fmt: skip
        difference = np.subtract(*scores)
        found["bias of the concordance by censoring"] = difference[0]
        found["bias of the Brier score by censoring"] = difference[1]
    return found


def rate(held: np.ndarray) -> str:
    """A rate and its Monte Carlo interval."""
    interval = binomtest(int(held.sum()), len(held)).proportion_ci()
    return f"{held.mean():.3f} ({interval.low:.3f} to {interval.high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tests-only", action="store_true", help="of the Cox models")
    options = parser.parse_args()
    # small cohorts with late entries may be emptied before the last entry
    warnings.simplefilter("ignore", OutcomeWarning)
    tables = [cox_table(options.runs, options.seed, options.tests_only)]
    if not options.tests_only:
        tables.insert(0, incidence_table(options.runs, options.seed))
    for found in tables:
        lines = [found.columns, ["---"] * found.shape[1], *found.to_numpy()]
        print("\n".join("| " + " | ".join(line) + " |" for line in lines), end="\n\n")


if __name__ == "__main__":
    main()
