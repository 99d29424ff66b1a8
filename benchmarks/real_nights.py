# SPDX-License-Identifier: BSD-3-Clause
"""Linear probes on real nights of a watch, subjects held out.

``python -m benchmarks.real_nights --data DIR [--checkpoint NAME_OR_PATH ...]``

Every feature set gets the same folds, the same scaling and the same head. The head is one
multinomial logistic regression for wake, NREM and REM; wake AUC uses its probability of wake. It is
weighted by inverse class frequency: half of the epochs are N2, and kappa would otherwise measure
how often a head dares to say anything else. The scores of random weights are the mean over several
draws of them, subject by subject.
"""

from __future__ import annotations

import argparse
import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import cohen_kappa_score, roc_auc_score
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler

from benchmarks.baselines import FEATURE_SETS
from sleep2vec_sklearn.datasets.public import load_sleep_accel
from sleep2vec_sklearn.signals import Cohort, EpochSequence, SleepStage

if TYPE_CHECKING:
    from sleep2vec_sklearn.model.checkpoint import Checkpoint

METRICS = ("wake_auc", "kappa")
FOLDS = 10
RANDOM_SEEDS = 5
C = 0.01
C_GRID = (1e-3, 1e-2, 1e-1)


def evaluate_features(
    features: Sequence[np.ndarray],
    cohort: Cohort,
    *,
    n_splits: int = FOLDS,
    C: float | Sequence[float] = C,
    test_features: Sequence[np.ndarray] | None = None,
) -> pd.DataFrame:
    """Probe one feature set, subjects held out.

    Parameters
    ----------
    features : sequence of ndarray of shape (n_epochs, n_features)
        One array per recording of the cohort; NaN counts as the training mean.
    cohort : Cohort
        With stages.
    n_splits : int, default=10
        Folds by subject; as many as subjects leaves one out.
    C : float or sequence of float, default=0.01
        Inverse strength of the penalty; of several, three grouped folds inside the training
        subjects choose by wake AUC plus kappa.
    test_features : sequence of ndarray, optional
        Of the same width, for the subjects held out: what a head of one sensor makes of another's
        rows. ``features`` by default.

    Returns
    -------
    DataFrame
        One row per subject: ``wake_auc``, ``kappa`` (W/NREM/REM), ``n_epochs``.
        ``.attrs["pooled"]`` holds both metrics over all epochs together.
    """
    X, y, groups = _as_rows(features, cohort)
    seen = X if test_features is None else _as_rows(test_features, cohort)[0]
    n_splits = min(n_splits, len(np.unique(groups)))
    probability = np.empty((len(y), 3), dtype=np.float64)
    for train, test in GroupKFold(n_splits).split(X, y, groups):
        strength = _chosen_strength(X[train], y[train], groups[train], C)
        probability[test] = _fit_predict(X[train], y[train], seen[test], strength)
    rows = {
        subject: {**_score(y[mine], probability[mine]), "n_epochs": int(mine.sum())}
        for subject in pd.unique(groups)
        for mine in [groups == subject]
    }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("subject")
    table.attrs["pooled"] = _score(y, probability)
    return table


def _as_rows(features, cohort) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    epochs = EpochSequence(cohort)
    sizes = [len(block) for block in features]
    if sizes != [recording.n_epochs for recording in cohort]:
        raise ValueError("features need one array of n_epochs rows for each recording")
    scored = epochs.stages >= 0
    X = np.concatenate(features).astype(np.float64)[scored]
    stages = epochs.stages[scored]
    y = np.select([stages == SleepStage.W, stages == SleepStage.R], [0, 2], default=1)
    return X, y, epochs.groups[scored].astype(str)


def _fit_predict(X_train, y_train, X_test, strength: float) -> np.ndarray:
    scaler = StandardScaler().fit(X_train)
    X_train, X_test = (np.nan_to_num(scaler.transform(X)) for X in (X_train, X_test))
    head = LogisticRegression(C=strength, class_weight="balanced", max_iter=200, tol=1e-3)
    with warnings.catch_warnings():
        # A head that is still settling in the fourth decimal is not worth a page of warnings.
        warnings.simplefilter("ignore", ConvergenceWarning)
        head.fit(X_train, y_train)
    return head.predict_proba(X_test)


