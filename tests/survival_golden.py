# SPDX-License-Identifier: BSD-3-Clause
"""Random survival data, and what scikit-survival (GPL-3, an extra) gives for it.

``python -m tests.survival_golden`` writes the file anew.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sleep2vec_sklearn.evaluation import survival_outcome

FILE = Path(__file__).parent / "data" / "golden" / "survival.npz"
# seed, steps per unit of time that make ties, longest follow-up
KINDS = {"real": (0, None, 4.0), "ties": (1, 4, 4.0), "heavy": (2, 10, 1.2)}


def draw(rng, n, step, longest):
    """Risks and outcomes."""
    risk = rng.standard_normal(n)
    time, end = rng.exponential(np.exp(-risk)) * 5 + 0.1, rng.uniform(0.1, longest, n)
    seen = np.minimum(time, end)
    if step:
        seen, risk = np.ceil(seen * step) / step, np.round(risk, 1) + 0
    return risk, survival_outcome(time <= end, seen)


def values_of(seed, step, longest) -> dict[str, np.ndarray]:
    """Data of one kind, and its scores, curves and coefficients."""
    from sksurv import metrics
    from sksurv.linear_model import CoxPHSurvivalAnalysis
    from sksurv.linear_model.coxph import BreslowEstimator
    from sksurv.nonparametric import kaplan_meier_estimator

    rng = np.random.default_rng(seed)
    _, train = draw(rng, 90, step, longest)
    risk, y = draw(rng, 70, step, longest)
    inside = y["time"] < train["time"].max()
    risk, y = risk[inside], y[inside]
    event, time = y["event"], y["time"]
    moments = np.unique(np.quantile(time, [0.2, 0.4, 0.6, 0.8]))
    survival = np.exp(-np.outer(np.exp(risk), moments) * 0.2)
    tau = float(np.quantile(time, 0.7))
    auc, auc_mean = metrics.cumulative_dynamic_auc(train, y, risk, moments)
    km_times, km, (km_lower, km_upper) = kaplan_meier_estimator(event, time, conf_type="log-log")
    hazard = BreslowEstimator().fit(risk, event, time).cum_baseline_hazard_
    noise = np.random.default_rng(seed + 50).standard_normal((len(risk), 3))
    features = noise + risk[:, None]
    cox = CoxPHSurvivalAnalysis(ties="breslow", tol=1e-14, n_iter=500).fit(features, y)
    return {
        "train_event": train["event"], "train_time": train["time"], "event": event, "time": time,
        "risk": risk, "moments": moments, "survival": survival, "tau": tau,
        "harrell": metrics.concordance_index_censored(event, time, risk)[0],
        "uno": metrics.concordance_index_ipcw(train, y, risk)[0],
        "uno_tau": metrics.concordance_index_ipcw(train, y, risk, tau=tau)[0], "auc": auc,
        "auc_mean": auc_mean, "brier": metrics.brier_score(train, y, survival, moments)[1],
        "integrated_brier": metrics.integrated_brier_score(train, y, survival, moments),
        "km_times": km_times, "km": km, "km_lower": km_lower, "km_upper": km_upper,
        "hazard_times": hazard.x, "hazard": hazard.y, "features": features, "coef": cox.coef_,
    }  # fmt: skip


if __name__ == "__main__":
    found = {
        f"{kind}/{name}": value
        for kind, settings in KINDS.items()
        for name, value in values_of(*settings).items()
    }
    np.savez_compressed(FILE, **found)
