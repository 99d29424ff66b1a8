# SPDX-License-Identifier: BSD-3-Clause
"""Error rates of phenome_scan, in simulated scans of 100 correlated outcomes with known truth.

``python -m benchmarks.evaluation.error_rates.phenome_scan [--runs N] [--true N] [--heads default]
[--folder DIR]``

Everything is simulated: 400 subjects with 32 columns in place of an embedding, whose variances
decrease and six of which depend on age. Of the outcomes 40 are binary (5 to 50 % with the event),
30 numeric and 30 survival times (about half censored); all depend on age, the covariate, and on a
factor that they share; one in ten values is missing. Given age, 20 depend on a direction of their
own in the columns, five of them by each of four effects (in standard deviations of the noise).
Prints rates with their Monte Carlo standard errors over scans, also those of a test that takes the
out-of-fold scores as if they were independent of the outcomes.

Heads are ridge regressions in closed form of the outcome, or of its martingale residual, as there
are 10^5 fits: 200 scans take five minutes of an idle core, with the default heads of phenome_scan
15. With a folder, finished scans are kept in it and the same command goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control
from scipy.stats import t as student
from sklearn.base import BaseEstimator

from sleep2vec_sklearn.evaluation import phenome_scan, survival_outcome

N_SUBJECTS, N_COLUMNS = 400, 32
KINDS = ["binary"] * 40 + ["numeric"] * 30 + ["survival"] * 30
EFFECTS = (0.2, 0.35, 0.5, 0.7)
LEVEL = 0.05


def simulate(seed: int, n_true: int) -> tuple[np.ndarray, np.ndarray, dict, np.ndarray]:
    """Columns, age, outcomes by name, and the effect of the columns on each."""
    rng = np.random.default_rng([20, seed])
    age = rng.standard_normal(N_SUBJECTS)
    own = rng.standard_normal((N_SUBJECTS, N_COLUMNS)) / np.sqrt(np.arange(1, N_COLUMNS + 1))
    columns = own.copy()
    columns[:, :6] += age[:, None] * rng.normal(0, 0.5, 6)
    factor = rng.standard_normal(N_SUBJECTS)
    effects = np.zeros(len(KINDS))
    chosen = rng.permutation(len(KINDS))[:n_true]
    effects[chosen] = np.resize(EFFECTS, n_true)
    outcomes = {}
    for j, kind in enumerate(KINDS):
        direction = own @ rng.standard_normal(N_COLUMNS)
        mean = effects[j] * direction / direction.std() + rng.normal(0, 0.5) * age
        mean += rng.choice([-1, 1]) * 0.6 * factor
        outcomes[f"{kind} {j}"] = draw(kind, mean, rng)
    return columns, age, outcomes, effects


def draw(kind: str, mean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    missing = rng.random(len(mean)) < 0.1
    if kind == "survival":
        time = rng.exponential(np.exp(-mean))
        end = rng.exponential(1.0, len(mean))
        observed = np.where(missing, np.nan, np.minimum(time, end))
        return survival_outcome(time <= end, observed)
    values = mean + rng.standard_normal(len(mean))
    if kind == "binary":
        values = (values > np.quantile(values, 1 - rng.uniform(0.05, 0.5))).astype(float)
    return np.where(missing, np.nan, values)


class ClosedFormRidge(BaseEstimator):
    """Ridge regression (penalty 100) of numbers, classes or martingale residuals on columns."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> ClosedFormRidge:
        target = y.astype(float) if y.dtype.names is None else martingale_residuals(y)
        self.mean_, self.scale_, self.intercept_ = X.mean(axis=0), X.std(axis=0), target.mean()
        Z = (X - self.mean_) / self.scale_
        self.coef_ = np.linalg.solve(
            Z.T @ Z + 100 * np.eye(X.shape[1]), Z.T @ (target - self.intercept_)
        )
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        return (X - self.mean_) / self.scale_ @ self.coef_ + self.intercept_

    decision_function = predict


