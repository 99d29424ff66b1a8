# SPDX-License-Identifier: BSD-3-Clause
"""A benchmark of SIMULATED polysomnography from several laboratories: staging and outcomes.

``python -m benchmarks.evaluation.simulated_psg --checkpoint NAME [--nights N] [--out DIR]``

All nights are simulated, of people and laboratories that the bundled encoder was not pretrained on,
by the simulator that it was pretrained with: the tables compare inputs and features with each other
and say nothing of real nights. A frozen encoder, the same network with random weights, and
hand-crafted features get the same folds and the same linear heads.

Scored are five stages from all nine sensors, from each alone, with sensors lost at test time, and
in a laboratory that was not trained on; and outcomes, from a row per night.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import cohen_kappa_score, f1_score, roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sleep2vec_sklearn import load_checkpoint
from sleep2vec_sklearn.recordings import Cohort

from .psg_nights import MODALITIES, EncoderRows, Loss, prepare, simulated_psg
from .questions import random_twin
from .scores import as_markdown, paired_interval

NIGHTS = 84
OUTCOMES = ("apnea", "hypertension", "event")
FEWEST_CASES = 4
LOSSES = (Loss(0.25), Loss(0.5), Loss(0.75), Loss(0.5, share=0.5))
ALL = "all sensors"
UNSEEN = "all sensors, unseen site"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark, print its tables and write them as CSV and Markdown."""
    options = _options(arguments)
    checkpoint = load_checkpoint(options.checkpoint)
    supported = {modality.name for modality in checkpoint.config.modalities}
    modalities = [name for name in MODALITIES if name in supported]
    cohort = simulated_psg(options.nights, modalities, hours=options.hours)
    with tempfile.TemporaryDirectory() as scratch:
        cache = str(options.cache or scratch)
        encoders = [
            EncoderRows(checkpoint.name, checkpoint, options.fusion, cache),
            EncoderRows(
                f"{checkpoint.name}, random weights",
                random_twin(checkpoint),
                options.fusion,
                cache,
            ),
        ]
        hand_crafted = prepare(cohort, encoders, LOSSES, options.jobs)
        sets = [*encoders, hand_crafted]
        staging = dict(_staging(sets, cohort, modalities))
        outcomes = _outcomes(sets, cohort, modalities, options.repeats, options.jobs)
    print(_described(cohort, modalities))
    subjects = pd.concat(staging, names=["input", "features"])
    options.out.mkdir(parents=True, exist_ok=True)
    subjects.to_csv(options.out / "simulated_subjects.csv", float_format="%.4f")
    reference = checkpoint.name
    write_table("simulated_staging", staging_table(staging, reference, ALL), options.out)
    write_table("simulated_outcomes", outcome_table(outcomes, reference), options.out)


def _options(arguments) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", default="sleep2vec-mini", help="name or .safetensors file")
    parser.add_argument("--nights", type=int, default=NIGHTS, help="simulated people, a night each")
    parser.add_argument("--hours", type=float, default=8.0, help="length of a night")
    parser.add_argument("--fusion", default="concat", choices=("concat", "mean"))
    parser.add_argument("--repeats", type=int, default=5, help="of the outcomes' cross-validation")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--cache", type=Path, help="folder that keeps tokens for another run")
    parser.add_argument("--out", type=Path, default=Path("demo_output/simulated_psg"))
    return parser.parse_args(arguments)


def _described(cohort: Cohort, modalities: Sequence[str]) -> str:
    sites = cohort.metadata["site"].nunique()
    shares = ", ".join(f"{name} {cohort.metadata[name].mean():.0%}" for name in OUTCOMES)
    return (
        f"SIMULATED: {len(cohort)} nights, one of each person, from {sites} laboratories\n"
        f"sensors: {', '.join(modalities)}; outcomes: {shares}\n"
    )


