# SPDX-License-Identifier: BSD-3-Clause
"""Does more of anything help? Encoders pretrained on simulated nights, along three axes.

``python -m benchmarks.scaling [--steps 400] [--work DIR] [--figure FILE]``

People of four simulated sites: 64 train with one night of three hours each, 16 are held out. Swept
are the number of training nights, the encoder's width, and the number of sensors, one at a time;
all runs have as many steps. Measured on the people held out are the contrastive loss, and the
staging error: one less kappa of five stages by linear discriminants on the frozen encoder's rows,
fitted on the same 24 nights whatever the encoder saw of them.

The numbers of sensors come from two orders of them, drawn at random, in each of which they are
added one by one; the loss does not compare them, as it is of other pairs each time.

Each finished run is one line of ``points.jsonl`` in the work folder, and is not made again. With
400 steps all of it takes some nine minutes of a free core. Everything is simulated:
the figure shows what the tool does, not how encoders of human sleep scale.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import cohen_kappa_score

from benchmarks.dash_nights import encode
from benchmarks.evaluation.scores import as_markdown
from sleep2vec_sklearn import Sleep2VecPretrainer, fit_scaling_law, make_sleep_cohort
from sleep2vec_sklearn.pretraining import NightStore, prepare_cohort
from sleep2vec_sklearn.probing import run_scaling_sweep
from sleep2vec_sklearn.recordings import MODALITIES as ALL_MODALITIES

_log = logging.getLogger("benchmarks.scaling")

MODALITIES = ("eeg", "eog", "emg", "ecg", "effort", "ibi", "actigraphy")
COHORT = {
    "n_subjects": 80,
    "hours": 3.0,
    "n_sites": 4,
    "site_kinds": "watch_laboratory",
    "modalities": MODALITIES,
    "missing": 0.0,
    "random_state": 0,
}
HELD_OUT = 16
LABELLED = 24
ENCODER = {
    "encoder__hidden_size": 32,
    "encoder__token_dim": 32,
    "encoder__n_layers": 2,
    "encoder__n_heads": 2,
    "projection_size": 32,
    "context_epochs": 40,
    "batch_size": 32,
    "max_epochs": 1,
    "optimizer__lr": 3e-3,
    "optimizer__ema_decay": 0.98,
    "precision": "float32",
    "device": "cpu",
}
NIGHTS = (4, 8, 16, 32, 64)
WIDTHS = (4, 8, 16, 32, 64)
REPEATS = 2
ORDERS = 2
LAWS = (
    ("n_nights", "loss"),
    ("n_nights", "staging_error"),
    ("n_parameters", "loss"),
    ("n_parameters", "staging_error"),
    ("n_modalities", "staging_error"),
)
AXES = ("n_nights", "n_modalities", "n_parameters")
TITLES = {
    "n_nights": "nights that train",
    "n_parameters": "parameters",
    "n_modalities": "sensors",
    "loss": "held-out contrastive loss (nats)",
    "staging_error": "held-out staging error (1 - kappa)",
}


def open_nights(folder: Path) -> tuple[NightStore, dict[str, np.ndarray]]:
    """The cohort's features, kept in a folder, and the stages of each night."""
    cohort = make_sleep_cohort(**COHORT)
    store = prepare_cohort(cohort, folder / "nights", modalities=MODALITIES, n_jobs=1)
    return store, {recording.id: recording.stages for recording in cohort}


def staging_error_of(store: NightStore, stages: Mapping[str, np.ndarray], held_out) -> object:
    """Function of a fitted pretrainer: the error of a linear head on its frozen encoder."""
    apart = store.table["subject"].isin(held_out).to_numpy()
    parts = (
        store.take(np.flatnonzero(~apart)[:LABELLED]),
        store.take(np.flatnonzero(apart)),
    )

    def measure(pretrainer) -> dict[str, float]:
        network = pretrainer.net_.averaged()
        rows = [np.concatenate(encode(network, part, pretrainer.modalities_)) for part in parts]
        labels = [np.concatenate([stages[name] for name in part.table.index]) for part in parts]
        staging = LinearDiscriminantAnalysis().fit(rows[0], labels[0])
        return {"staging_error": 1 - cohen_kappa_score(labels[1], staging.predict(rows[1]))}

    return measure


