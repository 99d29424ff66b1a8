# SPDX-License-Identifier: BSD-3-Clause
"""A sensor that an encoder has never seen, taught with real nights and probed on others.

``python -m benchmarks.new_sensor --data DIR [--nights 120] [--steps 400] [--stage-steps 200]``

A small encoder is pretrained on simulated nights without actigraphy. MMASH (22 men, a day and a
night each: beat intervals and wrist counts) teaches it actigraphy in two stages; the simulated
nights stay, for the old pairs. Sleep-accel, which no training sees, measures what actigraphy alone
tells then, and what it adds to beat intervals: wake and W/NREM/REM by a linear head, subjects held
out. Two more questions need no label of actigraphy: what a head fitted on projections of beat
intervals makes of those of actigraphy, and whether an epoch of one sensor finds itself in the
other's night. Every feature set gets the same folds and the same head.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from benchmarks.baselines import short_table
from benchmarks.bundled_checkpoint.nights import real_nights
from benchmarks.evaluation.encoders import encoder_features
from benchmarks.evaluation.probes import evaluate_features
from benchmarks.evaluation.scores import (
    as_markdown,
    average_tables,
    paired_differences,
    summarise,
)
from sleep2vec_sklearn import Sleep2VecPretrainer, make_sleep_cohort
from sleep2vec_sklearn.datasets import load_sleep_accel
from sleep2vec_sklearn.recordings import EPOCH_SECONDS, MODALITIES

if TYPE_CHECKING:
    from sleep2vec_sklearn.model.checkpoint import Checkpoint
    from sleep2vec_sklearn.pretraining import Adaptation, NightStore
    from sleep2vec_sklearn.recordings import Recording

NEW = "actigraphy"
STAGES = ("stage 1", "stage 2")
OLD = ("eeg", "effort", "spo2", "ibi", "resp")
SITE_KINDS = ("full_laboratory", "watch_laboratory", "watch_laboratory", "laboratory")
SEED = 20260301
HELD_OUT = ("user_7", "user_14", "user_21")
HELD_OUT_SIMULATED = 12
RANDOM_SEEDS = 5
FOLDS = 10
# Watches differ in how they count within 30 s, so the encoder sees one value an epoch.
CONDITIONING = replace(MODALITIES[NEW].conditioning, rate=1 / EPOCH_SECONDS)
SIZE = {
    "encoder__token_dim": 96,
    "encoder__hidden_size": 96,
    "encoder__n_layers": 3,
    "encoder__n_heads": 4,
    "projection_size": 48,
}
TRAINING = {
    "batch_size": 32,
    "objective__negatives": "both",
    "objective__reconstruction_weight": 1.0,
    "augmentation__max_shift": 8,
    "augmentation__modality_dropout": 0.3,
    "optimizer__ema_decay": 0.98,
    "steps_per_epoch": 50,
    "device": "cpu",
    "random_state": 0,
}


@dataclass(frozen=True)
class Trained:
    """The encoder before, the encoder after, and nights that trained neither."""

    before: Sleep2VecPretrainer
    adaptation: Adaptation
    held_out: NightStore

    def checkpoints(self) -> dict[str, list[Checkpoint]]:
        """What is probed, by name; several where the first weights are a matter of chance."""
        from sleep2vec_sklearn.pretraining import add_modality

        encoder = self.before.checkpoint()
        random = [
            add_modality(encoder, NEW, conditioning=CONDITIONING, tokenizer="sundial", seed=seed)
            for seed in range(RANDOM_SEEDS)
        ]
        return {
            "random tokenizer": random,
            "stage 1": [self.adaptation.stage1.checkpoint()],
            "stage 2": [self.adaptation.stage2.checkpoint()],
        }


def prepare(data: Path, folder: Path, n_nights: int) -> NightStore:
    """Simulated nights without the new sensor, then real ones with it."""
    from sleep2vec_sklearn.pretraining import prepare_cohort

    simulated = make_sleep_cohort(
        n_nights,
        n_sites=12,
        site_kinds=SITE_KINDS,
        modalities=OLD,
        missing=0.1,
        random_state=SEED,
    )
    real = [night for nights in real_nights(data).values() for night in nights]
    return prepare_cohort(
        [*simulated, *real],
        folder / "nights",
        encoder="sleep2vec-mini",
        modalities=[*OLD, NEW],
        verbose=1,
    )


def train(
    store: NightStore, folder: Path, n_steps: int, n_stage_steps: int, verbose: int
) -> Trained:
    """Pretrain without the new sensor, then adapt; goes on where it was stopped."""
    from sleep2vec_sklearn.pretraining import adapt_modality, add_modality

    simulated = np.flatnonzero(store.table[f"coverage_{NEW}"].to_numpy() == 0)
    people = store.table["subject"].iloc[simulated].tolist()
    held_out = [*people[-HELD_OUT_SIMULATED:], *HELD_OUT]
    before = (
        Sleep2VecPretrainer(OLD)
        .set_params(
            **SIZE,
            **TRAINING,
            max_epochs=n_steps // TRAINING["steps_per_epoch"],
            validation=held_out[:HELD_OUT_SIMULATED],
            state_dir=folder / "without",
            verbose=verbose,
        )
        .fit(store.take(simulated))
    )
    encoder = before.checkpoint()
    adaptation = adapt_modality(
        add_modality(encoder, NEW, conditioning=CONDITIONING, tokenizer="sundial"),
        store,
        NEW,
        **TRAINING,
        max_epochs=n_stage_steps // TRAINING["steps_per_epoch"],
        validation=held_out,
        stage1={"optimizer__lr": 2e-3},
        state_dir=folder / "adapted",
        verbose=verbose,
    )
    away = np.flatnonzero(store.table["subject"].isin(held_out).to_numpy())
    return Trained(before, adaptation, store.take(away))


def activity_features(with_time: bool) -> Callable[[Sequence[Recording]], list[np.ndarray]]:
    """The columns of the hand-made short context that actigraphy alone gives."""

    def features(recordings: Sequence[Recording]) -> list[np.ndarray]:
        tables = [short_table(recording) for recording in recordings]
        dropped = [c for c in tables[0] if "heart" in c]
        if not with_time:
            dropped += [c for c in tables[0] if "activity" not in c and "heart" not in c]
        return [table.drop(columns=dropped).to_numpy() for table in tables]

    return features


def probe(trained: Trained, cohort) -> dict[str, pd.DataFrame]:
    """Scores by subject: actigraphy alone, beside the old sensor, and read by the old one's head.

    Names are ``"question: feature set"``; runs that differ in their seed are averaged.
    """
    before = encoder_features(trained.before.checkpoint(), modalities=("ibi",))
    makers = {
        "actigraphy: hand-made": activity_features(with_time=False),
        "actigraphy: hand-made, time of night": activity_features(with_time=True),
        "both: ibi alone, before": before,
    }
    tables = {
        name: evaluate_features(make(cohort), cohort, n_splits=FOLDS)
        for name, make in makers.items()
    }
    for name, checkpoints in trained.checkpoints().items():
        runs = [_probe_encoder(checkpoint, cohort) for checkpoint in checkpoints]
        for question in runs[0]:
            tables[f"{question}: {name}"] = average_tables([run[question] for run in runs])
    return dict(sorted(tables.items()))


def _probe_encoder(checkpoint: Checkpoint, cohort) -> dict[str, pd.DataFrame]:
    both = {"modalities": ("ibi", NEW), "fusion": "concat"}
    projected = {
        name: encoder_features(checkpoint, modalities=(name,), layer="projection")(cohort)
        for name in ("ibi", NEW)
    }
    alone = encoder_features(checkpoint, modalities=(NEW,))(cohort)
    return {
        "actigraphy": evaluate_features(alone, cohort, n_splits=FOLDS),
        "both": evaluate_features(
            encoder_features(checkpoint, **both)(cohort), cohort, n_splits=FOLDS
        ),
        "head of ibi": evaluate_features(
            projected["ibi"], cohort, n_splits=FOLDS, test_features=projected[NEW]
        ),
    }


def stage_differences(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Either stage minus what was there without training, for each question."""
    rows = {}
    for name in tables:
        question, stage = name.split(": ")
        if stage not in STAGES:
            continue
        rivals = [n for n in tables if n.startswith(f"{question}: ") and not n.endswith(STAGES)]
        found = paired_differences({n: tables[n] for n in (name, *rivals)}, name)
        for (rival, metric), row in found.to_dict("index").items():
            rows[name, rival.split(": ")[1], metric] = row
    index = ["actigraphy learned in", "minus", "metric"]
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(index)


