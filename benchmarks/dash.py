# SPDX-License-Identifier: BSD-3-Clause
"""Does DASH learn better than InfoNCE where signals carry their site? Simulated nights only.

``python -m benchmarks.dash [--work DIR] [--seeds 0 1 2 3 4 5 6 7] [--settings NAME ...] [--table]``

Every seed has a cohort of its own: six simulated sites, whose sampling rates, filters, hum, noise
and derivations differ, so that the signals tell where they were recorded. Eight people of each of
four sites train an encoder, two nights each; two more people of these sites are held out; the
other two sites are not seen. With the same seed all settings share the cohort, the first weights
and the batches, and differ in the objective alone. In the settings called "marked", every site also
adds constants of its own to the features of every sensor, half a standard deviation large, as an
amplifier's filter adds to a log spectrum: a shortcut that no encoder can miss. Measured are

- recall: the share of epochs that find themselves in another modality among 512 (guessing: 0.002)
  of people held out, and of each unseen site by itself, where the site tells nothing; rank: the
  median place of the epoch itself, as a share of the 512 (guessing: 0.5);
- kappa: five stages by logistic regression on the frozen encoder's rows (the last layer, mean over
  modalities), fitted on the training nights; mean over the people held out, and over those of the
  unseen sites;
- site told: how often linear discriminants tell the site of a held-out epoch from the same rows, of
  four. Lower means that less of the shortcut was learned.

Intervals are percentiles of 10,000 bootstrap samples of the paired differences, over seeds. There
are many of them, so about one in twenty leaves 0 out by chance.

A run takes about 15 s of one core, a seed's cohort 30 s. Each finished run is one line of
``results.jsonl`` in the work folder, and is not made again; the tables are made of the lines.
``--table`` makes no further runs. Two processes may share a folder if their seeds differ.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import cohen_kappa_score

from benchmarks import dash_nights
from benchmarks.dash_nights import MODALITIES, Split, encode, known_metadata, make_split, mark_sites
from benchmarks.evaluation.scores import as_markdown
from benchmarks.paired_runs import Runs, contrast_table, difference_table
from benchmarks.simulation_difficulty import head
from sleep2vec_sklearn import Sleep2VecPretrainer
from sleep2vec_sklearn.pretraining import NightStore
from sleep2vec_sklearn.pretraining._validation import measure_retrieval

_log = logging.getLogger("benchmarks.dash")

ENCODER = {
    "encoder__hidden_size": 64,
    "encoder__token_dim": 64,
    "encoder__n_layers": 2,
    "encoder__n_heads": 4,
    "projection_size": 32,
    "context_epochs": 40,
    "batch_size": 32,
    "steps_per_epoch": 200,
    "max_epochs": 1,
    "optimizer__lr": 3e-3,
    "optimizer__ema_decay": 0.98,
    "precision": "float32",
    "device": "cpu",
    "validation": 0,
}
BASE = "DASH"
"""The setting that all others are compared with: the pretrainer's defaults."""

SETTINGS: dict[str, dict] = {
    BASE: {},
    "InfoNCE": {"objective": "info_nce"},
    # the first weights as they are, with statistics for the projection's BatchNorm
    "random weights": {"optimizer__lr": 1e-12, "steps_per_epoch": 30},
    "age bandwidth 5": {"objective__age_bandwidth": 5.0},
    "age off": {"objective__age_bandwidth": 1e9},
    "sex off": {"objective__sex_factor": 1.0},
    "site off": {"objective__site_same": 1.0, "objective__site_different": 1.0},
    "site 2 / 0.5": {"objective__site_same": 2.0, "objective__site_different": 0.5},
    "hard_scale 0": {"objective__hard_scale": 0.0},
    "half of age, sex, site missing": {"known": 0.5},
    "age, sex, site missing": {"known": 0.0},
    "other times of the night too": {"objective__negatives": "both"},
    "DASH, marked": {"mark": 0.5},
    "InfoNCE, marked": {"mark": 0.5, "objective": "info_nce"},
    "random weights, marked": {"mark": 0.5, "optimizer__lr": 1e-12, "steps_per_epoch": 30},
    "site off, marked": {
        "mark": 0.5,
        "objective__site_same": 1.0,
        "objective__site_different": 1.0,
    },
    "other times of the night too, marked": {"mark": 0.5, "objective__negatives": "both"},
}
CONTRASTS = (
    (BASE, "InfoNCE", "random weights"),
    ("DASH, marked", "InfoNCE, marked", "random weights, marked"),
)
MEASURES = (
    "recall, held out",
    "recall, unseen site",
    "rank, held out",
    "rank, unseen site",
    "kappa, held out",
    "kappa, unseen site",
    "site told",
)


