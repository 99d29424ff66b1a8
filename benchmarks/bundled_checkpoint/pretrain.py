# SPDX-License-Identifier: BSD-3-Clause
"""Pretrain ``sleep2vec-mini``, the bundled encoder: a call of ``Sleep2VecPretrainer``.

``python -m benchmarks.bundled_checkpoint.pretrain --data DIR --work DIR``

``--data`` is a folder that holds the public set MMASH (physionet.org/content/mmash) as ``mmash/``;
without it only simulated nights are used. Features of the nights, and the state of the run every
hundred steps, go to ``--work``: the same command goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
import torch

from benchmarks.bundled_checkpoint.card import describe
from benchmarks.bundled_checkpoint.configuration import REAL_SHARE, make_pretrainer, mini_config
from benchmarks.bundled_checkpoint.nights import real_nights, simulated_nights
from sleep2vec_sklearn.pretraining import prepare_cohort


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
        nights,
        options.work / "features",
        encoder=mini_config(),
        n_jobs=options.jobs,
        on_error="raise",
        verbose=1,
    )
    torch.set_num_threads(options.threads)
    pretrainer = make_pretrainer(options.seed, options.work / options.name, options.steps)
    pretrainer.fit(store, sample_weight=night_weights(groups))
    path = options.work / f"{options.name}.safetensors"
    card = describe(options.name, groups)
    print(path, pretrainer.save(path, card, dtype="float16"))


if __name__ == "__main__":
    main()