def martingale_residuals(y: np.ndarray) -> np.ndarray:
    """Events less those expected by the Nelson-Aalen estimator."""
    order = np.argsort(y["time"])
    residuals = np.empty(len(y))
    hazard = np.cumsum(y["event"][order] / np.arange(len(y), 0, -1))
    residuals[order] = y["event"][order] - hazard
    return residuals


def scan_once(seed: int, n_true: int, heads: str) -> pd.DataFrame:
    columns, age, outcomes, effects = simulate(seed, n_true)
    ridge = ClosedFormRidge()
    fast = {"binary": ridge, "numeric": ridge, "survival": ridge}
    scan = phenome_scan(
        None, columns, outcomes, covariates=age[:, None], n_resamples=0, random_state=seed,
        heads=fast if heads == "ridge" else None,
    )  # fmt: skip
    table = scan.to_frame()[["kind", "n", "estimate", "std_error", "p_value"]]
    return table.assign(effect=effects)


def rates_of(table: pd.DataFrame, p_value: np.ndarray) -> dict[str, float]:
    """Rates of one scan; outcomes that were not tested are not rejected."""
    true = table["effect"].to_numpy() != 0
    tested = ~np.isnan(p_value)
    p, p_bh = np.where(tested, p_value, 1.0), np.ones(len(p_value))
    p_bh[tested] = false_discovery_control(p_value[tested])
    found, single = p_bh <= LEVEL, p <= LEVEL
    strict = p * tested.sum() <= LEVEL
    rates = {
        "not tested": np.mean(~tested),
        "true null rejected at 5 %": single[~true & tested].mean(),
        "BH: false discovery rate": (found & ~true).sum() / max(found.sum(), 1),
        "BH: any false discovery": float((found & ~true).any()),
        "Bonferroni: any false discovery": float((strict & ~true).any()),
    }
    for kind in ("binary", "numeric", "survival"):
        rows = ~true & tested & (table["kind"] == kind).to_numpy()
        rates[f"true null rejected at 5 %, {kind}"] = single[rows].mean()
    for effect in EFFECTS:
        rows = table["effect"].to_numpy() == effect
        for name, rejected in (("BH", found), ("Bonferroni", strict)):
            rates[f"{name}: power, effect {effect}"] = (
                rejected[rows].mean() if rows.any() else np.nan
            )
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--true", type=int, default=20, help="outcomes with an effect")
    parser.add_argument("--heads", choices=["ridge", "default"], default="ridge")
    parser.add_argument("--folder", type=Path, help="of finished scans")
    options = parser.parse_args()
    rates: dict[str, list] = {"corrected": [], "as if independent": []}
    for seed in range(options.seed, options.seed + options.runs):
        file = options.folder and options.folder / f"{options.heads}{options.true}-{seed}.csv"
        if file and file.exists():
            table = pd.read_csv(file)
        else:
            table = scan_once(seed, options.true, options.heads)
            if file:
                file.parent.mkdir(parents=True, exist_ok=True)
                table.to_csv(file, index=False)
        p_value = table["p_value"].to_numpy(dtype=float)
        independent = student.sf(
            np.sqrt(2) * table["estimate"] / table["std_error"], table["n"] - 1
        )
        rates["corrected"].append(rates_of(table, p_value))
        rates["as if independent"].append(
            rates_of(
                table, np.where(np.isnan(p_value), np.nan, np.nan_to_num(independent, nan=1.0))
            )
        )
    print(
        f"{options.runs} simulated scans, {options.true} of 100 outcomes with an effect, "
        f"{options.heads} heads\n"
    )
    print("| rate | as returned (standard error) | scores as if independent (standard error) |")
    print("|:--|:--|:--|")
    frames = [pd.DataFrame(part) for part in rates.values()]
    for name in frames[0]:
        cells = [
            f"{f[name].mean():.3f} ({f[name].std() / np.sqrt(f[name].count()):.3f})" for f in frames
        ]
        if frames[0][name].notna().any():
            print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
