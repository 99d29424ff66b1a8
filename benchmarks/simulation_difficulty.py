# SPDX-License-Identifier: BSD-3-Clause
"""How hard is the simulated cohort? Simple methods on it, beside what they reach on real nights.

Run ``python benchmarks/simulation_difficulty.py`` (about five minutes on one core); it prints a
table and writes it as CSV with ``--output``.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import pandas as pd
from scipy.ndimage import uniform_filter1d
from scipy.signal import welch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import cohen_kappa_score, roc_auc_score
from sklearn.model_selection import GroupKFold, StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sleep2vec_sklearn.datasets import make_sleep_cohort

BANDS = ((0.5, 2), (2, 4), (4, 8), (8, 12), (12, 15.5), (15.5, 30))
_TO_MICROVOLT = {"uV": 1.0, "mV": 1e3, "V": 1e6}


def head():
    """Logistic regression on standardised features."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=500))


def band_powers(recording) -> np.ndarray:
    """Log power in six bands, absolute and relative, per epoch: shape (n_epochs, 12)."""
    signal = recording.signal("eeg")
    epochs = np.nan_to_num(signal.values) * np.float32(_TO_MICROVOLT[signal.unit])
    epochs = epochs.reshape(recording.n_epochs, -1)
    frequency, density = welch(epochs, signal.rate, nperseg=round(4 * signal.rate), axis=1)
    power = [
        density[:, (frequency >= low) & (frequency < high)].mean(axis=1) for low, high in BANDS
    ]
    absolute = np.log(np.stack(power, axis=1) + 1e-4)
    return np.hstack([absolute, absolute - absolute.mean(axis=1, keepdims=True)])


def watch_features(recording) -> np.ndarray:
    """Activity, heart rate, their rolling means and time of night, per epoch."""
    signals = recording.read(["actigraphy", "ibi"])
    counts, heart = signals["actigraphy"], signals["ibi"]
    activity = np.nan_to_num(counts.values).reshape(recording.n_epochs, -1).sum(axis=1)
    activity = np.log1p(activity)
    values = np.nan_to_num(heart.values).reshape(recording.n_epochs, -1)
    pulse = values.mean(axis=1) - np.median(values)
    columns = [activity, pulse, np.abs(values - np.median(values, axis=1)[:, None]).mean(axis=1)]
    for width in (5, 11, 21):
        columns += [uniform_filter1d(activity, width), uniform_filter1d(pulse, width)]
        squared = uniform_filter1d(pulse**2, width) - uniform_filter1d(pulse, width) ** 2
        columns.append(np.sqrt(np.clip(squared, 0, None)))
    columns.append(np.linspace(0, 1, recording.n_epochs))
    return np.stack(columns, axis=1)


