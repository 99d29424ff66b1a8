# SPDX-License-Identifier: BSD-3-Clause
"""The architecture of ``sleep2vec-mini``, its conditioning, and how it is trained.

``python -m benchmarks.weights.pretrain --data DIR --work DIR``

``--data`` is a folder that holds the public set MMASH (physionet.org/content/mmash) as ``mmash/``;
without it only simulated nights are used. Features of the nights, and the state of the run every
hundred steps, go to ``--work``: the same command goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from sleep2vec_sklearn import Sleep2VecPretrainer, make_sleep_cohort
from sleep2vec_sklearn.datasets import load_mmash
from sleep2vec_sklearn.model.config import (
    EncoderConfig,
    ModalityConfig,
    ProjectionConfig,
    TokenizerConfig,
)
from sleep2vec_sklearn.pretraining import AdamW, Augmentation, InfoNCEObjective, prepare_cohort
from sleep2vec_sklearn.recordings import EPOCH_SECONDS, MODALITIES, Recording
from sleep2vec_sklearn.recordings.derivation import ibi_from_heart_rate

TOKEN_SIZE = 128
STEPS = 1800
REAL_SHARE = 0.4
WEARABLE = {"ibi", "actigraphy"}


def mini_config(**changes) -> EncoderConfig:
    """Configuration of the bundled encoder; ``changes`` replace fields of it."""
    config = EncoderConfig(
        modalities=tuple(_modality(name) for name in MODALITIES),
        hidden_size=128,
        n_layers=4,
        n_heads=4,
        intermediate_size=512,
        # Masking regularises enough at this size, and dropout in attention doubles a step's time.
        dropout=0.0,
        projection=ProjectionConfig(hidden_size=128, out_size=64),
        context_epochs=240,
    )
    return replace(config, **changes)


def make_pretrainer(seed: int, state_dir, steps: int | None = None) -> Sleep2VecPretrainer:
    """The estimator that made the bundled encoder."""
    config = mini_config()
    return Sleep2VecPretrainer(
        encoder=config, context_epochs=config.context_epochs,
        objective=InfoNCEObjective(reconstruction_weight=1.0),
        augmentation=Augmentation(modality_dropout=0.3, max_shift=60, noise=0.2, offset=0.2),
        pair_weights=wearable_shares, optimizer=AdamW(ema_decay=0.998), batch_size=32, max_epochs=1,
        steps_per_epoch=steps or STEPS, precision="bfloat16", validation=None, random_state=seed,
        state_dir=state_dir, verbose=1,
    )  # fmt: skip


def wearable_shares(pairs) -> dict[tuple[str, str], float]:
    """Pairs with a sensor of a watch twice as often as others, the pair of a watch eight times.

    Those are the sensors of which there are real nights.
    """
    return {pair: (1.0, 2.0, 8.0)[len(WEARABLE & set(pair))] for pair in pairs}


def _modality(name: str) -> ModalityConfig:
    conditioning = MODALITIES[name].conditioning
    if name == "actigraphy":
        # Watches differ in how they count within 30 s, so the encoder sees one value an epoch.
        conditioning = replace(conditioning, rate=1 / EPOCH_SECONDS)
        return ModalityConfig(name, conditioning, TokenizerConfig("sundial", TOKEN_SIZE))
    return ModalityConfig(name, conditioning, TokenizerConfig("spectral", TOKEN_SIZE))


SITE_KINDS = ("full_laboratory", "watch_laboratory", "watch_laboratory", "laboratory", "wearable")
SEED = 20260214
WATCH_SECONDS = 5


def simulated_nights(n_subjects: int) -> list[Recording]:
    """One simulated night each, from twenty sites of four kinds."""
    return make_sleep_cohort(
        n_subjects, n_sites=20, site_kinds=SITE_KINDS, missing=0.1, random_state=SEED
    )


def real_nights(data: Path) -> dict[str, list[Recording]]:
    """Real recordings with at least two modalities, by data set."""
    nights = load_mmash(data / "mmash")
    return {"mmash": nights, "mmash_watch": [as_watch(night) for night in nights]}


def as_watch(night: Recording) -> Recording:
    """The same night as a watch would show its heart: a mean rate every five seconds."""
    beats, counts = night.signal("ibi"), night.signal("actigraphy")
    rate = WATCH_SECONDS * round(beats.rate)
    intervals = beats.values[: len(beats.values) // rate * rate].reshape(-1, rate)
    present = np.isfinite(intervals).any(axis=1)
    bpm = 60 / np.nanmean(intervals[present], axis=1)
    times = WATCH_SECONDS * (np.flatnonzero(present) + 0.5)
    return Recording(
        {
            "ibi": ibi_from_heart_rate(times, bpm, duration=night.duration),
            "actigraphy": (counts.values, counts.rate),
        },
        subject=night.subject,
        duration=night.duration,
        id=f"{night.id}-watch",
    )


SOURCES = {
    "simulated": "make_sleep_cohort of this library; simulated; some sizes of heart rate and "
    "movement were set towards averages of MMASH (docs/simulator.md)",
    "mmash": "MMASH 1.0.0, PhysioNet, open access: 22 men, 24 h of beat-to-beat intervals and "
    "wrist counts each; labels not used",
    "mmash_watch": "the same 22 days, with the beats averaged to a heart rate every 5 s",
}
NEVER_SEEN = (
    "sleep-accel (all subjects), Sleep-EDF (SC4001 and all others), slpdb, apnea-ecg, ucddb, DREAMS"
)
SELECTION = (
    "Variants, this encoder among them, were compared by linear probes on sleep-accel and slpdb, "
    "and encoders before it were evaluated on all sets named under never_seen; no training saw "
    "them. So figures on them are optimistic by what choosing among few variants gives."
)
LIMITS = (
    "Not a medical device. Real signals in training are inter-beat intervals and wrist counts of "
    "22 men only; every other modality was learned from simulation. Before the simulator's heart "
    "rate and movement were first written, its author had looked at averages by stage of the "
    "sleep-accel subjects; values tuned to them were taken back to textbook sizes. Later changes "
    "went towards published values or MMASH alone, but which gaps were worth closing was decided "
    "beside figures of the evaluated sets."
)


def describe(name: str, groups: Mapping[str, Sequence[Recording]]) -> dict:
    """What :class:`Sleep2VecPretrainer` cannot know of its nights."""
    return {
        "name": name,
        "licence": "BSD-3-Clause",
        "sources": [
            {"source": group, "what": SOURCES[group], **_amounts(recordings)}
            for group, recordings in groups.items()
        ],
        "never_seen": NEVER_SEEN,
        "selection": SELECTION,
        "limits": LIMITS,
        "made_by": "python -m benchmarks.weights.pretrain, which calls "
        "sleep2vec_sklearn.Sleep2VecPretrainer",
    }


def _amounts(recordings: Sequence[Recording]) -> dict:
    names = sorted({name for recording in recordings for name in recording.modalities})
    hours = {
        name: round(sum(r.n_epochs for r in recordings if name in r) * EPOCH_SECONDS / 3600)
        for name in names
    }
    return {
        "recordings": len(recordings),
        "subjects": len({recording.subject for recording in recordings}),
        "hours_by_modality": hours,
    }


def night_weights(groups, real_share: float = REAL_SHARE) -> np.ndarray:
    """Chances of the nights of all groups, in order: real ones make their share together."""
    sizes = {group: len(nights) for group, nights in groups.items()}
    n_real = sum(sizes.values()) - sizes["simulated"]
    real = real_share / (1 - real_share) * sizes["simulated"] / max(n_real, 1)
    return np.concatenate(
        [np.full(size, 1.0 if group == "simulated" else real) for group, size in sizes.items()]
    )


def parse_options():
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder that holds mmash/")
    parser.add_argument("--work", type=Path, required=True, help="folder for features and states")
    parser.add_argument("--name", default="sleep2vec-mini", help="stem of the file written")
    parser.add_argument("--subjects", type=int, default=400, help="simulated subjects")
    parser.add_argument("--steps", type=int, help="fewer or more than the bundled encoder's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="processes for the features")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser.parse_args()


def main() -> None:
    """Prepare the nights, train, write the checkpoint."""
    options = parse_options()
    groups = {"simulated": simulated_nights(options.subjects)}
    if options.data is not None:
        groups |= real_nights(options.data)
    nights = list(itertools.chain.from_iterable(groups.values()))
    store = prepare_cohort(
        nights, options.work / "features", encoder=mini_config(), n_jobs=options.jobs,
        on_error="raise", verbose=1,
    )  # fmt: skip
    torch.set_num_threads(options.threads)
    pretrainer = make_pretrainer(options.seed, options.work / options.name, options.steps)
    pretrainer.fit(store, sample_weight=night_weights(groups))
    path = options.work / f"{options.name}.safetensors"
    card = describe(options.name, groups)
    print(path, pretrainer.save(path, card, dtype="float16"))


if __name__ == "__main__":
    main()
