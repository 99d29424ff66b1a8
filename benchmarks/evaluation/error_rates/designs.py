# SPDX-License-Identifier: BSD-3-Clause
"""Error rates of sampling designs, reliability, missing outcomes and sites, simulated.

No nights are simulated, but columns of numbers whose truth is known. Each line is the bias of an
estimate and the coverage of its 95 % interval over the runs.
``python benchmarks/evaluation/error_rates/designs.py --runs 300``
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.stats import beta
from sklearn.base import BaseEstimator, RegressorMixin

from sleep2vec_sklearn.evaluation import (
    case_cohort,
    hazard_ratios,
    nested_case_control,
    night_reliability,
    observation_weights,
    site_report,
    survival_outcome,
    weighted_hazard_ratios,
)

LOG_RATIO = np.log(1.5)
N_COLUMNS = 5


def draw_cohort(rng: np.random.Generator, n: int) -> tuple[np.ndarray, pd.DataFrame]:
    """Outcomes with about 10 % of events, half of the cohort entering late, and an exposure."""
    table = pd.DataFrame({"exposure": rng.standard_normal(n), "age": rng.standard_normal(n)})
    table["exposure"] += 0.3 * table["age"]
    risk = LOG_RATIO * table["exposure"] + 0.5 * table["age"]
    entry = np.where(rng.random(n) < 0.5, 0.0, rng.uniform(0, 0.3, n))
    moment = entry + rng.exponential(7 * np.exp(-risk))
    end = entry + rng.uniform(0, 1.5, n)
    return survival_outcome(moment <= end, np.minimum(moment, end), entry), table


def of_exposure(result: object) -> tuple[float, float, float]:
    row = result.table.loc["exposure"]
    return row["coefficient"], np.log(row["low"]), np.log(row["high"])


def sampled(seed: int, n: int) -> Iterator[tuple[str, float, tuple]]:
    """The log hazard ratio of an exposure by the cohort and by its samples."""
    rng = np.random.default_rng(seed)
    y, table = draw_cohort(rng, n)
    full = hazard_ratios(y, covariates=table)
    yield "cohort", LOG_RATIO, of_exposure(full)
    for n_controls in (1, 3):
        design = nested_case_control(y, n_controls=n_controls, random_state=seed)
        name = f"nested case-control, {n_controls} a case"
        yield name, LOG_RATIO, of_exposure(design.hazard_ratios(table))
    for method in ("borgan", "prentice", "barlow"):
        design = case_cohort(y, fraction=0.15, method=method, random_state=seed)
        yield (
            f"case-cohort of 15 %, {method}", LOG_RATIO, of_exposure(design.hazard_ratios(table))
        )  # fmt: skip
    free = ~y["event"]
    kept = np.flatnonzero(~free | (rng.random(n) < 0.15))
    naive = hazard_ratios(y[kept], covariates=table.iloc[kept].reset_index(drop=True))
    yield "the same sample, without weights", LOG_RATIO, of_exposure(naive)


def repeated(seed: int, n: int) -> Iterator[tuple[str, float, tuple]]:
    """Reliability of nights of one column, and of all."""
    shares = np.array([0.5, *np.linspace(0.1, 0.9, N_COLUMNS - 1)])
    laws = {
        "normal": np.random.Generator.standard_normal,
        "heavy tails (t, 5 df)": lambda rng, size: rng.standard_t(5, size) / np.sqrt(5 / 3),
    }
    for size in (n // 10, n // 40):
        for law, draw in laws.items():
            rng = np.random.default_rng((seed, size))
            subjects = np.repeat(np.arange(size), rng.integers(1, 4, size))
            own = draw(rng, (size, N_COLUMNS)) * np.sqrt(shares)
            noise = draw(rng, (len(subjects), N_COLUMNS)) * np.sqrt(1 - shares)
            table = night_reliability(own[subjects] + noise, subjects).table
            name = f"{size} subjects, {law}"
            for term, truth in ((0, shares[0]), ("all columns", shares.mean())):
                row = table.loc[term]
                column = "one column" if term == 0 else "all columns"
                yield f"{name}, {column}", truth, (row["value"], row["low"], row["high"])


def missing(seed: int, n: int) -> Iterator[tuple[str, float, tuple]]:
    """The hazard ratio of an exposure alone where age decides whose outcome is known."""
    rng = np.random.default_rng(seed)
    exposed = rng.integers(0, 2, n)
    severe = rng.random(n) < 0.4
    # what decides on being seen changes the hazard with the exposure, and not without it
    moment = rng.exponential(np.exp(-(0.9 * exposed * severe)))
    y = survival_outcome(moment <= 0.5, np.minimum(moment, 0.5))
    # the ratio in the population, by four cohorts of a million: 0.388 (standard error 0.003)
    truth = 0.388
    table = pd.DataFrame({"exposure": exposed})
    known = pd.DataFrame({"exposure": exposed, "severe": severe, "both": exposed * severe})
    seen = rng.random(n) < np.where(severe, 0.3, 0.9)
    yield "all observed", truth, of_exposure(hazard_ratios(y, covariates=table))
    rest = table[seen].reset_index(drop=True)
    yield "complete cases", truth, of_exposure(hazard_ratios(y[seen], covariates=rest))
    weights = observation_weights(seen, known).weights
    weighted = weighted_hazard_ratios(y, table, weights=weights)
    yield "inverse probability weights", truth, of_exposure(weighted)


class FirstColumn(RegressorMixin, BaseEstimator):
    """Predicts the first column: the error of a score is of the subjects at the site alone."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> FirstColumn:
        """Learn nothing."""
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """The first column."""
        return X[:, 0]