def _staging(
    sets: Sequence, cohort: Cohort, modalities: Sequence[str]
) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
    """Scores of every subject, by input and features."""
    epochs = Epochs.of_cohort(cohort)
    by_site = folds_by_site(epochs)
    by_subject = folds_by_subject(epochs, len(by_site))
    for rows in sets:
        X = rows.epochs(cohort, modalities)
        away = predict_held_out(fit_heads(X, epochs, by_site), X, by_site)
        heads = fit_heads(X, epochs, by_subject)
        predicted = {ALL: predict_held_out(heads, X, by_subject), UNSEEN: away}
        for loss in LOSSES:
            X = rows.epochs([loss.apply(night) for night in cohort], modalities)
            predicted[str(loss)] = predict_held_out(heads, X, by_subject)
        for name in modalities:
            X = rows.epochs(cohort, [name])
            predicted[f"{name} alone"] = predict_held_out(
                fit_heads(X, epochs, by_subject), X, by_subject
            )
        for given, found in predicted.items():
            yield (given, rows.name), score_subjects(found, epochs)


def _outcomes(
    sets: Sequence, cohort: Cohort, modalities: Sequence[str], n_repeats: int, n_jobs: int
) -> dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]:
    """Probabilities by repeat and night, and the truth, by outcome and features.

    An outcome with fewer than four cases, or than four others, is left out.
    """
    table = cohort.metadata
    inputs = {rows.name: rows.nights(cohort, modalities) for rows in sets}
    inputs["age, sex and BMI"] = np.stack([table["age"], table["sex"] == "M", table["bmi"]], axis=1)
    inputs = {name: X.astype(np.float64) for name, X in inputs.items()}
    truth = {outcome: table[outcome].to_numpy().astype(int) for outcome in OUTCOMES}
    told = [name for name, y in truth.items() if np.bincount(y, minlength=2).min() >= FEWEST_CASES]
    keys = [(outcome, name) for outcome in told for name in inputs]
    chances = Parallel(n_jobs=n_jobs)(
        delayed(outcome_chances)(
            inputs[name], truth[outcome], np.asarray(cohort.groups, str), n_repeats=n_repeats
        )
        for outcome, name in keys
    )
    return {key: (found, truth[key[0]]) for key, found in zip(keys, chances, strict=True)}


def staging_table(
    scores: Mapping[tuple[str, str], pd.DataFrame], reference: str, whole: str
) -> pd.DataFrame:
    """One row per input, features and metric."""
    rows = {}
    inputs = list(dict.fromkeys(given for given, _ in scores))
    for given, features in sorted(scores, key=lambda key: inputs.index(key[0])):
        table = scores[given, features]
        for metric in EPOCH_METRICS:
            mine = table[metric]
            row = _interval("value", mine) | {"pooled": table.attrs["pooled"][metric]}
            if features != reference:
                row |= _interval("lead", scores[given, reference][metric] - mine)
            if given != whole:
                row |= _interval("change", mine - scores[whole, features][metric])
            rows[given, features, metric] = row | {"subjects": int(mine.notna().sum())}
    return _as_table(rows, "simulated input", reference)


def outcome_table(
    chances: Mapping[tuple[str, str], tuple[np.ndarray, np.ndarray]], reference: str
) -> pd.DataFrame:
    """One row per outcome and features, columns as in :func:`staging_table`; metric is AUROC."""
    found = {key: bootstrap_auroc(*given) for key, given in chances.items()}
    rows = {}
    for (outcome, features), (value, resampled) in found.items():
        row = {"value": value} | _percentiles("value", resampled)
        if features != reference:
            best, best_resampled = found[outcome, reference]
            row |= {"lead": best - value} | _percentiles("lead", best_resampled - resampled)
        rows[outcome, features, "auroc"] = row | {"subjects": len(chances[outcome, features][1])}
    return _as_table(rows, "simulated outcome", reference)


def _as_table(rows: Mapping[tuple, Mapping], first: str, reference: str) -> pd.DataFrame:
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.attrs["reference"] = reference
    return table.rename_axis([first, "features", "metric"])


def _interval(name: str, values: pd.Series) -> dict[str, float]:
    names = (name, f"{name}_low", f"{name}_high")
    return dict(zip(names, paired_interval(values.dropna()), strict=True))