def retrieval_by_subject(checkpoint: Checkpoint, store: NightStore) -> pd.DataFrame:
    """How an epoch of either sensor ranks its own among epochs of the other, night by night."""
    from sleep2vec_sklearn.pretraining._validation import measure_retrieval

    network = checkpoint.build()
    rows = {}
    for place, subject in enumerate(store.table["subject"]):
        found = measure_retrieval(network, store.take([place]), TRAINING["batch_size"])
        result = found["ibi", NEW]
        rows[subject] = {
            "rank": result.median_rank / result.n_candidates,
            "recall": result.recall,
            "chance": result.chance,
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("subject")


def retrieval_tables(trained: Trained, cohort) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Median ranks and recalls before and after, and their differences paired over subjects."""
    from sleep2vec_sklearn.pretraining import NightStore, contents_of

    contents = contents_of(trained.adaptation.start, modalities=["ibi", NEW])
    store = NightStore.from_recordings(cohort, contents)
    tables = {}
    for name, checkpoints in trained.checkpoints().items():
        runs = [retrieval_by_subject(c, store) for c in checkpoints]
        tables[name] = sum(runs[1:], start=runs[0]) / len(runs)
    means = pd.DataFrame({name: table.mean() for name, table in tables.items()}).T
    return means.rename_axis("ibi and actigraphy"), retrieval_differences(tables)


def retrieval_differences(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Either stage minus the random tokenizer, with 95 % bootstrap intervals over subjects."""
    rows = {}
    for stage in STAGES:
        pair = {name: tables[name] for name in ("random tokenizer", stage)}
        found = paired_differences(pair, stage).droplevel(0).to_dict("index")
        rows |= {(stage, metric): found[metric] for metric in ("rank", "recall")}
    index = ["minus random tokenizer", "metric"]
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(index)


def old_pairs(trained: Trained) -> pd.DataFrame:
    """What stage 2 did to the pairs that were there, on simulated nights held out."""
    store = trained.held_out
    simulated = store.take(np.flatnonzero(store.table[f"coverage_{NEW}"].to_numpy() == 0))
    rows = {}
    for name, fitted in (("before", trained.before), ("stage 2", trained.adaptation.stage2)):
        found = fitted.retrieval(simulated).values()
        rows[name] = {
            "recall": float(np.mean([r.recall for r in found])),
            "chance": float(np.mean([r.chance for r in found])),
            "rank": float(np.mean([r.median_rank / r.n_candidates for r in found])),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("pairs without actigraphy")


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, probe, print the tables and write the scores of every subject."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="holds mmash/ and sleep-accel/")
    parser.add_argument("--folder", type=Path, default=Path("demo_output/new_sensor"))
    parser.add_argument("--nights", type=int, default=120, help="simulated ones")
    parser.add_argument("--steps", type=int, default=400, help="of pretraining")
    parser.add_argument("--stage-steps", type=int, default=200, help="of either stage")
    parser.add_argument("--verbose", type=int, default=0)
    options = parser.parse_args(arguments)

    store = prepare(options.data, options.folder, options.nights)
    trained = train(store, options.folder, options.steps, options.stage_steps, options.verbose)
    trained.adaptation.save(options.folder / "adapted.safetensors")
    cohort = [n for n in load_sleep_accel(options.data / "sleep-accel") if NEW in n.modalities]
    means, differences = retrieval_tables(trained, cohort)
    tables = probe(trained, cohort)
    pd.concat(tables, names=["features"]).to_csv(options.folder / "subjects.csv")
    print(f"{len(cohort)} subjects of sleep-accel\n")
    shown = [summarise(tables).drop(columns="sd"), stage_differences(tables)]
    for table in (*shown, means, differences, old_pairs(trained)):
        print(f"{as_markdown(table)}\n")


if __name__ == "__main__":
    main()