def _chosen_strength(X, y, groups, candidates) -> float:
    if np.isscalar(candidates):
        return float(candidates)
    folds = list(GroupKFold(3).split(X, y, groups))
    scores = [
        np.mean([_sum(_score(y[b], _fit_predict(X[a], y[a], X[b], c))) for a, b in folds])
        for c in candidates
    ]
    return float(candidates[int(np.argmax(scores))])


def _sum(score: Mapping[str, float]) -> float:
    return sum(score.values())


def _score(y: np.ndarray, probability: np.ndarray) -> dict[str, float]:
    wake = y == 0
    auc = roc_auc_score(wake, probability[:, 0]) if 0 < wake.sum() < len(y) else np.nan
    return {"wake_auc": auc, "kappa": cohen_kappa_score(y, probability.argmax(axis=1))}


def summarise(tables: Mapping[str, pd.DataFrame], *, n_resamples: int = 10_000) -> pd.DataFrame:
    """Mean, SD over subjects, 95 % interval of the mean, and pooled value per feature set."""
    rows = {}
    for name, table in tables.items():
        for metric in METRICS:
            values = table[metric].dropna().to_numpy()
            low, high = _bootstrap_interval(values, n_resamples)
            rows[name, metric] = {
                "mean": values.mean(),
                "sd": values.std(ddof=1),
                "low": low,
                "high": high,
                "pooled": table.attrs["pooled"][metric],
            }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["features", "metric"])


def paired_differences(
    tables: Mapping[str, pd.DataFrame], reference: str, *, n_resamples: int = 10_000
) -> pd.DataFrame:
    """``reference`` minus each other feature set, paired over subjects, 95 % bootstrap interval."""
    rows = {}
    for name, table in tables.items():
        if name == reference:
            continue
        for metric in METRICS:
            difference = (tables[reference][metric] - table[metric]).dropna().to_numpy()
            low, high = _bootstrap_interval(difference, n_resamples)
            rows[name, metric] = {
                "difference": difference.mean(),
                "low": low,
                "high": high,
                "subjects_better": int((difference > 0).sum()),
                "subjects": len(difference),
            }
    index = [f"{reference} minus", "metric"]
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(index)


