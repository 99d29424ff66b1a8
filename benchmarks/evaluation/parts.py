# SPDX-License-Identifier: BSD-3-Clause
"""What each part of an encoder is worth to a linear head, people held out.

``python -m benchmarks.evaluation.parts --data DIR [--checkpoint NAME|FILE] [--undistilled FILE]``

Logistic regression (classes balanced) on the rows of ``Sleep2VecTransformer()`` as it comes, on
parts of their columns, with tokens in place of states that know the epochs around, on those of the
same network with random weights, of one trained without distillation, and on expert features alone.
Its penalty is chosen within the training subjects. Prints tables for the model card: means over
subjects, behind them values of all epochs together, and paired differences with 95 % bootstrap
intervals over subjects. A look at real labels adds its lines to ``LOOKS.md``.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from sleep2vec_sklearn import EpochSequence, Sleep2VecTransformer, load_checkpoint
from sleep2vec_sklearn.encoding import ExpertFeatures
from sleep2vec_sklearn.errors import RecordingWarning
from sleep2vec_sklearn.model.checkpoint import Checkpoint

from .ledger import add_to_ledger
from .probes import Rows, Scores
from .questions import random_twin
from .scores import as_markdown
from .tasks import REAL, Maker, Nights, Problem, simulated_cohort, simulated_psg

FULL, EXPERT, RANDOM = "full", "expert features", "random weights"
CONTEXT, DISTILLATION = "no context", "no distillation"
SIMULATED = "simulated"


def rows_of(
    checkpoint: Checkpoint, others: Mapping[str, Checkpoint], X: Nights, cache: str = "memory"
) -> Rows:
    """Every variant's rows of nights or epochs; ``others`` are variants of the network."""
    encoder = Sleep2VecTransformer(checkpoint, cache=cache).fit(X)
    is_state = np.char.startswith(encoder.get_feature_names_out().astype(str), "sleep2vec_")
    rows = encoder.transform(X)
    variants = {FULL: rows, "states alone": rows[:, is_state]}
    if not is_state.all():
        variants["expert block"] = rows[:, ~is_state]
        tokens = Sleep2VecTransformer(checkpoint, layer=0, cache=cache).fit_transform(X)
        variants[CONTEXT] = np.hstack([tokens, rows[:, ~is_state]])
    if isinstance(X, EpochSequence):
        plain = Sleep2VecTransformer(checkpoint, center=None, cache=cache)
        variants["not centred"] = plain.fit_transform(X)
    for name, other in others.items():
        variants[name] = Sleep2VecTransformer(other, cache=cache).fit_transform(X)
    variants[EXPERT] = ExpertFeatures(levels=False, cache=cache).fit_transform(X)
    return variants


def evaluate(problems: Iterator[Problem]) -> Iterator[tuple[str, str, Mapping[str, Scores]]]:
    """Name and question of each problem, and the scores by variant."""
    fitted: dict = {}
    for name, labels, rows, tested in problems:
        scores = {}
        for variant, X in rows.items():
            if tested is None:
                fitted[variant] = labels.fit(X)
            X = X if tested is None else tested[variant]
            scores[variant] = labels.score(labels.predict(fitted[variant], X))
        yield name, labels.question.name, scores


def table_of(results: Sequence[tuple[str, str, Mapping[str, Scores]]]) -> pd.DataFrame:
    """One row per task and metric; text."""
    rows = []
    for name, question, scores in results:
        full = scores[FULL]
        others = [other for other in (EXPERT, RANDOM, CONTEXT, DISTILLATION) if other in scores]
        for metric in full.pooled:
            row = {"task": f"{name}: {question}, {metric}", "subjects": len(full.subjects)}
            row |= {variant: _shown(of_variant, metric) for variant, of_variant in scores.items()}
            for other in others:
                row[f"{FULL} - {other}"] = _with_interval(*full.lead(scores[other], metric))
            rows.append(row)
    return pd.DataFrame(rows).set_index("task").fillna("")


def _shown(scores: Scores, metric: str) -> str:
    mean, pooled = scores.subjects[metric].mean(), scores.pooled[metric]
    return f"{pooled:.3f}" if np.isnan(mean) else f"{mean:.3f} ({pooled:.3f})"


def _with_interval(lead: float, low: float, high: float) -> str:
    return f"{lead:+.3f}" + ("" if np.isnan(low) else f" ({low:+.3f} to {high:+.3f})")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the tasks that were asked for and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the real data sets")
    parser.add_argument("--checkpoint", default="sleep2vec-mini", help="name or .safetensors file")
    parser.add_argument("--undistilled", help="file of one that was trained without distillation")
    tasks = (*REAL, SIMULATED)
    parser.add_argument("--tasks", nargs="+", choices=tasks, default=tasks, metavar="TASK")
    parser.add_argument("--nights", type=int, default=48, help="simulated people, a night each")
    parser.add_argument("--hours", type=float, default=6.0, help="length of a simulated night")
    parser.add_argument("--cache", default="memory", help="folder that keeps tokens")
    options = parser.parse_args(arguments)
    if options.data is None and set(options.tasks) & set(REAL):
        parser.error("real nights need --data, the folder of the data sets")
    # nights without a sensor, and short ones, are many here
    warnings.simplefilter("ignore", RecordingWarning)
    checkpoint = load_checkpoint(options.checkpoint)
    others = {RANDOM: random_twin(checkpoint)}
    if options.undistilled is not None:
        others[DISTILLATION] = load_checkpoint(options.undistilled)

    def make(X: Nights) -> Rows:
        return rows_of(checkpoint, others, X, options.cache)

    for task in options.tasks:
        results = []
        for name, question, scores in evaluate(_problems(task, make, options)):
            results.append((name, question, scores))
            if task != SIMULATED:
                for variant, of_variant in scores.items():
                    whose = variant if variant == EXPERT else f"{checkpoint.name}, {variant}"
                    add_to_ledger(f"{name}: {question}", whose, of_variant.pooled)
        for part in _alike(results):
            print(f"{as_markdown(table_of(part))}\n", flush=True)


def _problems(task: str, make: Maker, options: argparse.Namespace) -> Iterator[Problem]:
    if task != SIMULATED:
        return REAL[task](make, options.data)
    return simulated_psg(make, simulated_cohort(options.nights, options.hours))


def _alike(results: list) -> list[list]:
    """Results that have the same variants, together."""
    kinds: dict[tuple, list] = {}
    for result in results:
        kinds.setdefault(tuple(result[2]), []).append(result)
    return [*kinds.values()]


if __name__ == "__main__":
    main()