def _percentiles(name: str, resampled: np.ndarray) -> dict[str, float]:
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return {f"{name}_low": float(low), f"{name}_high": float(high)}


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """Intervals behind their means, metrics side by side."""
    columns = {
        "value": ("", "{:.3f} ({:.3f} to {:.3f})"),
        "lead": (f", {table.attrs['reference']} leads by", "{:+.3f} ({:+.3f} to {:+.3f})"),
        "change": (", change to all sensors", "{:+.3f} ({:+.3f} to {:+.3f})"),
    }
    parts = {}
    for metric in table.index.unique("metric"):
        of_metric = table.xs(metric, level="metric")
        for name, (title, form) in columns.items():
            if name in of_metric:
                values = of_metric[[name, f"{name}_low", f"{name}_high"]].to_numpy()
                parts[f"{metric}{title}"] = [
                    "" if np.isnan(row[0]) else form.format(*row) for row in values
                ]
    index = table.xs(table.index.unique("metric")[0], level="metric").index
    return pd.DataFrame(parts, index=index)


def write_table(name: str, table: pd.DataFrame, folder: Path) -> None:
    """Print a table; write it as CSV, with numbers, and as Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    text = as_markdown(shown(table))
    print(f"{text}\n")
    table.to_csv(folder / f"{name}.csv", float_format="%.4f")
    (folder / f"{name}.md").write_text(text + "\n", encoding="utf-8")


EPOCH_METRICS = ("kappa", "macro_f1")
EPOCH_STRENGTHS = (1e-3, 1e-2, 1e-1)
NIGHT_STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
TRAINING_STRIDE = 5
_RESAMPLES = 10_000

Folds = Sequence[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, slots=True)
class Epochs:
    """What is known of every epoch, whatever its row."""

    stages: np.ndarray
    subjects: np.ndarray
    sites: np.ndarray

    @classmethod
    def of_cohort(cls, cohort) -> Epochs:
        """Those of all nights, in order."""
        lengths = [night.n_epochs for night in cohort]
        return cls(
            np.concatenate([night.stages for night in cohort]).astype(int),
            np.repeat(np.asarray(cohort.groups, dtype=str), lengths),
            np.repeat(cohort.metadata["site"].to_numpy(dtype=str), lengths),
        )


def folds_by_subject(epochs: Epochs, n_folds: int) -> Folds:
    """Each fold tests people of every site, all of whose others are trained on."""
    fold_of = {}
    for site in np.unique(epochs.sites):
        people = pd.unique(epochs.subjects[epochs.sites == site])
        fold_of.update({subject: k % n_folds for k, subject in enumerate(people)})
    fold = np.array([fold_of[subject] for subject in epochs.subjects])
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in np.unique(fold)]


def folds_by_site(epochs: Epochs) -> Folds:
    """Each fold tests a site that was not trained on."""
    return [
        (np.flatnonzero(epochs.sites != site), np.flatnonzero(epochs.sites == site))
        for site in np.unique(epochs.sites)
    ]


def fit_heads(X: np.ndarray, epochs: Epochs, folds: Folds) -> list:
    """One head per fold, fitted on every fifth scored epoch of the training subjects.

    Neighbouring epochs are alike, so the others would add time and little else. The penalty is
    chosen by kappa on a fourth of the training subjects.
    """
    heads = []
    for train, _ in folds:
        used = train[epochs.stages[train] >= 0][::TRAINING_STRIDE]
        heads.append(_fit_head(X[used], epochs.stages[used], epochs.subjects[used]))
    return heads


def predict_held_out(heads: Sequence, X: np.ndarray, folds: Folds) -> np.ndarray:
    """Stage of every epoch, by the head of the fold that tests it; -1 where none does."""
    predicted = np.full(len(X), -1)
    for head, (_, test) in zip(heads, folds, strict=True):
        predicted[test] = head.predict(X[test])
    return predicted


def _fit_head(X: np.ndarray, y: np.ndarray, subjects: np.ndarray):
    scale = _scaler().fit(X)
    X = scale.transform(X)
    tried = np.isin(subjects, np.unique(subjects)[::4])
    kappas, model = {}, None
    for C in EPOCH_STRENGTHS:
        model = _logistic(C, X[~tried], y[~tried], start=model)
        kappas[C] = cohen_kappa_score(y[tried], model.predict(X[tried]))
    best = max(kappas, key=kappas.get)
    return make_pipeline(scale, _logistic(best, X, y, start=model))


def _scaler():
    """Standard scores; what is missing counts as the training mean."""
    return make_pipeline(StandardScaler(), FunctionTransformer(np.nan_to_num))


def _logistic(C: float, X: np.ndarray, y: np.ndarray, start=None) -> LogisticRegression:
    model = LogisticRegression(C=C, max_iter=100, tol=1e-3, warm_start=True)
    if start is not None and np.array_equal(start.classes_, np.unique(y)):
        model.coef_, model.intercept_ = start.coef_.copy(), start.intercept_.copy()
    with warnings.catch_warnings():
        # A head that is still settling in the fourth decimal is not worth a page of warnings.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X, y)


def score_subjects(predicted: np.ndarray, epochs: Epochs) -> pd.DataFrame:
    """Kappa and macro F1 of five stages, one row per subject.

    Macro F1 of a subject is over the stages that the scorer gave this subject.
    ``.attrs["pooled"]`` holds both over all epochs together.
    """
    known = (epochs.stages >= 0) & (predicted >= 0)
    y, found, subjects = epochs.stages[known], predicted[known], epochs.subjects[known]
    rows = {
        subject: _score(y[mine], found[mine])
        for subject in pd.unique(subjects)
        for mine in [subjects == subject]
    }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("subject")
    table.attrs["pooled"] = _score(y, found)
    return table


def _score(y: np.ndarray, found: np.ndarray) -> dict[str, float]:
    f1 = f1_score(y, found, labels=np.unique(y), average="macro", zero_division=0)
    return {"kappa": float(cohen_kappa_score(y, found)), "macro_f1": float(f1)}


def outcome_chances(
    X: np.ndarray, y: np.ndarray, subjects: np.ndarray, *, n_repeats: int, n_folds: int = 5
) -> np.ndarray:
    """Probability of an outcome for every night, subjects held out, one row per repeat."""
    chances = np.empty((n_repeats, len(y)))
    for repeat in range(n_repeats):
        for train, test in _outcome_folds(y, subjects, n_folds, repeat):
            scale = _scaler().fit(X[train])
            rows = scale.transform(X[train])
            # within the span of the training rows the penalised fit is the same, and quick
            basis = np.linalg.svd(rows, full_matrices=False)[2].T
            inner = list(_outcome_folds(y[train], subjects[train], 3, repeat))
            head = _fit_night_head(rows @ basis, y[train], inner)
            chances[repeat, test] = head.predict_proba(scale.transform(X[test]) @ basis)[:, 1]
    return chances


def _fit_night_head(X: np.ndarray, y: np.ndarray, folds: Folds) -> LogisticRegression:
    aurocs = np.zeros(len(NIGHT_STRENGTHS))
    for train, test in folds:
        model = None
        for k, C in enumerate(NIGHT_STRENGTHS):
            model = _logistic(C, X[train], y[train], start=model)
            aurocs[k] += roc_auc_score(y[test], model.decision_function(X[test]))
    return _logistic(NIGHT_STRENGTHS[int(aurocs.argmax())], X, y)


def _outcome_folds(y, subjects, n_folds: int, seed: int) -> Iterator:
    n_folds = min(n_folds, *np.bincount(y, minlength=2))
    folds = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    return folds.split(np.zeros(len(y)), y, subjects)


def bootstrap_auroc(chances: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """AUROC, mean over repeats, and its values in resamples of the subjects.

    A row has to be a subject. The resamples are those of any other call with as many rows, so
    differences of two calls are paired. Those without either outcome are NaN.
    """
    positive, negative = np.flatnonzero(y == 1), np.flatnonzero(y == 0)
    difference = chances[:, positive, None] - chances[:, None, negative]
    wins = ((difference > 0) + 0.5 * (difference == 0)).mean(axis=0)
    drawn = np.random.default_rng(0).multinomial(len(y), np.full(len(y), 1 / len(y)), _RESAMPLES)
    above = ((drawn[:, positive] @ wins) * drawn[:, negative]).sum(axis=1)
    pairs = drawn[:, positive].sum(axis=1) * drawn[:, negative].sum(axis=1)
    resampled = np.divide(above, pairs, out=np.full(_RESAMPLES, np.nan), where=pairs > 0)
    return float(wins.mean()), resampled


if __name__ == "__main__":
    main()