def run(split: Split, setting: str, seed: int) -> dict[str, float]:
    """Pretrain by one setting and measure the averaged encoder."""
    changed = dict(SETTINGS[setting])
    mark, known = changed.pop("mark", 0.0), changed.pop("known", 1.0)
    if mark:
        split = mark_sites(split, mark, seed)
    pretrainer = Sleep2VecPretrainer(random_state=seed).set_params(**{**ENCODER, **changed})
    pretrainer.fit(split.train, metadata=known_metadata(split.train.table, known, seed))
    return measure(pretrainer.net_.averaged(), split)


def measure(network, split: Split) -> dict[str, float]:
    """All measures of one encoder."""
    stages = {store: [split.stages[i] for i in store.table.index] for store in _parts(split)}
    rows = {store: encode(network, store) for store in stages}
    x, y = np.concatenate(rows[split.train]), np.concatenate(stages[split.train])
    staging = head().fit(x, y)
    tested = split.held_out, *split.unseen
    kappa = {store: _kappa(staging, rows[store], stages[store]) for store in tested}
    site = LinearDiscriminantAnalysis().fit(x, _sites(split.train))
    away = [_retrieval(network, store) for store in split.unseen]
    values = (
        *np.stack([_retrieval(network, split.held_out), np.mean(away, axis=0)], axis=1).ravel(),
        np.mean(kappa[split.held_out]),
        np.mean([k for store in split.unseen for k in kappa[store]]),
        site.score(np.concatenate(rows[split.held_out]), _sites(split.held_out)),
    )
    return dict(zip(MEASURES, map(float, values), strict=True))


def _parts(split: Split) -> tuple[NightStore, ...]:
    return split.train, split.held_out, *split.unseen


def _sites(store: NightStore) -> np.ndarray:
    return np.repeat(store.table["site"].to_numpy(str), store.table["n_epochs"])


def _kappa(staging, rows: list[np.ndarray], stages: list[np.ndarray]) -> list[float]:
    return [cohen_kappa_score(y, staging.predict(x)) for x, y in zip(rows, stages, strict=True)]


def _retrieval(network, store: NightStore) -> tuple[float, float]:
    """Recall, and median rank as a share of the candidates; means over pairs."""
    found = measure_retrieval(network, store, ENCODER["batch_size"]).values()
    each = [(result.recall, result.median_rank / result.n_candidates) for result in found]
    return tuple(np.mean(each, axis=0))


def open_runs(folder: Path) -> Runs:
    """What is finished in a work folder."""
    design = {**dash_nights.describe(), "encoder": ENCODER}
    return Runs(folder / "results.jsonl", design)


def make_runs(runs: Runs, folder: Path, seeds, settings) -> None:
    """Make the runs that are missing, seed by seed."""
    for seed in seeds:
        for setting in settings:
            if runs.has(setting, seed):
                continue
            split = make_split(seed, folder)
            started = time.process_time()
            runs.append(setting, seed, run(split, setting, seed))
            _log.info("seed %d, %s: %.0f s", seed, setting, time.process_time() - started)


def show(runs: pd.DataFrame) -> str:
    """The tables that the finished runs make."""
    runs = runs[list(MEASURES)]
    n_seeds = runs.index.get_level_values("seed").nunique()
    tables = [contrast_table(runs, names) for names in CONTRASTS]
    text = [f"{n_seeds} simulated cohorts, {', '.join(MODALITIES)}"]
    text += [f"\n{as_markdown(table)}" for table in tables if len(table)]
    for names in CONTRASTS:
        base, marked = names[0], "mark" in SETTINGS[names[0]]
        others = [s for s in SETTINGS if s not in names and ("mark" in SETTINGS[s]) == marked]
        table = difference_table(runs, base, others)
        if len(table):
            text.append(f"\neach setting less {base}, mean and 95 % interval over seeds\n")
            text.append(as_markdown(table))
    return "\n".join(text)


def main() -> None:
    """Make the runs, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("dash-runs"), help="kept between calls")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(8)))
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--table", action="store_true", help="of what is finished")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    runs = open_runs(options.work)
    if not options.table:
        make_runs(runs, options.work, options.seeds, options.settings)
    print(show(runs.read()))


if __name__ == "__main__":
    main()