def random_chains(n_orders: int) -> list[tuple[str, ...]]:
    """Sets of two and more sensors, each order adding one at a time; the last set once."""
    random = np.random.default_rng(0)
    orders = [random.permutation(MODALITIES).tolist() for _ in range(n_orders)]
    chains = [tuple(order[:size]) for order in orders for size in range(2, len(MODALITIES))]
    return [*chains, MODALITIES]


def sweep(folder: Path, n_steps: int) -> pd.DataFrame:
    """All runs that are missing, and those that are not."""
    store, stages = open_nights(folder)
    people = np.unique(store.table["subject"].astype(str))
    held_out = np.random.default_rng(1).permutation(people)[:HELD_OUT].tolist()
    pretrainer = Sleep2VecPretrainer(MODALITIES, steps_per_epoch=n_steps).set_params(**ENCODER)
    settings = {
        "held_out": held_out,
        "evaluate": staging_error_of(store, stages, held_out),
        "path": folder / "points.jsonl",
        "verbose": 1,
    }
    sizes = [{"encoder__hidden_size": width, "encoder__token_dim": width} for width in WIDTHS]
    tables = [
        run_scaling_sweep(
            pretrainer,
            store,
            {"n_nights": NIGHTS, "n_parameters": sizes},
            n_repeats=REPEATS,
            **settings,
        ),
        run_scaling_sweep(pretrainer, store, {"n_modalities": random_chains(ORDERS)}, **settings),
    ]
    return pd.concat(tables, ignore_index=True)


def fit_laws(points: pd.DataFrame) -> dict[tuple[str, str], object]:
    """The law of each axis and measure."""
    return {
        (axis, measure): fit_scaling_law(points[points["axis"] == axis], x=axis, y=measure)
        for axis, measure in LAWS
    }


def describe(laws: Mapping) -> pd.DataFrame:
    """One row per law: its parameters with their intervals, and how well it fits."""
    rows = []
    for (axis, measure), law in laws.items():
        row = {"axis": axis, "measure": measure}
        for name, value, low, high in law.parameters.itertuples(index=False):
            row[name] = f"{value:.3g} ({low:.3g} to {high:.3g})"
        rows.append(row | {"R²": law.r2, "runs": len(law.points)})
    return pd.DataFrame(rows).set_index("axis")


def draw(laws: Mapping, n_steps: int, path: Path) -> None:
    """One panel per law."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    from sleep2vec_sklearn.plotting import ScalingLawDisplay

    figure, axes = plt.subplots(2, 3, figsize=(12, 7), layout="constrained")
    places = {"n_nights": 0, "n_parameters": 1, "n_modalities": 2}
    for (axis, measure), law in laws.items():
        ax = axes[int(measure == "staging_error"), places[axis]]
        # there are no more than eleven sensors in the catalogue
        extrapolate = len(ALL_MODALITIES) / len(MODALITIES) if axis == "n_modalities" else 4.0
        ScalingLawDisplay.from_results(law, ax=ax, extrapolate=extrapolate)
        ax.set(xlabel=TITLES[axis], ylabel=TITLES[measure])
    axes[0, 2].axis("off")
    figure.suptitle(
        f"Simulated nights: 80 people, three hours each, small encoders, {n_steps} steps"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Make the runs, print the laws, draw them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=400, help="of every run")
    parser.add_argument(
        "--work", type=Path, default=Path("scaling-runs"), help="kept between calls"
    )
    parser.add_argument("--figure", type=Path, default=Path("docs/images/scaling_simulated.png"))
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    points = sweep(options.work, options.steps)
    means = points.groupby(["axis", *AXES])[["loss", "staging_error"]].mean()
    print(as_markdown(means), end="\n\n")
    laws = fit_laws(points)
    print(as_markdown(describe(laws)))
    draw(laws, options.steps, options.figure)
    _log.info("%d runs, %.0f s of training", len(points), points["seconds"].sum())


if __name__ == "__main__":
    main()
