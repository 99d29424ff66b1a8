# SPDX-License-Identifier: BSD-3-Clause
"""The architecture of ``sleep2vec-mini``, its conditioning, and how it is trained.

``python -m benchmarks.weights.pretrain --data DIR --teacher FILE --work DIR``

``--data`` is a folder of the public sets that ``benchmarks.weights.nights`` names; without it only
simulated nights are used. ``--teacher`` is the file of SeqSleepNet, whose posteriors are distilled;
without it the simulated stages alone are. Features of the nights, and the state of the run every
hundred steps, go to ``--work``: the same command goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.weights.nights import (
    describe,
    night_weights,
    real_nights,
    simulated_nights,
    targets,
)
from sleep2vec_sklearn import Sleep2VecPretrainer
from sleep2vec_sklearn.model.config import (
    EncoderConfig,
    ModalityConfig,
    ProjectionConfig,
    TokenizerConfig,
)
from sleep2vec_sklearn.pretraining import AdamW, Augmentation, InfoNCEObjective, prepare_cohort
from sleep2vec_sklearn.recordings import MODALITIES
from sleep2vec_sklearn.recordings._expert_catalogue import list_columns

TOKEN_SIZE = 128
STEPS = 1200
DISTILLATION = 0.5
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


def make_pretrainer(
    seed: int, state_dir, steps: int | None = None, distillation: float = DISTILLATION
) -> Sleep2VecPretrainer:
    """The estimator that made the bundled encoder."""
    config = mini_config()
    return Sleep2VecPretrainer(
        encoder=config, context_epochs=config.context_epochs,
        objective=InfoNCEObjective(reconstruction_weight=1.0, distillation_weight=distillation),
        augmentation=Augmentation(modality_dropout=0.3, max_shift=60, noise=0.2, offset=0.2),
        pair_weights=wearable_shares, optimizer=AdamW(ema_decay=0.998), batch_size=32, max_epochs=1,
        steps_per_epoch=steps or STEPS, precision="float32", validation=None, random_state=seed,
        state_dir=state_dir, verbose=1,
    )  # fmt: skip


def wearable_shares(pairs) -> dict[tuple[str, str], float]:
    """Pairs with a sensor of a watch twice as often as others, the pair of a watch eight times.

    Those are the sensors of which there are most real nights; so are those with one sensor alone.
    """
    return {
        pair: 8.0 if len(set(pair)) == 1 else (1.0, 2.0, 8.0)[len(WEARABLE & set(pair))]
        for pair in pairs
    }


def _modality(name: str) -> ModalityConfig:
    conditioning = replace(MODALITIES[name].conditioning, columns=tuple(list_columns(name)))
    return ModalityConfig(name, conditioning, TokenizerConfig("expert", TOKEN_SIZE))


def parse_options():
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the public sets")
    parser.add_argument("--teacher", type=Path, help="file of SeqSleepNet")
    parser.add_argument("--work", type=Path, required=True, help="folder for features and states")
    parser.add_argument("--name", default="sleep2vec-mini", help="stem of the file written")
    parser.add_argument("--subjects", type=int, default=400, help="simulated subjects")
    parser.add_argument("--steps", type=int, help="fewer or more than the bundled encoder's")
    parser.add_argument("--distillation", type=float, default=DISTILLATION, help="its weight")
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
    pretrainer = make_pretrainer(
        options.seed, options.work / options.name, options.steps, options.distillation
    )
    probabilities = None
    if options.distillation:
        probabilities = targets(nights, options.teacher, options.work, options.jobs)
    pretrainer.fit(store, sample_weight=night_weights(groups), targets=probabilities)
    path = options.work / f"{options.name}.safetensors"
    card = describe(options.name, groups)
    print(path, pretrainer.save(path, card, dtype="float16"))


if __name__ == "__main__":
    main()