def _bootstrap_interval(values: np.ndarray, n_resamples: int) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    draws = rng.integers(len(values), size=(n_resamples, len(values)))
    low, high = np.percentile(values[draws].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def encoder_features(checkpoint, **parameters) -> Callable[[Cohort], list[np.ndarray]]:
    """Feature set of an encoder: one block of rows per recording, in its order."""
    from sleep2vec_sklearn import Sleep2VecTransformer

    def features(cohort: Cohort) -> list[np.ndarray]:
        X = EpochSequence(cohort)
        rows = Sleep2VecTransformer(checkpoint, **parameters).fit(X).transform(X)
        ends = np.cumsum([recording.n_epochs for recording in cohort])
        return np.split(np.asarray(rows), ends[:-1])

    return features


def random_twin(checkpoint: Checkpoint, seed: int = 0) -> Checkpoint:
    """The same network with untrained parameters; input statistics (buffers) stay."""
    from sleep2vec_sklearn.model.sleep2vec import Sleep2Vec

    model = Sleep2Vec.from_seed(checkpoint.config, seed)
    buffers = {name for name, _ in model.named_buffers()} & set(checkpoint.state)
    state = {**model.state_dict(), **{name: checkpoint.state[name] for name in buffers}}
    sha256 = hashlib.sha256(f"{checkpoint.sha256} random {seed}".encode()).hexdigest()
    return replace(checkpoint, state=state, sha256=sha256, name=f"{checkpoint.name}, random")


def average_tables(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Mean over runs that differ in their seed, subject by subject."""
    average = sum(tables[1:], start=tables[0]) / len(tables)
    pooled = [table.attrs["pooled"] for table in tables]
    average.attrs["pooled"] = {m: float(np.mean([p[m] for p in pooled])) for m in METRICS}
    return average


def encoder_feature_sets(
    name_or_path: str, fusion: str = "concat", n_seeds: int = RANDOM_SEEDS
) -> dict[str, list[Callable]]:
    """An encoder, its tokenizers without the transformer, and several untrained twins."""
    from sleep2vec_sklearn import load_checkpoint

    checkpoint = load_checkpoint(name_or_path)
    options = {"fusion": fusion, "modalities": ("ibi", "actigraphy")}
    twins = [random_twin(checkpoint, seed) for seed in range(n_seeds)]
    return {
        checkpoint.name: [encoder_features(checkpoint, **options)],
        f"{checkpoint.name}, random weights": [encoder_features(t, **options) for t in twins],
        f"{checkpoint.name}, tokenizers only": [encoder_features(checkpoint, layer=0, **options)],
    }


def evaluate_sets(
    feature_sets: Mapping[str, Sequence[Callable]], cohort: Cohort, n_splits: int, n_jobs: int
) -> dict[str, pd.DataFrame]:
    """Probe every feature set, those with several seeds averaged."""

    def evaluate(make: Callable) -> pd.DataFrame:
        return evaluate_features(make(cohort), cohort, n_splits=n_splits, C=C_GRID)

    makers = [make for several in feature_sets.values() for make in several]
    results = iter(Parallel(n_jobs=n_jobs)(delayed(evaluate)(make) for make in makers))
    return {
        name: average_tables([next(results) for _ in several])
        for name, several in feature_sets.items()
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Probe the feature sets, print the tables and write them as CSV and Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds sleep-accel/")
    parser.add_argument("--checkpoint", nargs="*", default=[], help="names or .safetensors files")
    parser.add_argument("--fusion", default="concat", choices=("concat", "mean"))
    parser.add_argument("--folds", type=int, default=FOLDS, help="23 leaves one subject out")
    parser.add_argument("--random-seeds", type=int, default=RANDOM_SEEDS, help="untrained twins")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--out", type=Path, default=Path("demo_output/real_nights"))
    options = parser.parse_args(arguments)

    cohort = load_sleep_accel(options.data / "sleep-accel")
    feature_sets = {name: [make] for name, make in FEATURE_SETS.items()}
    references = []
    for name in options.checkpoint:
        encoder = encoder_feature_sets(name, options.fusion, options.random_seeds)
        references.append(next(iter(encoder)))
        feature_sets.update(encoder)
    tables = evaluate_sets(feature_sets, cohort, options.folds, options.jobs)
    results = {"scores": summarise(tables)}
    for reference in references or ["hand-made, long context"]:
        results[f"differences_{reference}".replace(" ", "_")] = paired_differences(
            tables, reference
        )
    write_results(results, tables, options.out)


def write_results(
    results: Mapping[str, pd.DataFrame], tables: Mapping[str, pd.DataFrame], folder: Path
) -> None:
    """Print each result; write it as CSV and Markdown, and the scores of every subject."""
    folder.mkdir(parents=True, exist_ok=True)
    pd.concat(tables, names=["features"]).to_csv(folder / "subjects.csv", float_format="%.4f")
    for name, result in results.items():
        text = as_markdown(result)
        print(f"{name}\n\n{text}\n")
        result.to_csv(folder / f"{name}.csv", float_format="%.4f")
        (folder / f"{name}.md").write_text(text + "\n", encoding="utf-8")


def as_markdown(table: pd.DataFrame) -> str:
    """A Markdown table with three decimals."""
    flat = table.reset_index()
    rows = [
        [f"{value:.3f}" if isinstance(value, float) else str(value) for value in row]
        for row in flat.itertuples(index=False, name=None)
    ]
    head = [str(column) for column in flat.columns]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *rows))


if __name__ == "__main__":
    main()
