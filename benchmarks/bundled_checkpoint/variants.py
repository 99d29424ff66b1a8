# SPDX-License-Identifier: BSD-3-Clause
"""What each choice in the training of ``sleep2vec-mini`` is worth, by short runs that differ in it.

``python -m benchmarks.bundled_checkpoint.variants --data DIR --work DIR [--only NAME ...]``

Every variant is pretrained for the same number of steps on the same nights, a watch's two sensors
unless it says otherwise, and probed on real nights that no training saw: sleep-accel (beat
intervals and counts) and slpdb (beat intervals), people held out. Differences from the reference
are paired over subjects. One run each, so what two seeds of the reference differ by is the noise.
Results are kept as they come: the same command goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from benchmarks.bundled_checkpoint.configuration import make_pretrainer, mini_config
from benchmarks.bundled_checkpoint.nights import real_nights, simulated_nights
from benchmarks.bundled_checkpoint.pretrain import night_weights
from benchmarks.evaluation.encoders import encoder_features
from benchmarks.evaluation.probes import evaluate_features
from benchmarks.evaluation.questions import THREE_STAGES
from benchmarks.evaluation.scores import as_markdown, bootstrap_interval
from benchmarks.evaluation.tasks import TASKS
from sleep2vec_sklearn.model.config import EncoderConfig
from sleep2vec_sklearn.pretraining import DashObjective, prepare_cohort

WATCH = ("ibi", "actigraphy")
PROBED = ("sleep-accel", "slpdb")
REFERENCE = "reference"


@dataclass(frozen=True)
class Variant:
    """What differs from the reference.

    Attributes
    ----------
    parameters : mapping
        Of the pretrainer.
    encoder : mapping
        Fields of the configuration.
    modalities : tuple of str
    real_share : float or None
        Of the draws; that of the bundled encoder by default.
    ibi_scaling : str
        Conditioning of beat intervals.
    seed : int
    """

    parameters: Mapping = field(default_factory=dict)
    encoder: Mapping = field(default_factory=dict)
    modalities: tuple[str, ...] = WATCH
    real_share: float | None = None
    ibi_scaling: str = "absolute"
    seed: int = 0


VARIANTS = {
    REFERENCE: Variant(),
    "another seed": Variant(seed=1),
    "DASH weights": Variant({"objective": DashObjective(reconstruction_weight=1.0)}),
    "negatives of the night too": Variant({"objective__negatives": "both"}),
    "nothing foretold": Variant({"objective__reconstruction_weight": 0.0}),
    "no sensor lost": Variant({"augmentation__modality_dropout": 0.0}),
    "windows of two hours": Variant({"batch_size": 24}, {"context_epochs": 240}),
    "simulated nights alone": Variant(real_share=0.0),
    "real nights alone": Variant(real_share=0.95),
    "beats scaled by the night": Variant(ibi_scaling="robust"),
    "width 192": Variant(encoder={"hidden_size": 192, "intermediate_size": 768}),
    "8 layers": Variant(encoder={"n_layers": 8}),
    "EEG beside the watch": Variant(modalities=("eeg", *WATCH)),
}


def configure(variant: Variant) -> EncoderConfig:
    """The encoder of a variant."""
    config = mini_config(**{"context_epochs": 120, **variant.encoder})
    kept = [m for m in config.modalities if m.name in variant.modalities]
    for place, modality in enumerate(kept):
        if modality.name == "ibi":
            conditioning = replace(modality.conditioning, scaling=variant.ibi_scaling)
            kept[place] = replace(modality, conditioning=conditioning)
    return replace(config, modalities=tuple(kept))


def settings(variant: Variant) -> dict:
    """Parameters of the pretrainer that are not the bundled encoder's."""
    config = configure(variant)
    short = {"batch_size": 48, "optimizer__ema_decay": 0.99, **variant.parameters}
    return {"encoder": config, "context_epochs": config.context_epochs, **short}


def pretrain(variant: Variant, groups, work: Path, n_steps: int, n_jobs: int):
    """Checkpoint of a short run."""
    config = configure(variant)
    groups = {group: _with_a_pair(nights, config.names) for group, nights in groups.items()}
    nights = list(itertools.chain.from_iterable(groups.values()))
    kind = "-".join((*variant.modalities, variant.ibi_scaling))
    store = prepare_cohort(nights, work / kind, encoder=config, n_jobs=n_jobs, on_error="raise")
    pretrainer = make_pretrainer(variant.seed, None, n_steps).set_params(**settings(variant))
    share = {} if variant.real_share is None else {"real_share": variant.real_share}
    return pretrainer.fit(store, sample_weight=night_weights(groups, **share)).checkpoint()


def _with_a_pair(nights, names) -> list:
    return [night for night in nights if len({*night} & {*names}) > 1]


def probe(checkpoint, data: Path) -> dict[str, pd.DataFrame]:
    """Scores by subject of each data set."""
    tables = {}
    for name in PROBED:
        task = TASKS[name]
        recordings = task.recordings(data)
        make = encoder_features(checkpoint, fusion="concat", modalities=task.modalities)
        tables[name] = evaluate_features(make(recordings), recordings, THREE_STAGES, n_splits=10)
    return tables


def parse_options():
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--work", type=Path, required=True, help="folder for features and results")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--subjects", type=int, default=200, help="simulated subjects")
    parser.add_argument("--jobs", type=int, default=2, help="processes for the features")
    return parser.parse_args()


def compare(folder: Path) -> pd.DataFrame:
    """Mean scores of every variant that has results, and differences from the reference."""
    tables = {p.stem: pd.read_csv(p, index_col=["data", "subject"]) for p in folder.glob("*.csv")}
    rows = []
    for data, name in itertools.product(PROBED, VARIANTS):
        if name not in tables:
            continue
        mine, theirs = tables[name].loc[data], tables[REFERENCE].loc[data]
        for metric in THREE_STAGES.metrics:
            difference = (mine[metric] - theirs[metric]).dropna().to_numpy()
            low, high = bootstrap_interval(difference)
            rows.append(
                {
                    "data": data,
                    "variant": name,
                    "metric": metric,
                    "mean": mine[metric].mean(),
                    "minus reference": difference.mean(),
                    "low": low,
                    "high": high,
                }
            )
    return pd.DataFrame(rows).set_index("data")


def results_in(work: Path, **settings) -> Path:
    """Folder of the results; refuses those of other settings, which nothing here compares with."""
    folder = work / "results"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "settings.json"
    found = json.loads(path.read_text()) if path.exists() else settings
    if found != settings:
        raise SystemExit(f"{folder} holds results of {found}, not {settings}: give another --work.")
    path.write_text(json.dumps(settings))
    return folder


def main() -> None:
    """Train and probe what has no results yet; print the table."""
    options = parse_options()
    results = results_in(options.work, steps=options.steps, subjects=options.subjects)
    groups = {"simulated": simulated_nights(options.subjects), **real_nights(options.data)}
    # differences need the reference
    for name in dict.fromkeys([REFERENCE, *options.only]):
        path = results / f"{name}.csv"
        if not path.exists():
            variant = VARIANTS[name]
            checkpoint = pretrain(variant, groups, options.work, options.steps, options.jobs)
            scores = pd.concat(probe(checkpoint, options.data), names=["data"])
            scores.to_csv(path, float_format="%.4f")
    print(as_markdown(compare(results)))


if __name__ == "__main__":
    main()
