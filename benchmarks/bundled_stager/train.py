# SPDX-License-Identifier: BSD-3-Clause
"""Train the head of ``stage_night``, and measure it on people it was not trained on.

``python -m benchmarks.bundled_stager.train --data DIR --work DIR --out FILE``

``--data`` is a folder with the public sets sleep-accel, slpdb, Sleep-EDF and DREAMS as
``sleep-accel/``, ``slpdb/``, ``sleep-edfx/sleep-cassette/`` and ``dreams/``; those that are not
there are left out. Tokens are kept in ``--work``. Real people are dealt to six folds; the head of
each fold is trained on simulated nights and on the people of the other five. The head that is
written was trained on all of them, and its card lists them.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import GroupKFold

from benchmarks.bundled_stager.fit import fit_head
from benchmarks.bundled_stager.nights import real_nights, simulated_nights
from benchmarks.bundled_stager.tokens import TokenTable, kept
from benchmarks.evaluation.scores import as_markdown
from sleep2vec_sklearn.evaluation import staging_report
from sleep2vec_sklearn.finetuning.stager import StageHead, save_stage_head

N_FOLDS = 6
SUBSETS: Mapping[str, Sequence[tuple[str, ...]]] = {
    "simulated": [(), ("eeg",), ("eeg", "eog", "emg"), ("ecg",), ("ibi",), ("ibi", "actigraphy"),
                  ("airflow", "effort", "spo2"), ("actigraphy",)],
    "sleep-accel": [(), ("ibi",), ("actigraphy",)],
    "sleep-edf": [(), ("eeg",), ("eog",)],
    "dreams": [(), ("eeg",)],
}  # fmt: skip


def measure(
    heads: Mapping[int, StageHead], tables: Mapping[str, TokenTable], folds
) -> pd.DataFrame:
    """Scores of people held out, by data set and sensors."""
    rows = []
    for name, table in tables.items():
        for subset in SUBSETS.get(name, [()]):
            part, probability = predict(heads, table, folds[name], subset)
            if len(part) == 0:
                continue
            for n_classes in (5, 4, 3):
                report = staging_report(
                    part.stages, probability.argmax(axis=1), groups=part.subjects,
                    recordings=part.subjects, n_classes=n_classes, n_resamples=1000,
                )  # fmt: skip
                kappa = report.scores.loc["kappa"]
                rows.append({
                    "nights": name, "sensors": "+".join(subset) or "all", "classes": n_classes,
                    "kappa": kappa["value"], "low": kappa["low"], "high": kappa["high"],
                    "subject_mean": kappa["subject_mean"],
                    "accuracy": report.scores.loc["accuracy", "value"],
                    "macro_f1": report.scores.loc["macro_f1", "value"],
                    "people": len(report.by_subject), "epochs": len(part),
                })  # fmt: skip
    return pd.DataFrame(rows)


def predict(heads, table: TokenTable, fold: np.ndarray, subset: Sequence[str]):
    """Rows that have one of the sensors, and their probabilities by the head of their fold."""
    used = [i for i, name in enumerate(table.modalities) if not subset or name in subset]
    there = np.flatnonzero(table.present[:, used].any(axis=1))
    part, fold = table.take(there), fold[there]
    probability = np.empty((len(part), 5))
    for number in np.unique(fold):
        mine = fold == number
        head = heads[number]
        trust = part.present[mine][:, used] * head.trust[used]
        trust /= trust.sum(axis=1, keepdims=True)
        tokens = part.tokens[mine][:, used].astype(np.float32) * trust[..., None]
        logits = np.einsum("nmh,mho->no", tokens, head.weight[used]) + trust @ head.bias[used]
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        probability[mine] = odds / odds.sum(axis=1, keepdims=True)
    return part, probability


def deal(tables: Mapping[str, TokenTable]) -> dict[str, np.ndarray]:
    """Fold that holds out each row; people of small sets are dealt too."""
    folds = {}
    for place, (name, table) in enumerate(tables.items()):
        n_people = len(set(table.subjects))
        fold = np.full(len(table), place % N_FOLDS)
        if n_people > 1:
            splits = GroupKFold(min(N_FOLDS, n_people)).split(table.subjects, groups=table.subjects)
            for number, (_, test) in enumerate(splits):
                fold[test] = number
        folds[name] = fold
    return folds


def card_of(tables: Mapping[str, TokenTable], scores: pd.DataFrame, n_simulated: int) -> dict:
    """What the head saw, and how good it is, for the file and for who reads it."""
    people = {name: sorted(set(t.subjects.tolist())) for name, t in tables.items()}
    real = {name: who for name, who in people.items() if name != "simulated"}
    columns = ["nights", "sensors", "classes", "kappa", "low", "high", "people"]
    return {
        "what": "five stages from the tokens of sleep2vec-mini; not a medical device",
        "simulated_nights": n_simulated,
        "real_people": real,
        "held_out": _as_records(scores[columns]),
        "held_out_by": f"{N_FOLDS} folds of people; simulated: the last fifth of them, a head "
        "without real nights of anybody held out",
        "selection": "how tokens are centred, how much the sensors' weights have in common, how "
        "unequal their trust may become, and the weight of real nights were chosen by about "
        "twenty looks at SC4001, DREAMS and sleep-accel people, so figures on these are a little "
        "optimistic",
        "made_by": "python -m benchmarks.bundled_stager.train",
    }


def _as_records(scores: pd.DataFrame) -> list[dict]:
    """Scores of real nights, and of simulated ones with all sensors; None where there is none."""
    kept = (scores["nights"] != "simulated") | (scores["sensors"] == "all")
    records = scores[kept].round(3).astype(object).where(scores[kept].notna(), None)
    return records.to_dict(orient="records")


def main(arguments: Sequence[str] | None = None) -> None:
    """Encode, measure in folds, train on all, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--work", type=Path, required=True, help="folder for tokens and tables")
    parser.add_argument("--out", type=Path, help="file of the head; only measured without")
    parser.add_argument("--subjects", type=int, default=120, help="simulated subjects")
    parser.add_argument("--hours", type=float, default=8.0, help="length of a simulated night")
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    options.work.mkdir(parents=True, exist_ok=True)
    real = {
        name: kept(options.work / f"{name}.npz", nights, name)
        for name, nights in real_nights(options.data).items()
    }
    nights = simulated_nights(options.subjects, hours=options.hours)
    simulated = kept(options.work / f"simulated-{len(nights)}.npz", nights, "simulated")
    people = np.unique(simulated.subjects)
    held_out = np.isin(simulated.subjects, people[-(len(people) // 5) :])
    train, test = simulated.take(~held_out), simulated.take(held_out)
    folds = deal(real)
    heads = {}
    for number in range(N_FOLDS):
        others = [table.take(folds[name] != number) for name, table in real.items()]
        heads[number] = fit_head([train, *others], ["simulated", *real])
    folds["simulated"] = np.zeros(len(test), dtype=int)
    scores = measure(heads, {**real, "simulated": test}, folds)
    scores.to_csv(options.work / "scores.csv", index=False, float_format="%.4f")
    print(as_markdown(scores))
    if options.out is not None:
        tables = {"simulated": simulated, **real}
        head = fit_head([*tables.values()], [*tables])
        save_stage_head(options.out, replace(head, card=card_of(tables, scores, len(people))))
        print(options.out, options.out.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