def night_features(recording) -> np.ndarray:
    """A night in 24 numbers, without stages: what a careful person might compute by hand."""
    signals = recording.read(["airflow", "spo2", "ibi", "actigraphy"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        bands = band_powers(recording)[:, :6] if "eeg" in recording else np.full((9, 6), np.nan)
        delta = bands[:, 0] - bands[:, 5]
        features = [*bands.mean(axis=0), delta.std(), np.abs(np.diff(delta)).mean()]
        features += _summary(signals.get("spo2"), 30)
        features += _summary(signals.get("ibi"), 30)
        features += _summary(_envelope(signals.get("airflow")), 30)
        features += _summary(signals.get("actigraphy"), 300)
    return np.array(features)


def _envelope(signal):
    if signal is None:
        return None
    values = np.abs(signal.values)
    return type(signal)(values / np.nanmedian(values), signal.rate, signal.unit)


def _summary(signal, seconds: int) -> list[float]:
    if signal is None:
        return [np.nan] * 4
    values = signal.values.reshape(-1, max(round(seconds * signal.rate), 1)).mean(axis=1)
    change = np.abs(np.diff(values))
    return [np.nanmean(values), np.nanstd(values), np.nanquantile(values, 0.05), np.nanmean(change)]


def stack_epochs(cohort, features):
    """Features, scored stages and subjects of all epochs of a cohort."""
    rows = [features(recording) for recording in cohort]
    stages = [recording.stages for recording in cohort]
    subjects = np.repeat(cohort.groups, [len(s) for s in stages])
    return np.concatenate(rows), np.concatenate(stages), subjects


def staging_rows(n_subjects: int, seeds) -> list[dict]:
    """Five stages from band powers: by subject, and across sites."""
    inside, seen, unseen = [], [], []
    for seed in seeds:
        cohort = make_sleep_cohort(
            n_subjects, modalities=["eeg"], missing=0.0, random_state=seed, site_kinds="laboratory"
        )
        x, y, subjects = stack_epochs(cohort, band_powers)
        predicted = cross_val_predict(head(), x, y, groups=subjects, cv=GroupKFold(5))
        inside.append(cohen_kappa_score(y, predicted))
        site = np.repeat(cohort.metadata["site"].to_numpy(), [r.n_epochs for r in cohort])
        for name in np.unique(site):
            here = site == name
            predicted = cross_val_predict(
                head(), x[here], y[here], groups=subjects[here], cv=GroupKFold(5)
            )
            seen.append(cohen_kappa_score(y[here], predicted))
            away = head().fit(x[here], y[here]).predict(x[~here])
            unseen.append(cohen_kappa_score(y[~here], away))
    what = f"5 stages, EEG band powers, {n_subjects} subjects"
    return [
        _row(what, "kappa, by subject", inside, "0.46-0.69 (real, trained on other nights)"),
        _row(what, "kappa, seen site", seen, "higher than unseen"),
        _row(what, "kappa, unseen site", unseen, "lower than seen"),
    ]


def watch_rows(n_subjects: int, seeds) -> list[dict]:
    """Wake, NREM and REM from a watch, as on the sleep-accel data."""
    auc, kappa = [], []
    for seed in seeds:
        cohort = make_sleep_cohort(
            n_subjects, site_kinds="wearable", missing=0.0, random_state=seed
        )
        x, y, subjects = stack_epochs(cohort, watch_features)
        three = np.select([y == 0, y == 4], [0, 2], 1)
        chance = cross_val_predict(
            head(), x, three, groups=subjects, cv=GroupKFold(5), method="predict_proba"
        )
        auc.append(roc_auc_score(three == 0, chance[:, 0]))
        kappa.append(cohen_kappa_score(three, chance.argmax(axis=1)))
    what = f"watch heart rate and counts, {n_subjects} subjects"
    return [
        _row(what, "wake AUC, by subject", auc, "0.79-0.80 (real)"),
        _row(what, "W/NREM/REM kappa, by subject", kappa, "0.21-0.36 (real)"),
    ]


def outcome_rows(n_subjects: int, seed: int) -> list[dict]:
    """Outcomes of nights from hand-made features, sensors missing as by default."""
    cohort = make_sleep_cohort(n_subjects, random_state=seed, site_kinds="full_laboratory")
    x = pd.DataFrame([night_features(recording) for recording in cohort])
    x = x.fillna(x.median()).to_numpy()
    table = cohort.metadata
    rows = []
    for name in ("apnea", "hypertension", "event"):
        y = table[name].astype(int).to_numpy()
        folds = StratifiedKFold(10, shuffle=True, random_state=0)
        chance = cross_val_predict(head(), x, y, cv=folds, method="predict_proba")[:, 1]
        what = f"{name} ({y.mean():.0%} of {n_subjects}), 24 night features"
        rows.append(_row(what, "AUROC, 10-fold", [roc_auc_score(y, chance)], "0.65-0.90"))
        if name == "event":
            time_, risk = table["survival_time"].to_numpy(), chance
            rows.append(_row(what, "concordance", [_concordance(time_, y, risk)], "0.65-0.90"))
    return rows


def _concordance(time_: np.ndarray, event: np.ndarray, risk: np.ndarray) -> float:
    earlier = (time_[:, None] < time_[None, :]) & (event[:, None] == 1)
    return float((risk[:, None] > risk[None, :])[earlier].mean())


def speed_rows() -> list[dict]:
    """Seconds to make the signals of one night."""
    rows = []
    for kind in ("laboratory", "full_laboratory", "wearable"):
        cohort = make_sleep_cohort(4, n_sites=4, site_kinds=kind, missing=0.0, random_state=1)
        seconds = []
        for recording in cohort:
            start = time.perf_counter()
            recording.read()
            seconds.append(time.perf_counter() - start)
        what = f"8-h night, {len(cohort[0])} modalities, {kind}"
        rows.append(_row(what, "seconds to read", seconds, "about 1"))
    return rows


def _row(what: str, measure: str, values, aim: str) -> dict:
    values = np.asarray(values, dtype=float)
    return {
        "task": what,
        "measure": measure,
        "mean": round(float(values.mean()), 3),
        "lowest": round(float(values.min()), 3),
        "highest": round(float(values.max()), 3),
        "aim": aim,
    }


def main() -> None:
    """Print the table and, with ``--output``, write it as CSV."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, default=24, help="people of a staging cohort")
    parser.add_argument("--outcome-subjects", type=int, default=300)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", choices=("staging", "watch", "outcomes", "speed"))
    parser.add_argument("--output", help="CSV file to write")
    options = parser.parse_args()
    parts = {
        "speed": speed_rows,
        "staging": lambda: staging_rows(options.subjects, options.seeds),
        "watch": lambda: watch_rows(options.subjects, options.seeds),
        "outcomes": lambda: outcome_rows(options.outcome_subjects, options.seeds[0]),
    }
    chosen = [options.only] if options.only else list(parts)
    table = pd.DataFrame([row for part in chosen for row in parts[part]()])
    print(table.to_string(index=False))
    if options.output:
        table.to_csv(options.output, index=False)


if __name__ == "__main__":
    main()