def negative_error(estimator: object, rows: np.ndarray, y: np.ndarray) -> float:
    """Scikit-learn's neg_mean_squared_error without its checks."""
    return -float(np.mean((estimator.predict(rows) - y) ** 2))


def held_out_sites(seed: int, n: int) -> Iterator[tuple[str, float, tuple]]:
    """The mean score of sites that differ or do not, and the score at a new one."""
    n_a_site = n // 20
    for n_sites in (4, 10):
        for tau in (0.0, 0.3):
            rng = np.random.default_rng((seed, n_sites))
            variance = 1 + tau * rng.uniform(-np.sqrt(3), np.sqrt(3), n_sites + 1)
            sites = np.repeat(np.arange(n_sites), n_a_site)
            X = rng.standard_normal((len(sites), 1))
            y = X[:, 0] + np.sqrt(variance[sites]) * rng.standard_normal(len(sites))
            table = site_report(
                FirstColumn(), X, y, sites=sites, scoring=negative_error, n_resamples=100
            ).table
            for name, truth in (("mean of sites", -1.0), ("new site", -variance[-1])):
                row = table.loc[name]
                numbers = row["value"], row["low"], row["high"]
                yield f"{n_sites} sites, tau {tau:g}, {name}", truth, numbers


def print_table(title: str, simulate: object, runs: range, n: int) -> None:
    """Bias, its error, spread and mean of half widths, and coverage with its interval."""
    start = time.process_time()
    rows = [(name, truth, *numbers) for seed in runs for name, truth, numbers in simulate(seed, n)]
    table = pd.DataFrame(rows, columns=["name", "truth", "value", "low", "high"])
    print(f"\n{title}; {len(runs)} runs, {time.process_time() - start:.0f} s of one core\n")
    print(
        "| | truth | bias (Monte Carlo error) | SD of estimates | mean half interval / 1.96 | "
        "coverage, % (interval) |"
    )
    print("|---|---|---|---|---|---|")
    for name, part in table.groupby("name", sort=False):
        bias, sd = (part["value"] - part["truth"]).mean(), part["value"].std(ddof=1)
        k, m = int(part["truth"].between(part["low"], part["high"]).sum()), len(part)
        low = beta.ppf(0.025, k, m - k + 1) if k else 0.0
        high = beta.ppf(0.975, k + 1, m - k) if k < m else 1.0
        print(
            f"| {name} | {part['truth'].mean():.3f} | {bias:+.3f} ({sd / np.sqrt(m):.3f}) | "
            f"{sd:.3f} | {(part['high'] - part['low']).mean() / 3.92:.3f} | "
            f"{100 * k / m:.1f} ({100 * low:.1f} to {100 * high:.1f}) |",
            flush=True,
        )


TABLES = {
    "samples": (sampled, "Log hazard ratio by samples of a cohort"),
    "nights": (repeated, "Intra-class correlation, one to three nights of each subject"),
    "missing": (missing, "Log hazard ratio, 34 % of outcomes missing"),
    "sites": (held_out_sites, "Negative mean squared error at held-out sites of n / 20 subjects"),
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--subjects", type=int, default=2000, help="of a cohort")
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    arguments = parser.parse_args()
    runs, n = range(arguments.seed, arguments.seed + arguments.runs), arguments.subjects
    for name in arguments.tables:
        simulate, title = TABLES[name]
        print_table(f"{title}, simulated, n = {n}", simulate, runs, n)


if __name__ == "__main__":
    main()
